"""What the figures were measured on."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.bare import NODE, NODE_RED
from tests.e2e.product import ROOT


def facts() -> dict[str, str | int]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": _said(str(NODE), "--version").removeprefix("v"),
        "node_red": str(json.loads((NODE_RED.parent / "package.json").read_text())["version"]),
    }


def sentence(facts: dict[str, str | int]) -> str:
    return (
        "Measured {date}, commit {commit}: {cores} cores ({processor}), {memory}, {system}, "
        "Python {python}, Node {node}, Node-RED {node_red}."
    ).format(**facts)


def _commit() -> str:
    """With a plus sign where the working copy differs from it; empty outside a repository."""
    commit = _said("git", "rev-parse", "--short", "HEAD")
    return commit + "+" if commit and _said("git", "status", "--porcelain") else commit


def _said(*command: str) -> str:
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ended.stdout.strip()


def _field(file: Path, name: str) -> str:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")
