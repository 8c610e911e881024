"""Who is at work: the right to reconcile, and the identity of this installation."""

import os
import socket
import uuid
from datetime import timedelta

from django.db import IntegrityError, models
from django.utils import timezone


class Installation(models.Model):
    """The identity of this installation, by which a driver knows what is its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    singleton = models.BooleanField(default=True, unique=True, editable=False)

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def this(cls) -> str:
        return str(cls.objects.get_or_create(singleton=True)[0].pk)


class LeaseQuerySet(models.QuerySet["Lease"]):
    def hold(self, name: str, holder: str, duration: timedelta, problem: str = "") -> bool:
        """Take or renew a lease; False while somebody else holds it. ``problem`` is what keeps the
        holder from its work, in a sentence: /readyz shows it."""
        now = timezone.now()
        values = {"holder": holder, "renewed_at": now, "expires_at": now + duration, "problem": problem}
        free = models.Q(holder=holder) | models.Q(expires_at__lte=now) | models.Q(holder__in=self._dead(name))
        if self.filter(free, name=name).update(**values):
            return True
        try:
            return self.get_or_create(name=name, defaults=values)[1]
        except IntegrityError:
            return False

    def release(self, name: str, holder: str) -> None:
        self.filter(name=name, holder=holder).update(expires_at=timezone.now())

    def _dead(self, name: str) -> list[str]:
        """Holders on this host whose process has ended: waiting for them would be waiting for nobody."""
        holders = self.filter(name=name).values_list("holder", flat=True)
        return [holder for holder in holders if _has_ended(holder)]


def identity() -> str:
    """Names this process as a holder: host, process id, and something random."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def _has_ended(holder: str) -> bool:
    host, _, rest = holder.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Lease(models.Model):
    """The right of one process to do something that only one may do, for a while."""

    name = models.CharField(max_length=40, primary_key=True)
    holder = models.CharField(max_length=200)
    renewed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    problem = models.TextField(blank=True)

    objects = LeaseQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}"

    @property
    def is_held(self) -> bool:
        return self.expires_at > timezone.now()
