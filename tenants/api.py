"""The REST API: who I am, my instances, my tokens. Every call writes intent; none waits for the world."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any

from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Field, Router, Status
from ninja.errors import HttpError, Throttled

from tenants import documents, logs
from tenants.errors import InvalidValue
from tenants.log_streams import Reader, open_stream
from tenants.models import AccessToken, Event, Instance, Membership, Phase, Power, Size, Stack, Tenant
from tenants.models.access_token import token_hash
from tenants.paging import DEFAULT_LIMIT, bad_cursor, check_limit, page
from tenants.provisioning.driver import DriverError
from tenants.schemas import (
    ErrorOut,
    EventOut,
    EventPage,
    InstanceIn,
    InstanceOut,
    InstancePage,
    InstancePatch,
    MeOut,
    NewTokenOut,
    SnapshotIn,
    SnapshotOut,
    SnapshotPage,
    TenantOut,
    TokenIn,
    TokenOut,
    TokenPage,
)

router = Router()
Tail = Annotated[int, Field(ge=0, le=logs.MAX_TAIL)]
ERRORS: Any = {frozenset({400, 401, 403, 404, 409, 413, 422, 429, 503}): ErrorOut}
LOG_LINES = {
    "responses": {
        200: {
            "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/event-stream")}
        }
    }
}
_REVISION = re.compile(r"[0-9]{1,9}\Z")


def _user(request: HttpRequest) -> User:
    """The caller: the API's authentication lets nobody else through."""
    assert isinstance(request.user, User)  # noqa: S101  (for the type only)
    return request.user


def _instance(request: HttpRequest, name: str, *, to_change: bool = False) -> Instance:
    """The caller's instance of that name. Somebody else's does not exist."""
    instance = Instance.objects.visible_to(request.user).filter(name=name).first()
    if instance is None:
        raise Http404(f"You have no instance “{name}”.")
    if to_change:
        instance.tenant.require_change_by(request.user)
    return instance


def _tenant(request: HttpRequest, slug: str | None) -> Tenant:
    tenants = Tenant.objects.visible_to(request.user)
    if slug is not None:
        tenant = tenants.filter(slug=slug).first()
        if tenant is None:
            raise Http404(f"You are in no tenant “{slug}”.")
        return tenant
    found = list(tenants[:2])
    if len(found) != 1:
        raise InvalidValue("You are in more than one tenant or in none: say which.", field="tenant")
    return found[0]


def _offer(model: type[Stack] | type[Size], name: str | None) -> Any:
    if name is None:
        return None
    offer = model.objects.offered().filter(name=name).first()
    if offer is None:
        names = ", ".join(model.objects.offered().values_list("name", flat=True))
        what = model._meta.model_name
        raise InvalidValue(f"There is no {what} “{name}”. Offered: {names}.", field=what)
    return offer


# --- Me -------------------------------------------------------------------------------------------


@router.get("/me", response={200: MeOut, **ERRORS}, tags=["me"])
def me(request: HttpRequest) -> dict[str, Any]:
    memberships = Membership.objects.filter(user=_user(request)).select_related("tenant")
    return {
        "username": request.user.get_username(),
        "email": getattr(request.user, "email", ""),
        "tenants": [TenantOut.of(membership) for membership in memberships],
    }


