"""One program of the control plane as a process that can be ended, paused and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path


class Program:
    """Ends with the process of the tests, however that ends.

    The kernel sees to it (`setpriv --pdeathsig`), and it watches the *thread* that started the program. So all are
    started by `spawner`, whose one thread lives until the control plane is closed.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, spawner: Executor) -> None:
        self.command = [str(word) for word in command]
        self._log = log
        self._spawner = spawner
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        if not self.alive:
            self._process = self._spawner.submit(self._spawn).result()

    def stop(self, seconds: float = 30) -> None:
        """Asks it to end, and waits. One that does not listen is killed."""
        self._signal(signal.SIGTERM)
        # A paused program cannot hear.
        self._signal(signal.SIGCONT)
        try:
            self._wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._wait(10)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = 30) -> str:
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _spawn(self) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the tests to handle.
            return subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._log.parent,
                env={"PATH": os.defpath, "HOME": str(self._log.parent)},
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _wait(self, seconds: float) -> None:
        if self._process is not None:
            self._process.wait(seconds)
