"""Which host serves what: pages belong to the portal's own host, the rest is for scripts and npm.

Most resolvers do not know ``*.localhost``, so scripts call plain ``localhost``. A page there would set
its cookies for a host that is not the portal's.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect
from django.utils.deprecation import MiddlewareMixin

IN_PLACE = ("/api/", "/catalogue.json", "/update", "/healthz", "/readyz", "/metrics")
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
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotFound(
                f"Pages are at {settings.FLOWSTEAD_URL}.\n", content_type="text/plain; charset=utf-8"
            )
        return HttpResponseRedirect(settings.FLOWSTEAD_URL + request.get_full_path())
