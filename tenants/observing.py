"""Writing down what a pass saw: the claim on a row, the phase, and when to look again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tenants.models import Event, Instance, Phase
from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import ALIVE, Action, Verb
from tenants.provisioning.spec import InstanceSpec, Observation, State

FIRST_LOOK_SECONDS = 0.25
LONGEST_LOOK_SECONDS = 15
FIRST_RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 300
FLAPS = 3
FLAP_WINDOW = timedelta(minutes=10)
STEADY = timedelta(seconds=60)


@dataclass(frozen=True)
class Claim:
    """One worker's right to one instance. What it writes counts only while it has it."""

    instance: Instance
    holder: str

    @classmethod
    def take(cls, pk: UUID, holder: str, duration: timedelta) -> "Claim | None":
        """Compare-and-set: None where somebody else was quicker or the row has gone."""
        now = timezone.now()
        until = now + duration
        if not Instance.objects.due(now).filter(pk=pk).update(claimed_by=holder, claimed_until=until):
            return None
        found = Instance.objects.select_related("tenant", "stack", "size").filter(pk=pk).first()
        return cls(found, holder) if found else None

    @classmethod
    def free_those_of_others(cls, holder: str) -> None:
        """Only one reconciler is active: claims of another one are those of a dead one."""
        Instance.objects.exclude(claimed_until=None).exclude(claimed_by=holder).update(claimed_until=None)

    @transaction.atomic
    def settle(self, due_at: datetime | None, **seen: Any) -> None:
        """Write what was seen and give the row free. It is due at ``due_at``, unless somebody marked
        it meanwhile: then it stays due."""
        mine = Instance.objects.filter(pk=self.instance.pk, claimed_by=self.holder)
        if mine.update(claimed_until=None, **seen):
            mine.filter(due_at=self.instance.due_at).update(due_at=due_at)


def back_off(attempts: int, uniform: Callable[[float, float], float] = random.uniform) -> timedelta:
    """How long to wait after the ``attempts``-th failure in a row: 1 s doubling to 5 min, with jitter."""
    seconds = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(attempts - 1, 30))
    return timedelta(seconds=seconds * uniform(0.8, 1.2))


def record(claim: Claim, spec: InstanceSpec, seen: Observation, actions: list[Action]) -> None:
    """What a pass saw and did, as the row's state and as events."""
    instance, now = claim.instance, timezone.now()
    exits = _exits(instance, spec, seen, actions, now)
    phase, reason, message = _verdict(instance, spec, seen, exits, now)
    ready_at = _ready_at(instance, phase, seen, now)
    attempts, retry_at = _patience(instance, seen, ready_at, now)
    since = _since(instance, spec, seen, phase, now)
    _tell(instance, phase, reason, message, actions, exits)
    claim.settle(
        retry_at or now + _next_look(phase, seen, now - since),
        phase=phase,
        phase_since=since,
        reason=reason,
        message=message,
        incarnation=seen.incarnation,
        exits=exits,
        attempts=attempts,
        retry_at=retry_at,
        observed_generation=spec.generation,
        observed_at=now,
        ready_at=ready_at,
    )


def record_failure(claim: Claim, error: DriverError) -> None:
    """The world did not answer, or refused: say so, and ask again later or, where that cannot help,
    when the row has changed."""
    instance, now = claim.instance, timezone.now()
    attempts = _failures(instance, error, now)
    wait = timedelta(seconds=error.retry_after) if error.retry_after else back_off(attempts)
    phase = Phase.DELETING if instance.retired_at else Phase.FAILING
    since = instance.phase_since if phase == instance.phase else now
    _tell(instance, phase, error.reason, str(error), [], instance.exits)
    claim.settle(
        None if error.permanent else now + wait,
        phase=phase,
        phase_since=since,
        reason=error.reason,
        message=str(error),
        attempts=attempts,
        observed_at=now,
    )


def _failures(instance: Instance, error: DriverError, now: datetime) -> int:
    """In a row, with this one. One that the world asked us to wait after is none. Nor is one more that
    came before the wait after the last was over, because something had moved: many such in one second
    must not lead to a wait of minutes."""
    if error.retry_after:
        return instance.attempts
    is_early = (
        instance.attempts
        and instance.observed_at
        and now < instance.observed_at + back_off(instance.attempts, uniform=min)
    )
    return instance.attempts if is_early else instance.attempts + 1


def give_up_for_now(pk: UUID, holder: str, why: str) -> None:
    """A claimed row that cannot be read: say so on the row without reading it."""
    Instance.objects.filter(pk=pk, claimed_by=holder).update(
        claimed_until=None,
        due_at=timezone.now() + timedelta(seconds=LONGEST_RETRY_SECONDS),
        phase=Phase.FAILING,
        reason="unreadable",
        message=why,
    )


