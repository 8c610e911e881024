"""Which host serves what: pages belong to the portal's own host, the rest is for scripts and npm.

Most resolvers do not know ``*.localhost``, so scripts call plain ``localhost``; in a cluster, instances call
the portal's internal host. A page there would set its cookies for a host that is not the portal's.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseNotFound,
    HttpResponseRedirect,
    JsonResponse,
)
from django.utils.deprecation import MiddlewareMixin

from portal import outages

IN_PLACE = ("/api/", "/catalogue.json", "/update", "/healthz", "/readyz", "/metrics")
READING = ("GET", "HEAD")
FOR_MACHINES = ("/identity/o/api/", "/.well-known/", "/static/", "/-/")


class PagesOnThePortalsHost(MiddlewareMixin):
    """Sends people who ask a script's host for a page to the portal's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)
        self._hosts = settings.HOSTS_FOR_SCRIPTS - {urlsplit(settings.FLOWSTEAD_URL).hostname}

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        host = urlsplit(f"//{request.get_host()}").hostname
        if host not in self._hosts or request.path.startswith(IN_PLACE + FOR_MACHINES):
            return None
        if request.method not in READING:
            return HttpResponseNotFound(
                f"Pages are at {settings.FLOWSTEAD_URL}.\n", content_type="text/plain; charset=utf-8"
            )
        return HttpResponseRedirect(settings.FLOWSTEAD_URL + request.get_full_path())


class ApiSpeaksJson(MiddlewareMixin):
    """Answer every failed request to the API with JSON in its form of an error, never with a page."""

    ANSWERS = {
        400: {"detail": "This request cannot be understood.", "code": "bad_request"},
        403: {"detail": "This request is not allowed.", "code": "not_allowed"},
        404: {"detail": "There is no such address in this API.", "code": "not_found"},
        405: {"detail": "This address does not know that method.", "code": "method_not_allowed"},
        413: {"detail": "This request is too large.", "code": "document_too_large"},
        500: {"detail": "Something went wrong here. Try again later.", "code": "internal_error"},
        503: {"detail": outages.BUSY, "code": "unavailable"},
    }
    PAGES = frozenset({"api-root", "openapi-json", "openapi-view"})

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponse | None:
        """Refuse to change what can only be read, before the CSRF check answers with a page."""
        match = request.resolver_match
        is_page = match is not None and match.app_name == "ninja" and match.url_name in self.PAGES
        return HttpResponseNotAllowed(READING) if is_page and request.method not in READING else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        answer = self.ANSWERS.get(response.status_code)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if answer is None or is_json or not request.path.startswith("/api/"):
            return response
        headers = {name: response[name] for name in ("Allow", "Retry-After") if name in response}
        return JsonResponse(answer, status=response.status_code, headers=headers)
