"""Who sent a request, and by which scheme: as the proxies in front tell it, where they are trusted.

``behind_proxies`` puts the client into ``REMOTE_ADDR`` and its scheme into the request. Limits, sessions and
pages read those, and no header.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from django.http import HttpRequest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

IPV6_CUSTOMER_BITS = 64  # a client chooses the other bits of its address freely


def behind_proxies(application: Any, trusted: Sequence[str], scheme: str) -> Any:
    """Return the ASGI ``application`` with client and scheme as trusted proxies tell them.

    A request over a Unix socket comes from the web server in front, which names exactly one client. Any
    other one is believed if its address is in one of the networks ``trusted``; the client is then the last
    address in ``X-Forwarded-For`` that is in none of them. Without a trusted ``X-Forwarded-Proto`` the
    scheme is ``scheme``, that of the portal's public address.
    """
    from_socket = ProxyHeadersMiddleware(application, "*")
    from_network = ProxyHeadersMiddleware(application, list(trusted))

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["scheme"] = scheme
        await (from_network if scope.get("client") else from_socket)(scope, receive, send)

    return asked


def client_address(request: HttpRequest) -> str:
    """Return what limits count by: an IPv4 address, or the /64 network of an IPv6 address."""
    text: str = request.META.get("REMOTE_ADDR", "")
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((address, IPV6_CUSTOMER_BITS), strict=False))
    return text
