"""Processes that outlived the process manager that started them.

Every process that Flowstead starts carries the run folder in its environment, so that it can be
found where there is a ``/proc``. Elsewhere nothing is found.
"""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

RUN_MARKER = "FLOWSTEAD_RUN_DIR"
INSTANCE_MARKER = "FLOWSTEAD_INSTANCE_ID"
KILL_SECONDS = 5.0

_PROC = Path("/proc")


def marked(run_dir: Path, instance_id: str | None = None) -> set[int]:
    """Ids of the live processes that belong to ``run_dir``, or to one instance there; never our own."""
    wanted = {f"{RUN_MARKER}={run_dir}".encode()}
    if instance_id is not None:
        wanted.add(f"{INSTANCE_MARKER}={instance_id}".encode())
    return {pid for pid in _pids() if wanted <= _environment(pid)} - {os.getpid()}


def end(run_dir: Path, instance_id: str | None = None, *, within: float = 5.0) -> set[int]:
    """End what ``marked`` finds: SIGTERM first, SIGKILL after ``within`` seconds. The ids found."""
    found = marked(run_dir, instance_id)
    for number, seconds in ((signal.SIGTERM, within), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        # again from the marker, never from a remembered number: that may be another process by now
        _signal(marked(run_dir, instance_id), number)
        while marked(run_dir, instance_id) and time.monotonic() < deadline:
            time.sleep(0.02)
    return found


def _pids() -> Iterable[int]:
    if not _PROC.is_dir():
        return ()
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _environment(pid: int) -> set[bytes]:
    try:
        return set((_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return set()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
