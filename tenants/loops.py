"""Threads that take one turn after the other, and tell when they stop getting on."""

import logging
import random
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, connection

from tenants.provisioning.driver import DriverError

log = logging.getLogger(__name__)

STANDSTILL_SECONDS = 120  # longer than any single call of a driver may take


class Loop:
    """Call ``turn`` again and again in a thread of its own, until ``stop`` is set.

    A turn returns the seconds to rest before the next one. One that takes long calls ``beat`` whenever it
    gets on; one that never ends calls ``succeed``. Whatever a turn raises is logged, and the next one
    follows after about ``retry_seconds``.
    """

    def __init__(
        self, name: str, turn: Callable[["Loop"], float], stop: threading.Event, *, retry_seconds: float
    ) -> None:
        self.name = name
        self.stop = stop
        self._turn = turn
        self._retry_seconds = retry_seconds
        self._failure = ""
        self.beat()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def beat(self, rest: float = 0.0) -> None:
        """Give a sign of life. The next one may take ``rest`` seconds longer than usual."""
        self._overdue_at = time.monotonic() + rest + STANDSTILL_SECONDS

    def succeed(self) -> None:
        """Give a sign of life, and take back the failure of an earlier turn."""
        self._failure = ""
        self.beat()

    @property
    def problem(self) -> str:
        """Why the thread does not do its work, in a sentence; empty while it does."""
        if not self._thread.is_alive():
            return f"The {self.name} of the reconciler has ended: restart the reconciler."
        if time.monotonic() > self._overdue_at:
            seconds = f"{STANDSTILL_SECONDS:.0f} s"
            return f"The {self.name} of the reconciler has stood still for {seconds}: restart the reconciler."
        return self._failure

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                rest = self._turn(self)
                connection.close()
                self.succeed()
            except Exception as error:
                self._failure = self._told(error)
                rest = self._retry_seconds * random.uniform(1, 1.2)
            self.beat(rest)
            self.stop.wait(rest)

    def _told(self, error: Exception) -> str:
        """Log what ended a turn, and return a sentence for operators."""
        if isinstance(error, DriverError | DatabaseError):
            log.warning("The %s failed and is tried again: %s", self.name, error)
            return str(error)
        log.exception("The %s failed and is tried again", self.name)
        return f"The {self.name} of the reconciler fails ({type(error).__name__}): its log says why."
