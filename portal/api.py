"""The NinjaAPI: routers mounted, callers known by their token, and every error mapped to HTTP once."""

import math
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseProblem
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError
from ninja.security import HttpBearer
from ninja.throttling import AnonRateThrottle

from catalogue.api import router as catalogue_router
from catalogue.registry_api import router as registry_router
from portal import outages
from portal.proxies import client_address
from tenants import errors
from tenants.api import router as tenants_router
from tenants.models import AccessToken
from tenants.storage_api import router as storage_router

STATUS: dict[type[errors.Refused], int] = {
    errors.InvalidName: 422,
    errors.ReservedName: 422,
    errors.InvalidValue: 422,
    errors.InvalidDocument: 422,
    errors.NameTaken: 409,
    errors.BeingDeleted: 409,
    errors.StaleRevision: 409,
    errors.QuotaReached: 403,
    errors.NotAllowed: 403,
    errors.DocumentTooLarge: 413,
    errors.StorageFull: 413,
    errors.NothingStored: 404,
    errors.TooManyLogStreams: 429,
}


class WrongTokenThrottle(AnonRateThrottle):
    """Counts refused tokens only: guessing is slowed down, work with a valid token never is."""

    scope = "wrong_token"

    def get_cache_key(self, request: HttpRequest) -> str | None:
        return self.cache_format % {"scope": self.scope, "ident": client_address(request)}


class UserToken(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> Any:
        user = AccessToken.objects.user_of(token)
        if user is None:
            throttle = WrongTokenThrottle("30/m")
            if not throttle.allow_request(request):
                raise Throttled(wait=math.ceil(throttle.wait() or 60))
            return None
        request.user = user
        return token


api = NinjaAPI(
    title="Flowstead",
    version="1",
    description="Self-service Node-RED. Make a token on your account page.",
    docs_url="/docs",
    openapi_url="/openapi.json",
    auth=UserToken(),
)
api.add_router("/storage", storage_router)
api.add_router("/registry", registry_router)
api.add_router("/catalogue", catalogue_router)
api.add_router("", tenants_router)


def _error(status: int, code: str, detail: str, fields: dict[str, str] | None = None) -> HttpResponse:
    body: dict[str, Any] = {"detail": detail, "code": code}
    if fields:
        body["fields"] = fields
    return api.create_response(None, body, status=status)  # type: ignore[arg-type]


@api.exception_handler(errors.Refused)
def refused(request: HttpRequest, error: errors.Refused) -> HttpResponse:
    fields = {error.field: str(error)} if error.field else None
    response = _error(STATUS[type(error)], error.code, str(error), fields)
    if error.retry_after:
        response["Retry-After"] = str(error.retry_after)
    return response


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return _error(404, "not_found", str(error) or "There is no such thing here.")


@api.exception_handler(AuthenticationError)
def not_authenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    response = _error(401, "not_authenticated", "Send a valid token: “Authorization: Bearer <token>”.")
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(ValidationError)
def invalid_input(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = {_field(problem["loc"]): problem["msg"] for problem in error.errors}
    return _error(422, "invalid_input", "Some of the input cannot be used.", fields)


def _field(location: tuple[str | int, ...]) -> str:
    """``("body", "body", "name")`` -> ``name``: where it stands in what the caller sent."""
    parts = [str(part).encode(errors="replace").decode() for part in location[1:]]
    return ".".join(parts[1:] if parts[:1] == ["body"] else parts) or "body"


@api.exception_handler(Throttled)
def throttled(request: HttpRequest, error: Throttled) -> HttpResponse:
    response = _error(429, "too_many_requests", "Too many requests. Try again later.")
    response["Retry-After"] = str(error.wait or 60)
    return response


@api.exception_handler(RequestDataTooBig)
def too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return _error(
        413,
        "document_too_large",
        f"A request may have {settings.DOCUMENT_MAX_BYTES:,} bytes. Nothing was changed.",
    )


@api.exception_handler(DatabaseProblem)
def unavailable(request: HttpRequest, error: DatabaseProblem) -> HttpResponse:
    sentence = outages.sentence(error)
    if sentence is None:
        raise error
    response = _error(503, "unavailable", sentence)
    response["Retry-After"] = str(outages.RETRY_AFTER)
    return response


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    code = {400: "bad_request", 503: "unavailable"}.get(error.status_code, "error")
    return _error(error.status_code, code, str(error))
