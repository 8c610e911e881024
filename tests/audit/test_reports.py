"""The audit tells apart that nothing was found, that something was found, and that no service answered."""

import json
from typing import Any

import pytest

from tests.audit import reports
from tests.audit.reports import Failed, NotAvailable

DJANGO = {
    "name": "django",
    "version": "5.2.1",
    "vulns": [
        {"id": "PYSEC-2025-1", "aliases": ["CVE-2025-1"], "fix_versions": ["5.2.2"], "description": "x"}
    ],
}
UNKNOWN = {
    "name": "six",
    "skip_reason": "Dependency not found on PyPI and could not be audited: six (1.17.0)",
}
FINE = {"name": "six", "version": "1.17.0", "vulns": []}


def via(severity: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "tar", "title": "Overwrites files", "url": "https://github.com/advisories/GHSA-a-b-c",
        "severity": severity, "range": "<7.5.1", **changes,
    }  # fmt: skip


def npm(**vulnerable: list[Any]) -> str:
    return json.dumps({"vulnerabilities": {name: {"via": found} for name, found in vulnerable.items()}})


def test_a_package_with_a_vulnerability_is_found_with_all_its_names() -> None:
    [finding] = reports.of_pip_audit(
        json.dumps({"dependencies": [DJANGO, FINE]}), "Found 1 known vulnerability"
    )
    assert finding.ids == {"PYSEC-2025-1", "CVE-2025-1"}
    assert str(finding) == "django 5.2.1: CVE-2025-1, PYSEC-2025-1: fixed in 5.2.2"


def test_packages_that_the_service_knows_are_fine_though_it_knows_not_all() -> None:
    assert reports.of_pip_audit(json.dumps({"dependencies": [FINE, UNKNOWN]}), "") == []


def test_a_service_that_knows_no_package_has_not_answered() -> None:
    """A mirror of the index is one, and pip-audit calls its packages free of vulnerabilities."""
    with pytest.raises(NotAvailable):
        reports.of_pip_audit(json.dumps({"dependencies": [UNKNOWN]}), "No known vulnerabilities found")


def test_a_service_that_is_away_is_told_from_a_program_that_fails() -> None:
    with pytest.raises(NotAvailable, match="Max retries"):
        reports.of_pip_audit(
            "", "Traceback\n  a\nrequests.exceptions.ProxyError: Max retries exceeded with url"
        )
    with pytest.raises(Failed, match="invalid requirement"):
        reports.of_pip_audit("", "ERROR:pip_audit._cli:invalid requirement")
    with pytest.raises(NotAvailable, match="405"):
        reports.of_npm(json.dumps({"message": "405 Method Not Allowed", "error": {"summary": ""}}), "")
    with pytest.raises(Failed):
        reports.of_npm(json.dumps({"error": {"code": "ENOLOCK", "summary": "no lock file"}}), "")
    with pytest.raises(Failed, match="cannot find npm"):
        reports.of_npm("", "cannot find npm")


def test_of_npms_only_what_is_severe_counts_and_once() -> None:
    output = npm(tar=[via("high")], verdaccio=["tar", via("high")], semver=[via("moderate")])
    [finding] = reports.of_npm(output, "")
    assert (finding.package, finding.ids) == ("tar <7.5.1", {"GHSA-a-b-c"})
    assert reports.of_npm(npm(), "") == []


def test_what_is_ignored_has_a_reason() -> None:
    assert reports.ignored("# why\n\nGHSA-a-b-c no tarballs here, until 2027\n") == {
        "GHSA-a-b-c": "no tarballs here, until 2027"
    }
    with pytest.raises(ValueError, match="without a reason"):
        reports.ignored("GHSA-a-b-c # later")
