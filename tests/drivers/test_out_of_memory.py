"""The row of an instance that runs out of memory over and over, on a real process and a real reconciler."""

import time
from typing import Any

import pytest

from tenants.models import Instance, Phase, Size
from tenants.reconciler import Reconciler
from tests import factories
from tests.drivers.worlds import LocalWorld

ENDS = 5


@pytest.mark.parametrize("milliseconds", [100, 1500], ids=["at its start", "after it had settled"])
def test_it_keeps_failing_for_one_reason_in_one_sentence(
    shared_local: LocalWorld, user: Any, milliseconds: int
) -> None:
    instance = factories.make_instance(user, f"fills-{milliseconds}")
    instance.configure(user, environment={"FILL_HEAP_AFTER": str(milliseconds)})
    Size.objects.update(memory=96)
    reconciler, told, deadline = Reconciler(shared_local.driver), set(), time.monotonic() + 60
    while len(instance.exits) < ENDS:
        assert time.monotonic() < deadline, f"only {len(instance.exits)} ends; told {told}"
        Instance.objects.not_waiting().mark_due()
        reconciler.pass_once()
        instance.refresh_from_db()
        if instance.phase == Phase.FAILING:
            told.add((instance.reason, instance.message))
        time.sleep(0.05)
    instance.retire(user)
    reconciler.pass_once()
    assert told == {("out_of_memory", "It needed more memory than its size gives it.")}
