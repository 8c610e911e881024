"""Refuse text that PostgreSQL cannot hold, in one place and before any view sees it: NUL characters.

Halves of surrogate pairs cannot come this way: Django decodes addresses and forms itself, and replaces what
is not UTF-8. They come in JSON, where ``StrictSchema`` refuses both.
"""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict, UnreadablePostError
from django.utils.deprecation import MiddlewareMixin

log = logging.getLogger(__name__)

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
# What instances store are documents, which hold any text: a path in the library can have a NUL.
TOO_COMPLEX = (
    "LIKE or GLOB pattern too complex"  # SQLite, of a text of more than 50,000 bytes that is searched for
)
LIBRARY = re.compile(r"/api/v1/(?:storage|instances)/[^/]+/library/")
NUL = "Text cannot contain NUL characters here."


class StorableText(MiddlewareMixin):
    def process_request(self, request: HttpRequest) -> None:
        # Instances' hosts can set cookies for this domain, so refusing one would lock its user out: drop it.
        request.COOKIES = {name: value for name, value in request.COOKIES.items() if "\0" not in value}

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> HttpResponse | None:
        if "\0" in request.path:
            raise Http404("No address contains NUL characters.")
        found = set(_with_nul(request.GET))
        if LIBRARY.match(request.path):
            found.discard("path")
        is_for_programs = getattr(view, "csrf_exempt", False)
        if request.content_type in FORMS and not is_for_programs:
            found |= set(_with_nul(_form(request)))
        return _refusal(request, dict.fromkeys(sorted(found), NUL)) if found else None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Refuse what got past ``process_view`` and the database cannot hold, such as a name in a header."""
        if not isinstance(error, DataError) and TOO_COMPLEX not in str(error):
            return None
        log.warning("The database cannot hold what was sent to %s", request.path, exc_info=error)
        return _refusal(request, {})


def _form(request: HttpRequest) -> QueryDict:
    try:
        return request.POST
    except UnreadablePostError as error:
        raise BadRequest("The connection ended in the middle of this form.") from error


def _with_nul(given: QueryDict) -> Iterator[str]:
    for name, values in given.lists():
        if any("\0" in text for text in (name, *values)):
            yield name.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _refusal(request: HttpRequest, fields: dict[str, str]) -> HttpResponse:
    if not request.path.startswith("/api/"):
        raise BadRequest("Something in this request cannot be stored.")
    answer = {"detail": "Some of the input cannot be used.", "code": "invalid_input"}
    return JsonResponse({**answer, "fields": fields} if fields else answer, status=422)
