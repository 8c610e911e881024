"""What was last read of the registry, and what is to be read: a row a package, node or not."""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from catalogue.palette import LONGEST_NAME

LONGEST_WAIT = timedelta(minutes=5)
_COMPARED = ("name", "revision", "due_at")


class ReadingQuerySet(models.QuerySet["Reading"]):
    def due(self) -> "ReadingQuerySet":
        return self.filter(due_at__lte=timezone.now()).order_by("due_at", "pk")

    def mark_due(self, *names: str) -> int:
        """Have these packages read; answers how many. A name that is new gets a row."""
        now = timezone.now()
        return self._put([self.model(name=name, due_at=now) for name in names], "due_at")

    def compare(self, revisions: dict[str, str]) -> int:
        """Mark due what differs from the whole registry as it is now; answers how many."""
        now = timezone.now()
        known = {name: (revision, due_at) for name, revision, due_at in self.values_list(*_COMPARED)}
        changed = [
            self.model(name=name, revision=revision, due_at=now)
            for name, revision in revisions.items()
            if name not in known or known[name][0] != revision
        ]
        # what is due already keeps its turn, and its back-off
        gone = [name for name, (_, due_at) in known.items() if name not in revisions and due_at is None]
        return self._put(changed, "due_at", "revision") + self.mark_due(*gone)

    def _put(self, rows: list["Reading"], *fields: str) -> int:
        self.bulk_create(
            rows, update_conflicts=True, unique_fields=["name"], update_fields=fields, batch_size=500
        )
        return len(rows)


class Reading(models.Model):
    """``revision`` is the registry's mark of what was there at the last look; another one means that
    something of the package has changed. ``problem`` says why it could not be used."""

    name = models.CharField(max_length=LONGEST_NAME, unique=True)
    revision = models.CharField(max_length=100, blank=True)
    due_at = models.DateTimeField(null=True, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    read_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)

    objects = ReadingQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "package of the registry"
        verbose_name_plural = "packages of the registry"

    def __str__(self) -> str:
        return self.name

    def done(self, problem: str = "") -> None:
        """It was read. What was marked due meanwhile stays due."""
        self._record(problem=problem, attempts=0, due_at=None)

    def put_off(self, problem: str) -> None:
        """The registry did not answer: later again, each time after twice as long."""
        wait = min(timedelta(seconds=2 ** min(self.attempts, 10)), LONGEST_WAIT)
        self._record(problem=problem, attempts=self.attempts + 1, due_at=timezone.now() + wait)

    def gone(self) -> None:
        """It is no longer in the registry."""
        Reading.objects.filter(pk=self.pk, due_at=self.due_at).delete()

    def _record(self, *, due_at: datetime | None, **fields: Any) -> None:
        mine = Reading.objects.filter(pk=self.pk)
        mine.update(read_at=timezone.now(), **fields)
        mine.filter(Q(due_at=self.due_at)).update(due_at=due_at)


class LookQuerySet(models.QuerySet["Look"]):
    def last(self) -> "Look | None":
        return self.order_by("-began_at").first()


class Look(models.Model):
    """One look at the whole registry: for operators, who see whether it goes on."""

    began_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    packages = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)

    objects = LookQuerySet.as_manager()

    class Meta:
        ordering = ["-began_at"]
        verbose_name = "look at the registry"
        verbose_name_plural = "looks at the registry"

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M:%S}"