def _verdict(
    instance: Instance, spec: InstanceSpec, seen: Observation, exits: list[str], now: datetime
) -> tuple[Phase, str, str]:
    """The phase of an instance, with the reason as a code and as a sentence."""
    if spec.retired:
        return Phase.DELETING, seen.reason, seen.message
    if not spec.power:
        at_rest = seen.state in (State.ABSENT, State.STOPPED, State.FAILED)
        return (Phase.STOPPED if at_rest else Phase.STOPPING), "", ""
    if seen.state in (State.FAILED, State.BACKOFF, State.UNRESPONSIVE):
        return Phase.FAILING, seen.reason or "exited", seen.message or "Node-RED ended by itself."
    if len(exits) >= FLAPS and now - datetime.fromisoformat(exits[-1]) < STEADY:
        if seen.ended_reason:  # as between two runs, so that the reason does not alternate
            return Phase.FAILING, seen.ended_reason, seen.ended_message
        return Phase.FAILING, "crash_loop", f"Node-RED ended {len(exits)} times in the last 10 minutes."
    if seen.state == State.RUNNING:
        return Phase.RUNNING, "", ""
    if seen.state == State.STARTING:
        return _starting(instance, seen, now)
    return Phase.PENDING, seen.reason, seen.message


def _starting(instance: Instance, seen: Observation, now: datetime) -> tuple[Phase, str, str]:
    """Failing once it has taken too long, for the reason that the driver sees or else for that alone,
    and as long as that reason lasts."""
    same_run = instance.incarnation == seen.incarnation
    age, reason = now - instance.phase_since, seen.reason or "start_timeout"
    overdue = instance.phase == Phase.STARTING and age > timedelta(seconds=settings.STARTUP_SECONDS)
    still = instance.phase == Phase.FAILING and instance.reason == reason
    if not same_run or not (overdue or still):
        return Phase.STARTING, seen.reason, seen.message
    timeout = f"It has been starting for more than {settings.STARTUP_SECONDS} s and does not answer."
    because = seen.message or "Its log may say why."
    return Phase.FAILING, reason, because if seen.reason else f"{timeout} {because}"


def _exits(
    instance: Instance, spec: InstanceSpec, seen: Observation, actions: list[Action], now: datetime
) -> list[str]:
    """When the process ended without being asked, in the last minutes: ISO 8601, oldest first."""
    recent = [at for at in instance.exits if now - datetime.fromisoformat(at) < FLAP_WINDOW]
    # A generation that nobody has seen finished: a reconciler that died may have restarted it already.
    asked = instance.observed_generation != spec.generation or any(
        action.verb != Verb.CREATE for action in actions
    )
    ended = instance.incarnation and seen.incarnation != instance.incarnation and not asked
    if ended and seen.state in ALIVE | {State.FAILED}:
        recent.append(now.isoformat())
    return recent[-20:]


def _patience(
    instance: Instance, seen: Observation, ready_at: datetime | None, now: datetime
) -> tuple[int, datetime | None]:
    """Failures in a row, and when a process that gave up is started again."""
    if seen.state == State.FAILED:
        if instance.retry_at and instance.retry_at > now:
            return instance.attempts, instance.retry_at
        return instance.attempts + 1, now + back_off(instance.attempts + 1)
    is_steady = ready_at is not None and now - ready_at > STEADY
    is_at_rest = seen.state in (State.ABSENT, State.STOPPED)
    return (0 if is_steady or is_at_rest else instance.attempts), None


def _since(
    instance: Instance, spec: InstanceSpec, seen: Observation, phase: Phase, now: datetime
) -> datetime:
    """Since when it has been in this phase. Where a change has started it again the phase begins now, even if
    it is the same phase as before."""
    is_new = instance.observed_generation != spec.generation
    again = is_new and (phase.is_moving or seen.incarnation != instance.incarnation)
    return now if phase != instance.phase or again else instance.phase_since


def _ready_at(instance: Instance, phase: Phase, seen: Observation, now: datetime) -> datetime | None:
    """Since when this run of the process answers."""
    if phase != Phase.RUNNING:
        return None
    same_run = instance.incarnation == seen.incarnation
    return instance.ready_at if same_run and instance.ready_at else now


def _next_look(phase: Phase, seen: Observation, age: timedelta) -> timedelta:
    """While something moves after as long as it has been moving, since a driver's watch tells sooner
    what happens; else with the resync, spread out."""
    if phase.is_moving or seen.state in (State.STARTING, State.BACKOFF):
        return timedelta(seconds=min(LONGEST_LOOK_SECONDS, max(FIRST_LOOK_SECONDS, age.total_seconds())))
    if phase == Phase.FAILING:
        return STEADY
    return timedelta(seconds=settings.RECONCILER_RESYNC_SECONDS * random.uniform(0.8, 1.2))


def _tell(
    instance: Instance, phase: Phase, reason: str, message: str, actions: list[Action], exits: list[str]
) -> None:
    """Events for what is new: actions, exits that nobody asked for, a phase or reason that changed."""
    for action in actions:
        Event.objects.record(Event.Verb.ACTION, instance=instance, reason=action.verb, message=action.why)
    if exits and exits[-1:] != instance.exits[-1:]:
        Event.objects.record(Event.Verb.EXITED, instance=instance, reason="exited", message="Node-RED ended.")
    if (phase, reason) != (instance.phase, instance.reason):
        Event.objects.record(Event.Verb.PHASE, instance=instance, reason=phase, message=message)
