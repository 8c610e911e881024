"""Whether the processes behind Unix sockets respond, asked without waiting for those that hang."""

import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from threading import Lock

_QUESTION = b"HEAD /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_POLL_SECONDS = 0.005
WATCH_SECONDS = 1.0  # between two rounds of the driver's watch


class Condition(Enum):
    """The health of one run of a process."""

    STARTING = auto()  # it does not listen yet
    SILENT = auto()  # it listens, and has not responded yet
    RESPONDS = auto()  # or responded so recently that it may only be busy
    UNRESPONSIVE = auto()
    OVERDUE = auto()  # unresponsive for so long that it is to be restarted
    LOST = auto()  # it listened before, and the file of its socket is gone: no request can reach it


@dataclass(slots=True)
class _Pulse:
    """What is known of one run. Times are of the monotonic clock."""

    run: str
    connection: socket.socket | None = None  # with a request that has not been responded to
    silent_since: float | None = None  # when the first request without a response was sent
    responded_at: float | None = None
    listens: bool = False
    is_lost: bool = False

    def look(self, path: Path, now: float, *, every: float) -> None:
        self._read(now)
        # a process that need not be asked again is asked all the same once its socket's file is gone
        rests = self.responded_at is not None and now - self.responded_at <= every and path.exists()
        if self.connection is None and not rests:
            listened, self.listens = self.listens, self._ask(path)
            # a process that is ending no longer listens either, but leaves the file
            self.is_lost = not self.listens and not path.exists() and (listened or self.is_lost)
            self.silent_since = (self.silent_since or now) if self.listens else None
            self._read(now)

    def _ask(self, path: Path) -> bool:
        """Send a request, and return whether it listens."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(path))
            connection.send(_QUESTION)
        except BlockingIOError:  # it listens, and its queue of connections is full
            connection.close()
            return True
        except OSError:
            connection.close()
            return False
        self.connection = connection
        return True

    def _read(self, now: float) -> None:
        if self.connection is None:
            return
        try:
            text = self.connection.recv(64)
        except BlockingIOError:
            return
        except OSError:
            text = b""
        self.close()
        if text.startswith(b"HTTP/"):
            self.responded_at, self.silent_since = now, None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Health:
    """The condition of many processes, each behind a socket of its own.

    A process that stops responding is UNRESPONSIVE within ``unresponsive`` seconds, and OVERDUE within
    ``restart`` seconds. At most one request to each waits for its response, so a process that hangs costs
    nothing. A new object knows of no earlier request: it counts from its first one.
    """

    def __init__(self, *, unresponsive: float, restart: float) -> None:
        self.every = unresponsive / 5
        # A process may hang for up to ``every`` before it is asked, and the watch looks every WATCH_SECONDS.
        delay = self.every + WATCH_SECONDS
        self._unresponsive, self._restart = unresponsive - delay, restart - delay
        self._pulses: dict[Path, _Pulse] = {}
        self._lock = Lock()

    def of(self, path: Path, run: str, *, within: float = 0.0, every: float = 0.0) -> Condition:
        """Return the condition of the run ``run`` behind ``path``.

        A process that responded within the last ``every`` seconds is not asked again. ``within`` is how many
        seconds to wait for a response.
        """
        began = time.monotonic()
        while True:
            with self._lock:
                pulse = self._look(path, run, every)
                condition = self._condition(pulse)
                has_responded = pulse.responded_at is not None and pulse.responded_at >= began
            is_known = condition not in {Condition.SILENT, Condition.RESPONDS}
            if has_responded or is_known or time.monotonic() - began >= within:
                return condition
            time.sleep(_POLL_SECONDS)

    def forget_all_but(self, paths: Collection[Path]) -> None:
        with self._lock:
            for path in self._pulses.keys() - paths:
                self._pulses.pop(path).close()

    def _look(self, path: Path, run: str, every: float) -> _Pulse:
        pulse = self._pulses.get(path)
        if pulse is None or pulse.run != run:
            if pulse is not None:
                pulse.close()
            pulse = self._pulses[path] = _Pulse(run)
        pulse.look(path, time.monotonic(), every=every)
        return pulse

    def _condition(self, pulse: _Pulse) -> Condition:
        if not pulse.listens:
            return Condition.LOST if pulse.is_lost else Condition.STARTING
        silent = time.monotonic() - pulse.silent_since if pulse.silent_since else 0.0
        if silent >= self._restart:
            return Condition.OVERDUE
        if silent >= self._unresponsive:
            return Condition.UNRESPONSIVE
        return Condition.SILENT if pulse.responded_at is None else Condition.RESPONDS
