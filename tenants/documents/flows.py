"""Flows and their history: every deploy is a revision that can be brought back."""

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from tenants.documents.history import Revision, body_of, documents_of, revisions_in
from tenants.documents.json_text import check_array
from tenants.documents.objects import check_current
from tenants.documents.room import make_room
from tenants.documents.store import Document, Store, read, writing
from tenants.errors import DocumentTooLarge, InvalidValue, NothingStored

MAX_SNAPSHOTS = 100
MAX_NAME = 150


def load_flows(instance_id: UUID) -> tuple[bytes, int]:
    """The current flows and the number of their revision; ``[]`` and 0 where nothing was deployed."""
    # The number alone: the history beside it can be long.
    number = Document.objects.filter(pk=f"{instance_id}:flows").values_list("revision", flat=True).first()
    if number is None:
        return b"[]", 0
    return flows_of(instance_id, number), number


def flows_of(instance_id: UUID, number: int) -> bytes:
    """The flows of one revision. Raises ``NothingStored``."""
    document = read(instance_id, f"flows:{number}")
    if document is None:
        raise NothingStored(f"There is no revision {number} of these flows.")
    return bytes(document.body)


def history(instance_id: UUID) -> list[Revision]:
    """The kept revisions, newest first."""
    return revisions_in(read(instance_id, "flows"))


def save_flows(instance_id: UUID, body: bytes, *, expected: int | None, author: str = "") -> int:
    """Keep ``body`` as the next revision and return its number.

    ``expected`` is the revision that the writer has seen; where it is no longer the current one
    nothing is changed and ``StaleRevision`` is raised. A save that is repeated because its answer
    was lost gets that answer again.
    """
    check_array(body, "flows")
    digest = hashlib.sha256(body).hexdigest()
    with writing(instance_id) as store:
        head = store.get("flows")
        current = head.revision if head else 0
        if head is not None and head.digest == digest and expected in (None, current, current - 1):
            _keep_credentials(store, current, store.put)
            make_room(store)
            return current
        if expected is not None:
            check_current(expected, current)
        return _append(store, head, body, digest, author=author, kind="deploy")


def _append(
    store: Store,
    head: Document | None,
    body: bytes,
    digest: str,
    *,
    author: str,
    kind: str,
    origin: int | None = None,
) -> int:
    number = head.revision + 1 if head else 1
    at = timezone.now().astimezone(UTC).isoformat(timespec="milliseconds")
    entry = Revision(number, author[:MAX_NAME], at, kind, len(body), origin=origin)
    kept, dropped = _prune([entry, *revisions_in(head)])
    store.add(f"flows:{number}", body)
    _keep_credentials(store, number, store.add)
    store.put("flows", body_of(kept), instead_of=head, revision=number, digest=digest)
    if dropped:
        store.delete(documents_of(dropped))
    make_room(store)
    return number


def _prune(revisions: list[Revision]) -> tuple[list[Revision], list[Revision]]:
    """The newest ones and the snapshots are kept."""
    limit = settings.FLOW_REVISIONS
    old = [revision for revision in revisions[limit:] if revision.snapshot is None]
    return [revision for revision in revisions if revision not in old], old


def _keep_credentials(store: Store, number: int, write: Callable[[str, bytes], None]) -> None:
    """Node-RED saves the credentials just before the flows, so those stored now belong to them."""
    credentials = store.get("credentials")
    if credentials is not None:
        write(f"flows:{number}:credentials", bytes(credentials.body))


def snapshot(instance_id: UUID, name: str) -> Revision:
    """Keep the current revision under a name. Raises ``NothingStored`` before the first deploy."""
    name = name.strip()[:MAX_NAME] or "Snapshot"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise InvalidValue(
            "A snapshot's name cannot contain control characters or broken characters.", field="name"
        )
    with writing(instance_id) as store:
        head = store.get("flows")
        if head is None:
            raise NothingStored("Nothing has been deployed yet, so there is nothing to keep.")
        current, *older = revisions_in(head)
        if sum(1 for revision in older if revision.snapshot is not None) >= MAX_SNAPSHOTS:
            raise DocumentTooLarge(f"An instance keeps at most {MAX_SNAPSHOTS} snapshots. Delete one first.")
        named = replace(current, snapshot=name)
        store.put("flows", body_of([named, *older]))
        is_new = current.snapshot is None
        make_room(store, kept=sum(store.sizes(documents_of([current])).values()) if is_new else 0)
    return named


def delete_revision(instance_id: UUID, number: int) -> Revision:
    """Drop a kept revision and return what it was. The current one only loses its name. Raises
    ``NothingStored``."""
    with writing(instance_id) as store:
        revisions = revisions_in(store.get("flows"))
        gone = next((revision for revision in revisions if revision.id == number), None)
        if gone is None:
            raise NothingStored(f"There is no revision {number} of these flows.")
        if gone is revisions[0]:
            kept = [replace(gone, snapshot=None), *revisions[1:]]
        else:
            kept = [revision for revision in revisions if revision is not gone]
            store.delete(documents_of([gone]))
        store.put("flows", body_of(kept))
    return gone


def restore(instance_id: UUID, number: int, *, author: str) -> int:
    """Make an older revision, with its credentials, the newest one. Raises ``NothingStored``."""
    with writing(instance_id) as store:
        body = flows_of(instance_id, number)
        credentials = store.get(f"flows:{number}:credentials")
        if credentials is not None:
            store.put("credentials", bytes(credentials.body))
        digest = hashlib.sha256(body).hexdigest()
        head = store.get("flows")
        return _append(store, head, body, digest, author=author, kind="restore", origin=number)
