"""Why an instance does not run, in plain words: from real pods, a real scheduler and real admission."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tenants.provisioning.cluster.kinds import POD, RESOURCE_QUOTA
from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import InstanceSpec, Observation, Quota, State
from tests.cluster.access import MERGE_PATCH
from tests.cluster.control_plane import ControlPlane
from tests.cluster.worlds import KubernetesWorld, kubernetes_world
from tests.drivers.worlds import do, eventually, instance, until


@pytest.fixture(scope="module")
def world(control_plane: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(control_plane) as world:
        yield world


def created(world: KubernetesWorld, **changes: object) -> InstanceSpec:
    spec = instance(**changes)
    do(world.driver, Verb.CREATE, spec)
    return spec


def told(world: KubernetesWorld, spec: InstanceSpec, reason: str) -> Observation:
    return eventually(lambda: world.driver.observe(spec), lambda seen: seen.reason == reason)


def recovers(world: KubernetesWorld, spec: InstanceSpec) -> None:
    world.set_fate(spec, None)
    seen = until(world.driver, spec, State.RUNNING)
    assert (seen.reason, seen.message) == ("", "")


def test_an_image_that_cannot_be_fetched(world: KubernetesWorld) -> None:
    spec = created(world, image="registry.example.com/does-not-exist:5")
    seen = told(world, spec, "image_not_pulled")
    assert seen.state == State.BACKOFF
    assert seen.message.startswith("Its image cannot be fetched: ")
    assert "registry.example.com/does-not-exist:5" in seen.message
    with_another = replace(spec, image="registry.example.com/node-red:5")
    world.settle(with_another, State.RUNNING)


@pytest.mark.parametrize(
    ("fate", "reason", "message"),
    [
        ("exit-3", "exited", "It ended with exit code 3."),
        ("exit-0", "exited", "It ended with exit code 0."),
        ("exit-139", "killed", "It was ended by the signal SIGSEGV."),
        ("oom", "out_of_memory", "It needed more memory than its size gives it."),
    ],
)
def test_a_process_that_keeps_ending(world: KubernetesWorld, fate: str, reason: str, message: str) -> None:
    spec = world.up()
    before = world.driver.observe(spec)
    world.set_fate(spec, fate)
    seen = told(world, spec, reason)
    assert seen.state == State.BACKOFF
    assert seen.message.startswith(message)
    again = eventually(
        lambda: world.driver.observe(spec),
        lambda seen: seen.state == State.BACKOFF and "has been restarted" in seen.message,
    )
    assert again.reason == reason
    assert again.incarnation != before.incarnation
    recovers(world, spec)


def test_one_that_never_answers_is_starting(world: KubernetesWorld) -> None:
    spec = created(world, image="registry.example.com/never-ready:5")
    eventually(
        lambda: world.pods(spec),
        lambda pods: any(pod["status"]["phase"] == "Running" for pod in pods),
    )
    assert world.driver.observe(spec).state == State.STARTING
    assert world.driver.observe(spec).reason == ""
    world.settle(replace(spec, image="registry.example.com/node-red:5"), State.RUNNING)


def test_a_size_that_no_node_has_room_for(world: KubernetesWorld) -> None:
    spec = created(world, memory=10 * 1024 * 1024)
    seen = told(world, spec, "no_room")
    assert seen.state == State.STARTING
    assert seen.message.startswith("No node has room for it: ")
    assert "Insufficient memory" in seen.message
    world.settle(replace(spec, memory=256), State.RUNNING)


def test_nodes_that_are_not_there(control_plane: ControlPlane) -> None:
    with kubernetes_world(control_plane, node_selector={"pool": "nowhere"}) as world:
        seen = told(world, created(world), "no_room")
        assert seen.message.startswith("No node can take it: ")


def test_a_quota_that_is_reached(control_plane: ControlPlane) -> None:
    with kubernetes_world(control_plane) as world:
        small = Quota(memory=300)
        first = world.up(quota=small)
        second = created(world, quota=small)
        seen = told(world, second, "quota_reached")
        assert seen.state == State.BACKOFF
        assert seen.message.startswith("The quota has no room left for its memory: ")
        assert "limited: limits.memory=300Mi" in seen.message
        assert world.driver.observe(first).state == State.RUNNING
        raised = replace(second, quota=Quota(memory=1024))
        assert [word for word in world.driver.observe(raised).drift if RESOURCE_QUOTA.kind in word]
        world.settle(raised, State.RUNNING)


def test_a_disk_that_the_quota_does_not_allow(control_plane: ControlPlane) -> None:
    with kubernetes_world(control_plane) as world:
        spec = instance(disk=10, quota=Quota(disk=5))
        refused = pytest.raises(DriverError, match=r"The tenant's quota is reached: .*requests\.storage=5Gi")
        with refused as caught:
            eventually(lambda: create_unless_too_soon(world, spec), bool)
        assert caught.value.reason == "quota_reached"
        assert not caught.value.permanent
        assert not world.pods(spec)


def create_unless_too_soon(world: KubernetesWorld, spec: InstanceSpec) -> bool:
    """A quota that has just been made lets nothing in until it has been counted once."""
    try:
        do(world.driver, Verb.CREATE, spec)
    except DriverError as error:
        if error.reason == "conflict":
            return False
        raise
    return True


def test_a_disk_that_is_not_there_yet(world: KubernetesWorld) -> None:
    spec = created(world, disk=1)
    seen = told(world, spec, "volume_pending")
    assert seen.state == State.STARTING
    assert seen.message.startswith("Its disk is not ready: ")
    assert world.plane.bind_volumes(world.namespace(spec)) == 1
    until(world.driver, spec, State.RUNNING, seconds=30)


def test_a_pod_that_was_evicted_is_replaced(world: KubernetesWorld) -> None:
    spec = world.up()
    before = world.driver.observe(spec)
    world.set_fate(spec, "unready")
    until(world.driver, spec, State.STARTING)
    pod = world.pods(spec)[0]
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    path = f"{POD.path(world.namespace(spec), pod['metadata']['name'])}/status"
    world.plane.call("PATCH", path, {"status": evicted}, headers=MERGE_PATCH)
    after = eventually(
        lambda: world.driver.observe(spec),
        lambda seen: seen.state == State.RUNNING and seen.incarnation != before.incarnation,
    )
    assert len(world.pods(spec)) == 2  # the evicted one is kept, so that its reason can be read
    assert after.drift == ()
    world.remove(spec)
    assert not world.pods(spec)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://in_valid.example.com"}, r"Ingress.*spec\.rules\[0\]\.host.*in_valid\.example\.com"),
        ({"environment": {"NOVEL": "word " * 300_000}}, r"Secret.*data: Too long"),
        ({"tenant": "Not_A_Label"}, r"Namespace.*metadata\.name.*Not_A_Label"),
    ],
)
def test_what_the_api_server_does_not_accept_is_told_in_its_words(
    world: KubernetesWorld, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DriverError, match=words) as caught:
        do(world.driver, Verb.CREATE, instance(**changes))
    assert caught.value.reason == "invalid"
    assert caught.value.permanent


def test_a_pod_that_the_api_server_does_not_accept(world: KubernetesWorld) -> None:
    """A Deployment is accepted with it: only its pods are looked at so closely."""
    seen = told(world, created(world, image=" node-red:5"), "no_pod")
    assert seen.state == State.BACKOFF
    assert seen.message.startswith("Kubernetes cannot make its pod: ")
    assert "must not have leading or trailing whitespace" in seen.message


def test_what_the_cluster_forbids_is_told_in_its_words(control_plane: ControlPlane) -> None:
    nobody = control_plane.user_kubeconfig("nobody")
    with kubernetes_world(control_plane, kubeconfig=nobody) as world:
        with pytest.raises(DriverError, match=r'User "nobody" cannot list resource') as caught:
            world.driver.observe(instance())
        assert caught.value.reason == "forbidden"
        assert not caught.value.permanent  # no change of the instance would end it
