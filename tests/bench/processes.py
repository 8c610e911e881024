"""What Linux says about processes: memory and processor time."""

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def pss(pids: Iterable[int]) -> float:
    """Proportional set size in MB: pages that several processes share count in parts."""
    return sum(_pss_kib(pid) for pid in pids) * 1024 / 1e6


def arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def cpu_shares(groups: Mapping[str, Iterable[int]], seconds: float) -> dict[str, float]:
    """Per cent of one core that each group takes during the next ``seconds``."""
    groups = {name: list(pids) for name, pids in groups.items()}
    before = {name: _cpu_seconds(pids) for name, pids in groups.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return {name: 100 * (_cpu_seconds(pids) - before[name]) / passed for name, pids in groups.items()}


def _pss_kib(pid: int) -> int:
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) if found else 0


def _cpu_seconds(pids: Iterable[int]) -> float:
    total = 0
    for pid in pids:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(after_name[11]) + int(after_name[12])
    return total * _TICK