@router.get("/tokens", response={200: TokenPage, **ERRORS}, tags=["me"])
def list_tokens(
    request: HttpRequest, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    tokens = AccessToken.objects.filter(user=_user(request))
    items, following = page(tokens, order="-id", cursor=cursor, limit=limit)
    return {"items": items, "next": following}


@router.post("/tokens", response={201: NewTokenOut, **ERRORS}, tags=["me"])
def make_token(request: HttpRequest, body: TokenIn) -> Status[Any]:
    if wait := AccessToken.objects.count_new(_user(request)):
        raise Throttled(wait=wait)
    lifetime = timedelta(days=body.days) if body.days else None
    token, plain = AccessToken.objects.make(_user(request), body.name, lifetime)
    return Status(201, {**TokenOut.from_orm(token).dict(), "token": plain})


@router.delete("/tokens/{int:token_id}", response={204: None, **ERRORS}, tags=["me"])
def revoke_token(request: HttpRequest, token_id: int) -> Status[None]:
    token = AccessToken.objects.filter(user=_user(request), pk=token_id).first()
    if token is None:
        raise Http404("You have no such token.")
    token.revoke(by=request.user)
    return Status(204, None)


# --- Instances ------------------------------------------------------------------------------------


@router.post("/instances", response={201: InstanceOut, **ERRORS}, tags=["instances"])
def make_instance(request: HttpRequest, body: InstanceIn) -> Status[Any]:
    tenant = _tenant(request, body.tenant)
    tenant.require_change_by(request.user)
    instance = Instance.objects.make(
        tenant,
        body.name,
        by=request.user,
        stack=_offer(Stack, body.stack),
        size=_offer(Size, body.size),
        environment=body.environment,
    )
    return Status(201, InstanceOut.of(instance))


@router.get("/instances", response={200: InstancePage, **ERRORS}, tags=["instances"])
def list_instances(
    request: HttpRequest,
    tenant: str | None = None,
    phase: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> dict[str, Any]:
    instances = Instance.objects.visible_to(request.user)
    if tenant is not None:
        instances = instances.filter(tenant=_tenant(request, tenant))
    if phase is not None:
        if phase not in Phase.values:
            raise InvalidValue(f"phase must be one of {', '.join(Phase.values)}.", field="phase")
        instances = instances.filter(phase=phase)
    items, following = page(instances, order="name", cursor=cursor, limit=limit)
    return {"items": [InstanceOut.of(instance) for instance in items], "next": following}


@router.get("/instances/{name}", response={200: InstanceOut, **ERRORS}, tags=["instances"])
def show_instance(request: HttpRequest, name: str) -> dict[str, Any]:
    return InstanceOut.of(_instance(request, name))


@router.patch("/instances/{name}", response={200: InstanceOut, **ERRORS}, tags=["instances"])
def change_instance(request: HttpRequest, name: str, body: InstancePatch) -> dict[str, Any]:
    instance = _instance(request, name, to_change=True)
    if body.power is not None and body.power not in Power.values:
        raise InvalidValue("power must be “on” or “off”.", field="power")
    with transaction.atomic():
        instance.configure(
            request.user,
            stack=_offer(Stack, body.stack),
            size=_offer(Size, body.size),
            environment=body.environment,
        )
        if body.power is not None:
            (instance.turn_on if body.power == Power.ON else instance.turn_off)(request.user)
    return InstanceOut.of(instance)


@router.delete("/instances/{name}", response={202: InstanceOut, **ERRORS}, tags=["instances"])
def delete_instance(request: HttpRequest, name: str) -> Status[Any]:
    instance = _instance(request, name, to_change=True)
    instance.retire(request.user)
    instance.refresh_from_db()
    return Status(202, InstanceOut.of(instance))


@router.post("/instances/{name}/start", response={202: InstanceOut, **ERRORS}, tags=["instances"])
def start_instance(request: HttpRequest, name: str) -> Status[Any]:
    instance = _instance(request, name, to_change=True)
    instance.turn_on(request.user)
    return Status(202, InstanceOut.of(instance))


@router.post("/instances/{name}/stop", response={202: InstanceOut, **ERRORS}, tags=["instances"])
def stop_instance(request: HttpRequest, name: str) -> Status[Any]:
    instance = _instance(request, name, to_change=True)
    instance.turn_off(request.user)
    return Status(202, InstanceOut.of(instance))


@router.post("/instances/{name}/restart", response={202: InstanceOut, **ERRORS}, tags=["instances"])
def restart_instance(request: HttpRequest, name: str) -> Status[Any]:
    instance = _instance(request, name, to_change=True)
    instance.restart(request.user)
    return Status(202, InstanceOut.of(instance))


@router.get("/instances/{name}/events", response={200: EventPage, **ERRORS}, tags=["instances"])
def list_events(
    request: HttpRequest, name: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    events = Event.objects.of(_instance(request, name))
    items, following = page(events, order="-id", cursor=cursor, limit=limit)
    return {"items": [EventOut.of(event) for event in items], "next": following}


# --- Logs -----------------------------------------------------------------------------------------


@router.get(
    "/instances/{name}/logs", tags=["instances"], response={200: None, **ERRORS}, openapi_extra=LOG_LINES
)
def read_logs(
    request: HttpRequest, name: str, tail: Tail = 250, follow: bool = False
) -> HttpResponse | StreamingHttpResponse:
    """Lines of text; with ``follow`` a stream, as server-sent events where the client accepts them."""
    instance = _instance(request, name)
    if follow:
        return _log_stream(request, instance, tail)
    try:
        lines = logs.tail(instance, tail)
    except DriverError as error:
        raise HttpError(503, str(error)) from error
    return HttpResponse("".join(f"{line}\n" for line in lines), content_type="text/plain; charset=utf-8")


def _log_stream(request: HttpRequest, instance: Instance, tail: int) -> StreamingHttpResponse:
    token: str = request.auth  # type: ignore[attr-defined]
    stream = open_stream(instance, Reader(_user(request).pk, token_hash=token_hash(token)))

    async def lines() -> AsyncIterator[str]:
        try:
            async with aclosing(logs.follow(stream, tail)) as followed:
                async for line in followed:
                    if line:
                        yield f"{line}\n"
        except DriverError as error:
            yield f"{error}\n"

    as_events = "text/event-stream" in request.headers.get("Accept", "")
    return StreamingHttpResponse(
        logs.server_sent_events(stream, tail) if as_events else lines(),
        content_type="text/event-stream" if as_events else "text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


# --- History --------------------------------------------------------------------------------------


@router.get("/instances/{name}/snapshots", response={200: SnapshotPage, **ERRORS}, tags=["history"])
def list_snapshots(
    request: HttpRequest, name: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    """Named snapshots and the kept deploys, newest first."""
    revisions = documents.history(_instance(request, name).pk)
    check_limit(limit)
    if cursor:
        if not _REVISION.match(cursor):
            raise bad_cursor()
        revisions = [revision for revision in revisions if revision.id < int(cursor)]
    following = str(revisions[limit - 1].id) if len(revisions) > limit else None
    return {"items": [SnapshotOut.of(revision) for revision in revisions[:limit]], "next": following}


@router.post("/instances/{name}/snapshots", response={201: SnapshotOut, **ERRORS}, tags=["history"])
def make_snapshot(request: HttpRequest, name: str, body: SnapshotIn | None = None) -> Status[Any]:
    """Keep the flows as they were deployed last."""
    instance = _instance(request, name, to_change=True)
    revision = instance.keep(body.name if body else "", by=request.user)
    return Status(201, SnapshotOut.of(revision))


@router.post(
    "/instances/{name}/snapshots/{int:number}/restore",
    response={202: InstanceOut, **ERRORS},
    tags=["history"],
)
def restore_snapshot(request: HttpRequest, name: str, number: int) -> Status[Any]:
    """Bring flows and credentials of that state back, as a new deploy; a running instance restarts."""
    instance = _instance(request, name, to_change=True)
    instance.restore(number, by=request.user)
    return Status(202, InstanceOut.of(instance))


@router.delete("/instances/{name}/snapshots/{int:number}", response={204: None, **ERRORS}, tags=["history"])
def delete_snapshot(request: HttpRequest, name: str, number: int) -> Status[None]:
    """Delete a kept revision, with a name or without. The current one only loses its name."""
    _instance(request, name, to_change=True).delete_revision(number, by=request.user)
    return Status(204, None)


@router.delete("/instances/{name}/library/{kind}", response={204: None, **ERRORS}, tags=["history"])
def delete_library_entry(request: HttpRequest, name: str, kind: str, path: str) -> Status[None]:
    """Delete an entry of the library, which the editor cannot; ``kind`` is ``functions``, for example."""
    _instance(request, name, to_change=True).delete_library_entry(kind, path, by=request.user)
    return Status(204, None)


@router.get("/instances/{name}/export", tags=["history"], response={200: list[Any], **ERRORS})
def export_flows(request: HttpRequest, name: str) -> HttpResponse:
    """The flows as Node-RED's own JSON, without credentials."""
    instance = _instance(request, name)
    body, revision = documents.load_flows(instance.pk)
    disposition = f'attachment; filename="{instance.name}-flows-{revision}.json"'
    return HttpResponse(body, content_type="application/json", headers={"Content-Disposition": disposition})
