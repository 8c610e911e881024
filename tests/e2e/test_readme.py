"""The README's commands, run as they stand there: with its defaults, and with another port and folder."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import CHECKOUT, free_port, wait_for

pytestmark = pytest.mark.e2e

ELSEWHERE = "/srv/flowstead"


def commands(heading: str, beginning: str = "") -> str:
    """The indented lines below ``heading``, from the one that begins with ``beginning`` to the next text."""
    _, _, section = (CHECKOUT / "README.md").read_text().partition(f"\n## {heading}\n")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section.partition("\n## ")[0], re.MULTILINE)
    [found] = [block for block in blocks if block.strip().startswith(beginning)]
    return re.sub(r"^    ", "", found, flags=re.MULTILINE).strip()


class Reader:
    """A person who follows the README in a clone of their own, which shares what is installed here."""

    def __init__(self, home: Path, setting: str, port: int) -> None:
        self.clone = home / "flowstead"
        self.clone.mkdir()
        for path in CHECKOUT.iterdir():
            if path.name not in {"var", ".git"}:
                (self.clone / path.name).symlink_to(path)
        self.setting = setting
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.run_dir = tempfile.mkdtemp(prefix="fs-")
        self.environment = {**kept, "LOCAL_RUN_DIR": self.run_dir}
        if not setting:
            self.environment["PORT"] = str(port)  # the default may be in use here
        self.output = home / "output"
        self.running: subprocess.Popen[bytes] | None = None

    def bash(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self.setting}\n{script}"],
            cwd=self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self) -> None:
        with self.output.open("wb") as output:
            self.running = subprocess.Popen(
                ["bash", "-c", f"{self.setting}\nexec make run"],
                cwd=self.clone,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self.is_ready, "it is ready", 120)

    def is_ready(self) -> bool:
        assert self.running and self.running.poll() is None, self.output.read_text()
        return "\nFlowstead is ready at http://portal.localhost:" in self.output.read_text()

    def stop(self) -> None:
        if self.running and self.running.poll() is None:
            os.killpg(self.running.pid, signal.SIGINT)
            self.running.wait(60)
        shutil.rmtree(self.run_dir, ignore_errors=True)


@pytest.fixture(params=["the defaults", "another port and folder"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    port, setting = free_port(), ""
    if request.param != "the defaults":
        setting, make = commands("Run it", "export ").splitlines()
        assert make == "make run"
        setting = setting.replace(ELSEWHERE, str(tmp_path / "srv")).replace("9000", str(port))
        assert str(tmp_path / "srv") in setting and str(port) in setting
    reader = Reader(tmp_path, setting, port)
    try:
        reader.start()
        yield reader
    finally:
        reader.stop()


def test_the_api_in_three_lines(reader: Reader) -> None:
    said = reader.bash(commands("The API in three lines", "TOKEN="))
    assert said.returncode == 0, said.stderr
    made, asked = re.findall(r'"name": ?"kitchen"', said.stdout)[:2]
    assert made and asked
    assert '"code"' not in said.stdout, said.stdout
