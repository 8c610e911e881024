"""The protocol that every driver speaks, and the one error it may raise."""

from collections.abc import Collection, Iterator
from threading import Event
from typing import Protocol

from tenants.provisioning.plan import Action
from tenants.provisioning.spec import InstanceSpec, Observation

NO_ANSWER = "no_answer"  # the reason of an error where the world said nothing at all


class DriverError(Exception):
    """The world did not answer, or refused.

    ``permanent``: asking again cannot help until the row changes. ``retry_after``: seconds to wait, where
    that is known: because the world asked for it, or because something is on its way to its end. Such an
    answer is no failure, after which the next one would be waited for longer. ``reason`` is a snake_case
    code; the text is a sentence for people.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "driver_error",
        permanent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.permanent = permanent
        self.retry_after = retry_after


class Driver(Protocol):
    """What the reconciler knows of the world. Methods may be called from several threads at once,
    never twice at once for the same instance; each raises ``DriverError`` and nothing else. An
    instance's id is a UUID in its usual form: whatever else stands in the place of one is no id."""

    def observe(self, spec: InstanceSpec) -> Observation:
        """What is there now of this instance. Absence is an observation; no answer is an error."""
        ...

    def apply(self, action: Action, spec: InstanceSpec) -> None:
        """Carry out one action. It may return before the world has followed: observe again."""
        ...

    def inventory(self) -> set[str]:
        """Return the ids of the instances of this installation that have a process or a way to one,
        whether the database knows them or not. A disk alone does not count."""
        ...

    def disks(self) -> dict[str, str]:
        """Return where the disk of each instance of this installation is, in words, by the instance's id."""
        ...

    def remove_orphan(self, instance_id: str) -> None:
        """Remove the process of an instance that the database does not know, and the way to it. Its disk
        stays: only ``Verb.REMOVE`` deletes one, together with its instance."""
        ...

    def remove_strays(self) -> list[str]:
        """Remove processes that belong to no instance any more, and return their names."""
        ...

    def remove_tenants_except(self, known: Collection[str]) -> list[str]:
        """Remove what was made for tenants whose slugs are not ``known``, and return their slugs. What
        holds a disk stays."""
        ...

    def watch(self, stop: Event) -> Iterator[str]:
        """Yield the ids of instances to which something happened, until ``stop`` is set. It may miss
        something or name an id twice: the periodic resync heals both. While nothing happens it yields
        ``""`` every few seconds, so that its caller can tell silence from a watch that stands still."""
        ...

    def logs(self, instance_id: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
        """The last ``tail`` lines without line ends, then with ``follow`` those that come, until
        ``stop`` is set. While following it yields ``""`` at least every second in which nothing
        came, so that the caller can notice that nobody listens. Nothing there: no lines."""
        ...

    def check(self) -> None:
        """Raise ``DriverError`` where the world does not answer."""
        ...
