"""What `make run` shows while it installs: which step it is in, and that it is at work."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local import progress
from deploy.local.progress import run

ROOT = Path(__file__).resolve().parents[2]
TALKS = "import time\nfor word in ('one', 'two'): print(word, flush=True); time.sleep(0.2)"


def test_a_long_step_goes_on_saying_what_it_does(capsys):
    with progress.progress("[1/5] Packages", lambda: "pump.whl", every=0.01):
        time.sleep(0.2)
    first, *more = capsys.readouterr().out.splitlines()
    assert first == "[1/5] Packages … pump.whl"
    assert len(more) > 3
    assert set(more) == {first}


def test_a_quick_one_says_nothing_where_it_may_be_quiet(capsys):
    with progress.progress("[5/5] Starting", after=60):
        pass
    assert capsys.readouterr().out == ""


def test_a_step_that_fails_shows_what_was_said_and_its_exit_code(capsys):
    assert run("[2/5] Packages", [sys.executable, "-c", f"{TALKS}\nraise SystemExit(3)"]) == 3
    assert capsys.readouterr().err.splitlines() == ["one", "two"]


def test_a_step_that_succeeds_is_one_line(capsys):
    assert run("[2/5] Packages", [sys.executable, "-c", TALKS]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("[2/5] Packages …\n", "")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Makefile with no package to install: the real Python, the real pip."""
    clone = tmp_path_factory.mktemp("clone")
    (clone / "deploy" / "local").mkdir(parents=True)
    (clone / "requirements").mkdir()
    shutil.copy(ROOT / "Makefile", clone)
    shutil.copy(ROOT / "deploy" / "local" / "progress.py", clone / "deploy" / "local")
    (clone / "requirements" / "run.txt").touch()
    return clone


def make(clone: Path, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", target],
        cwd=clone,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_make_says_which_step_it_is_in_and_a_second_time_nothing(clone):
    said = make(clone, ".venv/.run")
    assert said.returncode == 0, said.stderr
    steps = [line for line in said.stdout.splitlines() if line.endswith("…")]
    assert steps == ["[1/5] A Python environment in .venv …", "[2/5] Python packages …"]
    assert make(clone, ".venv/.run").stdout == "make: '.venv/.run' is up to date.\n"


def test_make_shows_why_an_installation_failed(clone):
    (clone / ".venv" / ".run").unlink(missing_ok=True)
    (clone / "requirements" / "run.txt").write_text("./nothing-here\n")
    said = make(clone, ".venv/.run")
    assert said.returncode != 0
    assert "nothing-here" in said.stderr
    assert not (clone / ".venv" / ".run").exists()
