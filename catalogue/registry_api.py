"""What the registry asks and tells, with the secret that both share."""

import hashlib
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response
from ninja import Router
from ninja.security import HttpBearer

from catalogue import notices
from catalogue.audience import audiences
from catalogue.models import Rule
from catalogue.palette import WHOLE
from catalogue.schemas import ERRORS, CredentialIn, NoticeOut, PolicyOut, RightsOut


class RegistrySecret(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> bool | None:
        return notices.knows_the_secret(request) or None


router = Router(auth=RegistrySecret(), tags=["registry"])
NOTICE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
            }
        },
    }
}


@router.post("/notify", auth=None, response={202: NoticeOut, **ERRORS}, openapi_extra=NOTICE)
def notify(request: HttpRequest) -> HttpResponse:
    """Verdaccio's notify hook: answered at once, read afterwards."""
    return accept(request)


def accept(request: HttpRequest) -> HttpResponse:
    try:
        return JsonResponse({"due": notices.take(request)}, status=202)
    except notices.NotUnderstood as error:
        return _error(422, "invalid_input", str(error))
    except notices.NotTrusted as error:
        return _error(401, "not_authenticated", str(error), {"WWW-Authenticate": "Bearer"})
    except notices.TooMany as error:
        return _error(429, "too_many_requests", str(error), {"Retry-After": str(error.wait)})


@router.post("/rights", response={200: RightsOut, **ERRORS})
def rights(request: HttpRequest, body: CredentialIn) -> HttpResponse:
    """What a token opens: the scopes that it reads and publishes to, and whether the shared one."""
    found = audiences().rights(body.token)
    if found is None:
        return _error(404, "unknown_token", "Nobody has this token.")
    told = {"name": found.name, "read": found.read, "publish": found.publish, "shared": found.shared}
    return JsonResponse(told, headers={"Cache-Control": "no-store"})


@router.get("/policy", response={200: PolicyOut, 304: None, **ERRORS})
def policy(request: HttpRequest) -> HttpResponse:
    """The scopes that are somebody's, and what is blocked: versions by package, none for all of it."""
    blocked = {
        name: [] if WHOLE in rules.blocked else sorted(rules.blocked)
        for name, rules in Rule.objects.by_package().items()
        if rules.blocked
    }
    body = orjson.dumps({"scopes": sorted(audiences().private_scopes()), "blocked": blocked})
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    answer = HttpResponse(body, content_type="application/json", headers={"ETag": etag})
    return get_conditional_response(request, etag=etag, response=answer) or answer


def _error(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> HttpResponse:
    body: dict[str, Any] = {"detail": detail, "code": code}
    return JsonResponse(body, status=status, headers=headers)
