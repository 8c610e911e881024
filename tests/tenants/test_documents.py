import json
import threading
import tracemalloc
import uuid

import pytest
from django.db import connection

from tenants import documents
from tenants.documents import Document
from tenants.errors import DocumentTooLarge, InvalidDocument, InvalidValue, NothingStored, StaleRevision

pytestmark = pytest.mark.django_db
ONE = uuid.UUID(int=1)
TWO = uuid.UUID(int=2)


def flows(text: str) -> bytes:
    return json.dumps([{"id": "a", "type": "comment", "name": text}]).encode()


def test_nothing_stored_reads_as_empty():
    assert documents.load_flows(ONE) == (b"[]", 0)
    assert documents.load(ONE, "credentials") == b"{}"
    assert documents.history(ONE) == []


def test_each_deploy_is_kept_with_author_and_time():
    documents.save_flows(ONE, flows("1"), expected=0, author="alice")
    documents.save_flows(ONE, flows("2"), expected=1, author="bob")
    newest, oldest = documents.history(ONE)
    assert (newest.id, newest.author, newest.kind) == (2, "bob", "deploy")
    assert (oldest.id, oldest.author, oldest.size) == (1, "alice", len(flows("1")))
    assert documents.flows_of(ONE, 1) == flows("1")
    assert newest.when >= oldest.when


def test_only_the_newest_revisions_and_the_snapshots_are_kept(settings):
    settings.FLOW_REVISIONS = 3
    documents.save_flows(ONE, flows("0"), expected=0)
    documents.snapshot(ONE, "before the move")
    for number in range(1, 7):
        documents.save_flows(ONE, flows(str(number)), expected=number)
    assert [revision.id for revision in documents.history(ONE)] == [7, 6, 5, 1]
    assert documents.history(ONE)[-1].snapshot == "before the move"
    assert Document.objects.filter(pk__startswith=f"{ONE}:flows:").count() == 4


def test_a_stale_save_changes_nothing():
    documents.save_flows(ONE, flows("1"), expected=0)
    documents.save_flows(ONE, flows("2"), expected=1)
    with pytest.raises(StaleRevision):
        documents.save_flows(ONE, flows("mine"), expected=1)
    assert documents.load_flows(ONE) == (flows("2"), 2)


def test_a_save_repeated_after_a_lost_answer_is_answered_again():
    assert documents.save_flows(ONE, flows("1"), expected=0) == 1
    assert documents.save_flows(ONE, flows("1"), expected=0) == 1
    assert len(documents.history(ONE)) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_saves_at_once_exactly_one_wins():
    documents.save_flows(ONE, flows("0"), expected=0)
    outcomes = []

    def save(text: str) -> None:
        try:
            outcomes.append(documents.save_flows(ONE, flows(text), expected=1))
        except StaleRevision:
            outcomes.append("stale")
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["2", "stale", "stale", "stale"]
    assert len(documents.history(ONE)) == 2


def test_a_restore_brings_flows_and_credentials_back_as_a_new_revision():
    documents.save(ONE, "credentials", b'{"a": "old"}')
    documents.save_flows(ONE, flows("old"), expected=0)
    documents.save(ONE, "credentials", b'{"a": "new"}')
    documents.save_flows(ONE, flows("new"), expected=1)
    assert documents.restore(ONE, 1, author="alice") == 3
    assert documents.load_flows(ONE) == (flows("old"), 3)
    assert documents.load(ONE, "credentials") == b'{"a": "old"}'
    assert documents.flows_of(ONE, 2) == flows("new")
    assert (documents.history(ONE)[0].kind, documents.history(ONE)[0].origin) == ("restore", 1)


def test_a_revision_that_is_not_kept_cannot_be_restored():
    with pytest.raises(NothingStored):
        documents.restore(ONE, 7, author="alice")
    with pytest.raises(NothingStored):
        documents.snapshot(ONE, "too early")


@pytest.mark.parametrize("kind", ["credentials", "sessions"])
def test_credentials_and_sessions_are_encrypted_at_rest(kind):
    documents.save(ONE, kind, b'{"token": "hunter2"}')
    documents.save_flows(ONE, flows("x"), expected=0)
    assert documents.load(ONE, kind) == b'{"token": "hunter2"}'
    for document in Document.objects.all():
        assert b"hunter2" not in bytes(document.body)


def test_instances_do_not_see_each_other():
    documents.save(ONE, "settings", b'{"a": 1}')
    documents.save_flows(ONE, flows("1"), expected=0)
    documents.save_library(ONE, "flows", "a", {}, "x")
    assert documents.load(TWO, "settings") == b"{}"
    assert documents.load_flows(TWO) == (b"[]", 0)
    assert documents.load_library(TWO, "flows", "") == []
    documents.purge(TWO)
    assert documents.load_flows(ONE)[1] == 1
    documents.purge(ONE)
    assert not Document.objects.exists()


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"null", b'"x"', b"\xff\xfe", b"[NaN]", b"[" * 5000])
def test_what_is_no_json_array_is_no_flows(body):
    with pytest.raises(InvalidDocument):
        documents.save_flows(ONE, body, expected=0)
    assert documents.load_flows(ONE) == (b"[]", 0)


