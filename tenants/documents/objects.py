"""Credentials, settings and sessions: one JSON object each, as Node-RED saves them."""

from uuid import UUID

from tenants.documents.json_text import check_object
from tenants.documents.room import make_room
from tenants.documents.store import read, writing
from tenants.encryption import decrypt, encrypt
from tenants.errors import StaleRevision

ENCRYPTED = frozenset({"credentials", "sessions"})
OBJECTS = frozenset({"credentials", "settings", "sessions"})
# Every login saves the sessions, and every login has to work in an instance that is full.
ALWAYS_SAVED = frozenset({"settings", "sessions"})
ALWAYS_SAVED_BYTES = 64 * 1024


def load(instance_id: UUID, kind: str) -> bytes:
    """The JSON object stored as ``credentials``, ``settings`` or ``sessions``; ``{}`` where none is."""
    document = read(instance_id, kind)
    if document is None:
        return b"{}"
    return decrypt(bytes(document.body)) if kind in ENCRYPTED else bytes(document.body)


def save(instance_id: UUID, kind: str, body: bytes, *, expected: int | None = None) -> None:
    """``expected`` is the revision of the flows that the document belongs to: Node-RED saves the
    credentials of a deploy just before its flows, and a stale deploy must not change them either."""
    check_object(body, kind)
    stored = encrypt(body) if kind in ENCRYPTED else body
    with writing(instance_id) as store:
        if expected is not None:
            head = store.get("flows")
            check_current(expected, head.revision if head else 0)
        store.put(kind, stored)
        if kind not in ALWAYS_SAVED or len(stored) > ALWAYS_SAVED_BYTES:
            make_room(store)


def check_current(expected: int, current: int) -> None:
    if expected != current:
        raise StaleRevision(
            f"These flows were changed elsewhere: revision {current} is stored, and this is a change of "
            f"revision {expected}. Nothing was overwritten. Export your flows, restart the instance to "
            "load what is stored, then import them."
        )
