"""What pip-audit and npm report, as findings. Pure.

Neither tells by its exit code alone whether it found something or got no answer: pip-audit even calls
packages that its service does not know free of vulnerabilities.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NO_ANSWER = re.compile(r"connect|timed? ?out|max retries|service", re.IGNORECASE)
_SEVERE = {"high", "critical"}


class NotAvailable(Exception):
    """The service did not answer, or knows none of the packages. The text says which, in one line."""


class Failed(Exception):
    """The program did not get as far as asking. The text is what it said."""


@dataclass(frozen=True, slots=True)
class Finding:
    package: str
    ids: frozenset[str]
    what: str

    def __str__(self) -> str:
        return f"{self.package}: {', '.join(sorted(self.ids))}: {self.what}"


def of_pip_audit(output: str, errors: str) -> list[Finding]:
    """Read ``pip-audit --format json``. Raises ``NotAvailable`` or ``Failed``."""
    report = _json(output)
    if report is None:
        last = (errors.strip().splitlines() or ["It said nothing."])[-1]
        raise NotAvailable(last[:200]) if _NO_ANSWER.search(last) else Failed(errors.strip())
    audited = [entry for entry in report["dependencies"] if "skip_reason" not in entry]
    if not audited:
        raise NotAvailable("The index that answers here knows of no vulnerabilities.")
    return [
        Finding(
            f"{entry['name']} {entry['version']}",
            frozenset([found["id"], *found.get("aliases", [])]),
            f"fixed in {', '.join(found.get('fix_versions', [])) or 'no version yet'}",
        )
        for entry in audited
        for found in entry["vulns"]
    ]


def of_npm(output: str, errors: str) -> list[Finding]:
    """Read ``npm audit --json``: what is of high or critical severity. Raises ``NotAvailable`` or ``Failed``."""
    report = _json(output)
    if report is None or "code" in report.get("error", {}):
        raise Failed(errors.strip() or output.strip())
    if "vulnerabilities" not in report:
        raise NotAvailable(str(report.get("message", "The service gave no report."))[:200])
    return list({str(finding): finding for finding in _severe(report["vulnerabilities"])}.values())


def _severe(vulnerable: dict[str, Any]) -> Iterator[Finding]:
    """Yield the severe findings. A package that only depends on a vulnerable one is left out: the finding
    stands under the name of the latter."""
    for entry in vulnerable.values():
        for via in entry["via"]:
            if isinstance(via, dict) and via["severity"] in _SEVERE:
                advisory = via["url"].rpartition("/")[2]
                yield Finding(f"{via['name']} {via['range']}", frozenset([advisory]), via["title"])


def ignored(text: str) -> dict[str, str]:
    """Read the list of accepted vulnerabilities: an id and the reason per line. ``#`` begins a comment.

    Raises ``ValueError`` for one without a reason.
    """
    reasons = {}
    for line in text.splitlines():
        identifier, _, reason = line.partition("#")[0].strip().partition(" ")
        if identifier and not reason.strip():
            raise ValueError(f"{identifier} is ignored without a reason.")
        if identifier:
            reasons[identifier] = reason.strip()
    return reasons


def _json(output: str) -> Any:
    try:
        return json.loads(output)
    except ValueError:
        return None