def test_a_document_that_is_too_large_is_refused_and_loses_nothing(settings):
    settings.DOCUMENT_MAX_BYTES = 100
    documents.save_flows(ONE, flows("1"), expected=0)
    with pytest.raises(DocumentTooLarge, match="limit of 100 bytes"):
        documents.save_flows(ONE, flows("x" * 100), expected=1)
    assert documents.load_flows(ONE) == (flows("1"), 1)


def test_library_types_do_not_overwrite_each_other():
    documents.save_library(ONE, "flows", "lamp", {"kind": "flow"}, "a flow")
    documents.save_library(ONE, "functions", "lamp", {"kind": "function"}, "a function")
    assert documents.load_library(ONE, "flows", "lamp") == "a flow"
    assert documents.load_library(ONE, "functions", "lamp") == "a function"


def test_a_folder_lists_exactly_what_is_in_it():
    for path in ("foo/a", "foobar/b", "foo/deep/c", "top"):
        documents.save_library(ONE, "flows", path, {"path": path}, path)
    assert documents.load_library(ONE, "flows", "/foo") == ["deep", {"path": "foo/a", "fn": "a"}]
    assert documents.load_library(ONE, "flows", "foo/") == ["deep", {"path": "foo/a", "fn": "a"}]
    assert documents.load_library(ONE, "flows", "/") == ["foo", "foobar", {"path": "top", "fn": "top"}]


@pytest.mark.parametrize("path", [".*", "../x", "a\\b", "%00", "[", "ä/ö", "a" * 1000, "a//b", "foo:bar"])
def test_a_path_is_only_a_name(path):
    documents.save_library(ONE, "flows", "other", {}, "other")
    documents.save_library(ONE, "flows", path, {}, "mine")
    assert documents.load_library(ONE, "flows", path) == "mine"
    assert documents.load_library(ONE, "flows", "other") == "other"


def test_the_library_has_its_limits(settings):
    settings.LIBRARY_MAX_ENTRIES = 1
    documents.save_library(ONE, "flows", "a", {}, "1")
    documents.save_library(ONE, "flows", "a", {}, "2")
    with pytest.raises(DocumentTooLarge):
        documents.save_library(ONE, "flows", "b", {}, "3")
    with pytest.raises(InvalidDocument):
        documents.save_library(ONE, "flows", "/", {}, "3")
    with pytest.raises(NothingStored):
        documents.load_library(ONE, "flows", "nothing")


@pytest.mark.parametrize("kind", ["flows", "settings", "library"])
def test_a_hostile_document_is_not_built_in_memory(kind):
    array = b"[" + b"[]," * 500_000 + b"[]]"
    tracemalloc.start()
    try:
        if kind == "flows":
            documents.save_flows(ONE, array, expected=0)
        elif kind == "settings":
            documents.save(ONE, "settings", b'{"a":%b}' % array)
        else:
            with pytest.raises(InvalidDocument):
                documents.entry_from(b'{"path":"a","body":"","meta":%b,"meta":{}}' % array)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(array)


# --- Half of a surrogate pair, as JSON.stringify writes it ----------------------------------------

LONE = b'[{"id":"a","name":"cut \\ud83d off","\\udc00":"\\\\ud83d","pair":"\\ud83d\\ude00"}]'


def test_flows_with_a_lone_surrogate_come_back_byte_for_byte():
    assert documents.save_flows(ONE, LONE, expected=0) == 1
    assert documents.load_flows(ONE) == (LONE, 1)
    documents.save_flows(ONE, b"[]", expected=1)
    documents.restore(ONE, 1, author="alice")
    assert documents.load_flows(ONE) == (LONE, 3)


@pytest.mark.parametrize("kind", ["credentials", "settings", "sessions"])
def test_objects_with_a_lone_surrogate_come_back_byte_for_byte(kind):
    body = b'{"\\ud83d":"\\uDC00"}'
    documents.save(ONE, kind, body)
    assert documents.load(ONE, kind) == body


@pytest.mark.parametrize("body", [b'["\\ud83"]', b'["\\ud8zz"]', b'["\xed\xa0\x80"]', b'["\\ud83d]'])
def test_what_only_resembles_an_escape_is_no_json(body):
    with pytest.raises(InvalidDocument):
        documents.save_flows(ONE, body, expected=0)


def test_a_function_with_a_lone_surrogate_survives_the_library():
    text = "return 'cut \ud83d off';"
    documents.save_library(ONE, "functions", "emoji", {"outputs": 1}, text)
    assert documents.load_library(ONE, "functions", "emoji") == text
    documents.save_library(ONE, "functions", "emoji", {"outputs": 1}, "whole: 😀")
    assert documents.load_library(ONE, "functions", "emoji") == "whole: 😀"


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "meta", [nested(252), nested(253), nested(254), nested(300), {"n": 2**64}, {"s": "\ud83d"}]
)
def test_meta_is_stored_as_it_is_or_refused(meta):
    try:
        documents.save_library(ONE, "flows", "a", meta, "x")
    except InvalidDocument:
        assert documents.load_library(ONE, "flows", "") == []
    else:
        assert documents.load_library(ONE, "flows", "") == [{**meta, "fn": "a"}]


