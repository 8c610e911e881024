"""Temporary folders that bear the id of their process: those of one that was killed are removed by the next."""

import os
import shutil
import tempfile
from pathlib import Path


def make_folder(prefix: str, parent: Path | None = None) -> Path:
    """In `parent`, else where the system has its temporary files. Who makes it removes it, if it can."""
    parent = parent or Path(tempfile.gettempdir())
    _remove_left_overs(prefix, parent)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))


def _remove_left_overs(prefix: str, parent: Path) -> None:
    for folder in parent.glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks, and does nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
