"""What the registry tells of a publish: taken as a hint that one package has to be read again.

Nothing else of a notice is believed or even looked at. It comes as Verdaccio's own body, or as that of
the predecessor's template, whose other values are broken.
"""

import hmac
import math
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest
from ninja.throttling import AnonRateThrottle

from catalogue.models import Reading
from catalogue.palette import is_package_name

LONGEST = 256 * 1024
HINTS = "30/m"


class NotUnderstood(Exception):
    """One sentence that says what is wrong with a notice."""


class NotTrusted(Exception):
    """Its sender does not know the secret."""


class TooMany(Exception):
    """Hints without a secret, more than are looked at. ``wait`` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__("Too many notices. Nothing is lost: the registry is looked at now and then.")
        self.wait = wait


class HintThrottle(AnonRateThrottle):
    scope = "registry_hint"


def knows_the_secret(request: HttpRequest) -> bool:
    """Whether it is the registry that asks. Never, where no secret is set."""
    given, secret = request.headers.get("Authorization", ""), settings.REGISTRY_HOOK_TOKEN
    return bool(secret) and hmac.compare_digest(given.encode(), f"Bearer {secret}".encode())


def take(request: HttpRequest) -> str:
    """The name of the package that is now due. Raises one of the exceptions above."""
    if settings.REGISTRY_HOOK_TOKEN:
        if not knows_the_secret(request):
            raise NotTrusted("Send the registry's secret: “Authorization: Bearer <REGISTRY_HOOK_TOKEN>”.")
    else:
        _count(request)
    name = _name(request.body)
    Reading.objects.mark_due(name)
    return name


def _count(request: HttpRequest) -> None:
    throttle = HintThrottle(HINTS)
    if not throttle.allow_request(request):
        raise TooMany(math.ceil(throttle.wait() or 60))


def _name(body: bytes) -> str:
    try:
        told: Any = orjson.loads(body) if len(body) <= LONGEST else None
    except ValueError:
        told = None
    name = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str) or not is_package_name(name):
        raise NotUnderstood("A notice is a JSON object whose “name” is that of a package.")
    return name
