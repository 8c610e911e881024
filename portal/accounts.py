"""Who may sign up and sign in, and where people may be sent after a login."""

from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme

from portal import logins
from tenants.encryption import decrypt, encrypt

LONGEST_LOGIN = 320  # characters, as many as an email address may have


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP == "open"

    def is_safe_url(self, url: str | None) -> bool:
        """Only addresses of the portal itself: instances are not part of it."""
        host = urlsplit(settings.FLOWSTEAD_URL).netloc
        return url_has_allowed_host_and_scheme(url, allowed_hosts={host}, require_https=settings.HTTPS)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse an attempt that comes too soon, before its password is hashed."""
        login = credentials.get("email") or credentials["username"]
        if len(login) > LONGEST_LOGIN:
            raise BadRequest("A name or email address is not that long.")
        try:
            self._attempt = logins.attempt(request, login)
        except logins.TooSoon as error:
            request.retry_after = error.wait  # type: ignore[attr-defined]
            raise ValidationError(str(error), code="too_many_login_attempts") from error

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        if user is not None:
            self._attempt.succeeded()
        return user

    def post_login(self, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        logins.remember_device(response, user)
        return response


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]
    """Checks a password once: Django's own backend, which older sessions name, does not hash it again."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> AbstractBaseUser:
        if credentials.get("email") == credentials.get("username"):
            # allauth passes an email address under both names and would check its password twice, so that
            # an address with an account would take longer than one without.
            credentials.pop("email", None)
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        if user is None:
            raise PermissionDenied
        return user


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Keeps the secrets of second factors encrypted at rest."""

    def encrypt(self, text: str) -> str:
        return encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text.encode()).decode()


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return settings.SIGNUP == "open"
