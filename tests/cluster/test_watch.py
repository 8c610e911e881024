"""The way to the API server breaks, stutters and is held up: nothing is missed, and silence is no absence."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from tenants.provisioning.cluster import api_server
from tenants.provisioning.cluster.api_server import ApiServer
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import INSTANCE, owned_kinds
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import ABSENT, InstanceSpec, Observation, State
from tests.cluster.access import MERGE_PATCH
from tests.cluster.control_plane import ControlPlane
from tests.cluster.proxy import Answer, Call, Fate, Instead, Lose, Wait
from tests.cluster.worlds import KubernetesWorld, kubernetes_world, settle_down
from tests.drivers.worlds import do, eventually, instance, until, watching


@pytest.fixture
def world(control_plane: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(control_plane) as world:
        yield world


def looks(driver: KubernetesDriver, spec: InstanceSpec, seconds: float) -> list[Observation | DriverError]:
    """All that is told of an instance meanwhile."""
    told: list[Observation | DriverError] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            told.append(driver.observe(spec))
        except DriverError as error:
            told.append(error)
        time.sleep(0.01)
    return told


def touch(world: KubernetesWorld, spec: InstanceSpec) -> None:
    """Somebody changes something."""
    world.edit(world.path(SERVICE, spec), {"spec": {"selector": {"touched": f"at-{time.monotonic_ns()}"}}})


def sees_a_touch(world: KubernetesWorld, spec: InstanceSpec) -> None:
    assert world.driver.observe(spec).drift == ()
    touch(world, spec)
    eventually(lambda: world.driver.observe(spec).drift, bool)
    do(world.driver, Verb.REPAIR, spec)


def first_watches(fate: Callable[[Call], Fate]) -> Callable[[Call], Fate]:
    """The first watch of each path has this fate."""
    met: set[str] = set()

    def rule(call: Call) -> Fate:
        if not call.is_watch or call.path in met:
            return None
        met.add(call.path)
        return fate(call)

    return rule


# --- Watches that end -----------------------------------------------------------------------------


def test_watches_that_break_go_on_where_they_were(world: KubernetesWorld) -> None:
    spec = world.up()
    with world.proxy.counting() as calls:
        world.proxy.passes = lambda *_: False
        touch(world, spec)  # while nothing gets through
        world.proxy.passes = lambda *_: True
        world.proxy.cut_watches()
        told = looks(world.driver, spec, 0.5)
        eventually(lambda: world.driver.observe(spec).drift, bool)
    assert [one for one in told if not is_running(one)] == []
    assert [call for call in calls if not call.is_watch] == []
    again = {call.path.rpartition("/")[2] for call in calls}
    assert again == {kind.plural for kind in (*owned_kinds(world.cluster), REPLICA_SET, POD)}
    assert all(int(call.query["resourceVersion"]) > 0 for call in calls)


def is_running(told: object) -> bool:
    return isinstance(told, Observation) and told.state == State.RUNNING


def test_watches_that_end_go_on_where_they_were(world: KubernetesWorld) -> None:
    spec = world.up()
    with world.proxy.counting() as calls:
        world.proxy.end_watches()
        told = looks(world.driver, spec, 0.5)
    assert [one for one in told if not is_running(one)] == []
    assert [call for call in calls if not call.is_watch] == []
    sees_a_touch(world, spec)


def test_a_watch_from_too_long_ago_begins_anew_with_a_list(world: KubernetesWorld) -> None:
    spec = world.up()
    world.proxy.rule = first_watches(lambda _: Answer(410))
    with world.proxy.counting() as calls:
        world.proxy.cut_watches()
        told = looks(world.driver, spec, 1)
    assert [one for one in told if not is_running(one)] == []
    paths = {call.path for call in calls}
    assert sorted(call.path for call in calls if call.is_list) == sorted(paths)
    sees_a_touch(world, spec)


def test_what_happened_while_it_was_listed_anew_is_told(world: KubernetesWorld) -> None:
    """The new list is compared with what was known, so that the watch names what nobody told."""
    spec, other = world.up(), world.up()
    with watching(world.driver) as named:
        settle_down(named, spec, other)
        world.proxy.passes = lambda *_: False
        touch(world, spec)
        world.proxy.passes = lambda *_: True
        world.proxy.rule = first_watches(lambda _: Answer(410))
        world.proxy.cut_watches()
        eventually(lambda: spec.id in named, bool)
        assert other.id not in named


@pytest.mark.parametrize("answer", [Answer(500), Answer(410), Lose(after=False)])
def test_a_list_that_breaks_off_tells_of_no_absence(
    world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch, answer: Fate
) -> None:
    """Not even of what would have been on its second page."""
    specs = [world.up() for _ in range(3)]
    monkeypatch.setattr(api_server, "PAGE", 1)
    broken: list[Call] = []

    def rule(call: Call) -> Fate:
        if "continue" not in call.query or len(broken) > 20:
            return None
        broken.append(call)
        return answer

    world.proxy.rule = rule
    world.driver.close()
    world.driver = world.another_driver()
    for spec in specs:
        told = eventually(lambda spec=spec: look(world.driver, spec), bool, seconds=40)  # type: ignore[misc]
        assert is_running(told)
    assert broken


def look(driver: KubernetesDriver, spec: InstanceSpec) -> Observation | None:
    with suppress(DriverError):
        return driver.observe(spec)
    return None


# --- Answers that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason", "retry_after"),
    [
        (Answer(429, headers={"Retry-After": "7"}), "too_many_requests", 7),
        (Answer(503, headers={"Retry-After": "2"}), "cluster_error", 2),
        (Answer(500), "cluster_error", None),
        (Lose(after=False), "no_answer", None),
    ],
)
def test_trouble_of_the_api_server_is_told_as_such(
    world: KubernetesWorld, answer: Fate, reason: str, retry_after: float | None
) -> None:
    spec = world.up()
    changed = replace(spec, environment={"GREETING": "hello"})
    world.proxy.rule = lambda call: answer if call.is_change else None
    with world.proxy.counting() as calls, pytest.raises(DriverError) as caught:
        do(world.driver, Verb.UPDATE, changed)
    assert (caught.value.reason, caught.value.retry_after) == (reason, retry_after)
    assert not caught.value.permanent
    # An answer is an answer; a connection that broke may have been an old one, and is tried once more.
    assert len(calls) == (2 if reason == "no_answer" else 1)
    assert world.driver.observe(spec).state == State.RUNNING
    world.proxy.rule = lambda _: None
    world.settle(changed, State.RUNNING)


def test_a_storm_of_refusals_is_met_with_patience(world: KubernetesWorld) -> None:
    """Also where the mirror is filled: each list is asked for again when the API server says so."""
    spec = world.up()
    world.proxy.rule = lambda _: Answer(429, headers={"Retry-After": "1"})
    world.restart_driver()
    with pytest.raises(DriverError) as caught:
        world.driver.observe(spec)
    assert (caught.value.reason, caught.value.retry_after) == ("too_many_requests", 1)
    with world.proxy.counting() as calls:
        told = looks(world.driver, spec, 1.5)
    assert all(isinstance(one, DriverError) for one in told)
    paths = [call.path for call in calls]
    assert max(paths.count(path) for path in paths) <= 2
    world.proxy.rule = lambda _: None
    eventually(lambda: look(world.driver, spec), is_running)


def test_an_answer_that_takes_too_long_is_none(world: KubernetesWorld) -> None:
    spec = world.up()
    changed = replace(spec, environment={"GREETING": "hello"})
    world.driver.close()
    world.driver = world.another_driver(seconds=0.5)
    eventually(world.is_blind, lambda blind: not blind)
    world.proxy.rule = lambda call: Wait(2) if call.is_change else None
    begun = time.monotonic()
    with pytest.raises(DriverError) as caught:
        do(world.driver, Verb.UPDATE, changed)
    assert caught.value.reason == "no_answer"
    assert time.monotonic() - begun < 2
    world.proxy.rule = lambda _: None
    world.settle(changed, State.RUNNING)
    assert len(world.pods(spec)) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [SECRET, SERVICE, DEPLOYMENT])
def test_an_answer_to_a_change_that_was_lost_is_made_good(
    world: KubernetesWorld, kind: Kind, after: bool
) -> None:
    world.up()  # so that what the tenant has is there
    spec = instance()
    world.proxy.rule = lambda call: Lose(after) if call.is_change and kind.plural in call.path else None
    with pytest.raises(DriverError, match="does not answer"):
        do(world.driver, Verb.CREATE, spec)
    assert (world.live(world.path(kind, spec)) is not None) == after
    world.proxy.rule = lambda _: None
    world.settle(spec, State.RUNNING)
    assert one_of_each(world, spec)
    world.proxy.rule = lambda call: Lose(after) if call.is_change and kind.plural in call.path else None
    with pytest.raises(DriverError, match="does not answer"):
        do(world.driver, Verb.REMOVE, spec)
    world.proxy.rule = lambda _: None
    world.remove(spec)
    assert world.driver.observe(spec) == ABSENT


def one_of_each(world: KubernetesWorld, spec: InstanceSpec) -> bool:
    mine = f"?labelSelector={INSTANCE}={spec.id}"
    counts = {
        kind.plural: len(world.plane.call("GET", kind.path(world.namespace(spec)) + mine)["items"])
        for kind in (SECRET, SERVICE, DEPLOYMENT, POD)
    }
    return set(counts.values()) == {1}


# --- Old news -------------------------------------------------------------------------------------


def test_what_was_written_is_read_even_where_the_watch_is_held_up(world: KubernetesWorld) -> None:
    running = world.up()
    world.proxy.passes = lambda *_: False
    new = instance()
    do(world.driver, Verb.CREATE, new)
    assert world.driver.observe(new).state == State.STARTING
    assert new.id in world.driver.inventory()
    changed = replace(running, environment={"GREETING": "hello"})
    do(world.driver, Verb.UPDATE, changed)
    assert world.driver.observe(changed).digest == changed.digest()
    off = replace(changed, power=False)
    do(world.driver, Verb.STOP, off)
    assert world.driver.observe(off).state in (State.STOPPING, State.STOPPED)
    with world.proxy.counting() as calls:
        do(world.driver, Verb.STOP, off)
    assert calls == []  # it is known to be done
    do(world.driver, Verb.REMOVE, new)
    assert world.driver.observe(new).state in (State.STOPPING, State.STOPPED)
    world.proxy.passes = lambda *_: True
    world.proxy.cut_watches()
    world.settle(off, State.STOPPED)
    world.remove(new)


# --- At rest --------------------------------------------------------------------------------------


def test_looking_costs_the_api_server_nothing(world: KubernetesWorld) -> None:
    on, off = [world.up() for _ in range(3)], instance(power=False)
    world.settle(off, State.STOPPED)
    eventually(lambda: [world.driver.observe(spec).state for spec in on], lambda _: True)
    with world.proxy.counting() as calls:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert [world.driver.observe(spec).state for spec in on] == [State.RUNNING] * 3
            assert world.driver.observe(off).state == State.STOPPED
            assert world.driver.observe(instance()) == ABSENT
            assert len(world.driver.inventory()) == 4
            do(world.driver, Verb.UPDATE, on[0])
            world.driver.remove_tenants_except({off.tenant})
    assert calls == []


def test_what_a_tenant_shares_concerns_all_its_instances(world: KubernetesWorld) -> None:
    one, two, stranger = world.up(tenant="alice"), world.up(tenant="alice"), world.up(tenant="bob")
    path = world.path(RESOURCE_QUOTA, one)
    with watching(world.driver) as named:
        settle_down(named, one, two, stranger)
        world.edit(path, {"spec": {"hard": {"pods": "1"}}})
        eventually(lambda: {one.id, two.id} <= set(named), bool)
        assert stranger.id not in named


def test_counting_what_a_tenant_uses_concerns_nobody(world: KubernetesWorld) -> None:
    """The cluster writes it into the quota whenever a pod of the tenant comes or goes."""
    spec = instance(power=False)  # else its pod would be news too
    world.settle(spec, State.STOPPED)
    eventually(lambda: world.live(world.path(DEPLOYMENT, spec)), is_told_about)
    path = world.path(RESOURCE_QUOTA, spec)
    seen: list[str] = []

    def note(call: Call, event: Any) -> bool:
        seen.append(event["object"].get("status", {}).get("used", {}).get("pods", ""))
        return True

    with watching(world.driver) as named:
        settle_down(named, spec)
        world.proxy.passes = lambda call, event: note(call, event) if "resourcequotas" in call.path else True
        world.plane.call("PATCH", f"{path}/status", {"status": {"used": {"pods": "17"}}}, headers=MERGE_PATCH)
        eventually(lambda: "17" in seen, bool)
        touch(world, world.up(tenant="another"))  # news that comes after it
        eventually(lambda: len(named) > 0, bool)
        assert spec.id not in named


def is_told_about(deployment: Any) -> bool:
    """By its controller, whose status is the last that happens to one that is off."""
    return any(one["type"] == "Available" for one in deployment["status"].get("conditions", []))


# --- A control plane that breaks ------------------------------------------------------------------


@pytest.fixture(scope="module")
def breakable(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """One that these tests may end. Its nodes are given up for lost after two seconds without a word."""
    quick = ("--node-monitor-period=500ms", "--node-monitor-grace-period=5s")
    with ControlPlane(controller_arguments=quick) as plane:
        yield plane


@pytest.fixture
def house(breakable: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(breakable) as world:
        yield world


@contextmanager
def down(plane: ControlPlane, program: str) -> Iterator[None]:
    plane.kill(program)
    try:
        yield
    finally:
        plane.start(program)


def test_an_api_server_that_was_killed_says_nothing_and_then_goes_on(house: KubernetesWorld) -> None:
    spec = house.up()
    with down(house.plane, "kube-apiserver"):
        told = until_an_error(house.driver, spec)
        assert told[-1].reason == "no_answer"  # type: ignore[union-attr]
        assert not told[-1].permanent  # type: ignore[union-attr]
        assert ABSENT not in told
        with pytest.raises(DriverError):
            house.driver.check()
    assert is_running(eventually(lambda: look(house.driver, spec), bool, seconds=40))
    sees_a_touch(house, spec)


def until_an_error(driver: KubernetesDriver, spec: InstanceSpec) -> list[Observation | DriverError]:
    told: list[Observation | DriverError] = []
    eventually(lambda: told.extend(looks(driver, spec, 0.1)), lambda _: isinstance(told[-1], DriverError))
    return told


def test_an_api_server_that_has_forgotten_what_was_is_asked_for_all(house: KubernetesWorld) -> None:
    """A new one remembers little of the time before it, and says so within a watch from there."""
    spec = house.up()
    with down(house.plane, "kube-apiserver"):
        pass
    eventually(lambda: look(house.driver, spec), is_running, seconds=40)
    begin = len(house.proxy.calls)

    def from_the_beginning(call: Call) -> Fate:
        return Instead({**call.query, "resourceVersion": "1"}) if call.is_watch else None

    def asked_for_all() -> bool:
        house.proxy.cut_watches()
        assert ABSENT not in looks(house.driver, spec, 0.3)
        return any(call.is_list for call in house.proxy.calls[begin:])

    house.proxy.rule = from_the_beginning
    eventually(asked_for_all, bool)
    assert not [one for one in house.proxy.answers if one.status == 410]
    house.proxy.rule = lambda _: None
    house.proxy.cut_watches()
    house.settle(spec, State.RUNNING)
    sees_a_touch(house, spec)


def test_without_its_store_the_api_server_tells_of_no_absence(house: KubernetesWorld) -> None:
    spec = house.up()
    house.driver.close()
    house.driver = house.another_driver(seconds=1)
    house.driver.inventory()
    changed = replace(spec, environment={"GREETING": "hello"})
    with down(house.plane, "etcd"):
        with pytest.raises(DriverError) as caught:
            do(house.driver, Verb.UPDATE, changed)
        assert not caught.value.permanent
        house.proxy.cut_watches()
        assert ABSENT not in looks(house.driver, spec, 1)
        newly = house.another_driver(seconds=1)
        assert all(isinstance(one, DriverError) for one in looks(newly, spec, 1))
        newly.close()
    house.settle(changed, State.RUNNING, seconds=60)


def test_an_api_server_that_hangs_tells_of_no_absence(house: KubernetesWorld) -> None:
    """It accepts connections and answers nothing."""
    spec = house.up()
    plane = house.plane
    drivers = [directly(plane, house), directly(plane, house)]
    known, unknown = drivers
    assert known.observe(spec).state == State.RUNNING
    plane.pause("kube-apiserver")
    try:
        assert all(is_running(one) for one in looks(known, spec, 0.5))
        begun = time.monotonic()
        with pytest.raises(DriverError) as caught:
            do(known, Verb.STOP, replace(spec, power=False))
        assert caught.value.reason == "no_answer"
        with pytest.raises(DriverError):
            unknown.observe(spec)
        with pytest.raises(DriverError):
            known.check()
        assert time.monotonic() - begun < 8
    finally:
        plane.resume("kube-apiserver")
    # What it was asked for in the meantime, it may do now.
    house.settle(spec, State.RUNNING, seconds=30)
    eventually(lambda: look(unknown, spec), is_running)
    for driver in drivers:
        driver.close()


def directly(plane: ControlPlane, world: KubernetesWorld) -> KubernetesDriver:
    """Without a proxy, whose own connections would have to break first."""
    api = ApiServer.connect(kubeconfig=str(plane.kubeconfig), request_seconds=1)
    return KubernetesDriver(api, world.cluster, 1)


def test_a_node_that_falls_silent_is_told(house: KubernetesWorld) -> None:
    spec = house.up()
    house.plane.pause("kwok")
    try:
        seen = eventually(
            lambda: house.driver.observe(spec), lambda seen: seen.reason == "node_lost", seconds=30
        )
        assert seen.state == State.BACKOFF
        assert seen.message.startswith("The node that it runs on does not answer.")
    finally:
        house.plane.resume("kwok")
    until(house.driver, spec, State.RUNNING, seconds=30)
