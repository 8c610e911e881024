"""What every page may say of the site."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "signup": settings.SIGNUP,
        "signup_is_open": settings.SIGNUP == "open",
        "sends_mail": settings.SENDS_MAIL,
        "has_catalogue": bool(settings.REGISTRY_URL),
    }
