"""All processes below the launcher, including those that a flow detached from its instance.

On Linux the launcher adopts what loses its parent (it is a "child subreaper"), so that everything it
has started stays below it, whatever its session, its group or its environment. Elsewhere nothing is
found.
"""

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KILL_SECONDS = 10.0

_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def adopt() -> None:
    """Become the parent of every process below us that loses its own from now on."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def collect(but: int | None = None) -> None:
    """Reap adopted processes that have ended; ``but`` is one whose exit code another part waits for."""
    peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, peek)) and ended.si_pid != but:
            os.waitpid(ended.si_pid, 0)


def end(*, within: float) -> None:
    """End them all: SIGTERM first, SIGKILL after ``within`` seconds."""
    _signal(living(), signal.SIGTERM)
    deadline = time.monotonic() + within
    while living() and time.monotonic() < deadline:
        time.sleep(0.02)
    deadline = time.monotonic() + KILL_SECONDS
    while living() and time.monotonic() < deadline:
        _kill_all()
        time.sleep(0.02)


def _kill_all() -> None:
    """Stop all before killing any: otherwise a process that keeps forking would always be ahead."""
    stopped: set[int] = set()
    while new := living() - stopped:
        _signal(new, signal.SIGSTOP)
        stopped |= new
    _signal(stopped, signal.SIGKILL)


def living() -> set[int]:
    """Return the ids of all processes that run below us."""
    collect()
    parents = dict(filter(None, map(_parent, _PROC.glob("[0-9]*/stat"))))
    found, last = set[int](), {os.getpid()}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last} - found
        found |= last
    return found


def _parent(stat: Path) -> tuple[int, int] | None:
    """Return the ids of a process and its parent; None for one that has ended."""
    try:
        state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (int(stat.parent.name), int(parent))


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
