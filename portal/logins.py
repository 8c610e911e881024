"""How fast passwords may be tried, and which browsers are known (docs/adr/0027).

Checking a password takes a third of a second of CPU, so an attempt that comes too soon is refused before its
password is hashed. A browser that has signed in to an account before is counted apart from all others, so
that an attack on the account, even from the same address, does not keep its owner out.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from allauth.account.utils import filter_users_by_email, filter_users_by_username
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.deprecation import MiddlewareMixin

from portal.proxies import client_address
from tenants.pace import Pace, give_back, take

CHECKS = Pace("login-checks", burst=60, seconds=1)
"""Passwords checked for one address, right or wrong. Limits the CPU that an address can use."""

FAILURES_HERE = Pace("login-failures-here", burst=5, seconds=30)
"""Wrong passwords for one name from one address."""

FAILURES = Pace("login-failures", burst=20, seconds=6)
"""Wrong passwords for one name from all addresses, for attackers who have many."""

KNOWN = Pace("login-known", burst=10, seconds=10)
"""Passwords checked for one account in browsers that have signed in to it before."""

DEVICE_SALT = "portal.logins.device"
DEVICE_SECONDS = 365 * 86_400


@dataclass(frozen=True)
class Attempt:
    """A sign-in that was counted as a failure before its password was checked."""

    failures: Mapping[str, Pace]

    def succeeded(self) -> None:
        """Take it back from the failures."""
        if self.failures:
            give_back(self.failures)


class TooSoon(Exception):
    """An attempt has to wait for ``wait`` whole seconds. The text is a sentence for people."""

    def __init__(self, wait: float) -> None:
        self.wait = ceil(wait)
        seconds = "1 second" if self.wait == 1 else f"{self.wait} seconds"
        super().__init__(f"Too many attempts to sign in. Try again in {seconds}.")


def attempt(request: HttpRequest, login: str) -> Attempt:
    """Count an attempt to sign in as ``login``, or raise ``TooSoon`` and count nothing."""
    account = _plain(login)
    user = _known_user(request)
    checks: dict[str, Pace]
    failures: dict[str, Pace]
    # One user's name can be another's email address: then these may be guesses at the other account.
    if user is not None and _users(login) == {user.pk}:
        checks, failures = {KNOWN.key(str(user.pk)): KNOWN}, {}
    else:
        address = client_address(request)
        checks = {CHECKS.key(address): CHECKS}
        failures = {
            FAILURES_HERE.key(account, address): FAILURES_HERE,
            FAILURES.key(account): FAILURES,
        }
    if wait := take(checks | failures):
        raise TooSoon(wait)
    return Attempt(failures)


def remember_device(response: HttpResponse, user: AbstractBaseUser) -> None:
    """Mark this browser as one that has signed in to the account. A new password ends that."""
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        signing.dumps([user.pk, _mark(user)], salt=DEVICE_SALT),
        max_age=DEVICE_SECONDS,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )


def _known_user(request: HttpRequest) -> User | None:
    """Return the account that this browser is signed in to, or was before."""
    if isinstance(request.user, User):
        return request.user
    cookie = request.COOKIES.get(settings.DEVICE_COOKIE_NAME, "")
    try:
        pk, mark = signing.loads(cookie, salt=DEVICE_SALT, max_age=DEVICE_SECONDS)
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=pk).first()
    return user if user is not None and constant_time_compare(mark, _mark(user)) else None


def _mark(user: AbstractBaseUser) -> str:
    return user.get_session_auth_hash()[:16]


def _users(login: str) -> set[int]:
    """Return the keys of all accounts whose password a sign-in as ``login`` may be checked against."""
    return {user.pk for user in (*filter_users_by_username(login), *filter_users_by_email(login))}


def _plain(login: str) -> str:
    """Return the same text for all spellings that lead to the same account."""
    return unicodedata.normalize("NFKC", login.strip()).casefold()


class SaysWhenAgain(MiddlewareMixin):
    """Turns a page into a 429 with ``Retry-After`` if its view set ``request.retry_after``, in seconds."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        wait = getattr(request, "retry_after", None)
        if wait is not None:
            response.status_code = 429
            response["Retry-After"] = str(wait)
        return response
