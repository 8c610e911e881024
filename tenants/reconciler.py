"""The one place that makes rows true: claim -> observe -> plan -> apply -> record.

It is level-triggered: it never needs to know what changed, only what is wanted and what is there. So
a lost signal, a crash between any two steps or a hand that meddles heals in the same way, at the
latest with the next resync.
"""

import itertools
import logging
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from tenants import wakeup
from tenants.models import Event, Instance, Lease, Tenant
from tenants.models.lease import identity
from tenants.observing import Claim, give_up_for_now, record, record_failure
from tenants.provisioning.driver import NO_ANSWER, Driver, DriverError
from tenants.provisioning.plan import Action, Verb, plan
from tenants.provisioning.spec import InstanceSpec, Observation, State

log = logging.getLogger(__name__)

LEASE = "reconciler"
CLAIM_SECONDS = 60
POLL_SECONDS = 0.5
SWEEP_SECONDS = 60


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
        self._problem = ""
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

    def look_around(self) -> None:
        """Where the world answers, what has waited for that waits no longer, and nothing is left over."""
        self.driver.check()
        Instance.objects.filter(reason=NO_ANSWER).mark_due()
        self.sweep()

    def sweep(self) -> int:
        """Remove what the driver has of us and the database does not know; answers how many."""
        # The world first: an instance made in between is in the database, and so is no orphan.
        there = self.driver.inventory()
        known = {str(pk) for pk in Instance.objects.values_list("pk", flat=True)}
        problems: list[DriverError] = []
        for orphan in there - known:
            try:
                self._remove(orphan)
            except DriverError as error:  # the others do not wait for it
                problems.append(error)
        for slug in self.driver.remove_tenants_except(set(Tenant.objects.values_list("slug", flat=True))):
            log.warning("Removed what was made for the tenant %s: the database does not know it", slug)
        if problems:
            raise problems[0]
        return len(there - known)

    def _remove(self, orphan: str) -> None:
        log.warning("Removing %s: the database does not know it", orphan)
        self.driver.remove_orphan(orphan)
        Event.objects.record(Event.Verb.ACTION, reason="orphan", message=f"Removed the orphan {orphan}.")

    def preview(self) -> Iterator[str]:
        """What a pass over everything would do, a line each; nothing is done, and nothing written."""
        there = self.driver.inventory()
        for instance in Instance.objects.select_related("tenant", "stack", "size").iterator():
            there.discard(str(instance.pk))
            yield from (f"{instance.name}: {words}" for words in self._would_do(instance))
        yield from (f"{orphan}: remove (the database does not know it)" for orphan in sorted(there))

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
            except DatabaseError:
                log.exception("The database did not answer")
                close_old_connections()
            stop.wait(min(2.0, settings.RECONCILER_LEASE_SECONDS / 3))
        with suppress(DatabaseError):  # it runs out by itself
            Lease.objects.release(LEASE, self.holder)
        connection.close()

    def _hold_lease(self) -> bool:
        try:
            return Lease.objects.hold(
                LEASE, self.holder, timedelta(seconds=settings.RECONCILER_LEASE_SECONDS), self._problem
            )
        except DatabaseError:
            log.exception("The lease could not be renewed")
            close_old_connections()
            return False

    def _be_active(self, stop: threading.Event) -> None:
        log.info("This reconciler is active: %s", self.holder)
        Claim.free_those_of_others(self.holder)
        inactive = threading.Event()
        with wakeup.listen() as doorbell, ThreadPoolExecutor(settings.RECONCILER_WORKERS) as workers:
            threads = [
                threading.Thread(target=self._watch, args=(inactive, doorbell), daemon=True),
                threading.Thread(target=self._sweep_now_and_then, args=(inactive,), daemon=True),
            ]
            for thread in threads:
                thread.start()
            try:
                self._dispatch(stop, doorbell, workers)
            finally:
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
                workers.submit(self._work_and_ring, claim, pk, doorbell)
            if not claims or room <= len(claims):
                doorbell.wait(self._until_next_due())

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

    def _watch(self, inactive: threading.Event, doorbell: wakeup.Doorbell) -> None:
        """What happens in the world makes its instance due."""
        while not inactive.is_set():
            try:
                for instance_id in self.driver.watch(inactive):
                    Instance.objects.filter(pk=instance_id).not_waiting().mark_due()
                    doorbell.ring()
            except (DriverError, DatabaseError) as error:
                log.warning("The watch ended and is started again: %s", error)
            connection.close()
            inactive.wait(1)

    def _sweep_now_and_then(self, inactive: threading.Event) -> None:
        while not inactive.is_set():
            try:
                self.look_around()
                self._problem = ""
            except (DriverError, DatabaseError) as error:
                self._problem = str(error)
                log.warning("No sweep: %s", error)
            connection.close()
            inactive.wait(SWEEP_SECONDS if not self._problem else 5 + random.random())


def _must_wait(seen: Observation, actions: list[Action], retry_at: datetime | None) -> bool:
    """Whether a process that ended has to stay down for now: until its back-off is set and over."""
    starts_again = any(action.verb == Verb.START for action in actions)
    is_time = retry_at is not None and retry_at <= timezone.now()
    return seen.state == State.FAILED and starts_again and not is_time
