"""``progress.py WHAT COMMAND...``: run a command, and show that it is at work.

make runs this before anything is installed, so it needs only Python's standard library.
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

HEARTBEAT_SECONDS = 10.0
LINE_LENGTH = 100


def say(text: str, *, problem: bool = False) -> None:
    """Print a line at once. If it cannot be written, on a full disk for example, it is lost."""
    with suppress(OSError):
        print(text, file=sys.stderr if problem else sys.stdout, flush=True)


@contextmanager
def progress(
    what: str,
    detail: Callable[[], str] = str,
    *,
    after: float = 0.0,
    every: float = HEARTBEAT_SECONDS,
) -> Iterator[None]:
    """Say ``what`` is being done, and go on saying so for as long as it takes.

    ``after`` is how many seconds to wait before the first line, ``every`` how many between two lines.
    """
    over, began = Event(), time.monotonic()

    def report() -> None:
        pause = after
        while not over.wait(pause):
            seconds = time.monotonic() - began
            took = f"{seconds:.0f} s  " if seconds >= 1 else ""
            say(f"{what} … {took}{detail()}"[:LINE_LENGTH].rstrip())
            pause = every

    thread = Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(what: str, command: list[str]) -> int:
    """Run ``command``, and return its exit code. Its output is shown when it fails."""
    said: deque[str] = deque(maxlen=500)
    with (
        progress(what, lambda: said[-1] if said else ""),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        for line in process.stdout or ():
            said.append(line.strip())
    if process.returncode:
        say("\n".join(said), problem=True)
    return process.returncode


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
