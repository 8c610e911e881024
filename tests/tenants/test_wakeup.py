"""The doorbell rings for the reconciler's own threads and for other processes."""

import threading
import time

import pytest

from tenants import wakeup

LONG = 30.0


@pytest.fixture(params=["with a socket", "without"])
def doorbell(request, settings, tmp_path):
    settings.RECONCILER_DOORBELL = tmp_path / "bell" if request.param == "with a socket" else None
    with wakeup.listen() as doorbell:
        yield doorbell


def waited(doorbell: wakeup.Doorbell, seconds: float) -> float:
    began = time.monotonic()
    doorbell.wait(seconds)
    return time.monotonic() - began


def test_a_ring_ends_the_wait_and_counts_once(doorbell):
    for _ in range(5):
        doorbell.ring()
    assert waited(doorbell, LONG) < LONG
    assert waited(doorbell, 0.05) >= 0.04


def test_a_thread_rings_while_it_waits(doorbell):
    threading.Timer(0.05, doorbell.ring).start()
    assert waited(doorbell, LONG) < LONG


def test_more_rings_than_anybody_hears_hold_up_nobody(doorbell):
    for _ in range(10_000):
        doorbell.ring()
    assert waited(doorbell, LONG) < LONG
    assert waited(doorbell, 0.05) >= 0.04


def test_another_process_rings_at_the_socket(settings, tmp_path):
    settings.RECONCILER_DOORBELL = tmp_path / "bell"
    wakeup.ring()  # nobody is there
    with wakeup.listen() as doorbell:
        wakeup.ring()
        assert waited(doorbell, LONG) < LONG
        assert oct((tmp_path / "bell").stat().st_mode)[-3:] == "600"
    # While it is missing, something else has removed it: the launcher goes by that.
    assert (tmp_path / "bell").exists()
    wakeup.ring()
    with wakeup.listen() as doorbell:
        wakeup.ring()
        assert waited(doorbell, LONG) < LONG


def test_a_ring_after_its_end_is_no_error():
    doorbell = wakeup.Doorbell()
    doorbell.close()
    doorbell.ring()
