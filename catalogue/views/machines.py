"""What editors and the registry ask for, at the addresses that the predecessor had too."""

import gzip
import re

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from catalogue import audience, registry_api
from catalogue.models import Rendering

_GZIP = re.compile(r"(?:^|[\s,])(?:gzip|\*)\s*(?:$|,|;(?!\s*q=0(?:\.0*)?\s*(?:$|,)))")


@csrf_exempt
@require_POST
def update(request: HttpRequest) -> HttpResponse:
    return registry_api.accept(request)


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """The catalogue of the tenant whose instance's pass is given as ``for``; otherwise the public part."""
    holder = request.GET.get("for", "")
    asking = (audience.audiences().of_pass(holder) if holder else None) or audience.public()
    rendering = Rendering.objects.current(asking)
    # Weak, since the same document goes out packed and plain.
    etag = f'W/"{rendering.etag}"'
    answer = get_conditional_response(request, etag=etag) or _answer(request, bytes(rendering.packed))
    answer["ETag"] = etag
    answer["Cache-Control"] = "no-cache"
    return _for_editors(request, answer)


def _answer(request: HttpRequest, packed: bytes) -> HttpResponse:
    if not _GZIP.search(request.headers.get("Accept-Encoding", "")):
        return HttpResponse(gzip.decompress(packed), content_type="application/json")
    return HttpResponse(packed, content_type="application/json", headers={"Content-Encoding": "gzip"})


def _for_editors(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Pages of instances may read it, and no others: it may be a tenant's own."""
    patch_vary_headers(answer, ["Accept-Encoding", "Origin"])
    origin = request.headers.get("Origin", "")
    if _is_of_an_instance(origin):
        answer["Access-Control-Allow-Origin"] = origin
        answer["Access-Control-Expose-Headers"] = "ETag"
    return answer


def _is_of_an_instance(origin: str) -> bool:
    pattern = re.escape(settings.FLOWSTEAD_INSTANCE_URL).replace(r"\{name\}", "[a-z][a-z0-9-]{0,39}")
    return re.fullmatch(pattern, origin) is not None
