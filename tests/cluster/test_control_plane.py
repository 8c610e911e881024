"""The control plane itself: what the tests of the Kubernetes driver take for granted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes
import pytest

from tests.cluster.control_plane import Capacity, ControlPlane

# All of it is about the control plane of the tests' own.
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("control_plane")]

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
IMAGE = "node-red:4"


@pytest.fixture(scope="module")
def spare() -> Iterator[ControlPlane]:
    """A second one beside the session's, for tests that break it."""
    begun = time.monotonic()
    with ControlPlane(nodes=2, capacity=Capacity(cpu="2", memory="4Gi", pods=10)) as plane:
        print(f"\na control plane was ready after {time.monotonic() - begun:.1f} s")
        yield plane


class Pods:
    """The pods of one namespace."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def make(self, name: str = "one", *, image: str = IMAGE, fate: str | None = None, **spec: Any) -> str:
        annotations = {"flowstead.test/fate": fate} if fate else {}
        container = {"name": "node-red", "image": image, **spec.pop("container", {})}
        body = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [container], **spec},
        }
        # The service account that a pod needs comes a moment after its namespace.
        eventually(lambda: self.plane.client.get(f"{self._accounts}/default").is_success)
        self.plane.call("POST", self.path, body)
        return name

    def get(self, name: str = "one") -> Any:
        return self.plane.call("GET", f"{self.path}/{name}")

    def container(self, name: str = "one") -> Any:
        statuses = self.get(name)["status"].get("containerStatuses")
        return statuses[0] if statuses else {"state": {}, "lastState": {}, "ready": False, "restartCount": 0}

    def exists(self, name: str = "one") -> bool:
        return self.plane.client.get(f"{self.path}/{name}").is_success

    def ready(self, name: str = "one") -> bool:
        return bool(self.container(name)["ready"])

    def waits_for(self, reason: str, name: str = "one") -> bool:
        return bool(self.container(name)["state"].get("waiting", {}).get("reason") == reason)

    def condition(self, kind: str, name: str = "one") -> Any:
        conditions = self.get(name)["status"].get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), None)

    @property
    def _accounts(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/serviceaccounts"


@pytest.fixture
def pods(control_plane: ControlPlane, namespace: str) -> Pods:
    return Pods(control_plane, namespace)


def eventually(is_so: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := is_so():
                return found
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def deployment(name: str, replicas: int = 1, **container: Any) -> dict[str, Any]:
    labels = {"app": name}
    spec = {"containers": [{"name": "node-red", "image": IMAGE, **container}]}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


# -- pods -----------------------------------------------------------------------------------------------------------


def test_the_official_client_makes_a_deployment_and_its_pod_becomes_ready(
    control_plane: ControlPlane, namespace: str
) -> None:
    client = kubernetes.config.new_client_from_config(str(control_plane.kubeconfig))
    apps = kubernetes.client.AppsV1Api(client)

    apps.create_namespaced_deployment(namespace, deployment("web", replicas=2))

    eventually(lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 2)
    assert kubernetes.client.VersionApi(client).get_code().git_version.startswith("v1.34.")


def test_a_pod_that_runs_looks_as_a_kubelet_reports_it(pods: Pods) -> None:
    pods.make(initContainers=[{"name": "before", "image": "busybox"}])

    eventually(pods.ready)

    pod = pods.get()
    status, container = pod["status"], pods.container()
    assert status["phase"] == "Running"
    assert status["podIP"] and status["hostIP"] and status["startTime"]
    assert {condition["type"]: condition["status"] for condition in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    assert (container["name"], container["image"]) == ("node-red", IMAGE)
    assert container["started"] and container["restartCount"] == 0
    assert container["state"]["running"]["startedAt"]
    assert container["containerID"].startswith("containerd://")
    assert status["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"


def test_a_deleted_pod_goes_with_its_finalizers(pods: Pods) -> None:
    pods.make()
    eventually(pods.ready)
    patch = {"metadata": {"finalizers": ["example.com/keep"]}}
    pods.plane.call(
        "PATCH", f"{pods.path}/one", patch, headers={"Content-Type": "application/merge-patch+json"}
    )

    pods.plane.call("DELETE", f"{pods.path}/one")

    eventually(lambda: not pods.exists())


def test_a_pod_that_lingers_goes_on_terminating(pods: Pods) -> None:
    pods.make(fate="lingers")
    eventually(pods.ready)

    pods.plane.call("DELETE", f"{pods.path}/one")
    time.sleep(0.5)

    assert pods.get()["metadata"]["deletionTimestamp"]
    pods.plane.set_fate(pods.namespace, "one", None)
    eventually(lambda: not pods.exists())


# -- fates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [{"fate": "image"}, {"image": "registry.test/does-not-exist:1"}])
def test_an_image_that_is_not_there(pods: Pods, by: dict[str, str]) -> None:
    pods.make(**by)

    eventually(lambda: pods.waits_for("ErrImagePull"))
    eventually(lambda: pods.waits_for("ImagePullBackOff"))

    image = by.get("image", IMAGE)
    assert f'failed to pull and unpack image "{image}"' in pods.container()["state"]["waiting"]["message"]
    assert pods.get()["status"]["phase"] == "Pending"
    assert pods.condition("Ready")["reason"] == "ContainersNotReady"


@pytest.mark.parametrize(
    ("by", "reason", "code"),
    [
        ({"fate": "crash"}, "Error", 1),
        ({"image": "registry.test/crashes:1"}, "Error", 1),
        ({"fate": "oom"}, "OOMKilled", 137),
        ({"image": "registry.test/runs-out-of-memory:1"}, "OOMKilled", 137),
        ({"fate": "exit-3"}, "Error", 3),
        ({"fate": "exit-0"}, "Completed", 0),
    ],
)
def test_a_container_that_keeps_ending(pods: Pods, by: dict[str, str], reason: str, code: int) -> None:
    pods.make(**by)

    eventually(lambda: pods.waits_for("CrashLoopBackOff"))
    container = pods.container()
    assert (container["lastState"]["terminated"]["reason"], container["restartCount"]) == (reason, 1)
    assert container["lastState"]["terminated"]["exitCode"] == code
    assert not container["ready"] and not container["started"]

    eventually(lambda: pods.container()["restartCount"] == 2)
    assert pods.get()["status"]["phase"] == "Running"


@pytest.mark.parametrize("by", [{"fate": "unready"}, {"image": "registry.test/never-ready:1"}])
def test_a_container_that_never_becomes_ready(pods: Pods, by: dict[str, str]) -> None:
    pods.make(**by)

    eventually(lambda: pods.container()["state"].get("running"))
    time.sleep(0.5)

    assert not pods.ready()
    assert pods.condition("Ready")["message"] == "containers with unready status: [node-red]"
    assert pods.container()["started"]


@pytest.mark.parametrize(
    ("fate", "is_struck", "restarts"),
    [
        ("crash", lambda pods: pods.waits_for("CrashLoopBackOff"), 2),
        ("image", lambda pods: pods.waits_for("ImagePullBackOff"), 1),
        ("unready", lambda pods: not pods.ready(), 0),
    ],
)
def test_a_living_pod_recovers_when_its_fate_is_taken_away(
    pods: Pods, fate: str, is_struck: Callable[[Pods], bool], restarts: int
) -> None:
    pods.make()
    eventually(pods.ready)
    uid = pods.get()["metadata"]["uid"]

    pods.plane.set_fate(pods.namespace, "one", fate)
    eventually(lambda: is_struck(pods))
    pods.plane.set_fate(pods.namespace, "one", None)

    eventually(pods.ready)
    assert pods.container()["restartCount"] == restarts
    assert pods.get()["metadata"]["uid"] == uid


def test_a_container_that_ends_once(pods: Pods) -> None:
    pods.make()
    eventually(pods.ready)

    pods.plane.set_fate(pods.namespace, "one", "restart-4")

    eventually(lambda: pods.container()["restartCount"] == 4 and pods.ready())
    assert pods.container()["lastState"]["terminated"]["exitCode"] == 1
    time.sleep(0.5)
    assert pods.container()["restartCount"] == 4


# -- what needs no kubelet ------------------------------------------------------------------------------------------


def test_what_no_node_has_room_for_stays_pending(pods: Pods) -> None:
    pods.make(container={"resources": {"requests": {"cpu": "999"}}})

    condition = eventually(lambda: pods.condition("PodScheduled"))

    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert "Insufficient cpu" in condition["message"]


def test_a_quota_refuses(pods: Pods) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{pods.namespace}/resourcequotas"
    pods.plane.call("POST", path, quota)
    eventually(lambda: pods.plane.call("GET", f"{path}/none")["status"].get("hard"))

    with pytest.raises(httpx.HTTPStatusError, match="exceeded quota"):
        pods.make()


def test_a_claim_waits_until_its_volume_is_made(pods: Pods) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pods.plane.call("POST", f"/api/v1/namespaces/{pods.namespace}/persistentvolumeclaims", claim)
    pods.make(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
    condition = eventually(lambda: pods.condition("PodScheduled"))
    assert "unbound immediate PersistentVolumeClaims" in condition["message"]

    assert pods.plane.bind_volumes(pods.namespace) == 1

    eventually(pods.ready)


def test_a_user_may_do_what_was_granted_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    path = control_plane.user_kubeconfig("mallory", ["readers"])
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(path)))
    with pytest.raises(kubernetes.client.ApiException) as refusal:
        core.list_namespaced_pod(namespace)
    assert refusal.value.status == 403

    grant = {
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}],
    }
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    control_plane.call("POST", bindings, grant)

    def may_list() -> bool:
        try:
            return core.list_namespaced_pod(namespace).items == []
        except kubernetes.client.ApiException:
            return False

    eventually(may_list)
    with pytest.raises(kubernetes.client.ApiException):
        core.list_namespaced_secret(namespace)


def test_a_service_account_has_a_kubeconfig(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.call(
        "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "robot"}}
    )
    path = control_plane.service_account_kubeconfig(namespace, "robot")
    client = kubernetes.config.new_client_from_config(str(path))

    review = kubernetes.client.AuthenticationV1Api(client).create_self_subject_review({})

    assert review.status.user_info.username == f"system:serviceaccount:{namespace}:robot"


def test_requests_are_counted_by_who_made_them(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for _ in range(3):
        control_plane.call("GET", path, headers={"User-Agent": "counted/1"})

    events = [
        event for event in control_plane.requests("counted/") if event["objectRef"]["namespace"] == namespace
    ]

    assert [event["verb"] for event in events] == ["list"] * 3


# -- logs -----------------------------------------------------------------------------------------------------------


def test_a_log_is_read_through_the_api_server(pods: Pods) -> None:
    pods.make()
    eventually(pods.ready)
    log = f"{pods.path}/one/log"
    assert pods.plane.client.get(log).text == ""

    pods.plane.print(pods.namespace, "one", "first", "second", "third")
    pods.plane.print(pods.namespace, "one", "before the restart", previous=True)

    def read(**query: str | int) -> str:
        return pods.plane.client.get(log, params=query).text

    assert read() == "first\nsecond\nthird\n"
    assert read(tailLines=1) == "third\n"
    assert read(previous="true") == "before the restart\n"
    assert read(timestamps="true", tailLines=1).split()[0].endswith("Z")


def test_a_log_is_followed(pods: Pods) -> None:
    pods.make()
    eventually(pods.ready)
    pods.plane.print(pods.namespace, "one", "first", "second")

    with pods.plane.client.stream("GET", f"{pods.path}/one/log?follow=true&tailLines=1") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "second"
        pods.plane.print(pods.namespace, "one", "third")
        assert next(lines) == "third"


def test_each_container_has_its_log(pods: Pods) -> None:
    pods.make(containers=[{"name": "a", "image": IMAGE}, {"name": "b", "image": IMAGE}])
    eventually(pods.ready)

    pods.plane.print(pods.namespace, "one", "of a", container="a")
    pods.plane.print(pods.namespace, "one", "of b", container="b")

    for name in "ab":
        text = pods.plane.client.get(f"{pods.path}/one/log?container={name}").text
        assert text == f"of {name}\n"


# -- what breaks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def spare_pods(spare: ControlPlane) -> Iterator[Pods]:
    pods = Pods(spare, f"test-{time.monotonic_ns()}")
    spare.call("POST", "/api/v1/namespaces", {"metadata": {"name": pods.namespace}})
    yield pods
    spare.call("DELETE", f"/api/v1/namespaces/{pods.namespace}")


def test_two_control_planes_know_nothing_of_each_other(spare_pods: Pods, control_plane: ControlPlane) -> None:
    spare_pods.make()
    eventually(spare_pods.ready)

    names = {item["metadata"]["name"] for item in control_plane.call("GET", "/api/v1/namespaces")["items"]}

    assert spare_pods.namespace not in names
    assert len(spare_pods.plane.call("GET", "/api/v1/nodes")["items"]) == 2


@pytest.mark.parametrize("program", ["kube-apiserver", "etcd"])
def test_what_is_killed_and_started_again_has_its_data(spare_pods: Pods, program: str) -> None:
    plane = spare_pods.plane
    spare_pods.make("earlier")
    eventually(lambda: spare_pods.ready("earlier"))
    uid, kwok = spare_pods.get("earlier")["metadata"]["uid"], plane.pids()["kwok"]

    plane.kill(program)
    assert not plane.alive(program)
    if program == "kube-apiserver":
        with pytest.raises(httpx.TransportError):
            plane.call("GET", "/api/v1/nodes")
    plane.start(program)

    assert eventually(lambda: spare_pods.get("earlier"))["metadata"]["uid"] == uid
    spare_pods.make("later")
    eventually(lambda: spare_pods.ready("later"))
    assert plane.pids()["kwok"] != kwok  # which may have given up a pod when its request broke off


@pytest.mark.parametrize("program", ["kube-controller-manager", "kube-scheduler", "kwok"])
def test_controllers_go_on_after_a_restart(spare_pods: Pods, program: str) -> None:
    plane = spare_pods.plane
    plane.stop(program)
    path = f"/apis/apps/v1/namespaces/{spare_pods.namespace}/deployments"
    plane.call("POST", path, deployment("web"))
    time.sleep(0.5)
    assert not plane.call("GET", f"{path}/web")["status"].get("readyReplicas")

    plane.start(program)

    eventually(lambda: plane.call("GET", f"{path}/web")["status"].get("readyReplicas") == 1)


def test_a_paused_api_server_answers_when_it_is_resumed(spare: ControlPlane) -> None:
    spare.pause("kube-apiserver")
    try:
        with pytest.raises(httpx.TimeoutException):
            spare.call("GET", "/api/v1/nodes", timeout=0.5)
    finally:
        spare.resume("kube-apiserver")

    assert len(spare.call("GET", "/api/v1/nodes")["items"]) == 2


def test_nothing_outlives_close() -> None:
    with ControlPlane() as plane:
        pids, folder = plane.pids(), plane.folder
        assert set(pids) == set(PROGRAMS)
        plane.pause("kwok")

    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    assert not folder.exists()


def test_nothing_outlives_killed_tests() -> None:
    script = (
        "from tests.cluster.control_plane import ControlPlane\n"
        "plane = ControlPlane().open()\n"
        "print(*plane.pids().values(), plane.folder, flush=True)\n"
        "input()\n"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout and tests.stdin
    *pids, folder = tests.stdout.readline().split()
    assert len(pids) == len(PROGRAMS)

    os.kill(tests.pid, signal.SIGKILL)
    tests.wait()
    tests.stdin.close()
    tests.stdout.close()

    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with ControlPlane():
        assert not Path(folder).exists(), "the next one tidies up"
