"""The pod of an instance in Kubernetes: one container, no rights, nothing writable but its data. Pure."""

from typing import Any

from tenants.provisioning.cluster.quantities import cores, mebibytes
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.spec import InstanceSpec

Part = dict[str, Any]

CONTAINER = "node-red"
PORT = 1880
READY_PATH = "/-/ready"
STOP_SECONDS = 15
USER = 1000
DATA_DIR = "/data"
SCRATCH = 1024  # MiB for what is installed in an instance without a disk
TMP = 512  # MiB


def pod(spec: InstanceSpec, cluster: Cluster, *, name: str) -> Part:
    """``name`` is that of the secret it reads and of the disk that it has."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"runtimeClassName": cluster.runtime_class} if cluster.runtime_class else {}),
        **({"nodeSelector": dict(cluster.node_selector)} if cluster.node_selector else {}),
        "containers": [_container(spec, cluster, name)],
        "volumes": [
            {"name": "data", **_data(spec, name)},
            {"name": "tmp", "emptyDir": {"sizeLimit": mebibytes(TMP)}},
        ],
    }


def _data(spec: InstanceSpec, claim: str) -> Part:
    if spec.disk:
        return {"persistentVolumeClaim": {"claimName": claim}}
    return {"emptyDir": {"sizeLimit": mebibytes(SCRATCH)}}


def _container(spec: InstanceSpec, cluster: Cluster, secret: str) -> Part:
    return {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "envFrom": [{"secretRef": {"name": secret}}],
        "env": [{"name": key, "value": value} for key, value in _variables(spec).items()],
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        # Node.js says why it aborts, and that becomes part of the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe(every=1, timeout=1, failures=120),
        # A pod counts as unready before ``unresponsive_seconds`` are over, and is restarted once
        # ``unresponsive_restart_seconds`` are.
        "readinessProbe": _probe(every=cluster.unresponsive_seconds // 6, timeout=2, failures=5),
        "livenessProbe": _probe(every=cluster.unresponsive_restart_seconds // 6, timeout=5, failures=6),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _variables(spec: InstanceSpec) -> dict[str, str]:
    """What Flowstead's own image says too, and an operator's may not."""
    return {
        "FLOWSTEAD_LISTEN": str(PORT),
        "FLOWSTEAD_LISTEN_HOST": "0.0.0.0",  # noqa: S104  (within the pod)
        "FLOWSTEAD_USER_DIR": DATA_DIR,
        "HOME": DATA_DIR,
        "NODE_OPTIONS": f"--max-old-space-size={spec.heap()}",
    }


def _resources(spec: InstanceSpec) -> Part:
    """Memory is set aside in full, as nobody can take it back; of the CPU, what the size says."""
    memory = mebibytes(spec.memory)
    return {
        "limits": {"cpu": cores(spec.cpu), "memory": memory},
        "requests": {"cpu": cores(min(spec.cpu_reserved, spec.cpu)), "memory": memory},
    }


def _probe(*, every: int, timeout: int, failures: int) -> Part:
    return {
        "httpGet": {"path": READY_PATH, "port": "http", "scheme": "HTTP"},
        "periodSeconds": every,
        "timeoutSeconds": timeout,
        "successThreshold": 1,
        "failureThreshold": failures,
    }
