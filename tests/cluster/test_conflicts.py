"""Others in the same cluster: another installation, somebody with kubectl, a controller of somebody else's."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tenants.provisioning.cluster.kinds import DEPLOYMENT, NAMESPACE, SECRET, SERVICE, Kind
from tenants.provisioning.cluster.settings import Namespaces
from tenants.provisioning.driver import DriverError
from tenants.provisioning.manifests import INSTALLATION, INSTANCE
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import InstanceSpec, State
from tests.cluster.access import Access
from tests.cluster.proxy import Call
from tests.cluster.worlds import KubernetesWorld, kubernetes_world, repair, shared_namespace
from tests.drivers.worlds import do, eventually, instance, until


@pytest.fixture(scope="module")
def world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world


@pytest.fixture
def own_world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def refused(world: KubernetesWorld, spec: InstanceSpec, verb: Verb = Verb.CREATE) -> str:
    with pytest.raises(DriverError) as caught:
        do(world.driver, verb, spec)
    assert caught.value.reason == "name_taken_in_cluster"
    assert caught.value.permanent
    return str(caught.value)


def versions(world: KubernetesWorld, spec: InstanceSpec) -> dict[str, Any]:
    """Of what somebody else has in its place: who writes, changes the version."""
    paths = [world.path(kind, spec) for kind in (NAMESPACE, SECRET, SERVICE)]
    return {path: world.live(path)["metadata"]["resourceVersion"] for path in paths}  # type: ignore[index]


# --- Two installations ----------------------------------------------------------------------------


def test_a_tenants_namespace_belongs_to_the_first_installation(
    world: KubernetesWorld, stack: ExitStack
) -> None:
    spec = world.up()
    other = stack.enter_context(
        kubernetes_world(world.plane, namespace_prefix=world.cluster.namespace_prefix)
    )
    before = versions(world, spec)
    words = refused(other, instance())
    assert words == f"Namespace {world.namespace(spec)} exists already in the cluster and is not ours."
    assert other.driver.inventory() == set()
    assert other.driver.remove_tenants_except(()) == []
    assert versions(world, spec) == before
    assert world.driver.observe(spec).drift == ()


def test_installations_that_come_at_the_same_moment_do_not_share(
    world: KubernetesWorld, stack: ExitStack
) -> None:
    """Each has looked, and there was nothing yet."""
    prefix = world.cluster.namespace_prefix
    other = stack.enter_context(kubernetes_world(world.plane, namespace_prefix=prefix))
    spec = instance(tenant="racing")

    def first(call: Call) -> None:
        if call.method == "PATCH":
            other.proxy.rule = lambda _: None
            do(world.driver, Verb.CREATE, spec)

    other.proxy.rule = first
    assert "Namespace" in refused(other, instance(tenant="racing"))
    until(world.driver, spec, State.RUNNING)
    assert world.driver.observe(spec).drift == ()


def test_installations_side_by_side_never_touch_each_other(world: KubernetesWorld, stack: ExitStack) -> None:
    """With the same tenants, and even with the same names."""
    other = stack.enter_context(kubernetes_world(world.plane))
    mine = world.up()
    theirs = other.up(name=mine.name, url=mine.url)
    assert other.driver.inventory() == {theirs.id}
    assert theirs.id not in world.driver.inventory()
    before = versions(world, mine)
    other.driver.remove_orphan(mine.id)
    other.driver.remove_tenants_except({theirs.tenant})
    other.remove(theirs)
    assert other.driver.remove_tenants_except(()) == [theirs.tenant]
    gone = other.live(other.path(NAMESPACE, theirs))
    assert gone is None or "deletionTimestamp" in gone["metadata"]
    assert versions(world, mine) == before
    assert world.driver.observe(mine).state == State.RUNNING


def test_installations_may_share_the_one_namespace_of_all(cluster: Access, stack: ExitStack) -> None:
    namespace = stack.enter_context(shared_namespace(cluster))
    single = {"namespaces": Namespaces.SINGLE, "namespace": namespace}
    one, two = (stack.enter_context(kubernetes_world(cluster, **single)) for _ in range(2))
    mine, theirs = one.up(tenant="alice"), two.up(tenant="bob")
    assert one.driver.inventory() == {mine.id}
    assert two.driver.inventory() == {theirs.id}
    assert "NetworkPolicy" in refused(two, instance(tenant="alice"))
    assert "Secret" in refused(two, instance(tenant="bob", name=mine.name))
    two.remove(theirs)
    assert two.driver.remove_tenants_except(()) == ["bob"]
    assert one.driver.observe(mine).state == State.RUNNING
    assert one.driver.observe(mine).drift == ()


# --- Objects of others that have a name of ours ---------------------------------------------------


def test_a_namespace_that_somebody_made_is_not_taken(world: KubernetesWorld) -> None:
    """With the tenant, all that is in it would go."""
    spec = instance(tenant="system")
    path = world.path(NAMESPACE, spec)
    world.plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": world.namespace(spec)}})
    before = world.live(path)
    refused(world, spec)
    assert world.driver.remove_tenants_except({"tenant", "racing"}) == []
    assert world.live(path) == before
    world.delete(path)


def test_an_object_that_somebody_made_is_not_taken(world: KubernetesWorld) -> None:
    world.up()
    spec = instance()
    path = world.path(SECRET, spec)
    body = {"metadata": {"name": f"node-red-{spec.name}"}, "data": {"THEIRS": "eWVz"}}
    world.plane.call("POST", path.rpartition("/")[0], body)
    before = world.live(path)
    assert f"Secret node-red-{spec.name}" in refused(world, spec)
    world.remove(spec)
    assert world.live(path) == before
    world.delete(path)
    world.settle(spec, State.RUNNING)


ELSEWHERE = {"type": "ExternalName", "externalName": "example.com"}
HERE = {"type": "ClusterIP", "ports": [{"port": 8080}]}


def in_its_place(
    world: KubernetesWorld, spec: InstanceSpec, labels: dict[str, str], service: dict[str, Any]
) -> str:
    """Another Service by the same name, of which the driver has not heard yet. Answers its uid."""
    world.proxy.passes = lambda call, _: "services" not in call.path
    path = world.path(SERVICE, spec)
    world.delete(path)
    eventually(lambda: world.live(path), lambda live: live is None)
    body = {
        "metadata": {"name": f"node-red-{spec.name}", "labels": labels},
        "spec": service,
    }
    made = world.plane.call("POST", path.rpartition("/")[0], body)
    return str(made["metadata"]["uid"])


def test_what_took_the_place_of_an_object_is_not_changed(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    uid = in_its_place(own_world, spec, {"app": "theirs"}, HERE)
    before = own_world.live(own_world.path(SERVICE, spec))
    assert before is not None
    assert before["metadata"]["uid"] == uid
    own_world.proxy.passes = lambda *_: True
    own_world.restart_driver()
    refused(own_world, spec, Verb.REPAIR)
    assert own_world.live(own_world.path(SERVICE, spec)) == before


@pytest.mark.parametrize("service", [HERE, ELSEWHERE])
def test_what_took_the_place_of_an_object_unseen_is_not_changed(
    own_world: KubernetesWorld, service: dict[str, Any]
) -> None:
    spec = own_world.up()
    in_its_place(own_world, spec, {"app": "theirs"}, service)
    before = own_world.live(own_world.path(SERVICE, spec))
    renamed = replace(spec, node_red_version="5.0.8")  # a label of every object
    with pytest.raises(DriverError, match="is not ours"):
        eventually(lambda: own_world.one_pass(renamed), lambda _: False)
    assert own_world.live(own_world.path(SERVICE, spec)) == before


def test_what_took_the_place_of_an_object_unseen_is_not_deleted(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    in_its_place(own_world, spec, {"app": "theirs"}, HERE)
    own_world.remove(spec)
    assert own_world.live(own_world.path(SERVICE, spec)) is not None


@pytest.mark.parametrize("service", [HERE, ELSEWHERE])
def test_an_object_of_ours_that_was_made_anew_unseen_is_mended(
    own_world: KubernetesWorld, service: dict[str, Any]
) -> None:
    spec = own_world.up()
    labels = {INSTALLATION: own_world.cluster.installation, INSTANCE: spec.id}
    in_its_place(own_world, spec, labels, service)
    changed = replace(spec, node_red_version="5.0.8")
    own_world.one_pass(changed)
    own_world.proxy.passes = lambda *_: True
    own_world.proxy.cut_watches()
    own_world.settle(changed, State.RUNNING)
    live = own_world.live(own_world.path(SERVICE, changed))
    assert live is not None
    assert live["spec"]["type"] == "ClusterIP"
    assert live["spec"]["selector"] == {INSTANCE: spec.id}


# --- Other writers --------------------------------------------------------------------------------


def taken_back(world: KubernetesWorld, spec: InstanceSpec, path: str, patch: dict[str, Any]) -> Any:
    """What is left of somebody's change after one pass of ours."""
    world.edit(path, patch)
    eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
    repair(world, spec)
    assert world.driver.observe(spec).drift == ()
    return world.live(path)


