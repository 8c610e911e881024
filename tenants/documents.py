"""What an instance stores: flows with their history, credentials, settings, sessions, library.

Every document is addressed by its primary key alone, ``<instance id>:<kind>…``, so that any store
with keys can hold them. A document is JSON in UTF-8; what must stay secret is encrypted.

=============================  ====================================================================
key after ``<id>:``            body
=============================  ====================================================================
``flows``                      the history: newest first, one entry a kept revision; ``revision``
                               and ``digest`` of the row are those of the current flows
``flows:<n>``                  the flows of revision n
``flows:<n>:credentials``      the credentials that belonged to them, encrypted
``credentials`` ``sessions``   encrypted
``settings``                   plain
``library:<type>``             index: path -> the meta of the entry
``library:<type>:<hash>``      one entry: ``{"path", "meta", "body"}``
=============================  ====================================================================
"""

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, models, transaction
from django.utils import timezone

from tenants.encryption import decrypt, encrypt
from tenants.errors import DocumentTooLarge, InvalidDocument, NothingStored, StaleRevision

ENCRYPTED = frozenset({"credentials", "sessions"})
OBJECTS = frozenset({"credentials", "settings", "sessions"})
MAX_SNAPSHOTS = 100
MAX_LIBRARY_PATH = 1000


class Document(models.Model):
    key = models.CharField(primary_key=True, max_length=200)
    body = models.BinaryField()
    revision = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class Revision:
    """One kept state of the flows. ``at`` is ISO 8601 in UTC, ``size`` in bytes; ``kind`` is
    ``deploy`` or ``restore``; ``snapshot`` is the name of one that somebody wants kept."""

    id: int
    author: str
    at: str
    kind: str
    size: int
    snapshot: str | None = None
    origin: int | None = None

    @property
    def when(self) -> datetime:
        return datetime.fromisoformat(self.at)


# --- Reading and writing one document -------------------------------------------------------------


@contextmanager
def _writing() -> Iterator[None]:
    """A transaction that writes, in turn with those of all other threads and processes."""
    with _turn(), transaction.atomic():
        yield


