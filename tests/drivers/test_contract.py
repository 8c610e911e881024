"""What every driver does, whatever its world is."""

import threading
from dataclasses import replace

import pytest

from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import Verb, plan
from tenants.provisioning.spec import ABSENT, NOT_RESPONDING, InstanceSpec, State
from tests.drivers.worlds import World, do, eventually, instance, until, watching


def running(world: World, **changes: object) -> InstanceSpec:
    spec = instance(**changes)
    do(world.driver, Verb.CREATE, spec)
    until(world.driver, spec, State.RUNNING)
    return spec


def test_it_sees_nothing_where_nothing_is(world: World) -> None:
    assert world.driver.observe(instance()) == ABSENT


def test_it_creates_an_instance_that_comes_to_answer(world: World) -> None:
    spec = instance()
    do(world.driver, Verb.CREATE, spec)
    assert world.driver.observe(spec).state in {State.STARTING, State.RUNNING}
    seen = until(world.driver, spec, State.RUNNING)
    assert seen.digest == spec.digest()
    assert seen.incarnation
    assert plan(spec, seen) == []


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.UPDATE, Verb.START])
def test_it_does_nothing_more_when_asked_twice(world: World, verb: Verb) -> None:
    spec = running(world)
    before = world.driver.observe(spec)
    do(world.driver, verb, spec)
    assert world.driver.observe(spec) == before


def test_it_creates_a_stopped_instance_where_the_power_is_off(world: World) -> None:
    spec = instance(power=False)
    do(world.driver, Verb.CREATE, spec)
    assert world.driver.observe(spec).state == State.STOPPED
    assert plan(spec, world.driver.observe(spec)) == []


def test_it_restarts_a_process_that_was_made_from_something_else(world: World) -> None:
    spec = running(world)
    before = world.driver.observe(spec)
    changed = replace(spec, environment={"GREETING": "hello"})
    do(world.driver, Verb.UPDATE, changed)
    after = until(world.driver, changed, State.RUNNING)
    assert after.digest == changed.digest() != before.digest
    assert after.incarnation != before.incarnation


def test_it_stops_and_starts(world: World) -> None:
    spec = running(world)
    before = world.driver.observe(spec)
    do(world.driver, Verb.STOP, replace(spec, power=False))
    stopped = until(world.driver, spec, State.STOPPED)
    assert stopped.incarnation == ""
    assert [action.verb for action in plan(spec, stopped)] == [Verb.START]
    do(world.driver, Verb.STOP, replace(spec, power=False))
    do(world.driver, Verb.START, spec)
    assert until(world.driver, spec, State.RUNNING).incarnation != before.incarnation


def test_it_removes_everything(world: World) -> None:
    spec = replace(running(world), retired=True)
    for _ in range(2):
        do(world.driver, Verb.REMOVE, spec)
        assert until(world.driver, spec, State.ABSENT) == ABSENT
        assert spec.id not in world.driver.inventory()
        assert spec.id not in world.driver.disks()
    assert list(world.driver.logs(spec.id, tail=10, follow=False, stop=threading.Event())) == []


def test_it_frees_the_name(world: World) -> None:
    first = running(world)
    do(world.driver, Verb.REMOVE, first)
    until(world.driver, first, State.ABSENT)
    running(world, name=first.name)


def test_it_lists_what_exists_whether_it_runs_or_not(own_world: World) -> None:
    def listed() -> set[str]:
        return own_world.driver.inventory() | own_world.driver.disks().keys()

    assert listed() == set()
    on, off = running(own_world), instance(power=False)
    do(own_world.driver, Verb.CREATE, off)
    assert listed() == {on.id, off.id}
    assert on.id in own_world.driver.inventory()


def test_it_removes_an_orphan_by_its_id_alone(world: World) -> None:
    spec = running(world)
    world.driver.remove_orphan(spec.id)
    gone = {State.STOPPED} if spec.id in world.driver.disks() else {State.ABSENT}
    eventually(lambda: world.driver.observe(spec).state, lambda state: state in gone)
    assert spec.id not in world.driver.inventory()
    world.driver.remove_orphan(spec.id)