def test_a_path_that_is_no_text_is_refused():
    with pytest.raises(InvalidDocument):
        documents.save_library(ONE, "flows", "cut \ud83d off", {}, "x")


@pytest.mark.parametrize("name", ["\ud83d", "a\0b", "a\nb", "\x1b[31m"])
def test_a_snapshots_name_is_text(name):
    documents.save_flows(ONE, flows("1"), expected=0)
    with pytest.raises(InvalidValue, match="control characters"):
        documents.snapshot(ONE, name)
    assert documents.history(ONE)[0].snapshot is None


# --- Limits of the library ------------------------------------------------------------------------


def test_what_is_noted_beside_an_entry_is_limited(settings):
    settings.LIBRARY_MAX_META_BYTES = 300
    documents.save_library(ONE, "flows", "a", {"info": "x" * 280}, "1")
    with pytest.raises(DocumentTooLarge, match="300 are allowed"):
        documents.save_library(ONE, "flows", "a", {"info": "x" * 300}, "2")
    assert documents.load_library(ONE, "flows", "a") == "1"


def test_an_entry_is_no_larger_than_a_document(settings):
    settings.DOCUMENT_MAX_BYTES = 2000
    with pytest.raises(DocumentTooLarge, match="2,000 are allowed"):
        documents.save_library(ONE, "flows", "a", {}, "x" * 2000)


def test_the_index_is_limited_and_one_from_before_can_only_shrink(settings):
    for name in "abc":
        documents.save_library(ONE, "flows", name, {"info": "x" * 1000}, name)
    settings.LIBRARY_MAX_INDEX_BYTES = 2000
    with pytest.raises(DocumentTooLarge, match="2,000 are allowed"):
        documents.save_library(ONE, "flows", "d", {}, "d")
    documents.save_library(ONE, "flows", "a", {"info": "short"}, "again")
    assert documents.load_library(ONE, "flows", "a") == "again"


def test_the_types_of_a_library_are_limited(settings):
    settings.LIBRARY_MAX_TYPES = 2
    documents.save_library(ONE, "flows", "a", {}, "1")
    documents.save_library(ONE, "functions", "a", {}, "1")
    with pytest.raises(DocumentTooLarge, match="at most 2 types"):
        documents.save_library(ONE, "templates", "a", {}, "1")
    documents.save_library(ONE, "flows", "b", {}, "1")
    documents.save_library(TWO, "templates", "a", {}, "1")
    documents.delete_entry(ONE, "functions", "a")
    documents.save_library(ONE, "templates", "a", {}, "1")


def test_a_deleted_entry_is_gone_and_the_others_stay():
    documents.save_library(ONE, "flows", "a", {}, "1")
    documents.save_library(ONE, "flows", "b", {}, "2")
    documents.delete_entry(ONE, "flows", "/a")
    assert documents.load_library(ONE, "flows", "") == [{"fn": "b"}]
    with pytest.raises(NothingStored):
        documents.load_library(ONE, "flows", "a")
    with pytest.raises(NothingStored):
        documents.delete_entry(ONE, "flows", "a")
    with pytest.raises(InvalidValue):
        documents.delete_entry(ONE, "flows:x", "a")


def test_a_deleted_revision_is_gone_and_the_current_one_only_loses_its_name():
    documents.save(ONE, "credentials", b'{"a": "1"}')
    documents.save_flows(ONE, flows("1"), expected=0)
    documents.snapshot(ONE, "first")
    documents.save_flows(ONE, flows("2"), expected=1)
    documents.snapshot(ONE, "second")
    assert documents.delete_revision(ONE, 1).snapshot == "first"
    assert documents.delete_revision(ONE, 2).snapshot == "second"
    assert [(revision.id, revision.snapshot) for revision in documents.history(ONE)] == [(2, None)]
    assert documents.load_flows(ONE) == (flows("2"), 2)
    assert not Document.objects.filter(pk__startswith=f"{ONE}:flows:1").exists()
    with pytest.raises(NothingStored):
        documents.delete_revision(ONE, 1)


def test_a_full_number_of_snapshots_can_still_be_renamed():
    for number in range(documents.flows.MAX_SNAPSHOTS):
        documents.save_flows(ONE, flows(str(number)), expected=number)
        documents.snapshot(ONE, str(number))
    assert documents.snapshot(ONE, "renamed").snapshot == "renamed"
    documents.save_flows(ONE, flows("one more"), expected=documents.flows.MAX_SNAPSHOTS)
    with pytest.raises(DocumentTooLarge, match="at most 100 snapshots"):
        documents.snapshot(ONE, "one more")
