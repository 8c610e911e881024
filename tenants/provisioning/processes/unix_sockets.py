"""Which Unix sockets are bound, as Linux lists them. Elsewhere none is found."""

from pathlib import Path

_TABLE = Path("/proc/net/unix")


def is_bound(path: Path) -> bool:
    """Whether a process holds a socket that was bound at ``path``, whether or not the file is still there:
    without it the socket cannot be reached, and its process does not notice."""
    try:
        lines = _TABLE.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.endswith(f" {path}") for line in lines)
