"""The operator's commands, as processes with the settings that docs/kubernetes.md names."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.access import Access
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation
from tests.drivers.worlds import eventually

RUNNING = "SELECT count(*) FROM tenants_instance WHERE phase = 'running'"
REPAIRS = "SELECT count(*) FROM tenants_event WHERE reason = 'repair'"
ROWS = "tests.bench.cluster.rows"


@pytest.fixture
def prefix(cluster: Access) -> Iterator[str]:
    """Of an installation's namespaces, which are deleted afterwards; their end is not waited for."""
    prefix = f"c{uuid4().hex[:8]}"
    yield prefix
    for namespace in cluster.call("GET", "/api/v1/namespaces")["items"]:
        name = namespace["metadata"]["name"]
        if name.startswith(prefix):
            cluster.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def installation(cluster: Access, prefix: str) -> Iterator[Installation]:
    with Installation(cluster.kubeconfig, KUBERNETES_NAMESPACE_PREFIX=prefix) as installation:
        yield installation


def test_the_reconciler_finds_its_way_by_the_settings_and_repairs_what_a_hand_removes(
    cluster: Access, installation: Installation, prefix: str
) -> None:
    installation.call(ROWS, "make(0, 2)")
    assert installation.manage("reconcile", "--plan").splitlines() == [
        "flow-0: create (nothing is there)",
        "flow-1: create (nothing is there)",
    ]
    installation.start()
    installation.wait_for(RUNNING, 2)
    cluster.kubectl("-n", f"{prefix}-team-0", "delete", "service", "node-red-flow-0")
    installation.wait_for(REPAIRS, 1)
    found = cluster.kubectl("-n", f"{prefix}-team-0", "get", "services", "-o", "name")
    assert found.split() == ["service/node-red-flow-0", "service/node-red-flow-1"]
    installation.stop()
    assert installation.manage("reconcile", "--plan").strip() == "Nothing: everything is as it should be."


def test_the_plan_names_what_a_reconciler_would_repair_and_repairs_nothing(
    cluster: Access, installation: Installation, prefix: str
) -> None:
    installation.call(ROWS, "make(0, 1)")
    installation.start()
    installation.wait_for(RUNNING, 1)
    installation.stop()
    cluster.kubectl("-n", f"{prefix}-team-0", "delete", "ingress", "node-red-flow-0")
    for _ in range(2):
        plan = installation.manage("reconcile", "--plan").strip()
        assert plan == "flow-0: repair (Ingress node-red-flow-0 was missing)"


def test_an_operator_reads_the_log_of_the_page_from_the_cluster(
    control_plane: ControlPlane, installation: Installation, prefix: str
) -> None:
    installation.call(ROWS, "make(0, 1)")
    installation.start()
    installation.wait_for(RUNNING, 1)
    namespace = f"{prefix}-team-0"
    pod = control_plane.kubectl("-n", namespace, "get", "pods", "-o", "name").strip().removeprefix("pod/")
    control_plane.print(namespace, pod, "Started flows")
    read = "print(tail(Instance.objects.get(), 5))"
    eventually(
        lambda: installation.call("tenants.logs", read).strip(), lambda seen: seen == "['Started flows']"
    )


def test_the_rights_that_it_prints_are_accepted_and_enough(
    cluster: Access, installation: Installation, prefix: str, tmp_path: Path
) -> None:
    cluster.kubectl("create", "namespace", prefix)
    cluster.kubectl("-n", prefix, "create", "serviceaccount", "flowstead")
    rights = tmp_path / "rights.yaml"
    rights.write_text(installation.manage("kubernetes_rbac", "--service-account", f"{prefix}/flowstead"))
    cluster.kubectl("apply", "-f", str(rights))
    try:
        kubeconfig = cluster.service_account_kubeconfig(prefix, "flowstead")
        with Installation(kubeconfig, KUBERNETES_NAMESPACE_PREFIX=prefix) as restricted:
            restricted.call(ROWS, "make(0, 1)")
            restricted.start()
            restricted.wait_for(RUNNING, 1)
    finally:
        cluster.kubectl("delete", "-f", str(rights))


def test_a_cluster_that_cannot_be_reached_is_told_in_a_sentence(tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    user = {"name": "nobody", "user": {}}
    cluster = {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "here", "context": {"cluster": "nowhere", "user": "nobody"}}
    config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "here"}
    nowhere.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    with Installation(nowhere) as installation, pytest.raises(RuntimeError) as caught:
        installation.manage("reconcile", "--plan")
    told = str(caught.value).strip().splitlines()[-1]
    assert told == "CommandError: The cluster does not answer (NewConnectionError)."
