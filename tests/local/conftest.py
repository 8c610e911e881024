import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has at most 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    yield home
    shutil.rmtree(home)
