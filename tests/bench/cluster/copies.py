"""Thousands of ready instances within minutes: written as they would be after an hour.

The API server has the same objects, of the same size, as if the reconciler, the controllers and the kubelets had made
them. Those are stopped meanwhile: on a small machine they need an hour for what takes minutes like this.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.bench.cluster import ROWS
from tests.cluster.access import APPLY, MERGE_PATCH
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation
from tests.cluster.worlds import path_of

Json = dict[str, Any]

CONTROLLER = "kube-controller-manager"
WRITERS = 8
HASH = {"pod-template-hash": "copied"}
PODS = "/api/v1/pods?labelSelector=flowstead/instance&limit=1"
PATIENCE_SECONDS = 120


def grow(plane: ControlPlane, installation: Installation, first: int, end: int) -> None:
    """Make the instances of these numbers, ready. There has to be one that is. The reconciler and what else
    would make them does not run afterwards."""
    ready = plane.call("GET", PODS)["items"][0]["status"]
    installation.stop()
    installation.call(ROWS, f"make({first}, {end})")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WRITERS) as writers:
        installation.call(ROWS, f"write_manifests({folder!r}, {first})")
        if not plane.alive(CONTROLLER):
            plane.start(CONTROLLER)
        for objects in _each(Path(folder) / "tenants"):
            for manifest in objects:
                _apply(plane, manifest)
        namespaces = {objects[0]["metadata"]["namespace"] for objects in _each(Path(folder) / "instances")}
        for namespace in namespaces:
            _wait_for(plane, f"/api/v1/namespaces/{namespace}/serviceaccounts/default", lambda _: True)
            quota = f"/api/v1/namespaces/{namespace}/resourcequotas/flowstead"
            _wait_for(plane, quota, lambda live: bool(live.get("status", {}).get("hard")))
        for program in (CONTROLLER, "kube-scheduler", "kwok"):
            plane.stop(program)
        list(
            writers.map(lambda objects: _copy(plane, objects, ready), list(_each(Path(folder) / "instances")))
        )


def _each(folder: Path) -> list[list[Json]]:
    return [json.loads(file.read_text())["items"] for file in sorted(folder.iterdir())]


def _copy(plane: ControlPlane, objects: list[Json], ready: Json) -> None:
    *others, deployment = objects
    for manifest in others:
        _apply(plane, manifest)
    live = _apply(plane, deployment)
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"] | HASH
    namespace, name = live["metadata"]["namespace"], f"{live['metadata']['name']}-copied"
    replicas = {
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": deployment["metadata"]["annotations"],
            "ownerReferences": [_owner(live)],
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": deployment["spec"]["selector"]["matchLabels"] | HASH},
            "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
        },
    }
    owner = plane.call("POST", f"/apis/apps/v1/namespaces/{namespace}/replicasets", replicas)
    pod = {
        "metadata": {
            "name": f"{name}-1",
            "labels": labels,
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [_owner(owner)],
        },
        "spec": {**template["spec"], "nodeName": "node-0"},
    }
    pods = f"/api/v1/namespaces/{namespace}/pods"
    plane.call("POST", pods, pod)
    plane.call("PATCH", f"{pods}/{name}-1/status", {"status": ready}, headers=MERGE_PATCH)


def _apply(plane: ControlPlane, manifest: Json) -> Json:
    writer = f"flowstead-{manifest['metadata']['labels']['flowstead/installation']}"
    live: Json = plane.call("PATCH", f"{path_of(manifest)}?fieldManager={writer}", manifest, headers=APPLY)
    return live


def _owner(live: Mapping[str, Any]) -> Json:
    name = {"apiVersion": "apps/v1", "kind": live["kind"], "name": live["metadata"]["name"]}
    return {**name, "uid": live["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _wait_for(plane: ControlPlane, path: str, is_so: Callable[[Json], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_so(plane.call("GET", path)):
                return
        except httpx.HTTPStatusError:
            pass
        time.sleep(0.05)
    raise TimeoutError(path)
