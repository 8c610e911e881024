"""``with_lasting_logs.py MODULE ARGUMENTS...``: run a supervisord whose logs cannot end it.

On a full disk supervisord cannot write its own log, reports that to a stream that cannot be written
either, and dies. When it cannot write the log of a process, it closes that process's output, and the next
line ends the process. Here, lines that cannot be written are lost, and nothing else happens.
"""

import runpy
import sys
from contextlib import suppress
from pathlib import Path

from supervisor import loggers


class LastingFileHandler(loggers.RotatingFileHandler):  # type: ignore[misc]
    """A rotated log file that loses records while it cannot be written, and tries again with each."""

    stream = None

    def __init__(self, filename: str, mode: str = "ab", maxBytes: int = 0, backupCount: int = 0) -> None:
        loggers.Handler.__init__(self)
        self.baseFilename = filename
        self.maxBytes = maxBytes
        self.backupCount = backupCount
        self.reopen()

    def reopen(self) -> None:
        self.close()
        try:
            # unbuffered: a line that cannot be written must be lost, and not fail again in close()
            self.stream = Path(self.baseFilename).open("ab", buffering=0)  # noqa: SIM115
            self.closed = False
        except OSError:
            self.stream = None

    def close(self) -> None:
        if self.stream is not None:
            super().close()

    def emit(self, record: loggers.LogRecord) -> None:
        if self.stream is None:
            self.reopen()
        if self.stream is None:
            return
        loggers.Handler.emit(self, record)
        if self.stream.tell() >= self.maxBytes:
            try:
                self.doRollover()
            except OSError:
                # a log that cannot be rotated is removed, since one that only grows would fill the disk
                self.stream = None
                with suppress(OSError):
                    Path(self.baseFilename).unlink()
            self.reopen()

    def handleError(self) -> None:
        """Lose the record. Reporting it would need what has just failed."""


if __name__ == "__main__":
    loggers.RotatingFileHandler = LastingFileHandler
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
