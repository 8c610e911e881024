"""Every object that is wanted, as the real API server and its admission take it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenants.provisioning.cluster.drift import differences
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    kind_of,
)
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import (
    Manifest,
    instance_objects,
    namespace_of,
    object_name,
    tenant_objects,
)
from tenants.provisioning.spec import InstanceSpec, Quota, State
from tests.cluster.access import APPLY
from tests.cluster.control_plane import ControlPlane
from tests.cluster.routes import serve_routes
from tests.cluster.worlds import kubernetes_world, path_of
from tests.drivers.worlds import eventually, instance
from tests.provisioning.test_manifests import CASES, CLUSTER, GATEWAY, LONGEST, PARTICULAR, SPEC

MORE: dict[str, tuple[InstanceSpec, Cluster]] = {
    "all-is-private": (SPEC, replace(CLUSTER, private_networks=("0.0.0.0/0", "::/0"))),
    "nothing-is-private": (SPEC, replace(CLUSTER, private_networks=())),
    "certificate-of-the-controller": (SPEC, replace(CLUSTER, tls=True)),
    "gateway-without-listener": (SPEC, replace(GATEWAY, gateway="infra/public")),
    "odd-amounts": (
        replace(SPEC, cpu=1500, memory=1000, cpu_reserved=1, quota=Quota(1000, cpu=10_500, memory=5000)),
        CLUSTER,
    ),
    "nothing-allowed": (replace(SPEC, power=False, quota=Quota(0, cpu=0, memory=0, disk=0)), CLUSTER),
}
ALL = CASES | MORE
WITH_ROOM = [name for name in ALL if name != "nothing-allowed"]
PROTECTED = {"pod-security.kubernetes.io/enforce": "restricted"}
TOO_SOON = ("status unknown for quota", "looking up service account")


@dataclass(frozen=True)
class Applied:
    """One case, after all its objects were applied once."""

    spec: InstanceSpec
    cluster: Cluster
    answers: list[tuple[Manifest, httpx.Response]]

    @property
    def namespace(self) -> str:
        return namespace_of(self.spec.tenant, self.cluster)


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """With what the cases speak of."""
    name = PARTICULAR.runtime_class
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
    apply(
        control_plane,
        f"/apis/node.k8s.io/v1/runtimeclasses/{name}",
        {**kind, "metadata": {"name": name}, "handler": "runsc"},
    )
    serve_routes(control_plane)
    return control_plane


def apply(plane: ControlPlane, path: str, manifest: Manifest) -> httpx.Response:
    query = "fieldManager=flowstead-tests&fieldValidation=Strict"
    return once_ready(lambda: plane.client.patch(f"{path}?{query}", json=manifest, headers=APPLY))


def once_ready(send: Callable[[], httpx.Response]) -> httpx.Response:
    """A namespace takes nothing that counts before its quota was counted and its account was made."""
    return eventually(send, lambda answer: not any(words in answer.text for words in TOO_SOON))


def somewhere(cluster: Cluster) -> Cluster:
    """The same with namespaces of its own, whose names are as long."""
    unique = f"a{uuid4().hex}"
    return replace(
        cluster,
        namespace=unique[: len(cluster.namespace)],
        namespace_prefix=unique[: len(cluster.namespace_prefix)],
    )


@pytest.fixture(scope="module", params=ALL)
def applied(request: pytest.FixtureRequest, plane: ControlPlane) -> Iterator[Applied]:
    spec, cluster = ALL[request.param]
    cluster = somewhere(cluster)
    if cluster.is_shared:  # as careful as an operator may be
        metadata = {"name": cluster.namespace, "labels": PROTECTED}
        plane.call("POST", NAMESPACE.path(None), {"metadata": metadata})
    wanted = [*tenant_objects(spec, cluster), *instance_objects(spec, cluster)]
    yield Applied(spec, cluster, [(one, apply(plane, path_of(one), one)) for one in wanted])
    plane.call("DELETE", NAMESPACE.path(None, namespace_of(spec.tenant, cluster)))


def create_pod(
    plane: ControlPlane, namespace: str, spec: InstanceSpec, cluster: Cluster, **query: str
) -> httpx.Response:
    """The pod of the instance, as the controllers of its Deployment would make it."""
    pod = {**template_of(spec, cluster), "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "generateName": "pod-"}
    path = POD.path(namespace)
    return once_ready(
        lambda: plane.client.post(path, json=pod, params={"fieldValidation": "Strict", **query})
    )


def template_of(spec: InstanceSpec, cluster: Cluster) -> Manifest:
    template: Manifest = instance_objects(spec, cluster)[-1]["spec"]["template"]
    return template


# --- What we write --------------------------------------------------------------------------------


def test_every_object_is_accepted_without_a_warning(applied: Applied) -> None:
    told = [(answer.status_code, answer.headers.get("Warning")) for _, answer in applied.answers]
    assert told == [(201, None)] * len(applied.answers), [answer.text for _, answer in applied.answers]


def test_what_was_written_does_not_differ_from_what_is_there(plane: ControlPlane, applied: Applied) -> None:
    for manifest, answer in applied.answers:
        for live in (answer.json(), plane.call("GET", path_of(manifest))):
            assert differences(manifest, live) == [], manifest["kind"]


def test_what_is_applied_twice_changes_nothing(plane: ControlPlane, applied: Applied) -> None:
    for manifest, _ in applied.answers:
        counter = "uid" if says_nothing(manifest) else "resourceVersion"
        eventually(
            lambda manifest=manifest, counter=counter: applied_again(plane, manifest, counter),
            lambda pair: pair[0] == pair[1],
        )


def applied_again(plane: ControlPlane, manifest: Manifest, counter: str) -> list[Any]:
    """Before and after another apply. Others may write a status in between, but not every time."""
    before = plane.call("GET", path_of(manifest))
    after = apply(plane, path_of(manifest), manifest).json()
    return [(kind_of(live), live["metadata"][counter], live.get("spec")) for live in (before, after)]


def says_nothing(manifest: Manifest) -> bool:
    """A list that is empty on purpose is dropped by the API server, and counted as new every time."""
    return any(value == [] for value in manifest.get("spec", {}).values())


def test_network_policies_are_kept_as_they_are_written(plane: ControlPlane, applied: Applied) -> None:
    written = [manifest for manifest, _ in applied.answers if kind_of(manifest) == NETWORK_POLICY]
    assert len(written) == 3
    for policy in written:
        live = plane.call("GET", path_of(policy))
        # an empty list of rules says the same as none, with the types that are named
        assert live["spec"] == {name: value for name, value in policy["spec"].items() if value != []}


@pytest.mark.parametrize("applied", WITH_ROOM, indirect=True)
def test_its_pod_is_accepted_without_a_warning(plane: ControlPlane, applied: Applied) -> None:
    answer = create_pod(plane, applied.namespace, applied.spec, applied.cluster, dryRun="All")
    assert (answer.status_code, answer.headers.get("Warning")) == (201, None), answer.text


# --- What the walls keep out ----------------------------------------------------------------------

TENANT_CASE = pytest.mark.parametrize("applied", ["tenant"], indirect=True)
ESCAPES: dict[str, Callable[[Manifest], Any]] = {
    "gaining rights": lambda pod: container(pod)["securityContext"].update(allowPrivilegeEscalation=True),
    "as root": lambda pod: pod["securityContext"].update(runAsNonRoot=False, runAsUser=0),
    "with capabilities": lambda pod: container(pod)["securityContext"]["capabilities"].update(
        add=["NET_ADMIN"]
    ),
    "in the network of its node": lambda pod: pod.update(hostNetwork=True),
    "with a folder of its node": lambda pod: pod["volumes"].append(
        {"name": "node", "hostPath": {"path": "/"}}
    ),
    "without seccomp": lambda pod: pod["securityContext"].pop("seccompProfile"),
}


def container(pod: Manifest) -> Manifest:
    first: Manifest = pod["containers"][0]
    return first


def escaping(spec: InstanceSpec, cluster: Cluster, how: str) -> Manifest:
    template = template_of(spec, cluster)
    ESCAPES[how](template["spec"])
    return template


@TENANT_CASE
@pytest.mark.parametrize("how", ESCAPES)
def test_a_pod_that_would_escape_is_refused(plane: ControlPlane, applied: Applied, how: str) -> None:
    pod = {**escaping(applied.spec, applied.cluster, how), "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "name": "escape"}
    answer = once_ready(lambda: plane.client.post(POD.path(applied.namespace), json=pod))
    assert answer.status_code == 403
    assert 'violates PodSecurity "restricted:v1.34"' in answer.json()["message"]


@TENANT_CASE
def test_a_deployment_whose_pods_would_escape_is_warned_about(plane: ControlPlane, applied: Applied) -> None:
    """So it is no accident that ours come without a warning."""
    deployment = instance_objects(applied.spec, applied.cluster)[-1]
    deployment["spec"]["template"] = escaping(applied.spec, applied.cluster, "as root")
    deployment["metadata"]["name"] = "escape"
    query = "fieldManager=somebody&dryRun=All"
    path = DEPLOYMENT.path(applied.namespace, "escape")
    answer = plane.client.patch(f"{path}?{query}", json=deployment, headers=APPLY)
    assert "would violate PodSecurity" in answer.headers["Warning"]


@pytest.mark.parametrize(
    ("quota", "fitting", "words"),
    [
        (Quota(0), 5, "pods=5"),  # the room for pods that are ending
        (Quota(memory=300), 1, "limits.memory=300Mi"),
        (Quota(cpu=700), 1, "limits.cpu=700m"),
    ],
)
def test_a_pod_beyond_the_quota_of_its_tenant_is_refused(
    plane: ControlPlane, quota: Quota, fitting: int, words: str
) -> None:
    spec, cluster = replace(SPEC, quota=quota, cpu=500, memory=200), somewhere(CLUSTER)
    namespace = namespace_of(spec.tenant, cluster)
    for manifest in tenant_objects(spec, cluster):
        assert apply(plane, path_of(manifest), manifest).status_code == 201
    for _ in range(fitting):
        answer = create_pod(plane, namespace, spec, cluster)
        assert answer.status_code == 201, answer.text
    refused = create_pod(plane, namespace, spec, cluster)
    assert refused.status_code == 403
    assert "exceeded quota: flowstead" in refused.json()["message"]
    assert f"limited: {words}" in refused.json()["message"]
    plane.call("DELETE", NAMESPACE.path(None, namespace))


@TENANT_CASE
def test_a_pod_that_says_nothing_gets_the_small_size(plane: ControlPlane, applied: Applied) -> None:
    """What an operator runs there by hand does not need to know of the limit range."""
    template = template_of(applied.spec, applied.cluster)
    del container(template["spec"])["resources"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "by-hand"}, "spec": template["spec"]}
    path = f"{POD.path(applied.namespace)}?dryRun=All"
    answer = once_ready(lambda: plane.client.post(path, json=pod))
    assert container(answer.json()["spec"])["resources"] == {
        "limits": {"cpu": "100m", "memory": "128Mi"},
        "requests": {"cpu": "10m", "memory": "64Mi"},
    }


# --- Names ----------------------------------------------------------------------------------------


def test_an_instance_with_the_longest_names_comes_to_run(plane: ControlPlane) -> None:
    prefix = f"p{uuid4().hex}"[:22]
    with kubernetes_world(plane, namespace_prefix=prefix) as world:
        spec = world.up(name=LONGEST, tenant=LONGEST, url=f"http://{LONGEST}.example.com")
        assert len(world.namespace(spec)) == 63
        assert world.pod(spec).startswith(object_name(spec)[:40])
        assert world.driver.observe(spec).state == State.RUNNING


def test_a_namespace_with_a_name_that_is_longer_is_refused(plane: ControlPlane) -> None:
    cluster = replace(CLUSTER, namespace_prefix="p" * 23)
    namespace = tenant_objects(instance(tenant=LONGEST), cluster)[0]
    answer = apply(plane, path_of(namespace), namespace)
    assert answer.status_code == 422
    assert "must be no more than 63" in answer.json()["message"]
