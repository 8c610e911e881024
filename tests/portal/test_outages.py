"""A database that is locked, full or away, each brought about for real."""

import fcntl
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.test import Client

from portal import outages
from portal.api import api as ninja
from tenants import documents
from tenants.models import AccessToken, Event

pytestmark = pytest.mark.django_db(transaction=True)
on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="about SQLite")
on_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL")


@pytest.fixture(autouse=True)
def _short(settings):
    settings.DATABASE_WAIT_SECONDS = 1
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA busy_timeout = 200")
    yield
    connection.close()


@pytest.fixture
def storage(instance) -> Client:
    documents.save_flows(instance.pk, b"[]", expected=0)
    return Client(headers={"authorization": f"Bearer {instance.storage_token}"})


@contextmanager
def written_elsewhere(instance) -> Iterator[None]:
    """Have another program hold the lock that a save of the instance needs."""
    if connection.vendor == "sqlite":
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        names = {"dbname": connection.settings_dict["NAME"], "user": connection.settings_dict["USER"]}
        other = psycopg.connect(**{name: value for name, value in names.items() if value})
        other.execute(f"SELECT 1 FROM tenants_document WHERE key = '{instance.pk}:usage' FOR UPDATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Forbid SQLite to grow; have PostgreSQL raise what it raises when its disk is full."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA page_count")
            pages = cursor.fetchone()[0]
            cursor.execute(f"PRAGMA max_page_count = {pages}")
            cursor.fetchall()
            yield
            return
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER full_disk BEFORE INSERT ON tenants_document EXECUTE FUNCTION full_disk()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP TRIGGER full_disk ON tenants_document; DROP FUNCTION full_disk")


@contextmanager
def no_database() -> Iterator[None]:
    changed = (
        {"NAME": "/nonexistent/flowstead.sqlite3"}
        if connection.vendor == "sqlite"
        else {"PORT": "1", "HOST": "127.0.0.1"}
    )
    before = {name: connection.settings_dict[name] for name in changed}
    connection.close()
    connection.settings_dict.update(changed)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


def save(storage: Client, instance, body: bytes = b'[{"id": "a"}]'):
    return storage.post(f"/api/v1/storage/{instance.pk}/flows", body, content_type="application/json")


def assert_unavailable(response, sentence: str = outages.BUSY) -> None:
    assert response.status_code == 503, response.content
    assert response.json() == {"detail": sentence, "code": "unavailable"}
    assert int(response["Retry-After"]) > 0


def test_a_save_while_another_program_writes_is_told_to_come_back(storage, instance):
    with written_elsewhere(instance):
        began = time.monotonic()
        assert_unavailable(save(storage, instance))
        assert time.monotonic() - began < 10
    assert save(storage, instance).json() == {"revision": 2}


@on_sqlite
def test_reads_do_not_wait_for_those_that_write(storage, instance, api):
    AccessToken.objects.update(last_used_at=None)
    with written_elsewhere(instance):
        connection.cursor().execute("PRAGMA busy_timeout = 60000")
        assert storage.get(f"/api/v1/storage/{instance.pk}/flows").status_code == 200
        assert api.get("/instances/kitchen").status_code == 200
    assert AccessToken.objects.get().last_used_at is None
    assert api.get("/instances/kitchen").status_code == 200
    assert AccessToken.objects.get().last_used_at is not None


@on_sqlite
def test_a_turn_that_does_not_come_is_waited_for_within_bounds(storage, instance):
    with Path(f"{connection.settings_dict['NAME']}.turn").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert_unavailable(save(storage, instance))
    assert save(storage, instance).json() == {"revision": 2}


@on_sqlite
def test_many_that_wait_for_their_turn_all_get_one_or_an_answer(instance):
    outcomes = []

    def wait() -> None:
        try:
            documents.save(instance.pk, "settings", b"{}")
            outcomes.append("saved")
        except OperationalError:
            outcomes.append("no turn")
        finally:
            connection.close()

    threads = [threading.Thread(target=wait) for _ in range(8)]
    with Path(f"{connection.settings_dict['NAME']}.turn").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for thread in threads[:4]:
            thread.start()
        for thread in threads[:4]:
            thread.join()
        assert outcomes == ["no turn"] * 4
        began = time.monotonic()
        with pytest.raises(OperationalError):
            documents.save(instance.pk, "settings", b"{}")
        assert time.monotonic() - began < 0.8  # of the second that the first ones have waited
        for thread in threads[4:]:
            thread.start()
    for thread in threads[4:]:
        thread.join()
    assert outcomes[4:] == ["saved"] * 4


def test_a_full_disk_is_told_as_one_and_loses_nothing(storage, instance):
    with full_disk():
        assert_unavailable(save(storage, instance, b'["' + b"x" * 300_000 + b'"]'), outages.FULL)
        assert storage.get(f"/api/v1/storage/{instance.pk}/flows").json() == []


def test_every_call_of_the_api_says_that_the_database_is_away(api, storage, instance):
    storage.raise_request_exception = api.client.raise_request_exception = False
    calls = [
        (method, re.sub(r"\{(instance_id)\}", str(instance.pk), path))
        for path, item in ninja.get_openapi_schema()["paths"].items()
        for method in item
        if "/registry/" not in path and "/palette" not in path  # which know their callers by other secrets
    ]
    assert len(calls) > 25
    with no_database():
        for method, path in calls:
            client = storage if "/storage/" in path else api.client
            address = re.sub(r"\{[^}]*(number|id)\}", "1", path)
            response = getattr(client, method)(
                re.sub(r"\{\w+\}", "kitchen", address), content_type="application/json"
            )
            assert response.status_code == 503, (method, path, response.content)
            assert_unavailable(response)


def test_a_page_says_in_a_sentence_that_the_database_is_away(user, client, caplog):
    client.force_login(user)
    client.raise_request_exception = False
    with no_database():
        response = client.get("/instances/")
        assert response.status_code == 503
        assert outages.BUSY in response.content.decode()
        assert int(response["Retry-After"]) > 0
    assert "The database cannot be used" in caplog.text
    assert client.get("/instances/").status_code == 200


def test_a_fault_of_ours_is_not_taken_for_an_outage():
    with pytest.raises(ProgrammingError if connection.vendor == "postgresql" else Exception) as caught:
        Event.objects.raw("SELECT nothing FROM nowhere")[0]
    assert outages.sentence(caught.value) is None
    assert outages.sentence(ValueError("database is locked")) is None
    assert outages.sentence(None) is None


@on_sqlite
def test_the_write_ahead_log_shrinks_again(instance):
    log = Path(f"{connection.settings_dict['NAME']}-wal")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE large (body blob)")
        cursor.execute("INSERT INTO large VALUES (zeroblob(100000000))")
        assert log.stat().st_size > 90_000_000
        cursor.execute("DROP TABLE large")
        for number in range(3):
            documents.save(instance.pk, "settings", b'{"a": %d}' % number)
    assert log.stat().st_size <= 64 * 2**20
