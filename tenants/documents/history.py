"""The history of an instance's flows: which revisions are kept, and what each of them is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import orjson

from tenants.documents.store import Document


@dataclass(frozen=True, slots=True)
class Revision:
    """One kept state of the flows. ``at`` is ISO 8601 in UTC, ``size`` in bytes; ``kind`` is
    ``deploy`` or ``restore``; ``snapshot`` is the name under which a person keeps it."""

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


def revisions_in(head: Document | None) -> list[Revision]:
    return [Revision(**entry) for entry in orjson.loads(bytes(head.body))] if head else []


def body_of(revisions: list[Revision]) -> bytes:
    return orjson.dumps(revisions)


def documents_of(revisions: Iterable[Revision]) -> list[str]:
    """Return the names of the documents that hold these revisions."""
    return [f"flows:{revision.id}{part}" for revision in revisions for part in ("", ":credentials")]
