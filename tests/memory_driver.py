"""A driver whose world is a dictionary: for tests of what stands above a driver.

Deterministic: a start needs one look before it answers. It can be told to fail.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Lock

from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import ALIVE, Action, Verb
from tenants.provisioning.spec import ABSENT, NOT_RESPONDING, InstanceSpec, Observation, State


@dataclass
class _Process:
    state: State
    spec: InstanceSpec
    digest: str
    incarnation: int = 0
    reason: str = ""
    message: str = ""
    restart_due: bool = False
    lines: list[str] = field(default_factory=list)


class MemoryDriver:
    """Beside the protocol: ``actions`` is what was applied, in order; the methods under “What tests
    tell it” make the world misbehave."""

    def __init__(self) -> None:
        self.actions: list[tuple[str, Verb]] = []
        self._processes: dict[str, _Process] = {}
        self._disks: dict[str, str] = {}
        self._failures: dict[str, DriverError] = {}
        self._refusals: deque[DriverError] = deque()
        self._silent: DriverError | None = None
        self._stuck: set[str] = set()
        self._happened: SimpleQueue[str] = SimpleQueue()
        self._numbers = count(1)
        self._lock = Lock()

    # --- The protocol -----------------------------------------------------------------------------

    def observe(self, spec: InstanceSpec) -> Observation:
        with self._lock:
            self._answer(spec.id)
            process = self._processes.get(spec.id)
            if process is None:
                return Observation(State.STOPPED) if spec.id in self._disks else ABSENT
            seen = self._seen(process)
            if process.state == State.STARTING and spec.id not in self._stuck:
                process.state = State.RUNNING
                self._happened.put(spec.id)
            return seen

    def apply(self, action: Action, spec: InstanceSpec) -> None:
        with self._lock:
            self._answer(spec.id)
            self.actions.append((spec.id, action.verb))
            if self._refusals:
                raise self._refusals.popleft()
            match action.verb:
                case Verb.CREATE | Verb.UPDATE | Verb.REPAIR | Verb.START if spec.power:
                    self._start(spec)
                case Verb.RESTART:
                    if self._processes[spec.id].restart_due:
                        self._start(spec, anew=True)
                case Verb.REMOVE:
                    self._processes.pop(spec.id, None)
                    self._disks.pop(spec.id, None)
                case _:
                    self._stop(spec)
            self._happened.put(spec.id)

    def inventory(self) -> set[str]:
        with self._lock:
            self._answer("")
            return set(self._processes)

    def disks(self) -> dict[str, str]:
        with self._lock:
            self._answer("")
            return dict(self._disks)

    def remove_orphan(self, instance_id: str) -> None:
        with self._lock:
            self._answer(instance_id)
            self._processes.pop(instance_id, None)

    def remove_strays(self) -> list[str]:
        with self._lock:
            self._answer("")
            return []

    def remove_tenants_except(self, known: Collection[str]) -> list[str]:
        with self._lock:
            self._answer("")
            return []

    def watch(self, stop: Event) -> Iterator[str]:
        yield from sorted(self.inventory())
        while not stop.is_set():
            try:
                yield self._happened.get(timeout=0.02)
            except Empty:
                yield ""

    def logs(self, instance_id: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
        process = self._processes.get(instance_id)
        if process is None:
            return
        read = len(process.lines)
        yield from process.lines[max(read - tail, 0) : read]
        while follow and not stop.is_set():
            fresh = process.lines[read:]
            yield from fresh or [""]
            read += len(fresh)
            stop.wait(0.02)

    def check(self) -> None:
        with self._lock:
            self._answer("")

    # --- What tests tell it -----------------------------------------------------------------------

    def fall_silent(self, message: str = "The world does not answer.") -> None:
        """From now on nothing answers, until ``speak``."""
        self._silent = DriverError(message, reason="no_answer")

    def speak(self) -> None:
        self._silent = None

    def fail(self, instance_id: str, error: DriverError | None) -> None:
        """Whatever is asked about this instance raises ``error``; with None no longer."""
        with self._lock:
            if error is None:
                self._failures.pop(instance_id, None)
            else:
                self._failures[instance_id] = error

    def refuse(self, error: DriverError) -> None:
        """The next action raises ``error``, after it was noted in ``actions``."""
        self._refusals.append(error)

    def hold(self, instance_id: str, held: bool = True) -> None:
        """While it is held the instance starts, and never answers."""
        (self._stuck.add if held else self._stuck.discard)(instance_id)

    def crash(self, instance_id: str, *, state: State = State.BACKOFF, exit_code: int = 1) -> None:
        """The process ends by itself; in BACKOFF ``recover`` brings it back."""
        with self._lock:
            process = self._processes[instance_id]
            process.state, process.reason = state, "exited"
            process.message = f"It ended with exit code {exit_code}. Its log says why."
            self._happened.put(instance_id)

    def hang(self, instance_id: str, *, restart_due: bool = False) -> None:
        """Have the process stop responding; with ``restart_due``, for so long that it has to be restarted."""
        with self._lock:
            process = self._processes[instance_id]
            process.state, process.reason = State.UNRESPONSIVE, NOT_RESPONDING
            process.message, process.restart_due = "Node-RED does not respond.", restart_due
            self._happened.put(instance_id)

    def unhang(self, instance_id: str) -> None:
        """Have it respond again, without a restart."""
        with self._lock:
            process = self._processes[instance_id]
            process.state, process.reason, process.message = State.RUNNING, "", ""
            process.restart_due = False
            self._happened.put(instance_id)

    def recover(self, instance_id: str) -> None:
        """The process manager starts a crashed process again."""
        with self._lock:
            self._start(self._processes[instance_id].spec, anew=True)
            self._happened.put(instance_id)

    def forget(self, instance_id: str) -> None:
        """It was removed from outside, with its disk, and the watch does not tell."""
        with self._lock:
            self._processes.pop(instance_id, None)
            self._disks.pop(instance_id, None)

    def print(self, instance_id: str, line: str) -> None:
        self._processes[instance_id].lines.append(line)

    # --- Inside -----------------------------------------------------------------------------------

    def _answer(self, instance_id: str) -> None:
        if self._silent:
            raise self._silent
        if error := self._failures.get(instance_id):
            raise error

    def _start(self, spec: InstanceSpec, anew: bool = False) -> None:
        self._make_disk(spec)
        process = self._processes.setdefault(spec.id, _Process(State.STOPPED, spec, ""))
        alive = process.state in ALIVE - {State.BACKOFF}
        if alive and process.digest == spec.digest() and not anew:
            return
        process.state, process.spec, process.digest = State.STARTING, spec, spec.digest()
        process.reason, process.message, process.restart_due = "", "", False
        process.incarnation = next(self._numbers)
        process.lines.append(f"{spec.name} starts")

    def _stop(self, spec: InstanceSpec) -> None:
        self._make_disk(spec)
        process = self._processes.setdefault(spec.id, _Process(State.STOPPED, spec, spec.digest()))
        process.state, process.incarnation = State.STOPPED, 0
        process.reason, process.message, process.restart_due = "", "", False

    def _make_disk(self, spec: InstanceSpec) -> None:
        """Every instance has one here, as with the local driver."""
        self._disks.setdefault(spec.id, f"disk {next(self._numbers)}")

    def _seen(self, process: _Process) -> Observation:
        incarnation = str(process.incarnation) if process.incarnation else ""
        return Observation(
            process.state,
            process.digest,
            incarnation,
            process.reason,
            process.message,
            restart_due=process.restart_due,
        )
