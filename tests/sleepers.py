"""Processes that only sleep, told apart by how long: what a flow detached, seen from outside."""

from pathlib import Path


def sleepers(seconds: int | str) -> set[int]:
    """Return the ids of the processes that sleep for ``seconds``: a number that only the caller uses."""
    command = f"sleep\0{seconds}\0".encode()
    paths = Path("/proc").glob("[0-9]*/cmdline")
    return {int(path.parent.name) for path in paths if _read(path).endswith(command)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""
