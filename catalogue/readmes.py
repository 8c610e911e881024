"""Render READMEs in a process of their own, which ends when one of them costs too much.

A README of 60,000 characters can keep the renderer busy for minutes, and Python cannot interrupt it from
within. So each has a limit on processor time, which the kernel enforces and which does not depend on how
busy the machine is, and one on memory. Whatever ends that process, its caller goes on.
"""

import logging
import os
import resource
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from catalogue import markdown

log = logging.getLogger(__name__)

CPU_SECONDS = 2.0  # a long README of the usual kind takes a tenth of a second
SECONDS = 30.0  # to wait for the HTML, in case the process gets no processor time at all
START_SECONDS = 20.0
MEMORY_BYTES = 1024 * 2**20
_OUT_OF_MEMORY = 3
_ENDED_BY_ITS_README = {-signal.SIGPROF, -signal.SIGSEGV, -signal.SIGABRT, _OUT_OF_MEMORY}


class RenderingFailed(Exception):
    """The process ended, and not because of what it rendered. Try again later."""


class Readmes:
    """A renderer whose process starts with the first README and stays for the next ones."""

    def __init__(self, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limits = cpu_seconds, memory_bytes
        self._worker: tuple[BaseProcess, Connection] | None = None

    def html(self, readme: str) -> str:
        """Return the HTML of a README, or its escaped text where rendering it takes too much time or memory.

        Raises ``RenderingFailed``.
        """
        process, connection = self._worker or self._start()
        try:
            connection.send(readme)
            if not connection.poll(SECONDS):
                return self._give_up(readme, f"no answer within {SECONDS:.0f} s")
            rendered: str | None = connection.recv()
        except (EOFError, OSError) as error:
            process.join(SECONDS)
            if process.exitcode in _ENDED_BY_ITS_README:
                return self._give_up(readme, f"its process ended with {process.exitcode}")
            self.close()
            raise RenderingFailed(f"The process for READMEs ended with {process.exitcode}.") from error
        return markdown.plain(readme) if rendered is None else rendered

    def close(self) -> None:
        if self._worker is not None:
            process, connection = self._worker
            self._worker = None
            connection.close()
            process.kill()
            process.join()

    def _start(self) -> tuple[BaseProcess, Connection]:
        # A new interpreter: a copy of this one would take its threads' locks and database connections along.
        context = get_context("spawn")
        connection, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, *self._limits), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is seen
        self._worker = process, connection
        with suppress(EOFError, OSError):
            if connection.poll(START_SECONDS) and connection.recv():
                return self._worker
        self.close()
        raise RenderingFailed(f"The process for READMEs did not start: it ended with {process.exitcode}.")

    def _give_up(self, readme: str, why: str) -> str:
        log.warning("A README of %d characters is shown as plain text: %s", len(readme), why)
        self.close()
        return markdown.plain(readme)


def _serve(connection: Connection, cpu_seconds: float, memory_bytes: int) -> None:
    """Send back the HTML of each README, or None where rendering fails, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes its end
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    connection.send("ready")
    try:
        while True:
            readme = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends the process
            html = _rendered(readme)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(html)
    except (EOFError, BrokenPipeError):
        return
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)  # without memory, nothing more than this is sure to work


def _rendered(readme: str) -> str | None:
    """Return the HTML, or None for a README that breaks the renderer: it must not end the process."""
    try:
        return markdown.html(readme)
    except MemoryError:
        raise
    except Exception:
        log.exception("A README of %d characters could not be rendered", len(readme))
        return None
