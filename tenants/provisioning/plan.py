"""The difference between what is wanted and what was seen, as actions. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from tenants.provisioning.spec import InstanceSpec, Observation, State

ALIVE = frozenset({State.STARTING, State.RUNNING, State.UNRESPONSIVE, State.BACKOFF})


class Verb(StrEnum):
    """What a driver can be asked to do. Each is idempotent: asked twice, it does nothing more."""

    CREATE = "create"  # nothing is there yet; starts it where the power is on
    UPDATE = "update"  # replace what is there by the specification; restarts it where the power is on
    REPAIR = "repair"  # put back what somebody else changed or removed; restart only where it must be
    START = "start"
    RESTART = "restart"  # end and start a process that does not respond; leave one that does
    STOP = "stop"
    REMOVE = "remove"  # the process and everything that belongs to it


@dataclass(frozen=True, slots=True)
class Action:
    verb: Verb
    why: str


def plan(spec: InstanceSpec, seen: Observation) -> list[Action]:
    """The actions that lead from ``seen`` to ``spec``; none where it is already so, or on its way."""
    if spec.retired:
        on_its_way = seen.state in (State.ABSENT, State.STOPPING)
        return [] if on_its_way else [Action(Verb.REMOVE, "it is to be deleted")]
    if seen.state == State.ABSENT:
        return [Action(Verb.CREATE, "nothing is there")]
    if seen.state == State.STOPPING:
        return []  # look again when it has come to rest
    if seen.drift:
        return [Action(Verb.REPAIR, "; ".join(seen.drift))]
    if not spec.power:
        return [Action(Verb.STOP, "its power is off")] if seen.state != State.STOPPED else []
    if seen.digest != spec.digest():
        return [Action(Verb.UPDATE, "what it reads at its start has changed")]
    if seen.restart_due:
        return [Action(Verb.RESTART, "it did not respond")]
    if seen.state in ALIVE:
        return []
    return [Action(Verb.START, "its power is on")]
