"""Misconfiguration that can be told before the first request, each with a hint."""

from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.http import HttpRequest

from portal import env
from tenants.encryption import decrypt, encrypt
from tenants.provisioning.cluster.settings import Route


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


@register(deploy=True)
def mails_reach_people(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.SENDS_MAIL:
        return []
    return [
        Warning(
            "No mail server is set: people cannot reset their passwords themselves.",
            hint="Set EMAIL_URL, such as smtp+tls://user:password@host:587. Until then set a new password "
            "in the admin, or with `manage.py changepassword`.",
            id="portal.W004",
        )
    ]


@register()
def driver_is_part_of_this_version(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.FLOWSTEAD_DRIVER in {"local", "kubernetes"}:
        return []
    return [
        Error(
            f"FLOWSTEAD_DRIVER={settings.FLOWSTEAD_DRIVER} is not part of this version.",
            hint="Set it to local or kubernetes.",
            id="portal.E007",
        )
    ]


@register()
def cluster_has_a_gateway(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.FLOWSTEAD_DRIVER != "kubernetes" or settings.KUBERNETES["route"] != Route.GATEWAY:
        return []
    if settings.KUBERNETES["gateway"]:
        return []
    return [
        Error(
            "KUBERNETES_ROUTE is gateway, and no gateway is named.",
            hint="Set KUBERNETES_GATEWAY to namespace/name.",
            id="portal.E008",
        )
    ]


@register()
def portal_serves_its_own_addresses(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Ask as a browser and as an instance would: a host that is not allowed gets 400 for everything."""
    problems: list[CheckMessage] = []
    for name in ("FLOWSTEAD_URL", "FLOWSTEAD_INTERNAL_URL"):
        request = HttpRequest()
        request.META["HTTP_HOST"] = urlsplit(getattr(settings, name)).netloc
        try:
            request.get_host()
        except DisallowedHost:
            problems.append(
                Error(
                    f"The portal refuses requests to its own address {getattr(settings, name)} ({name}).",
                    hint=f"Add the host of {name} to ALLOWED_HOSTS.",
                    id="portal.E010",
                )
            )
    return problems


@register()
def pods_reach_the_portal(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.FLOWSTEAD_DRIVER != "kubernetes":
        return []
    host = urlsplit(settings.FLOWSTEAD_INTERNAL_URL).hostname or ""
    if _is_this_machine(host):
        return [
            Error(
                f"FLOWSTEAD_INTERNAL_URL leads to {host}, which is another place in every pod.",
                hint="Set it to an address at which pods reach the portal, such as that of its Service.",
                id="portal.E009",
            )
        ]
    return [_closed(host)] if _is_closed(host) else []


def _closed(host: str) -> CheckMessage:
    return Warning(
        f"FLOWSTEAD_INTERNAL_URL leads to {host}, and network policies keep instances away from there.",
        hint="Put its network into KUBERNETES_ALLOWED_NETWORKS.",
        id="portal.W002",
    )


def _is_this_machine(host: str) -> bool:
    if _is_address(host):
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _is_closed(host: str) -> bool:
    """Whether it is an address that is cut out of what instances reach. A name can lead anywhere."""
    if not _is_address(host):
        return False
    cut, allowed = (
        any(ip_address(host) in ip_network(network) for network in settings.KUBERNETES[name])
        for name in ("private_networks", "allowed_networks")
    )
    return cut and not allowed


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False
