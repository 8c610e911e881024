"""What instances run, where their user can reach it, even in a checkout that only root may enter."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def reachable(folder: Path) -> Path:
    """``folder``, or a copy of it where other users cannot pass through to it. (`make run` mounts it
    elsewhere in this case; tests/e2e shows that.)"""
    passable = all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents)
    return folder if passable or os.getuid() != 0 else _copied(folder.resolve())


@cache
def _copied(folder: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix="flowstead-test-runtime-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    try:
        return Path(shutil.copytree(folder, home / folder.name, copy_function=os.link, symlinks=True))
    except (OSError, shutil.Error):  # another file system
        shutil.rmtree(home / folder.name, ignore_errors=True)
        return Path(shutil.copytree(folder, home / folder.name, symlinks=True))
