"""Pieces of a page that ask for themselves again, so that what they show stays true."""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

MOVING_SECONDS = 1
RESTING_SECONDS = 5


@dataclass(frozen=True)
class Live:
    """Rendered by ``live.html``. ``digest`` tells the server what the browser shows already."""

    id: str
    address: str
    html: SafeString
    seconds: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.seconds} {self.html}".encode()).hexdigest()[:16]

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The piece anew; or 204, which htmx leaves alone, where nothing has changed. So the focus
        stays where it is, and screen readers are not told the same thing every second."""
        if request.GET.get("seen") == self.digest:
            return HttpResponse(status=204)
        return HttpResponse(render_to_string("live.html", {"live": self}))


def live(
    request: HttpRequest, id: str, template: str, context: dict[str, Any], *, address: str, moving: bool
) -> Live:
    html = render_to_string(template, context, request)
    return Live(id, address, html, MOVING_SECONDS if moving else RESTING_SECONDS)
