"""Whatever a driver or the database does to the reconciler's threads: they go on, or /readyz says that one does not."""

import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection

from tenants import loops, reconciler
from tenants.models import Instance, Lease, Phase
from tenants.provisioning.driver import DriverError
from tenants.reconciler import Reconciler
from tests.factories import make_instance
from tests.tenants.test_reconciler import now, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(reconciler, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(reconciler, "SWEEP_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 0.1)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end of the test, whatever becomes of it: a thread that hangs must not outlive it."""
    event = threading.Event()
    yield event
    event.set()


def problem(client) -> str:
    return client.get("/readyz").json()["checks"]["driver"]["detail"]


def wait_for_problem(client, words: str) -> None:
    wait_for(lambda: words in problem(client))
    assert client.get("/readyz").status_code == 503


def wait_until_ready(client) -> None:
    wait_for(lambda: client.get("/readyz").status_code == 200)


def test_a_name_that_is_no_id_does_not_end_the_watch(running, driver, user, client, caplog):
    running(driver)
    driver._happened.put("foo")
    wait_for(lambda: "The watch failed and is tried again" in caplog.text)
    instance = make_instance(user, "kitchen")
    wait_for(lambda: now(instance).phase == Phase.RUNNING)
    driver.forget(str(instance.pk))
    driver._happened.put(str(instance.pk))
    wait_for(lambda: len(driver.actions) == 2)
    wait_until_ready(client)


def test_a_watch_that_fails_for_an_unknown_reason_is_told_and_goes_on(
    running,
    driver,
    client,
    monkeypatch,
    caplog,
):
    watch = driver.watch
    monkeypatch.setattr(driver, "watch", lambda stop: 1 / 0)
    running(driver)
    wait_for_problem(client, "The watch of the reconciler fails (ZeroDivisionError)")
    assert "Traceback" in caplog.text
    monkeypatch.setattr(driver, "watch", watch)
    wait_until_ready(client)


@pytest.mark.parametrize("error", [ValueError("surprise"), OperationalError("gone"), DriverError("away")])
def test_a_sweep_that_fails_is_told_and_goes_on(running, driver, client, monkeypatch, error):
    def fail() -> None:
        raise error

    sweep = driver.inventory
    monkeypatch.setattr(driver, "inventory", fail)
    running(driver)
    wait_for(lambda: Lease.objects.exists())
    wait_for_problem(client, "ValueError" if isinstance(error, ValueError) else str(error))
    monkeypatch.setattr(driver, "inventory", sweep)
    wait_until_ready(client)


@pytest.mark.parametrize(("name", "method"), [("watch", "watch"), ("sweep", "check")])
def test_a_thread_that_stands_still_is_noticed(
    running,
    driver,
    client,
    monkeypatch,
    released,
    name,
    method,
):
    monkeypatch.setattr(loops, "STANDSTILL_SECONDS", 1)
    real = getattr(driver, method)
    hangs = threading.Event()

    def hang(*arguments: threading.Event) -> object:
        if hangs.is_set():
            released.wait()
        return real(*arguments)

    monkeypatch.setattr(driver, method, hang)
    hangs.set()
    running(driver)
    wait_for_problem(client, f"The {name} of the reconciler has stood still")
    hangs.clear()
    released.set()
    wait_until_ready(client)


def test_a_watch_in_which_nothing_happens_does_not_stand_still(running, driver, client, monkeypatch):
    monkeypatch.setattr(loops, "STANDSTILL_SECONDS", 1)
    running(driver)
    wait_until_ready(client)
    threading.Event().wait(2)  # twice as long as a thread may be silent
    assert problem(client) == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_noticed(running, driver, client, monkeypatch):
    def end(stop: threading.Event) -> Iterator[str]:
        raise SystemExit

    monkeypatch.setattr(driver, "watch", end)
    running(driver)
    wait_for_problem(client, "The watch of the reconciler has ended")


def test_a_worker_that_fails_is_logged_and_its_instance_is_tried_again(
    running,
    driver,
    user,
    monkeypatch,
    caplog,
):
    def fail(self: Reconciler, claim: object) -> None:
        monkeypatch.setattr(Reconciler, "_work", work)
        Instance.objects.update(claimed_until=None)  # as if the claim had ended
        raise OperationalError("the database is away")

    work = Reconciler._work
    monkeypatch.setattr(Reconciler, "_work", fail)
    running(driver)
    instance = make_instance(user, "kitchen")
    wait_for(lambda: now(instance).phase == Phase.RUNNING)
    assert "A worker failed" in caplog.text
    assert "the database is away" in caplog.text


def test_a_dispatcher_that_fails_is_told_and_goes_on(running, driver, user, client, monkeypatch, caplog):
    wait = Reconciler._until_next_due
    monkeypatch.setattr(Reconciler, "_until_next_due", lambda self: 1 / 0)
    running(driver)
    wait_for_problem(client, "The dispatcher of the reconciler fails (ZeroDivisionError)")
    assert "The dispatcher failed and begins again" in caplog.text
    monkeypatch.setattr(Reconciler, "_until_next_due", wait)
    instance = make_instance(user, "kitchen")
    wait_for(lambda: now(instance).phase == Phase.RUNNING)
    wait_until_ready(client)
    connection.close()