@contextmanager
def _turn() -> Iterator[None]:
    """SQLite has one writer at a time, and lets the others sleep ever longer, some of them for seconds.
    Whoever waits for a file lock is woken when it is free. Not inside a transaction: who holds the
    database would wait for one that waits for the database."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with Path(f"{connection.settings_dict['NAME']}.turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _get(key: str, *, lock: bool = False) -> Document | None:
    rows = Document.objects.select_for_update() if lock else Document.objects
    return rows.filter(pk=key).first()


def _put(key: str, body: bytes, **fields: Any) -> None:
    Document.objects.update_or_create(pk=key, defaults={"body": body, **fields})


def _parsed(body: bytes, expected: type, what: str) -> Any:
    """The JSON in ``body``. Raises ``DocumentTooLarge`` or ``InvalidDocument``."""
    if len(body) > settings.DOCUMENT_MAX_BYTES:
        raise DocumentTooLarge(
            f"{what.capitalize()} of {len(body):,} bytes are larger than the limit of "
            f"{settings.DOCUMENT_MAX_BYTES:,} bytes. Nothing was changed."
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidDocument(f"The {what} are not JSON: {error}.") from error
    if not isinstance(value, expected):
        raise InvalidDocument(f"The {what} must be a JSON {'array' if expected is list else 'object'}.")
    return value


def load(instance_id: UUID, kind: str) -> bytes:
    """The JSON object stored as ``credentials``, ``settings`` or ``sessions``; ``{}`` where none is."""
    document = _get(f"{instance_id}:{kind}")
    if document is None:
        return b"{}"
    return decrypt(bytes(document.body)) if kind in ENCRYPTED else bytes(document.body)


@_writing()
def save(instance_id: UUID, kind: str, body: bytes, *, expected: int | None = None) -> None:
    """``expected`` is the revision of the flows that the document belongs to: Node-RED saves the
    credentials of a deploy just before its flows, and a stale deploy must not change them either."""
    _parsed(body, dict, kind)
    if expected is not None:
        head = _get(f"{instance_id}:flows", lock=True)
        _check_current(expected, head.revision if head else 0)
    _put(f"{instance_id}:{kind}", encrypt(body) if kind in ENCRYPTED else body)


# --- Flows and their history ----------------------------------------------------------------------


def load_flows(instance_id: UUID) -> tuple[bytes, int]:
    """The current flows and the number of their revision; ``[]`` and 0 where nothing was deployed."""
    # The number alone: the history beside it can be long.
    number = Document.objects.filter(pk=f"{instance_id}:flows").values_list("revision", flat=True).first()
    if number is None:
        return b"[]", 0
    return flows_of(instance_id, number), number


def flows_of(instance_id: UUID, number: int) -> bytes:
    """The flows of one revision. Raises ``NothingStored``."""
    document = _get(f"{instance_id}:flows:{number}")
    if document is None:
        raise NothingStored(f"There is no revision {number} of these flows.")
    return bytes(document.body)


def history(instance_id: UUID) -> list[Revision]:
    """The kept revisions, newest first."""
    return _revisions(_get(f"{instance_id}:flows"))


def _revisions(head: Document | None) -> list[Revision]:
    return [Revision(**entry) for entry in orjson.loads(bytes(head.body))] if head else []


@_writing()
def save_flows(instance_id: UUID, body: bytes, *, expected: int | None, author: str = "") -> int:
    """Keep ``body`` as the next revision and answer its number.

    ``expected`` is the revision that the writer has seen; where it is no longer the current one
    nothing is changed and ``StaleRevision`` is raised. A save that is repeated because its answer
    was lost gets that answer again.
    """
    _parsed(body, list, "flows")
    digest = hashlib.sha256(body).hexdigest()
    head = _get(f"{instance_id}:flows", lock=True)
    current = head.revision if head else 0
    if head is not None and head.digest == digest and expected in (None, current, current - 1):
        _keep_credentials(instance_id, current)
        return current
    if expected is not None:
        _check_current(expected, current)
    return _append(instance_id, head, body, digest, author=author, kind="deploy")


def _check_current(expected: int, current: int) -> None:
    if expected != current:
        raise StaleRevision(
            f"These flows were changed elsewhere: revision {current} is stored, and this is a change of "
            f"revision {expected}. Nothing was overwritten. Export your flows, restart the instance to "
            "load what is stored, then import them."
        )


def _append(
    instance_id: UUID,
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
    entry = Revision(number, author[:150], at, kind, len(body), origin=origin)
    kept, dropped = _prune([entry, *_revisions(head)])
    Document.objects.create(pk=f"{instance_id}:flows:{number}", body=body)
    _keep_credentials(instance_id, number)
    _put_history(instance_id, kept, revision=number, digest=digest)
    if dropped:
        _delete(f"{instance_id}:flows:{old.id}{part}" for old in dropped for part in ("", ":credentials"))
    return number


def _prune(revisions: list[Revision]) -> tuple[list[Revision], list[Revision]]:
    """The newest ones and the snapshots are kept."""
    limit = settings.FLOW_REVISIONS
    old = [revision for revision in revisions[limit:] if revision.snapshot is None]
    return [revision for revision in revisions if revision not in old], old


def _put_history(instance_id: UUID, revisions: list[Revision], **fields: Any) -> None:
    _put(f"{instance_id}:flows", orjson.dumps(revisions), **fields)


def _keep_credentials(instance_id: UUID, number: int) -> None:
    """Node-RED saves the credentials just before the flows, so those stored now belong to them."""
    credentials = _get(f"{instance_id}:credentials")
    if credentials is not None:
        _put(f"{instance_id}:flows:{number}:credentials", bytes(credentials.body))


def _delete(keys: Iterable[str]) -> None:
    Document.objects.filter(pk__in=list(keys)).delete()


@_writing()
def snapshot(instance_id: UUID, name: str) -> Revision:
    """Keep the current revision under a name. Raises ``NothingStored`` before the first deploy."""
    name = name.strip() or "Snapshot"
    head = _get(f"{instance_id}:flows", lock=True)
    if head is None:
        raise NothingStored("Nothing has been deployed yet, so there is nothing to keep.")
    revisions = _revisions(head)
    if sum(1 for revision in revisions if revision.snapshot is not None) >= MAX_SNAPSHOTS:
        raise DocumentTooLarge(f"An instance keeps at most {MAX_SNAPSHOTS} snapshots.")
    newest = Revision(**{**asdict(revisions[0]), "snapshot": name[:150]})
    _put_history(instance_id, [newest, *revisions[1:]])
    return newest


@_writing()
def restore(instance_id: UUID, number: int, *, author: str) -> int:
    """Make an older revision, with its credentials, the newest one. Raises ``NothingStored``."""
    body = flows_of(instance_id, number)
    head = _get(f"{instance_id}:flows", lock=True)
    credentials = _get(f"{instance_id}:flows:{number}:credentials")
    if credentials is not None:
        _put(f"{instance_id}:credentials", bytes(credentials.body))
    digest = hashlib.sha256(body).hexdigest()
    return _append(instance_id, head, body, digest, author=author, kind="restore", origin=number)


# --- Library --------------------------------------------------------------------------------------


def _path(path: str) -> str:
    path = path.strip("/")
    if len(path) > MAX_LIBRARY_PATH:
        raise InvalidDocument(f"A path in the library has at most {MAX_LIBRARY_PATH} characters.")
    return path


def _entry_key(instance_id: UUID, kind: str, path: str) -> str:
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()
    return f"{instance_id}:library:{kind}:{digest}"


def _library_index(instance_id: UUID, kind: str, *, lock: bool = False) -> dict[str, Any]:
    index = _get(f"{instance_id}:library:{kind}", lock=lock)
    return orjson.loads(bytes(index.body)) if index else {}


def load_library(instance_id: UUID, kind: str, path: str) -> str | list[Any]:
    """The text of the entry at exactly ``path``, or what lies in that folder: names of folders, and
    ``{"fn": <name>, …meta}`` for each entry. Raises ``NothingStored``."""
    path = _path(path)
    entry = _get(_entry_key(instance_id, kind, path)) if path else None
    if entry is not None:
        return str(orjson.loads(bytes(entry.body))["body"])
    index = _library_index(instance_id, kind)
    below = {name[len(path) :].strip("/"): meta for name, meta in index.items() if _is_below(name, path)}
    if path and not below:
        raise NothingStored(f"There is nothing at “{path}” in the library.")
    folders = sorted({name.partition("/")[0] for name in below if "/" in name})
    return [*folders, *({**meta, "fn": name} for name, meta in sorted(below.items()) if "/" not in name)]


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


@_writing()
def save_library(instance_id: UUID, kind: str, path: str, meta: dict[str, Any], body: str) -> None:
    path = _path(path)
    if not path:
        raise InvalidDocument("An entry of the library needs a name.")
    entry = orjson.dumps({"path": path, "meta": meta, "body": body})
    _parsed(entry, dict, "library entries")
    index = _library_index(instance_id, kind, lock=True)
    if path not in index and len(index) >= settings.LIBRARY_MAX_ENTRIES:
        raise DocumentTooLarge(f"The library holds at most {settings.LIBRARY_MAX_ENTRIES} entries.")
    _put(_entry_key(instance_id, kind, path), entry)
    _put(f"{instance_id}:library:{kind}", orjson.dumps({**index, path: meta}))


# --- The whole of it ------------------------------------------------------------------------------


def purge(instance_id: UUID) -> None:
    """Delete everything that an instance stored."""
    Document.objects.filter(pk__startswith=f"{instance_id}:").delete()