def test_the_disk_of_an_orphan_stays_and_goes_with_its_instance(world: World) -> None:
    """Its row may come back: an older database was restored, and then the newer one."""
    spec = instance(power=False, disk=1)
    do(world.driver, Verb.CREATE, spec)
    disk = eventually(lambda: world.disk(spec), bool)
    assert spec.id in world.driver.disks()
    for _ in range(2):
        world.driver.remove_orphan(spec.id)
        eventually(lambda: spec.id in world.driver.inventory(), lambda there: not there)
        assert world.disk(spec) == disk
        assert spec.id in world.driver.disks()
    do(world.driver, Verb.CREATE, spec)
    until(world.driver, spec, State.STOPPED)
    assert world.disk(spec) == disk
    retired = replace(spec, retired=True)
    do(world.driver, Verb.REMOVE, retired)
    until(world.driver, retired, State.ABSENT)
    assert world.disk(spec) is None
    assert spec.id not in world.driver.disks()


def test_a_watch_tells_that_it_is_alive_while_nothing_happens(world: World) -> None:
    stop = threading.Event()
    named = iter(world.driver.watch(stop))
    assert [next(one for one in named if not one) for _ in range(3)] == ["", "", ""]
    stop.set()


def test_it_does_not_take_silence_for_absence(own_world: World) -> None:
    spec = running(own_world)
    own_world.driver.check()
    own_world.fall_silent()
    with pytest.raises(DriverError):
        own_world.driver.check()
    with pytest.raises(DriverError):
        own_world.driver.observe(spec)
    with pytest.raises(DriverError):
        own_world.driver.inventory()
    with pytest.raises(DriverError):
        do(own_world.driver, Verb.STOP, spec)


def test_it_notices_a_crash(world: World) -> None:
    spec = running(world)
    before = world.driver.observe(spec)
    with watching(world.driver) as named:
        eventually(lambda: spec.id in named, bool)
        named.clear()
        world.crash(spec)
        eventually(lambda: spec.id in named, bool)
    seen = world.driver.observe(spec)
    assert seen.incarnation != before.incarnation or seen.state == State.BACKOFF


def test_it_tells_a_process_that_hangs_from_one_that_ended(world: World) -> None:
    spec = running(world)
    before = world.driver.observe(spec)
    with watching(world.driver) as named:
        eventually(lambda: spec.id in named, bool)
        named.clear()
        world.hang(spec)
        seen = until(world.driver, spec, State.UNRESPONSIVE)
        assert (seen.reason, seen.incarnation) == (NOT_RESPONDING, before.incarnation)
        assert seen.message
        eventually(lambda: spec.id in named, bool)
        world.hang(spec, hangs=False)
        assert until(world.driver, spec, State.RUNNING) == before
        do(world.driver, Verb.RESTART, spec)
        assert world.driver.observe(spec) == before


def test_it_stops_a_process_that_hangs(world: World) -> None:
    spec = running(world)
    world.hang(spec)
    do(world.driver, Verb.STOP, replace(spec, power=False))
    assert until(world.driver, spec, State.STOPPED).incarnation == ""


def test_who_looks_only_when_the_watch_names_it_sees_it_come_up(world: World) -> None:
    with watching(world.driver) as named:
        spec = instance()
        do(world.driver, Verb.CREATE, spec)
        state = State.ABSENT
        while state != State.RUNNING:
            eventually(lambda: spec.id in named, bool, seconds=5)
            named.clear()
            state = world.driver.observe(spec).state


def test_it_reads_the_end_of_the_log(world: World) -> None:
    spec = running(world)
    for number in range(5):
        world.print(spec, f"line {number}")
    stop = threading.Event()
    eventually(
        lambda: list(world.driver.logs(spec.id, tail=1, follow=False, stop=stop)),
        lambda seen: seen == ["line 4"],
    )
    assert list(world.driver.logs(spec.id, tail=2, follow=False, stop=stop)) == ["line 3", "line 4"]
    assert list(world.driver.logs(spec.id, tail=0, follow=False, stop=stop)) == []


def test_it_follows_the_log_and_lets_its_reader_leave(world: World) -> None:
    spec = running(world)
    world.print(spec, "before")
    stop = threading.Event()
    eventually(
        lambda: list(world.driver.logs(spec.id, tail=1, follow=False, stop=stop)),
        lambda seen: seen == ["before"],
    )
    lines = world.driver.logs(spec.id, tail=1, follow=True, stop=stop)
    assert next(lines) == "before"
    assert next(lines) == ""  # nothing came: the reader may look around
    world.print(spec, "after")
    assert next(line for line in lines if line) == "after"
    stop.set()
    assert [line for line in lines if line] == []