def test_more_replicas_are_taken_back(world: KubernetesWorld) -> None:
    spec = world.up()
    live = taken_back(world, spec, world.path(DEPLOYMENT, spec), {"spec": {"replicas": 3}})
    assert live["spec"]["replicas"] == 1
    eventually(lambda: world.pods(spec), lambda pods: len(pods) == 1)


def test_a_variable_in_its_deployment_is_taken_back(world: KubernetesWorld) -> None:
    spec = world.up()
    path = world.path(DEPLOYMENT, spec)
    world.plane.kubectl(
        *("-n", world.namespace(spec), "set", "env", f"deployment/node-red-{spec.name}"),
        *("HOME=/root", "THEIRS=yes"),
    )
    eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
    repair(world, spec)
    variables = {one["name"]: one["value"] for one in container(world.live(path))["env"]}
    assert variables["HOME"] == "/data"
    assert variables["THEIRS"] == "yes"  # beside what is ours
    until(world.driver, spec, State.RUNNING)


def container(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def test_what_somebody_applied_by_force_is_taken_back(world: KubernetesWorld) -> None:
    spec = world.up()
    path = world.path(SERVICE, spec)
    theirs = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {INSTANCE: "another"}}}
    world.plane.call(
        "PATCH",
        f"{path}?fieldManager=kubectl&force=true",
        theirs,
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
    repair(world, spec)
    live = world.live(path)
    assert live is not None
    assert live["spec"]["selector"] == {INSTANCE: spec.id}


@pytest.mark.parametrize("label", [INSTALLATION, INSTANCE, "app.kubernetes.io/managed-by"])
def test_a_label_that_somebody_removed_comes_back(world: KubernetesWorld, label: str) -> None:
    """Even one that says that it is ours: without it, it is in no watch of ours any more."""
    spec = world.up()
    path = world.path(SERVICE, spec)
    before = world.live(path)
    live = taken_back(world, spec, path, {"metadata": {"labels": {label: None}}})
    assert before is not None
    assert live["metadata"]["labels"] == before["metadata"]["labels"]
    assert live["metadata"]["uid"] == before["metadata"]["uid"]


@pytest.mark.parametrize("label", [INSTALLATION, INSTANCE])
def test_a_deployment_without_its_label_runs_on_and_gets_it_back(world: KubernetesWorld, label: str) -> None:
    """What cannot be seen any more looks as if its pod were ending."""
    spec = world.up()
    pod = world.pod(spec)
    path = world.path(DEPLOYMENT, spec)
    live = taken_back(world, spec, path, {"metadata": {"labels": {label: None}}})
    assert live["metadata"]["labels"][INSTALLATION] == world.cluster.installation
    assert world.settle(spec, State.RUNNING)
    assert world.pod(spec) == pod


@pytest.mark.parametrize("kind", [SECRET, SERVICE, DEPLOYMENT], ids=lambda kind: kind.kind)
def test_what_lost_its_label_goes_with_its_instance(own_world: KubernetesWorld, kind: Kind) -> None:
    spec = own_world.up()
    path = own_world.path(kind, spec)
    own_world.edit(path, {"metadata": {"labels": {INSTALLATION: None}}})
    eventually(lambda: own_world.driver.observe(spec), lambda seen: bool(seen.drift))
    own_world.remove(spec)
    eventually(lambda: own_world.live(path), lambda live: live is None)
    assert own_world.pods(spec) == []


def test_a_tenant_whose_label_somebody_removed_is_not_swept_away(own_world: KubernetesWorld) -> None:
    spec = own_world.up()
    path = own_world.path(NAMESPACE, spec)
    own_world.edit(path, {"metadata": {"labels": {"flowstead/tenant": None}}})
    eventually(lambda: own_world.driver.observe(spec), lambda seen: bool(seen.drift))
    assert own_world.driver.remove_tenants_except({spec.tenant}) == []
    repair(own_world, spec)
    live = own_world.live(path)
    assert live is not None
    assert live["metadata"]["labels"]["flowstead/tenant"] == spec.tenant
    assert "deletionTimestamp" not in live["metadata"]


def test_an_object_that_somebody_gave_to_another_is_left_to_them(world: KubernetesWorld) -> None:
    spec = world.up()
    path = world.path(SERVICE, spec)
    world.edit(path, {"metadata": {"labels": {INSTALLATION: str(uuid4())}}})
    eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
    before = world.live(path)
    refused(world, spec, Verb.REPAIR)
    assert world.live(path) == before


def test_what_others_add_beside_our_fields_stays(world: KubernetesWorld) -> None:
    spec = world.up()
    path = world.path(SERVICE, spec)
    added = {
        "metadata": {"annotations": {"example.com/note": "by hand"}, "labels": {"team": "blue"}},
        "spec": {"externalTrafficPolicy": None, "sessionAffinity": "ClientIP"},
    }
    world.edit(path, added)
    world.edit(path, {"metadata": {"labels": {INSTANCE: None}}})
    eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
    repair(world, spec)
    live = world.live(path)
    assert live is not None
    assert live["metadata"]["annotations"]["example.com/note"] == "by hand"
    assert live["metadata"]["labels"]["team"] == "blue"
    assert live["spec"]["sessionAffinity"] == "ClientIP"
    assert world.driver.observe(spec).drift == ()
