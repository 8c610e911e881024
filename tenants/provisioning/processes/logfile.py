"""Reading a log that is being written, and rotated once to ``<name>.1``, in bounded memory."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import BinaryIO

LINE_BYTES = 16 * 1024
TAIL_BYTES = 2 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024
_PAUSE_SECONDS = 0.2
_HEARTBEAT_SECONDS = 0.8


def lines(path: Path, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
    """The last ``tail`` lines, then with ``follow`` those that come; ``""`` while nothing comes.

    A line longer than ``LINE_BYTES`` comes in pieces, and at most the last ``TAIL_BYTES`` are looked at.
    """
    log = _Log(path)
    try:
        yield from deque(log.present(), maxlen=max(tail, 0))
        if follow:
            yield from _following(log, stop)
        elif log.unfinished and tail > 0:
            yield log.unfinished.decode(errors="replace")
    finally:
        log.close()


def tail_text(path: Path, size: int) -> str:
    """The last ``size`` bytes, or nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            _seek_back(file, size)
            return file.read(size).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _following(log: "_Log", stop: Event) -> Iterator[str]:
    spoken = time.monotonic()
    while not stop.is_set():
        for line in log.fresh():
            yield line
            spoken = time.monotonic()
        if time.monotonic() - spoken >= _HEARTBEAT_SECONDS:
            yield ""
            spoken = time.monotonic()
        stop.wait(_PAUSE_SECONDS)


class _Log:
    """The file behind a path, over its rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.unfinished = b""

    def present(self) -> Iterator[str]:
        """The lines that are there, from the rotated file's end on."""
        rotated = self._path.with_name(f"{self._path.name}.1")
        self._open()
        room = TAIL_BYTES - (os.fstat(self._file.fileno()).st_size if self._file else 0)
        if room > 0 and rotated.exists():
            with rotated.open("rb") as file:
                _seek_back(file, room)
                yield from self._split(file)
        if self._file:
            _seek_back(self._file, TAIL_BYTES)
            yield from self._split(self._file)

    def fresh(self) -> Iterator[str]:
        """The lines that came since; after a rotation the rest of the old file first."""
        moved = self._has_moved()
        if self._file:
            yield from self._split(self._file)
        if moved:
            self.close()
            self._open()
            if self._file:
                yield from self._split(self._file)

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    def _open(self) -> None:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None

    def _has_moved(self) -> bool:
        if self._file is None:
            return True
        try:
            there, here = self._path.stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _split(self, file: BinaryIO) -> Iterator[str]:
        while block := file.read(_BLOCK_BYTES):
            *whole, self.unfinished = (self.unfinished + block).split(b"\n")
            while len(self.unfinished) > LINE_BYTES:
                whole.append(self.unfinished[:LINE_BYTES])
                self.unfinished = self.unfinished[LINE_BYTES:]
            for line in whole:
                for start in range(0, max(len(line), 1), LINE_BYTES):
                    yield line[start : start + LINE_BYTES].decode(errors="replace").rstrip("\r")


def _seek_back(file: BinaryIO, size: int) -> None:
    """Go to the first whole line of the last ``size`` bytes."""
    end = file.seek(0, os.SEEK_END)
    start = max(end - size, 0)
    file.seek(start)
    if start:
        file.readline()
