"""What an instance may store in all. Sizes are in a small unit, so that a full instance is quickly made."""

import json
import threading
import uuid
from contextlib import suppress

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Length

from tenants import documents
from tenants.documents import Document
from tenants.documents.store import writing
from tenants.errors import NothingStored, StorageFull

pytestmark = pytest.mark.django_db
ONE = uuid.UUID(int=1)
TWO = uuid.UUID(int=2)
UNIT = 10_000


def flows(units: float, text: str = "x") -> bytes:
    return json.dumps([{"id": "a", "info": text * int(units * UNIT)}]).encode()


def stored(instance_id: uuid.UUID = ONE) -> int:
    """The bytes as they lie in the table."""
    rows = Document.objects.filter(pk__startswith=f"{instance_id}:").exclude(pk=f"{instance_id}:usage")
    return rows.aggregate(total=Sum(Length("body"), default=0))["total"]


def counted(instance_id: uuid.UUID = ONE) -> int:
    return orjson.loads(bytes(Document.objects.get(pk=f"{instance_id}:usage").body))["bytes"]


@pytest.fixture(autouse=True)
def _limit(settings):
    settings.INSTANCE_MAX_BYTES = 20 * UNIT


def deploy(count: int, units: float = 1) -> None:
    for _ in range(count):
        current = documents.load_flows(ONE)[1]
        documents.save_flows(ONE, flows(units, str(current % 10)), expected=current)


def test_the_count_is_what_lies_in_the_table(settings):
    settings.FLOW_REVISIONS = 3
    documents.save(ONE, "credentials", b'{"a": "1"}')
    deploy(5)
    documents.snapshot(ONE, "kept")
    documents.restore(ONE, 4, author="alice")
    documents.save(ONE, "sessions", b'{"token": "x"}')
    documents.save_library(ONE, "flows", "a", {"outputs": 1}, "body")
    documents.save_library(ONE, "flows", "a", {}, "longer body")
    documents.delete_revision(ONE, 4)
    documents.save(TWO, "settings", b'{"a": 1}')
    assert counted() == stored() > 0
    documents.delete_entry(ONE, "flows", "a")
    assert counted() == stored()


def test_a_refused_or_failed_save_is_not_counted():
    deploy(1)
    with suppress(StorageFull):
        documents.save_library(ONE, "flows", "a", {}, "x" * 30 * UNIT)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        documents.save_library(ONE, "flows", "b", {}, "x" * UNIT)
        raise ZeroDivisionError
    assert counted() == stored()
    with pytest.raises(NothingStored):
        documents.load_library(ONE, "flows", "b")


def test_what_was_stored_by_an_earlier_version_is_counted_at_the_next_save():
    deploy(3)
    for kind in ("flows", "functions"):
        documents.save_library(ONE, kind, "a", {}, "x")
    Document.objects.filter(pk=f"{ONE}:usage").delete()
    documents.save(ONE, "settings", b"{}")
    assert counted() == stored()
    with writing(ONE) as store:
        assert store.types == {"flows", "functions"}


def test_the_oldest_revisions_without_a_name_give_way_first():
    deploy(1)
    documents.snapshot(ONE, "kept")
    deploy(30)
    kept = documents.history(ONE)
    assert kept[0].id == 31
    assert kept[-1].snapshot == "kept"
    assert [revision.id for revision in kept[:-1]] == list(range(31, 31 - len(kept) + 1, -1))
    assert 18 * UNIT < stored() == counted() <= 20 * UNIT


def test_an_entry_of_the_library_takes_the_place_of_old_revisions():
    deploy(19)
    documents.save_library(ONE, "flows", "a", {}, "x" * 5 * UNIT)
    assert documents.load_flows(ONE)[1] == documents.history(ONE)[0].id == 19
    assert len(documents.history(ONE)) < 15
    assert counted() == stored() <= 20 * UNIT


def test_snapshots_and_library_are_refused_before_a_deploy_is():
    for number in range(7):
        documents.save_library(ONE, "flows", str(number), {}, "x" * 2 * UNIT)
    with pytest.raises(StorageFull, match="snapshots and the library of this instance is full") as refused:
        documents.save_library(ONE, "flows", "one more", {}, "x" * 2 * UNIT)
    assert "0.1 MiB of 0.1 MiB are used" in str(refused.value)
    assert "Delete snapshots" in str(refused.value)
    assert "INSTANCE_MAX_BYTES" in str(refused.value)
    deploy(10)
    documents.save(ONE, "credentials", b'{"a": "1"}')
    deploy(1, 2)
    with pytest.raises(StorageFull, match="snapshots and the library"):
        documents.snapshot(ONE, "too large")
    assert counted() == stored() <= 20 * UNIT


def test_a_deploy_that_finds_no_room_is_refused_and_changes_nothing():
    for number in range(7):
        documents.save_library(ONE, "flows", str(number), {}, "x" * 2 * UNIT)
    deploy(3)
    before = documents.history(ONE), counted()
    with pytest.raises(
        StorageFull, match=r"^The storage for this instance is full: 0\.2 MiB of 0\.2 MiB are used"
    ):
        documents.save_flows(ONE, flows(10), expected=3)
    assert (documents.history(ONE), counted()) == before
    assert documents.load_flows(ONE)[1] == 3


def test_an_instance_that_was_over_the_limit_can_be_read_and_made_smaller(settings):
    settings.INSTANCE_MAX_BYTES = 2**30
    for number in range(10):
        documents.save_library(ONE, "flows", str(number), {}, "x" * 5 * UNIT)
    deploy(1, 3)
    settings.INSTANCE_MAX_BYTES = 20 * UNIT
    assert documents.load_library(ONE, "flows", "9") == "x" * 5 * UNIT
    deploy(1, 2)
    with pytest.raises(StorageFull):
        deploy(1, 10)
    with pytest.raises(StorageFull):
        documents.save_library(ONE, "flows", "9", {}, "x" * 6 * UNIT)
    documents.save_library(ONE, "flows", "9", {}, "short")
    for number in range(9):
        documents.delete_entry(ONE, "flows", str(number))
    deploy(1, 10)
    assert counted() == stored() <= 20 * UNIT


@pytest.mark.parametrize("kind", ["sessions", "settings"])
def test_people_can_log_in_to_a_full_instance(settings, kind):
    settings.INSTANCE_MAX_BYTES = 2**30
    documents.save_library(ONE, "flows", "a", {}, "x" * 30 * UNIT)
    settings.INSTANCE_MAX_BYTES = 20 * UNIT
    documents.save(ONE, kind, b'{"token": "new"}')
    assert documents.load(ONE, kind) == b'{"token": "new"}'
    with pytest.raises(StorageFull):
        documents.save(ONE, kind, json.dumps({"token": "x" * 70_000}).encode())


def test_a_purge_forgets_the_count():
    deploy(1)
    documents.purge(ONE)
    assert not Document.objects.exists()
    deploy(1)
    assert counted() == stored()


@pytest.mark.django_db(transaction=True)
def test_saves_at_the_same_time_are_all_counted_and_do_not_pass_the_limit():
    refusals = []

    def save(name: str) -> None:
        try:
            for number in range(6):
                documents.save_library(ONE, name, str(number), {}, "x" * UNIT)
                documents.save(ONE, "settings", json.dumps({name: "x" * number * 100}).encode())
        except StorageFull as error:
            refusals.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals
    assert counted() == stored() <= 20 * UNIT
