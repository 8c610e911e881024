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
from tenants.errors import InvalidDocument, InvalidValue
from tenants.models import Instance
from tenants.models.access_token import token_hash
from tenants.oidc import PERMISSIONS, role_in_editor

_TYPE = re.compile(r"[a-z0-9_-]{1,40}\Z")
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


@router.get("/{uuid:instance_id}/flows")
def get_flows(request: HttpRequest, instance_id: UUID) -> HttpResponse:
    body, revision = documents.load_flows(instance_id)
    return _json(body, ETag=f'"{revision}"')


@router.post("/{uuid:instance_id}/flows")
def save_flows(request: HttpRequest, instance_id: UUID) -> HttpResponse:
    """``If-Match`` names the revision that the writer has seen, ``Flowstead-Author`` (percent-encoded)
    who deploys. 409 ``stale_revision`` where somebody else deployed in between."""
    author = unquote(request.headers.get("Flowstead-Author", ""))
    revision = documents.save_flows(
        instance_id, request.body, expected=_seen_revision(request), author=author
    )
    return _json(b'{"revision":%d}' % revision, ETag=f'"{revision}"')


@router.get("/{uuid:instance_id}/library/{kind}")
def get_library(request: HttpRequest, instance_id: UUID, kind: str, path: str = "") -> HttpResponse:
    found = documents.load_library(instance_id, _type(kind), path)
    is_entry = isinstance(found, str)
    answer = {"kind": "entry", "body": found} if is_entry else {"kind": "folder", "entries": found}
    return _json(json.dumps(answer).encode())


@router.post("/{uuid:instance_id}/library/{kind}")
def save_library(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    entry = _object(request.body)
    path, meta, body = entry.get("path"), entry.get("meta") or {}, entry.get("body")
    if not isinstance(path, str) or not isinstance(body, str) or not isinstance(meta, dict):
        raise InvalidDocument("An entry is {“path”: text, “meta”: object, “body”: text}.")
    documents.save_library(instance_id, _type(kind), path, meta, body)
    return _json(b"{}")


@router.get("/{uuid:instance_id}/users/{username}")
def get_editor_user(request: HttpRequest, instance_id: UUID, username: str) -> HttpResponse:
    """What a person may do in this instance's editor now; 404 for those who may not enter."""
    instance = Instance.objects.select_related("tenant").get(pk=instance_id)
    user = get_user_model().objects.filter(username=username).first()
    role = role_in_editor(instance, user) if user else None
    if role is None:
        raise Http404(f"“{username}” may not enter this editor.")
    return _json(json.dumps({"username": username, "role": role, "permissions": PERMISSIONS[role]}).encode())


@router.get("/{uuid:instance_id}/{kind}")
def get_document(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    return _json(documents.load(instance_id, _kind(kind)))


@router.post("/{uuid:instance_id}/{kind}")
def save_document(request: HttpRequest, instance_id: UUID, kind: str) -> HttpResponse:
    """``If-Match`` binds it to a revision of the flows, as with the flows themselves."""
    documents.save(instance_id, _kind(kind), request.body, expected=_seen_revision(request))
    return _json(b"{}")


def _kind(kind: str) -> str:
    if kind not in documents.OBJECTS:
        raise Http404(f"There are no documents of the kind “{kind}”.")
    return kind


def _type(kind: str) -> str:
    if not _TYPE.match(kind):
        raise InvalidValue("A library's type has 1 to 40 of a-z, 0-9, “-” and “_”.", field="type")
    return kind


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise InvalidDocument(f"This is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidDocument("This must be a JSON object.")
    return value
