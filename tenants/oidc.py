"""The editor's login: who a person is to an instance, told through allauth's OpenID provider.

The provider's ``Client`` row of an instance is derived from the instance, and made or mended whenever
somebody logs in: a changed domain needs no migration.
"""

from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from allauth.idp.oidc.models import Client
from allauth.idp.oidc.views import authorization
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from tenants.models import Instance, Role

PERMISSIONS = {Role.OWNER: "*", Role.MEMBER: "*", Role.VIEWER: "read"}


def role_in_editor(instance: Instance, user: AbstractBaseUser | AnonymousUser) -> Role | None:
    """The role that lets a person into an instance's editor, or None."""
    return instance.role_of(user) if user.is_active else None


def instance_of(client_id: str) -> Instance | None:
    try:
        pk = UUID(client_id)
    except ValueError:
        return None
    return Instance.objects.select_related("tenant").filter(pk=pk, retired_at=None).first()


def ensure_client(instance: Instance) -> Client:
    """The provider's row for an instance, as the instance is now."""
    client = Client.objects.filter(pk=str(instance.pk)).first() or Client(pk=str(instance.pk), secret="")
    before = (client.name, client.redirect_uris, client.scopes)
    client.name = instance.name
    client.skip_consent = True
    client.set_scopes(["openid", "profile"])
    client.set_grant_types([Client.GrantType.AUTHORIZATION_CODE])
    client.set_response_types(["code"])
    client.set_redirect_uris([f"{instance.url}auth/strategy/callback"])
    fits = bool(client.secret) and check_password(instance.oidc_client_secret, client.secret)
    if not fits:
        client.secret = _hash(instance.oidc_client_secret)
    if not fits or before != (client.name, client.redirect_uris, client.scopes):
        client.save()
    return client


def _hash(secret: str) -> str:
    """The secret is long and random: many rounds would only slow each login down."""
    hasher = PBKDF2PasswordHasher()
    return hasher.encode(secret, hasher.salt(), iterations=1)


def authorize(request: HttpRequest) -> HttpResponseBase:
    """The provider's authorization page, with a readable refusal for those who are not members."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), settings.LOGIN_URL)
    instance = instance_of(request.GET.get("client_id", ""))
    if instance is None or role_in_editor(instance, request.user) is None:
        return render(request, "tenants/editor_refused.html", status=403)
    ensure_client(instance)
    response: HttpResponseBase = authorization(request)
    return response


class EditorLoginAdapter(DefaultOIDCAdapter):  # type: ignore[misc]
    def get_issuer(self) -> str:
        """The configured address: the default follows the Host header."""
        issuer: str = settings.FLOWSTEAD_URL
        return issuer

    def get_claims(
        self,
        purpose: Literal["id_token", "userinfo"],
        user: AbstractBaseUser,
        client: Client,
        scopes: Iterable[str],
        email: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Role and name for a member of the client's instance, and nothing more for others."""
        claims: dict[str, Any] = {"sub": self.get_user_sub(client, user)}
        instance = instance_of(client.pk)
        role = role_in_editor(instance, user) if instance else None
        if role is not None:
            claims |= {
                "flowstead_username": user.get_username(),
                "flowstead_role": str(role),
                "flowstead_permissions": PERMISSIONS[role],
            }
        return claims
