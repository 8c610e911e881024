"""What somebody else removes or changes is seen, told without a value, and put back."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tenants.provisioning.cluster.api_server import REMOVAL_SECONDS
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    INGRESS,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.cluster.settings import Namespaces
from tenants.provisioning.driver import DriverError
from tenants.provisioning.manifests import INSTANCE, owned_kinds
from tenants.provisioning.plan import Verb, plan
from tenants.provisioning.spec import InstanceSpec, Quota, State
from tests.cluster.access import Access
from tests.cluster.worlds import (
    KubernetesWorld,
    kubernetes_world,
    repair,
    settle_down,
    shared_namespace,
)
from tests.drivers.worlds import do, eventually, instance, until, watching

WITHIN = 5  # seconds until a change is named
SECRET_TEXT = "correct-horse-battery-staple"
QUOTA = Quota(memory=64 * 1024, disk=100)


@pytest.fixture(scope="module")
def world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world


@pytest.fixture(scope="module")
def kitchen(world: KubernetesWorld) -> InstanceSpec:
    """One instance with everything that one can have."""
    return world.up_with_disk(instance(disk=1, environment={"PASSWORD": SECRET_TEXT}, quota=QUOTA))


@pytest.fixture(scope="module")
def news(world: KubernetesWorld, kitchen: InstanceSpec) -> Iterator[list[str]]:
    """The ids that the watch names."""
    with watching(world.driver) as named:
        settle_down(named, kitchen)
        yield named


@pytest.fixture
def own_world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world


SPEC = "spec"
EDITS: list[tuple[Kind, int, dict[str, Any], str]] = [
    (
        NAMESPACE,
        0,
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
        "metadata.labels[pod-security.kubernetes.io/enforce]",
    ),
    (RESOURCE_QUOTA, 0, {SPEC: {"hard": {"pods": "1000"}}}, "spec.hard.pods"),
    (LIMIT_RANGE, 0, {SPEC: {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}, "spec.limits"),
    (NETWORK_POLICY, 0, {SPEC: {"ingress": [{}]}}, "spec.ingress"),
    (NETWORK_POLICY, 1, {SPEC: {"ingress": None}}, "spec.ingress"),
    (NETWORK_POLICY, 2, {SPEC: {"egress": [{}]}}, "spec.egress"),
    (SECRET, 0, {"data": {"PASSWORD": "c3RvbGVu"}}, "data.PASSWORD"),
    (
        PERSISTENT_VOLUME_CLAIM,
        0,
        {"metadata": {"labels": {"app.kubernetes.io/part-of": None}}},
        "metadata.labels[app.kubernetes.io/part-of]",
    ),
    (SERVICE, 0, {SPEC: {"selector": {"more": "labels"}}}, "spec.selector.more"),
    (INGRESS, 0, {SPEC: {"rules": [{"host": "theirs.example.com"}]}}, "spec.rules"),
    (DEPLOYMENT, 0, {SPEC: {"replicas": 3}}, "spec.replicas"),
    (
        DEPLOYMENT,
        0,
        {SPEC: {"template": {"metadata": {"annotations": {"flowstead/digest": "another"}}}}},
        "",  # what it runs is not what is wanted, so that it is updated
    ),
]


def test_every_kind_is_edited_here(world: KubernetesWorld) -> None:
    assert {kind for kind, *_ in EDITS} == set(owned_kinds(world.cluster))


@pytest.mark.parametrize(("kind", "number", "patch", "changed"), EDITS)
def test_an_edit_is_seen_and_put_back(
    world: KubernetesWorld,
    kitchen: InstanceSpec,
    news: list[str],
    kind: Kind,
    number: int,
    patch: dict[str, Any],
    changed: str,
) -> None:
    path = world.path(kind, kitchen, number)
    before = ours(world.live(path))
    with named(news, kitchen):
        world.edit(path, patch)
    seen = eventually(lambda: world.driver.observe(kitchen), lambda seen: bool(plan(kitchen, seen)))
    if changed:
        assert seen.drift == (f"{kind.kind} {path.rpartition('/')[2]} was changed: {changed}",)
    for action in plan(kitchen, seen):
        do(world.driver, action.verb, kitchen)
    assert plan(kitchen, world.driver.observe(kitchen)) == []
    assert ours(world.live(path)) == before
    until(world.driver, kitchen, State.RUNNING)


@contextmanager
def named(news: list[str], spec: InstanceSpec) -> Iterator[None]:
    """What happens meanwhile has the watch name the instance, within seconds."""
    settle_down(news)
    yield
    eventually(lambda: spec.id in news, bool, WITHIN)


def ours(live: Any) -> Any:
    """Without what the API server counts."""
    assert live is not None
    counted = {"resourceVersion", "generation", "managedFields"}
    metadata = {key: value for key, value in live["metadata"].items() if key not in counted}
    annotations = metadata.get("annotations", {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    return {**live, "metadata": metadata, "status": None}


DELETED: list[tuple[Kind, int]] = [
    (RESOURCE_QUOTA, 0),
    (LIMIT_RANGE, 0),
    *((NETWORK_POLICY, number) for number in range(3)),
    (SECRET, 0),
    (SERVICE, 0),
    (INGRESS, 0),
    (DEPLOYMENT, 0),
]


@pytest.mark.parametrize(("kind", "number"), DELETED)
def test_what_was_deleted_is_seen_and_comes_back(
    world: KubernetesWorld, kitchen: InstanceSpec, news: list[str], kind: Kind, number: int
) -> None:
    path = world.path(kind, kitchen, number)
    with named(news, kitchen):
        world.delete(path)
    seen = eventually(lambda: world.driver.observe(kitchen), lambda seen: bool(seen.drift), seconds=20)
    assert seen.drift == (f"{kind.kind} {path.rpartition('/')[2]} was missing",)
    repair(world, kitchen)
    assert world.live(path) is not None
    assert world.driver.observe(kitchen).drift == ()
    until(world.driver, kitchen, State.RUNNING)


def test_every_kind_is_deleted_here(world: KubernetesWorld) -> None:
    apart = {NAMESPACE, PERSISTENT_VOLUME_CLAIM}  # each in a test of its own
    assert {kind for kind, _ in DELETED} | apart == set(owned_kinds(world.cluster))


@pytest.mark.parametrize("kind", [POD, REPLICA_SET])
def test_what_kubernetes_heals_itself_is_left_to_it(
    world: KubernetesWorld, kitchen: InstanceSpec, news: list[str], kind: Kind
) -> None:
    before = until(world.driver, kitchen, State.RUNNING)
    mine = f"{kind.path(world.namespace(kitchen))}?labelSelector={INSTANCE}={kitchen.id}"
    name = world.plane.call("GET", mine)["items"][0]["metadata"]["name"]
    with named(news, kitchen), world.proxy.counting() as calls:
        world.delete(kind.path(world.namespace(kitchen), name))
        after = eventually(
            lambda: world.driver.observe(kitchen),
            lambda seen: seen.state == State.RUNNING and seen.incarnation != before.incarnation,
        )
    assert after.drift == ()
    assert [call for call in calls if call.is_change] == []


def test_the_words_never_hold_a_secret(world: KubernetesWorld, kitchen: InstanceSpec) -> None:
    path = world.path(SECRET, kitchen)
    data = world.live(path)["data"]  # type: ignore[index]
    world.edit(path, {"data": dict.fromkeys(data, "c3RvbGVu")})
    seen = eventually(lambda: world.driver.observe(kitchen), lambda seen: bool(seen.drift))
    assert seen.drift[0].startswith("Secret ")
    for value in (*data.values(), *(b64decode(value).decode() for value in data.values()), "c3RvbGVu"):
        assert len(value) < 3 or value not in seen.drift[0].replace(path.rpartition("/")[2], "")
    repair(world, kitchen)
    assert world.live(path)["data"] == data  # type: ignore[index]


def test_a_change_that_cannot_be_taken_back_in_place_is_made_anew(
    world: KubernetesWorld, kitchen: InstanceSpec
) -> None:
    """The type of a Secret is for its life."""
    path = world.path(SECRET, kitchen)
    world.delete(path)
    made = {"metadata": world.manifest(SECRET, kitchen)["metadata"], "type": "example.com/theirs"}
    world.plane.call("POST", path.rpartition("/")[0], made)
    world.settle(kitchen, State.RUNNING)
    assert world.live(path)["type"] == "Opaque"  # type: ignore[index]


# --- More than one object -------------------------------------------------------------------------


def test_a_namespace_that_was_deleted_comes_back_as_a_whole(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    own_world.plane.kubectl("delete", "namespace", own_world.namespace(spec), "--wait=false")
    eventually(lambda: own_world.driver.observe(spec), lambda seen: seen.state != State.RUNNING)
    own_world.settle(spec, State.RUNNING, seconds=40)


def test_a_namespace_that_takes_long_to_go_is_waited_for_and_asked_nothing(
    own_world: KubernetesWorld,
) -> None:
    spec = own_world.up()
    namespace = own_world.namespace(spec)
    of_tenant = tuple(kind.plural for kind in (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY))
    own_world.plane.kubectl("-n", namespace, "create", "configmap", "held")
    held = f"/api/v1/namespaces/{namespace}/configmaps/held"
    own_world.edit(held, {"metadata": {"finalizers": ["example.com/held"]}})
    own_world.proxy.passes = lambda call, _: not call.path.endswith(of_tenant)  # nobody has told of their end
    own_world.plane.kubectl("delete", "namespace", namespace, "--wait=false")
    until(own_world.driver, spec, State.ABSENT, seconds=40)
    with own_world.proxy.counting() as calls:
        for _ in range(3):
            with pytest.raises(DriverError) as caught:
                do(own_world.driver, Verb.CREATE, spec)
            assert (caught.value.reason, caught.value.retry_after) == ("being_removed", REMOVAL_SECONDS)
            assert str(caught.value) == f"Namespace {namespace} is still being removed."
    assert [call for call in calls if not call.is_watch] == []
    own_world.proxy.passes = lambda *_: True
    own_world.proxy.cut_watches()
    own_world.edit(held, {"metadata": {"finalizers": None}})
    own_world.settle(spec, State.RUNNING, seconds=40)


def test_a_deployment_that_was_taken_away_from_above_its_pod(own_world: KubernetesWorld) -> None:
    """The pod runs on, and nothing would ever end it."""
    spec = own_world.up()
    before = own_world.driver.observe(spec)
    orphan(own_world, spec)
    own_world.proxy.passes = lambda call, _: "replicasets" not in call.path  # adopted, and nobody has told
    with own_world.proxy.counting() as calls:
        repair(own_world, spec)
    assert [call.path for call in calls if call.is_change] == [own_world.path(DEPLOYMENT, spec)]
    own_world.proxy.passes = lambda *_: True
    own_world.proxy.cut_watches()
    own_world.settle(spec, State.RUNNING)
    assert own_world.driver.observe(spec).incarnation == before.incarnation  # adopted
    assert len(own_world.pods(spec)) == 1


def test_a_pod_without_its_deployment_goes_with_its_instance(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    orphan(own_world, spec)
    own_world.remove(spec)
    own_world.driver.remove_orphan(spec.id)
    for kind in (*owned_kinds(own_world.cluster)[4:], REPLICA_SET, POD):
        mine = f"{kind.path(own_world.namespace(spec))}?labelSelector={INSTANCE}={spec.id}"
        assert own_world.plane.call("GET", mine)["items"] == []


def orphan(world: KubernetesWorld, spec: InstanceSpec) -> None:
    name = f"deployment/node-red-{spec.name}"
    world.plane.kubectl("-n", world.namespace(spec), "delete", name, "--cascade=orphan")
    eventually(lambda: world.driver.observe(spec).state, lambda state: state == State.STOPPED)


def test_a_finalizer_of_somebody_else_is_waited_for(own_world: KubernetesWorld) -> None:
    """As the controller of a load balancer holds a Service until its address is free."""
    spec = own_world.up()
    path = own_world.path(SERVICE, spec)
    own_world.edit(path, {"metadata": {"finalizers": ["example.com/address"]}})
    gone = replace(spec, retired=True)
    do(own_world.driver, Verb.REMOVE, gone)
    eventually(lambda: own_world.pods(spec), lambda pods: not pods)
    with own_world.proxy.counting() as calls:
        for _ in range(3):
            own_world.one_pass(gone)
    assert calls == []  # it has been asked to go
    assert own_world.driver.observe(gone).state != State.ABSENT
    assert spec.id in own_world.driver.inventory()
    with pytest.raises(DriverError, match=r"Service .* is still being removed"):
        do(own_world.driver, Verb.CREATE, spec)
    own_world.edit(path, {"metadata": {"finalizers": None}})
    own_world.remove(gone)


# --- Other settings -------------------------------------------------------------------------------


def test_other_settings_renew_objects_without_a_restart(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    before = own_world.driver.observe(spec)
    own_world.restart_driver(ingress_class="other", allowed_networks=("10.1.0.0/16",))
    seen = own_world.driver.observe(spec)
    assert seen.drift == (
        "NetworkPolicy flowstead-egress was renewed",
        f"Ingress node-red-{spec.name} was renewed",
    )
    repair(own_world, spec)
    assert own_world.live(own_world.path(INGRESS, spec))["spec"]["ingressClassName"] == "other"  # type: ignore[index]
    assert own_world.driver.observe(spec) == before


def test_instances_move_with_their_namespaces(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    before = own_world.path(DEPLOYMENT, spec)
    own_world.restart_driver(namespace_prefix=f"t{uuid4().hex[:8]}")
    own_world.settle(spec, State.RUNNING)
    eventually(lambda: own_world.live(before), lambda live: live is None)
    assert own_world.driver.observe(spec).state == State.RUNNING
    own_world.remove(spec)


def test_in_the_one_namespace_policies_are_put_back_too(cluster: Access) -> None:
    with shared_namespace(cluster) as namespace:
        single = {"namespaces": Namespaces.SINGLE, "namespace": namespace}
        with kubernetes_world(cluster, **single) as world:
            spec = world.up()
            with watching(world.driver) as news:
                settle_down(news, spec)
                with named(news, spec):
                    for number in range(3):
                        world.delete(world.path(NETWORK_POLICY, spec, number))
            eventually(lambda: world.driver.observe(spec).drift, lambda drift: len(drift) == 3)
            repair(world, spec)
            assert world.driver.observe(spec).drift == ()


# --- Disks ----------------------------------------------------------------------------------------


@pytest.fixture
def with_disk(own_world: KubernetesWorld) -> InstanceSpec:
    """Of a class whose disks can grow."""
    plane = own_world.own_plane
    name = f"growing-{uuid4().hex[:8]}"
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    body = {"metadata": {"name": name}, "provisioner": "flowstead.test/volumes", "allowVolumeExpansion": True}
    plane.call("POST", classes, body)
    own_world.restart_driver(storage_class=name)
    return own_world.up_with_disk(instance(disk=2))


def size_of(world: KubernetesWorld, spec: InstanceSpec) -> str:
    live = world.live(world.path(PERSISTENT_VOLUME_CLAIM, spec))
    assert live is not None
    return str(live["spec"]["resources"]["requests"]["storage"])


def test_a_disk_grows_and_never_shrinks(own_world: KubernetesWorld, with_disk: InstanceSpec) -> None:
    large = own_world.up(with_disk, disk=5)
    assert size_of(own_world, large) == "5Gi"
    small = own_world.up(large, disk=1)
    assert size_of(own_world, small) == "5Gi"
    assert plan(small, own_world.driver.observe(small)) == []


def test_a_disk_keeps_its_class(own_world: KubernetesWorld, with_disk: InstanceSpec) -> None:
    path = own_world.path(PERSISTENT_VOLUME_CLAIM, with_disk)
    before = own_world.live(path)
    incarnation = own_world.driver.observe(with_disk).incarnation
    own_world.restart_driver(storage_class="standard")
    own_world.settle(with_disk, State.RUNNING)
    after = own_world.live(path)
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert own_world.driver.observe(with_disk).incarnation == incarnation


def test_a_disk_goes_with_its_instance_and_with_nothing_less(
    own_world: KubernetesWorld, with_disk: InstanceSpec
) -> None:
    path = own_world.path(PERSISTENT_VOLUME_CLAIM, with_disk)
    off = replace(with_disk, power=False)
    own_world.settle(off, State.STOPPED)
    without = replace(off, disk=0)
    own_world.settle(without, State.STOPPED)
    assert own_world.live(path) is not None
    own_world.remove(without)
    assert own_world.live(path) is None


def test_a_disk_that_somebody_deletes_holds_nothing_up(
    own_world: KubernetesWorld, with_disk: InstanceSpec
) -> None:
    """It stays as long as the pod does. With the next start there is a new one, and a new volume."""
    path = own_world.path(PERSISTENT_VOLUME_CLAIM, with_disk)
    own_world.delete(path)
    assert plan(with_disk, own_world.driver.observe(with_disk)) == []
    off = replace(with_disk, power=False)
    own_world.settle(off, State.STOPPED)
    eventually(lambda: (own_world.one_pass(off), own_world.live(path))[1], is_there)


def is_there(live: Any) -> bool:
    return live is not None and "deletionTimestamp" not in live["metadata"]


# --- A tenant -------------------------------------------------------------------------------------


def test_what_was_made_for_tenants_goes_with_them(own_world: KubernetesWorld) -> None:
    stays, goes = own_world.up(tenant="alice"), own_world.up(tenant="bob")
    assert own_world.driver.remove_tenants_except({"alice", "bob"}) == []
    assert own_world.driver.remove_tenants_except({"alice"}) == ["bob"]
    assert not is_there(own_world.live(own_world.path(NAMESPACE, goes)))
    assert is_there(own_world.live(own_world.path(NAMESPACE, stays)))
    eventually(lambda: own_world.driver.observe(goes).state, lambda state: state != State.RUNNING)
    assert own_world.driver.observe(stays).state == State.RUNNING
