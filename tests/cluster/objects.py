"""The objects that a control plane of the tests has from its start, or is given in a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORAGE_CLASS = "standard"
_WORKS = {"architecture": "amd64", "operatingSystem": "linux", "osImage": "none", "kernelVersion": "none"}
_UNKNOWN = {"machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": ""}


@dataclass(frozen=True)
class Capacity:
    """What one node has to offer."""

    cpu: str = "8"
    memory: str = "32Gi"
    pods: int = 200


def node(name: str, capacity: Capacity, address: str, port: int, version: str) -> dict[str, Any]:
    offered = {"cpu": capacity.cpu, "memory": capacity.memory, "pods": str(capacity.pods)}
    offered["ephemeral-storage"] = "100Gi"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "status": {
            "capacity": offered,
            "allocatable": offered,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {
                **_WORKS,
                **_UNKNOWN,
                "kubeletVersion": version,
                "containerRuntimeVersion": "containerd://2.1.4",
            },
        },
    }


def storage_class() -> dict[str, Any]:
    """The default one. Its volumes come from bind_volumes()."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "flowstead.test/volumes",
    }


def volume_for(claim: Mapping[str, Any]) -> dict[str, Any]:
    """As a provisioner makes it: for this claim and no other."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}"},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "storageClassName": spec.get("storageClassName", ""),
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            # Nothing is ever written there: no container runs.
            "hostPath": {"path": f"/var/lib/flowstead-test/{metadata['uid']}"},
        },
    }


def logs(pod: Mapping[str, Any], containers: Sequence[Path]) -> dict[str, Any]:
    """Tells kwok where the logs of a pod's containers are: in a folder for each. Goes with the pod."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    files = [
        {
            "containers": [folder.name],
            "logsFile": str(folder / "current.log"),
            "previousLogsFile": str(folder / "previous.log"),
        }
        for folder in containers
    ]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
        },
        "spec": {"logs": files},
    }
