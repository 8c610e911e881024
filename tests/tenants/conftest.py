"""The driver in memory, and reconcilers that run on it."""

import threading

import pytest

from tenants.reconciler import Reconciler
from tests.memory_driver import MemoryDriver


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
def running(transactional_db, settings, tmp_path):
    """Starts reconcilers in threads, and ends them."""
    settings.RECONCILER_DOORBELL = tmp_path / "bell"
    settings.RECONCILER_LEASE_SECONDS = 2
    stops, threads = [], []

    def start(driver: MemoryDriver) -> tuple[Reconciler, threading.Event]:
        reconciler, stop = Reconciler(driver), threading.Event()
        thread = threading.Thread(target=reconciler.run, args=(stop,))
        thread.start()
        stops.append(stop)
        threads.append(thread)
        return reconciler, stop

    yield start
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
