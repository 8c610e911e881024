"""How long an instance has been on its way: counted from the change, not from what it was before."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.models import Instance, Phase
from tenants.reconciler import Reconciler
from tests.memory_driver import MemoryDriver

LONG_AGO = timedelta(hours=3)


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
def page(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def reconcile(driver: MemoryDriver, passes: int = 1) -> Instance:
    for _ in range(passes):
        Instance.objects.mark_due()
        Reconciler(driver).pass_once()
    return Instance.objects.get()


def age(**fields: Any) -> None:
    """Make it look as if it had been in its phase for hours, and changed long before."""
    Instance.objects.update(phase_since=timezone.now() - LONG_AGO, **fields)


def counted_from(page: Client) -> datetime:
    text = page.get(reverse("instance", args=["kitchen"])).content.decode()
    return datetime.fromisoformat(re.search(r'data-since="([^"]+)"', text)[1])  # type: ignore[index]


CHANGES = {
    "instance_stop": {},
    "instance_restart": {},
    "instance_environment": {"variable": ["ROOM"], "value": ["kitchen"]},
    "instance_delete": {"name": "kitchen"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_counts_from_the_change_before_and_after_the_reconciler_has_tried(
    instance: Instance, page: Client, driver: MemoryDriver, change: str
) -> None:
    assert reconcile(driver, 3).phase == Phase.RUNNING
    age()
    driver.hold(str(instance.pk))
    clicked = timezone.now().replace(microsecond=0)
    page.post(reverse(change, args=["kitchen"]), CHANGES[change])
    assert counted_from(page) >= clicked
    driver.fall_silent()
    assert reconcile(driver).phase_since >= clicked


def test_it_counts_from_the_change_when_it_is_started_again_while_it_starts(
    instance: Instance, page: Client, driver: MemoryDriver, settings: Any
) -> None:
    """So the start has its full time again."""
    settings.STARTUP_SECONDS = 60
    driver.hold(str(instance.pk))
    reconcile(driver)
    age()
    clicked = timezone.now().replace(microsecond=0)
    page.post(reverse("instance_restart", args=["kitchen"]))
    for _ in range(3):
        seen = reconcile(driver)
        assert seen.phase == Phase.STARTING
        assert counted_from(page) >= clicked


def test_what_was_started_again_runs_since_then(instance: Instance, user: Any, driver: MemoryDriver) -> None:
    reconcile(driver, 3)
    age()
    Instance.objects.get().restart(user)
    seen = reconcile(driver, 3)
    assert seen.phase == Phase.RUNNING
    assert timezone.now() - seen.phase_since < LONG_AGO / 2


def test_what_stays_off_is_off_since_it_was_switched_off(
    instance: Instance, user: Any, driver: MemoryDriver
) -> None:
    Instance.objects.get().turn_off(user)
    assert reconcile(driver, 3).phase == Phase.STOPPED
    age()
    Instance.objects.get().configure(user, environment={"ROOM": "kitchen"})
    seen = reconcile(driver, 2)
    assert seen.observed_generation == seen.generation
    assert timezone.now() - seen.phase_since >= LONG_AGO


def test_asking_for_what_is_there_already_changes_no_time(
    instance: Instance, user: Any, driver: MemoryDriver
) -> None:
    reconcile(driver, 3)
    age()
    Instance.objects.get().turn_on(user)
    seen = Instance.objects.get()
    assert timezone.now() - seen.moving_since >= LONG_AGO
