"""How long a write waits for the database's one writer, on SQLite."""

import fcntl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO

from django.conf import settings
from django.db import OperationalError, connection

STUCK_WAIT_SECONDS = 0.2

# flock knows no time limit, so a thread of its own waits in it.
_waiting_room = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turn")
# Whether the last writer of this process failed. Then one writer at a time goes on trying, and the others
# are refused quickly: a queue of them would hold the threads for longer than clients wait.
_is_stuck = False


class NoTurn(OperationalError):
    """Other writers held the database for longer than ``DATABASE_WAIT_SECONDS``."""


@contextmanager
def turn() -> Iterator[None]:
    """Let the writers of all threads and processes take turns. Raises ``NoTurn``.

    SQLite has one writer at a time and lets the others sleep for longer and longer, some of them for
    seconds; a file lock wakes the next one when it is free. Inside a transaction there is no turn, because
    this writer already holds the database: it would wait for one that waits for the database.
    """
    global _is_stuck
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    failed = False
    try:
        with _locked(f"{connection.settings_dict['NAME']}.turn"):
            yield
    except OperationalError:
        failed = True
        raise
    finally:
        _is_stuck = failed


def _locked(path: str) -> IO[str]:
    """Return the file, locked until it is closed. Only under contention another thread waits for the lock."""
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
    else:
        return file
    waiting = _waiting_room.submit(_wait, path)
    seconds = STUCK_WAIT_SECONDS if _is_stuck else settings.DATABASE_WAIT_SECONDS
    try:
        return waiting.result(seconds)
    except TimeoutError:
        if not waiting.cancel():
            waiting.add_done_callback(_give_back)
        raise NoTurn(f"No turn to write within {seconds} s") from None


def _open(path: str) -> IO[str]:
    try:
        return open(path, "a")  # noqa: PTH123
    except OSError as error:
        raise NoTurn(f"The lock file of the database cannot be opened: {error.strerror}") from error


def _wait(path: str) -> IO[str]:
    file = _open(path)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _give_back(waiting: Future[IO[str]]) -> None:
    if waiting.exception() is None:
        waiting.result().close()


@contextmanager
def without_waiting() -> Iterator[None]:
    """Have a write fail at once if another writer holds the database. For writes that can be left out."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {settings.DATABASE_WAIT_SECONDS * 1000:d}")
