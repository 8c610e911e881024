"""Whatever somebody publishes, only what can be used comes out of it."""

from datetime import UTC, datetime

import pytest

from catalogue.packument import EPOCH, BrokenPackument, read
from tests.catalogue.packuments import manifest, packument_of

NAME = "@acme/node-red-pump"


def test_it_reads_versions_the_newest_first():
    found = read(packument_of(NAME, "1.0.0", "1.1.0"), NAME)
    assert [version.number for version in found.versions] == ["1.1.0", "1.0.0"]
    newest = found.versions[0]
    assert newest.published_at == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert newest.keywords == ("node-red",)
    assert newest.licence == "MIT"
    assert newest.tarball == "node-red-pump-1.1.0.tgz"
    assert found.latest is newest
    assert found.readme == f"# {NAME}"


@pytest.mark.parametrize(
    "raw", [None, [], "x", {}, {"name": "@acme/other"}, {"name": ["@acme/node-red-pump"]}]
)
def test_what_describes_no_package_or_another_one_is_refused(raw):
    with pytest.raises(BrokenPackument):
        read(raw, NAME)


@pytest.mark.parametrize("wrong", [None, 1, True, [], {}, "x", [1, None], {"a": 1}, "\ud800\0"])
@pytest.mark.parametrize("field", ["description", "keywords", "license", "deprecated", "dist"])
def test_a_field_of_a_wrong_kind_spoils_nothing_else(field, wrong):
    found = read(packument_of(NAME, **{field: wrong}), NAME)
    version = found.versions[0]
    assert version.number == "1.0.0"
    texts = (version.description, version.licence, version.deprecated, version.integrity, version.tarball)
    assert all(isinstance(text, str) and "\0" not in text for text in texts)
    "".join((*texts, *version.keywords)).encode()


@pytest.mark.parametrize("wrong", [None, 1, [], "x", {"1.0.0": 7}, {"1.0.0": None}, {"1.0.0": "2026-13-99"}])
def test_times_and_tags_of_a_wrong_kind_are_left_out(wrong):
    found = read({**packument_of(NAME), "time": wrong, "dist-tags": wrong}, NAME)
    assert found.versions[0].published_at == EPOCH
    assert found.tags == {}
    assert found.latest is None


def test_a_tag_to_a_version_that_is_not_there_is_left_out():
    found = read({**packument_of(NAME), "dist-tags": {"latest": "9.9.9"}}, NAME)
    assert found.tags == {}


def test_versions_that_are_no_objects_are_left_out():
    raw = packument_of(NAME)
    raw["versions"] |= {"2.0.0": "x", "": manifest(NAME, ""), "3" * 500: manifest(NAME, "3")}
    assert [version.number for version in read(raw, NAME).versions] == ["1.0.0"]


def test_a_deprecation_without_words_gets_some():
    assert read(packument_of(NAME, deprecated=True), NAME).versions[0].deprecated
    assert read(packument_of(NAME, deprecated=""), NAME).versions[0].deprecated == ""


def test_a_tarball_elsewhere_is_only_a_files_name():
    dist = {"tarball": "http://169.254.169.254/latest/../x.tgz?y=1"}
    assert read(packument_of(NAME, dist=dist), NAME).versions[0].tarball == "x.tgz"


def test_long_texts_are_cut():
    version = read(packument_of(NAME, description="x" * 10**6, keywords=["y" * 999] * 999), NAME).versions[0]
    assert len(version.description) == 2000
    assert version.keywords == ("y" * 100,)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//x", "ftp://x", 7, "data:text/html,x"])
def test_a_homepage_is_an_http_address_or_none(address):
    assert read({**packument_of(NAME), "homepage": address}, NAME).homepage == ""
