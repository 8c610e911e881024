"""Who may read what lies in the data folder: files restored from a backup can have any mode."""

import stat
from collections.abc import Iterator
from pathlib import Path

from deploy.local.layout import CannotStart, Layout


def tighten(layout: Layout) -> None:
    """Take other users' rights to what is secret. Raises ``CannotStart`` where we may not change a mode."""
    for path in _private(layout):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink() or not mode & 0o077:
            continue
        try:
            path.chmod(mode & ~0o077)
        except OSError as error:
            raise CannotStart(
                f"others can reach {path} (mode {mode:o}), and its mode cannot be changed "
                f"({error.strerror}): make it yours, or run `chmod go= {path}` as its owner."
            ) from error


def _private(layout: Layout) -> Iterator[Path]:
    """Yield what only we may read, and in an instance's folder only we or the instance."""
    yield from layout.data.glob(f"{layout.database.name}*")  # with its journals and copies
    yield from layout.data.glob("operator-password*")
    for folder in (layout.keys, layout.logs, layout.registry, layout.supervisor):
        if folder.is_dir():
            yield folder
    yield from layout.keys.glob("*")
    yield from layout.instances.glob(".compile-cache")
    yield from layout.instances.glob("*/*")
