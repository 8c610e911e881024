"""The one place that makes rows true: claim -> observe -> plan -> apply -> record.

It is level-triggered: it never needs to know what changed, only what is wanted and what is there. So
a lost signal, a crash between any two steps or a hand that meddles heals in the same way, at the
latest with the next resync.
"""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from tenants import wakeup
from tenants.loops import Loop
from tenants.models import Event, Instance, Lease, Tenant
from tenants.models.lease import identity
from tenants.observing import Claim, give_up_for_now, record, record_failure
from tenants.provisioning.driver import NO_ANSWER, Driver, DriverError
from tenants.provisioning.plan import Action, Verb, plan
from tenants.provisioning.spec import InstanceSpec, Observation, State

log = logging.getLogger(__name__)

LEASE = "reconciler"
KEPT_DISK = "kept_disk"
CLAIM_SECONDS = 60
POLL_SECONDS = 0.5
SWEEP_SECONDS = 60
SWEEP_RETRY_SECONDS = 5
RETRY_SECONDS = 1


class Turn(Enum):
    """Who comes first when there is room for one more."""

    LOOK = auto()
    NEWEST = auto()
    OLDEST = auto()


TURNS = (*[Turn.LOOK] * 3, Turn.NEWEST, *[Turn.LOOK] * 3, Turn.OLDEST)


