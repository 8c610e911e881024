"""Who may read what lies in the data folder: a backup that was put back may have brought any modes."""

import stat
from collections.abc import Iterator
from pathlib import Path

from deploy.local.layout import CannotStart, Layout


def tighten(layout: Layout) -> None:
    """Take all rights of others from what is secret. Raises ``CannotStart`` where that is not ours to do."""
    for path in _private(layout):
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & 0o077:
            continue
        try:
            path.chmod(mode & ~0o077)
        except OSError as error:
            raise CannotStart(
                f"others can reach {path} (mode {mode:o}), and its mode cannot be changed "
                f"({error.strerror}): make it yours, or run `chmod go= {path}` as its owner."
            ) from error


def _private(layout: Layout) -> Iterator[Path]:
    """What only we may read, and in an instance's folder only we or the instance."""
    yield from layout.data.glob(f"{layout.database.name}*")  # its journals and copies of it, too
    yield from layout.data.glob("operator-password*")
    for folder in (layout.keys, layout.logs, layout.registry, layout.supervisor):
        if folder.is_dir():
            yield folder
    yield from layout.keys.glob("*")
    yield from layout.instances.glob(".compile-cache")
    yield from layout.instances.glob("*/*")
