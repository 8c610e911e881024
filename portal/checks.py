"""Misconfiguration that can be told before the first request, each with a hint."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from portal import env
from tenants.encryption import decrypt, encrypt


@register()
def keys_are_there(app_configs: Any, **_: Any) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    if len(settings.SECRET_KEY) < 50:
        problems.append(
            Error(
                "SECRET_KEY has fewer than 50 characters.", hint="Make a long random one.", id="portal.E001"
            )
        )
    if not settings.ENCRYPTION_KEYS:
        problems.append(
            Error(
                "ENCRYPTION_KEYS is empty.",
                hint="Set it to a Fernet key, or start once with `make run`.",
                id="portal.E002",
            )
        )
    else:
        try:
            decrypt(encrypt(b"check"))
        except ImproperlyConfigured as error:
            problems.append(Error(str(error), hint="Make one with Fernet.generate_key().", id="portal.E003"))
    if "PRIVATE KEY" not in settings.IDP_OIDC_PRIVATE_KEY:
        problems.append(
            Error(
                "OIDC_PRIVATE_KEY is not an RSA key in PEM.",
                hint="Editors' logins are signed with it: openssl genrsa 2048.",
                id="portal.E004",
            )
        )
    return problems


@register()
def portal_lies_below_the_domain(app_configs: Any, **_: Any) -> list[CheckMessage]:
    host = urlsplit(settings.FLOWSTEAD_URL).hostname or ""
    if host == settings.FLOWSTEAD_DOMAIN:
        return [
            Error(
                "FLOWSTEAD_URL is the bare FLOWSTEAD_DOMAIN.",
                hint="Give the portal a host of its own, such as portal.<domain>: cookies of the bare "
                "domain's pages must not be within reach of instances.",
                id="portal.E005",
            )
        ]
    return []


@register()
def key_files_are_private(app_configs: Any, **_: Any) -> list[CheckMessage]:
    return [
        Error(f"{path} can be read by others.", hint=f"chmod 600 {path}", id="portal.E006")
        for path in env.loose_key_files()
    ]


@register(deploy=True)
def portal_is_served_over_https(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.HTTPS or settings.FLOWSTEAD_DOMAIN == "localhost":
        return []
    return [
        Warning(
            "The portal is served over plain http.",
            hint="Set FLOWSTEAD_URL to an https address: without it cookies and passwords can be read.",
            id="portal.W001",
        )
    ]


@register()
def driver_is_part_of_this_version(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.FLOWSTEAD_DRIVER == "local":
        return []
    return [
        Error(
            f"FLOWSTEAD_DRIVER={settings.FLOWSTEAD_DRIVER} is not part of this version.",
            hint="Leave it out, or set it to local.",
            id="portal.E007",
        )
    ]