class Reconciler:
    """Reconciles as long as it holds the lease; a second one stands by."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.holder = identity()
        self._busy: set[UUID] = set()
        self._guard = threading.Lock()
        self._failure = ""  # of the dispatcher, until a round of it succeeds
        self._loops: list[Loop] = []
        self._told: set[str] = set()  # the disks of unknown instances that this process has told of
        self._turns = itertools.cycle(TURNS)

    # --- One instance -----------------------------------------------------------------------------

    def reconcile(self, claim: Claim) -> None:
        """One pass over one instance. No database transaction is open while the driver works."""
        instance = claim.instance
        spec = instance.spec()
        try:
            seen, actions = self._make_true(spec, instance.retry_at)
        except DriverError as error:
            record_failure(claim, error)
            return
        if spec.retired and seen.state == State.ABSENT:
            instance.purge()
            return
        record(claim, spec, seen, actions)

    def _make_true(self, spec: InstanceSpec, retry_at: datetime | None) -> tuple[Observation, list[Action]]:
        seen = self.driver.observe(spec)
        actions = plan(spec, seen)
        if _must_wait(seen, actions, retry_at):
            return seen, []
        for action in actions:
            log.info("%s %s: %s", action.verb, spec.name, action.why)
            self.driver.apply(action, spec)
        return (self.driver.observe(spec) if actions else seen), actions

    # --- All that are due -------------------------------------------------------------------------

    def pass_once(self) -> int:
        """Work on everything that is due now, one after the other; answers how many there were."""
        claims = self._claim(10_000)
        for claim in claims:
            self._work(claim)
        return len(claims)

    def _claim(self, limit: int) -> list[Claim]:
        """Mostly what has only to be looked at, which is quick; now and then the newest of the wishes, now
        and then the oldest. So thousands of wishes at once hold up neither what is seen nor the next click,
        and neither of these holds them up for good."""
        due = Instance.objects.due(timezone.now())
        turn = next(self._turns)
        wishes = due.wished().order_by("-due_at" if turn == Turn.NEWEST else "due_at")
        looks = due.granted().order_by("due_at")
        queues = (looks, wishes) if turn == Turn.LOOK else (wishes, looks)
        with self._guard:
            enough = limit + len(self._busy)
            found = itertools.chain.from_iterable(
                queue.values_list("pk", flat=True)[:enough] for queue in queues
            )
            free = list(itertools.islice((pk for pk in found if pk not in self._busy), limit))
        claims = [self._take(pk) for pk in free]
        return [claim for claim in claims if claim is not None]

    def _take(self, pk: UUID) -> Claim | None:
        """A row that cannot even be read (its encryption key is lost, say) holds up no other."""
        try:
            return Claim.take(pk, self.holder, timedelta(seconds=CLAIM_SECONDS))
        except DatabaseError:
            raise
        except Exception as error:
            log.exception("The row of instance %s cannot be read", pk)
            give_up_for_now(pk, self.holder, str(error))
            return None

    def _work(self, claim: Claim) -> None:
        """The loop's boundary: whatever one instance does, the others go on."""
        try:
            self.reconcile(claim)
        except Exception as error:
            log.exception("Reconciling %s failed", claim.instance.name)
            record_failure(claim, DriverError(f"An internal error: {type(error).__name__}."))

    def look_around(self, beat: Callable[[], None] = lambda: None) -> None:
        """Check that the driver responds; what has waited for that waits no longer, and orphans go. ``beat``
        is called after each step."""
        self.driver.check()
        beat()
        Instance.objects.filter(reason=NO_ANSWER).mark_due()
        self.sweep(beat)

    def sweep(self, beat: Callable[[], None] = lambda: None) -> int:
        """Remove what the driver has of us and the database does not know, but no disk; return how many
        instances that were."""
        # The driver first: an instance made in between is in the database, and so is no orphan.
        there, disks = self.driver.inventory(), self.driver.disks()
        known = {str(pk) for pk in Instance.objects.values_list("pk", flat=True)}
        problems: list[DriverError] = []
        for orphan in there - known:
            try:
                self._remove(orphan)
            except DriverError as error:  # the others do not wait for it
                problems.append(error)
            beat()
        if unknown := disks.keys() - known - self._told:
            # Looked at again: the last of them may have gone with its instance a moment ago.
            for instance_id in unknown & self.driver.disks().keys():
                self._tell_of_a_disk(instance_id, disks[instance_id])
        for stray in self.driver.remove_strays():
            log.warning("Removed %s: it belongs to no instance", stray)
        for slug in self.driver.remove_tenants_except(set(Tenant.objects.values_list("slug", flat=True))):
            log.warning("Removed what was made for the tenant %s: the database does not know it", slug)
        if problems:
            raise problems[0]
        return len(there - known)

    def _remove(self, orphan: str) -> None:
        log.warning("Removing %s: the database does not know it", orphan)
        self.driver.remove_orphan(orphan)
        Event.objects.record(Event.Verb.ACTION, reason="orphan", message=f"Removed the orphan {orphan}.")

    def _tell_of_a_disk(self, instance_id: str, place: str) -> None:
        """A disk goes only together with its instance. Its row may be missing because an older database was
        restored, or because a hand has changed a label."""
        self._told.add(instance_id)
        message = f"Kept {place}: the database does not know its instance {instance_id}."
        log.warning("%s", message)
        if not Event.objects.filter(reason=KEPT_DISK, message=message).exists():
            Event.objects.record(Event.Verb.ACTION, reason=KEPT_DISK, message=message)

    def preview(self) -> Iterator[str]:
        """What a pass over everything would do, a line each; nothing is done, and nothing written."""
        there, disks = self.driver.inventory(), self.driver.disks()
        for instance in Instance.objects.select_related("tenant", "stack", "size").iterator():
            there.discard(str(instance.pk))
            disks.pop(str(instance.pk), None)
            yield from (f"{instance.name}: {words}" for words in self._would_do(instance))
        yield from (f"{orphan}: remove (the database does not know it)" for orphan in sorted(there))
        yield from (
            f"{instance_id}: keep {disks[instance_id]} (the database does not know it)"
            for instance_id in sorted(disks)
        )

    def _would_do(self, instance: Instance) -> list[str]:
        spec = instance.spec()
        try:
            actions = plan(spec, self.driver.observe(spec))
        except DriverError as error:
            return [f"cannot be looked at: {error}"]
        return [f"{action.verb} ({action.why})" for action in actions]

    # --- For ever ---------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Reconcile until ``stop`` is set; then finish the work at hand and release the lease."""
        while not stop.is_set():
            try:
                if self._hold_lease():
                    self._be_active(stop)
            except Exception as error:
                log.exception("The dispatcher failed and begins again")
                self._failure = (
                    f"The dispatcher of the reconciler fails ({type(error).__name__}): its log says why."
                )
                close_old_connections()
            stop.wait(min(2.0, settings.RECONCILER_LEASE_SECONDS / 3))
        with suppress(DatabaseError):  # the lease runs out anyway
            Lease.objects.release(LEASE, self.holder)
        connection.close()

    def _hold_lease(self) -> bool:
        """Take or renew the lease, and write on it what keeps this process from its work."""
        problems = dict.fromkeys([self._failure, *(loop.problem for loop in self._loops)])
        try:
            return Lease.objects.hold(
                LEASE,
                self.holder,
                timedelta(seconds=settings.RECONCILER_LEASE_SECONDS),
                " ".join(filter(None, problems)),
            )
        except DatabaseError:
            log.exception("The lease could not be renewed")
            close_old_connections()
            return False

    def _be_active(self, stop: threading.Event) -> None:
        log.info("This reconciler is active: %s", self.holder)
        Claim.free_those_of_others(self.holder)
        self._busy.clear()
        inactive = threading.Event()
        with wakeup.listen() as doorbell, ThreadPoolExecutor(settings.RECONCILER_WORKERS) as workers:
            self._loops = [
                Loop("watch", partial(self._watch, doorbell), inactive, retry_seconds=RETRY_SECONDS),
                Loop("sweep", self._look_around_now_and_then, inactive, retry_seconds=SWEEP_RETRY_SECONDS),
            ]
            try:
                self._dispatch(stop, doorbell, workers)
            finally:
                self._loops = []
                inactive.set()
        log.info("This reconciler is no longer active")

    def _dispatch(
        self, stop: threading.Event, doorbell: wakeup.Doorbell, workers: ThreadPoolExecutor
    ) -> None:
        renew_at = timezone.now()
        while not stop.is_set():
            if timezone.now() >= renew_at:
                if not self._hold_lease():
                    return
                renew_at = timezone.now() + timedelta(seconds=settings.RECONCILER_LEASE_SECONDS / 3)
            try:
                room = settings.RECONCILER_WORKERS - len(self._busy)
                claims = self._claim(room) if room > 0 else []
            except DatabaseError:
                log.exception("The database did not answer")
                close_old_connections()
                claims = []
            for claim in claims:
                pk = claim.instance.pk
                with self._guard:
                    self._busy.add(pk)
                workers.submit(self._work_and_ring, claim, pk, doorbell).add_done_callback(_tell_of_failure)
            if not claims or room <= len(claims):
                doorbell.wait(self._until_next_due())
            self._failure = ""

    def _until_next_due(self) -> float:
        """Seconds to sleep: until the next row is due, at most ``POLL_SECONDS``."""
        try:
            next_due = (
                Instance.objects.filter(due_at__gt=timezone.now())
                .order_by("due_at")
                .values_list("due_at", flat=True)
                .first()
            )
        except DatabaseError:
            return POLL_SECONDS
        if next_due is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.02, (next_due - timezone.now()).total_seconds()))

    def _work_and_ring(self, claim: Claim, pk: UUID, doorbell: wakeup.Doorbell) -> None:
        try:
            self._work(claim)
        finally:
            with self._guard:
                self._busy.discard(pk)  # not claim.instance.pk: Django empties it on delete()
            connection.close()
            doorbell.ring()

    def _watch(self, doorbell: wakeup.Doorbell, loop: Loop) -> float:
        """Make an instance due when the driver says that something happened to it."""
        for instance_id in self.driver.watch(loop.stop):
            loop.succeed()
            if instance_id:
                Instance.objects.filter(pk=instance_id).not_waiting().mark_due()
                doorbell.ring()
        return RETRY_SECONDS

    def _look_around_now_and_then(self, loop: Loop) -> float:
        self.look_around(loop.beat)
        return SWEEP_SECONDS


def _tell_of_failure(work: Future[None]) -> None:
    """Log what a worker raised: its future is never asked for its result."""
    if error := work.exception():
        log.error("A worker failed; its instance is looked at again when the claim ends", exc_info=error)


def _must_wait(seen: Observation, actions: list[Action], retry_at: datetime | None) -> bool:
    """Whether a process that ended has to stay down for now: until its back-off is set and over."""
    starts_again = any(action.verb == Verb.START for action in actions)
    is_time = retry_at is not None and retry_at <= timezone.now()
    return seen.state == State.FAILED and starts_again and not is_time
