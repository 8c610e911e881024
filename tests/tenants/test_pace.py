"""How fast something may be repeated, on the cache that all web processes share: the database."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.core.management import call_command
from django.db import connection

from tenants import pace
from tenants.locks import NoTurn
from tenants.pace import Pace, give_back, take
from tests.clock import Clock

TRIES = Pace("tries", burst=3, seconds=10)
COUNTS = {TRIES.key("alice"): TRIES}

pytestmark = pytest.mark.django_db


def test_a_few_are_allowed_at_once_and_then_one_in_so_many_seconds(clock: Clock) -> None:
    assert [take(COUNTS) for _ in range(4)] == [0, 0, 0, 10]
    clock.forward(9)
    assert take(COUNTS) == pytest.approx(1)
    clock.forward(1)
    assert [take(COUNTS) for _ in range(2)] == [0, 10]
    clock.forward(1000)
    assert [take(COUNTS) for _ in range(4)] == [0, 0, 0, 10]


def test_what_is_refused_is_not_counted(clock: Clock) -> None:
    for _ in range(50):
        take(COUNTS)
    clock.forward(10)
    assert take(COUNTS) == 0


def test_keys_are_counted_apart(clock: Clock) -> None:
    for _ in range(3):
        take(COUNTS)
    assert take({TRIES.key("bob"): TRIES}) == 0
    assert take({Pace("other", 3, 10).key("alice"): TRIES}) == 0


def test_several_are_counted_together_or_not_at_all(clock: Clock) -> None:
    """If one of the limits refuses an attempt, the others do not count it."""
    loose = Pace("loose", burst=5, seconds=1)
    both = {**COUNTS, loose.key("here"): loose}
    assert [take(both) for _ in range(9)] == [0, 0, 0] + [10] * 6
    assert [take({loose.key("here"): loose}) for _ in range(3)] == [0, 0, 1]


def test_what_is_given_back_can_be_taken_again(clock: Clock) -> None:
    for _ in range(3):
        take(COUNTS)
    give_back(COUNTS)
    assert [take(COUNTS) for _ in range(2)] == [0, 10]


def test_a_clock_that_is_set_back_locks_nothing_out(clock: Clock) -> None:
    for _ in range(3):
        take(COUNTS)
    clock.forward(-86_400)
    assert take(COUNTS) <= TRIES.seconds


def test_a_lock_that_was_left_behind_is_only_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LOCK_WAIT_SECONDS", 0)
    cache.add(pace.LOCK, True, timeout=pace.LOCK_SECONDS)
    assert take(COUNTS) == 1
    cache.delete(pace.LOCK)
    assert take(COUNTS) == 0


@pytest.fixture
def in_database(settings: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "pace_cache"}
    }
    call_command("createcachetable", verbosity=0)
    monkeypatch.setattr(pace, "cache", caches["default"])
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE pace_cache")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
def test_while_the_database_is_locked_an_attempt_is_told_so_within_a_moment(in_database: None) -> None:
    """Each try would wait for SQLite, and many tries together for longer than the watchdog has patience."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(NoTurn):
            take(COUNTS)
        assert time.monotonic() - began < 5 * pace.LOCK_WAIT_SECONDS
    assert take(COUNTS) == 0


@pytest.mark.django_db(transaction=True)
def test_at_the_same_moment_no_more_are_allowed_than_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, in_database: None
) -> None:
    monkeypatch.setattr(pace, "LOCK_WAIT_SECONDS", 30)
    many = Pace("many", burst=7, seconds=3600)
    counts = {many.key("alice"): many}
    together, allowed = threading.Barrier(12), []

    def one() -> None:
        together.wait()
        allowed.append(take(counts) == 0)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (allowed.count(True), len(allowed)) == (7, 12)
