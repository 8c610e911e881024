"""What the storage module inside an instance talks to, with the instance's own token."""

import hmac
import json
import re
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Router
from ninja.security import HttpBearer

from tenants import documents
from tenants.errors import InvalidValue
from tenants.models import Instance
from tenants.models.access_token import token_hash
from tenants.oidc import PERMISSIONS, role_in_editor
from tenants.schemas import ErrorOut

_REVISION = re.compile(r'(?:W/)?"?(\d{1,9})"?\Z')


class InstanceToken(HttpBearer):
    """The token must be the one of the very instance that the address names."""

    def authenticate(self, request: HttpRequest, token: str) -> UUID | None:
        asked = request.resolver_match.kwargs.get("instance_id") if request.resolver_match else None
        if asked is None:
            return None
        known = Instance.objects.filter(pk=asked).values_list("storage_token_hash", flat=True).first()
        if known is None or not hmac.compare_digest(known, token_hash(token)):
            return None
        return UUID(str(asked))


router = Router(auth=InstanceToken(), tags=["storage"])
LOADED: Any = {200: Any, frozenset({401, 404, 422, 503}): ErrorOut}
SAVED: Any = {200: Any, frozenset({401, 404, 409, 413, 422, 503}): ErrorOut}


def _json(body: bytes, **headers: str) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers=headers)


def _seen_revision(request: HttpRequest) -> int | None:
    given = request.headers.get("If-Match")
    if given is None:
        return None
    match = _REVISION.match(given.strip())
    if match is None:
        raise InvalidValue("If-Match must be the ETag of an earlier answer.", field="If-Match")
    return int(match[1])


@router.get("/{uuid:instance_id}/flows", response=LOADED)
def get_flows(request: HttpRequest, instance_id: UUID) -> HttpResponse:
    body, revision = documents.load_flows(instance_id)
    return _json(body, ETag=f'"{revision}"')


@router.post("/{uuid:instance_id}/flows", response=SAVED)
def save_flows(request: HttpRequest, instance_id: UUID) -> HttpResponse:
    """``If-Match`` names the revision that the writer has seen, ``Flowstead-Author`` (percent-encoded)
    who deploys. 409 ``stale_revision`` where somebody else deployed in between."""
    author = unquote(request.headers.get("Flowstead-Author", ""))
    revision = documents.save_flows(
        instance_id, request.body, expected=_seen_revision(request), author=author
    )
    return _json(b'{"revision":%d}' % revision, ETag=f'"{revision}"')


@router.get("/{uuid:instance_id}/library/{kind}", response=LOADED)
def get_library(request: HttpRequest, instance_id: UUID, kind: str, path: str = "") -> HttpResponse:
    found = documents.load_library(instance_id, kind, path)
    is_entry = isinstance(found, str)
    answer = {"kind": "entry", "body": found} if is_entry else {"kind": "folder", "entries": found}
    return _json(json.dumps(answer).encode())


@router.post("/{uuid:instance_id}/library/{kind}", response=SAVED)
def save_library(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    """The body is ``{"path": text, "meta": object, "body": text}``."""
    documents.save_library(instance_id, kind, *documents.entry_from(request.body))
    return _json(b"{}")


@router.get("/{uuid:instance_id}/users/{username}", response=LOADED)
def get_editor_user(request: HttpRequest, instance_id: UUID, username: str) -> HttpResponse:
    """What a person may do in this instance's editor now; 404 for those who may not enter."""
    instance = Instance.objects.select_related("tenant").get(pk=instance_id)
    # PostgreSQL takes no NUL, not even in a query.
    user = None if "\0" in username else get_user_model().objects.filter(username=username).first()
    role = role_in_editor(instance, user) if user else None
    if role is None:
        raise Http404(f"“{username}” may not enter this editor.")
    return _json(json.dumps({"username": username, "role": role, "permissions": PERMISSIONS[role]}).encode())


@router.get("/{uuid:instance_id}/{kind}", response=LOADED)
def get_document(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    return _json(documents.load(instance_id, _kind(kind)))


@router.post("/{uuid:instance_id}/{kind}", response=SAVED)
def save_document(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    """``If-Match`` binds it to a revision of the flows, as with the flows themselves."""
    documents.save(instance_id, _kind(kind), request.body, expected=_seen_revision(request))
    return _json(b"{}")


def _kind(kind: str) -> str:
    if kind not in documents.OBJECTS:
        raise Http404(f"There are no documents of the kind “{kind}”.")
    return kind
