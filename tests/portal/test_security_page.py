"""docs/security.md: every promise names tests, and every test that is named exists."""

import re

import pytest

from portal.env import BASE_DIR

PAGE = (BASE_DIR / "docs" / "security.md").read_text()
PROMISES = [
    line.split("|")[1:3]
    for section in PAGE.partition("## Promises")[2].partition("\n## ")[0].split("\n### ")[1:]
    for line in section.splitlines()
    if line.startswith("| ") and not line.startswith("| promise |")
]
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


@pytest.mark.parametrize(
    ("promise", "shown_by"), PROMISES, ids=[promise.strip()[:40] for promise, _ in PROMISES]
)
def test_a_promise_names_a_test(promise, shown_by):
    assert re.search(r"`tests/[^`]+`", shown_by), promise


@pytest.mark.parametrize("test", TESTS)
def test_a_test_that_is_named_exists(test):
    file, _, name = test.partition("::")
    assert (BASE_DIR / file).is_file()
    assert not name or re.search(rf"^(async )?def {name}\(", (BASE_DIR / file).read_text(), re.MULTILINE)


def test_the_page_makes_promises():
    assert len(PROMISES) > 20
