"""Everything below a process ends, on real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Starts a shell as a flow does that wants to be rid of its instance; then tells how many processes are below it,
# whether one has ended without being collected, and how many are there after the end.
LAUNCHER = """
import os, subprocess, sys, time
from deploy.local import descendants
descendants.adopt()
subprocess.run(["setsid", "--fork", "env", "-i", "/bin/sh", "-c", sys.argv[1]])
time.sleep(0.5)
descendants.collect()
before = len(descendants.living())
try:
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
except ChildProcessError:
    ended = None
descendants.end(within=0.3)
print(before > 0, ended is not None, len(descendants.living()))
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("script", "is_left"),
    [
        ("exit 0", False),
        ("trap '' TERM; while :; do sleep 1; done", True),
        ("trap '' TERM; while :; do setsid --fork env -i sleep 60; done", True),
    ],
    ids=["has ended", "ignores SIGTERM", "goes on detaching"],
)
def test_it_ends_what_was_detached(script: str, is_left: bool) -> None:
    command = [sys.executable, "-c", LAUNCHER, script]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == f"{is_left} False 0\n"
