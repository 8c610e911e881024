"""The table of documents: read by key, written in turn, and counted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Sum
from django.db.models.functions import Length
from django.utils import timezone

from tenants.locks import turn


class Document(models.Model):
    key = models.CharField(primary_key=True, max_length=200)
    body = models.BinaryField()
    revision = models.PositiveIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.key


def read(instance_id: UUID, name: str) -> Document | None:
    return Document.objects.filter(pk=f"{instance_id}:{name}").first()


class Store:
    """The documents of one instance, in a transaction that no other writer of this instance shares."""

    def __init__(self, instance_id: UUID) -> None:
        self.instance_id = instance_id
        usage = self._locked_usage()
        self.used: int = usage["bytes"]
        self.types: set[str] = set(usage["types"])
        self._before = usage

    @property
    def growth(self) -> int:
        """Bytes that this transaction has added so far; negative where it has freed some."""
        return self.used - int(self._before["bytes"])

    def get(self, name: str) -> Document | None:
        return read(self.instance_id, name)

    def add(self, name: str, body: bytes, **fields: Any) -> None:
        """Store a document that is not there yet."""
        Document.objects.create(pk=f"{self.instance_id}:{name}", body=body, **fields)
        self.used += len(body)

    def put(self, name: str, body: bytes, *, instead_of: Document | None = None, **fields: Any) -> None:
        """Store a document, in place of an older one if there is one. Give one that was read as
        ``instead_of``: that saves the query for its size."""
        row = Document.objects.filter(pk=f"{self.instance_id}:{name}")
        known = len(instead_of.body) if instead_of is not None else None
        size = row.values_list(Length("body"), flat=True).first() if known is None else known
        if size is None:
            self.add(name, body, **fields)
        else:
            row.update(body=body, updated_at=timezone.now(), **fields)
            self.used += len(body) - size

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Return the stored bytes of each of these documents that exists."""
        keys = [f"{self.instance_id}:{name}" for name in names]
        rows = Document.objects.filter(pk__in=keys).values_list("pk", Length("body"))
        return {key.partition(":")[2]: size for key, size in rows}

    def delete(self, names: Iterable[str]) -> None:
        sizes = self.sizes(names)
        Document.objects.filter(pk__in=[f"{self.instance_id}:{name}" for name in sizes]).delete()
        self.used -= sum(sizes.values())

    def close(self) -> None:
        usage = {"bytes": self.used, "types": sorted(self.types)}
        if usage != self._before:
            row = Document.objects.filter(pk=f"{self.instance_id}:usage")
            row.update(body=orjson.dumps(usage), updated_at=timezone.now())

    def _locked_usage(self) -> dict[str, Any]:
        """Lock the row that all writers of an instance take turns on, and return what it says."""
        row = Document.objects.select_for_update().filter(pk=f"{self.instance_id}:usage")
        usage = row.first()
        if usage is None:
            counted = Document(pk=f"{self.instance_id}:usage", body=orjson.dumps(_count(self.instance_id)))
            # On PostgreSQL two first writers can meet: the second one then goes on from the row of the first.
            Document.objects.bulk_create([counted], ignore_conflicts=True)
            usage = row.get()
        return dict(orjson.loads(bytes(usage.body)))


@contextmanager
def writing(instance_id: UUID) -> Iterator[Store]:
    """Open a transaction on the documents of one instance.

    It waits for its turn, then for the database, each for at most ``DATABASE_WAIT_SECONDS``. Raises
    ``OperationalError`` after that.
    """
    with turn(), transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{settings.DATABASE_WAIT_SECONDS:d}s'")
        store = Store(instance_id)
        yield store
        store.close()


def _all_of(instance_id: UUID) -> "models.QuerySet[Document]":
    """Return all documents of an instance, by the beginning of their keys."""
    found = Document.objects.filter(pk__startswith=f"{instance_id}:")
    if connection.vendor == "sqlite":  # which uses no index for startswith
        return found.filter(pk__gte=f"{instance_id}:", pk__lt=f"{instance_id};")
    return found


def _count(instance_id: UUID) -> dict[str, Any]:
    documents = _all_of(instance_id)
    total = documents.aggregate(total=Sum(Length("body"), default=0))["total"]
    keys = documents.filter(pk__startswith=f"{instance_id}:library:").values_list("pk", flat=True)
    parts = [key.split(":") for key in keys]
    return {"bytes": total, "types": sorted(part[2] for part in parts if len(part) == 3)}


@transaction.atomic
def purge(instance_id: UUID) -> None:
    """Delete everything that an instance stored."""
    Document.objects.select_for_update().filter(pk=f"{instance_id}:usage").first()
    _all_of(instance_id).delete()
