"""An installation as an operator has it: a database, and the process of the reconciler with a kubeconfig."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import keys
from tests.e2e.product import ROOT

DOMAIN = "instances.example.com"
LIMIT_SECONDS = 3600.0


class Installation:
    """``settings`` are further variables of the environment."""

    def __init__(self, kubeconfig: Path, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flowstead-installation-"))
        self.reconciler: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(self.folder),
            "KUBECONFIG": str(kubeconfig),
            "FLOWSTEAD_DRIVER": "kubernetes",
            "FLOWSTEAD_DOMAIN": DOMAIN,
            "FLOWSTEAD_URL": f"http://portal.{DOMAIN}",
            "FLOWSTEAD_INTERNAL_URL": "http://portal.flowstead.svc",
            "TENANT_INSTANCES": "1000",
            **settings,
        }

    def __enter__(self) -> Self:
        keys.make_missing(self.folder / "keys")
        self.manage("migrate", "--verbosity", "0")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        ended = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        return ended.stdout

    def call(self, module: str, call: str) -> str:
        """Call a function of a module beside the product's own, such as ``make(0, 20)``."""
        return self.manage("shell", "--no-imports", "-c", f"from {module} import *; {call}")

    def start(self) -> None:
        with (self.folder / "reconciler.log").open("ab") as log:
            command = [sys.executable, str(ROOT / "manage.py"), "reconcile"]
            self.reconciler = subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log)
        self.wait_for("SELECT count(*) FROM tenants_lease WHERE name = 'reconciler'", 1)

    def stop(self) -> None:
        if self.reconciler and self.reconciler.poll() is None:
            self.reconciler.send_signal(signal.SIGTERM)
            try:
                self.reconciler.wait(60)
            except subprocess.TimeoutExpired:
                self.reconciler.kill()

    @property
    def pid(self) -> int:
        if self.reconciler is None or self.reconciler.poll() is not None:
            raise RuntimeError((self.folder / "reconciler.log").read_text()[-2000:])
        return self.reconciler.pid

    def wait_for(self, question: str, answer: int, pause: float = 0.1) -> float:
        """When a count in the database first was ``answer``, on the clock of ``time.perf_counter``."""
        deadline = time.perf_counter() + LIMIT_SECONDS
        while (seen := self.count(question)) != answer:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{question}: {seen}, not {answer}")
            time.sleep(pause)
        return time.perf_counter()

    def count(self, question: str) -> int:
        file = f"file:{self.folder}/flowstead.sqlite3?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
            return int(connection.execute(question).fetchone()[0])

    def wait_until_running(self, count: int) -> float:
        return self.wait_for("SELECT count(*) FROM tenants_instance WHERE phase = 'running'", count, 0.25)
