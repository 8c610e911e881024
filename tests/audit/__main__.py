"""``python -m tests.audit``: known vulnerabilities in what is installed, from PyPI's and npm's services.

Exits with 1 where there is one. Where a service does not answer, a line says so, and that is no failure.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.audit import reports
from tests.audit.reports import Failed, Finding, NotAvailable
from tests.npm import NODE, NPM

SECONDS = 60
ROOT = Path(__file__).resolve().parents[2]
IGNORED = Path(__file__).with_name("ignored.txt")

Read = Callable[[str, str], list[Finding]]
PIP = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements" / "dev.txt")]
PIP += [
    "--require-hashes",
    "--disable-pip",
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--timeout",
    "15",
]
AUDITS: dict[str, tuple[list[str], Path, Read]] = {
    "requirements/dev.txt": (PIP, ROOT, reports.of_pip_audit),
    **{
        room: ([str(NODE), str(NPM), "audit", "--omit=dev", "--json"], ROOT / room, reports.of_npm)
        for room in ("custom-node-red", "deploy/registry")
    },
}


def audit(name: str) -> list[Finding]:
    command, folder, read = AUDITS[name]
    environment = {**os.environ, "PATH": f"{NODE.parent}:{os.environ.get('PATH', os.defpath)}"}
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"No answer within {SECONDS} s.") from error
    return read(ended.stdout, ended.stderr)


def report(name: str, ignored: dict[str, str]) -> bool:
    """Print what was found, and return whether that is acceptable."""
    try:
        found = audit(name)
    except NotAvailable as error:
        print(f"{name}: not available here: {error}")
        return True
    except Failed as error:
        print(f"{name}: could not be audited:\n{error}")
        return False
    known = [finding for finding in found if finding.ids & ignored.keys()]
    bad = [finding for finding in found if finding not in known]
    print(f"{name}: {len(bad)} known vulnerabilities, {len(known)} ignored")
    for finding in bad:
        print(f"  {finding}")
    return not bad


if __name__ == "__main__":
    ignored = reports.ignored(IGNORED.read_text())
    with ThreadPoolExecutor(len(AUDITS)) as pool:
        fine = list(pool.map(lambda name: report(name, ignored), AUDITS))
    if not all(fine):
        print(
            f"Update what has a fix. What has none, or does not concern us, goes into {IGNORED.relative_to(ROOT)}."
        )
    sys.exit(not all(fine))
