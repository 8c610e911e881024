"""From rows to ready pods, beside kubectl with the same objects and KubeSpawner with as many pods."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.cluster import PER_TENANT, ROWS
from tests.bench.report import Report, Table
from tests.cluster.build import programs
from tests.cluster.control_plane import QUICK, Capacity, ControlPlane
from tests.cluster.installation import Installation
from tests.e2e.product import ROOT

SPAWNER_REQUIREMENTS = ROOT / "requirements" / "bench.txt"
PODS_A_NODE = 2500  # few nodes: each one's heartbeats cost the machine as much as many pods
TENANT_OBJECTS = 6
LIMIT_SECONDS = 1800.0


def measure(count: int) -> Report:
    """Each in a fresh control plane, one after the other."""
    spawner = _kubespawner(count)
    usual, requests = _flowstead(count, quick=False)
    usual_kubectl = _kubectl(count, quick=False)
    quick, _ = _flowstead(count, quick=True)
    quick_kubectl = _kubectl(count, quick=True)
    rows = [
        _row("Flowstead: rows to all ready", "usual", usual, usual),
        _row("kubectl apply --server-side, to all ready", "usual", usual_kubectl, usual),
        _row("Flowstead: rows to all ready", "raised", quick, quick),
        _row("kubectl apply --server-side, to all ready", "raised", quick_kubectl, quick),
        _row("KubeSpawner, one pod each", "not asked", spawner, usual),
    ]
    table = Table(
        f"Creating {count} instances, in seconds",
        ["", "controllers' limit", "seconds", "Flowstead takes … times this"],
        rows,
    )
    asked = Table(
        "API requests to create one instance",
        ["", "requests"],
        [["without its tenant's share", f"{requests:.2f}"]],
    )
    figures = {
        "usual": {"flowstead": usual, "kubectl": usual_kubectl},
        "raised": {"flowstead": quick, "kubectl": quick_kubectl},
        "kubespawner": spawner,
        "requests": requests,
    }
    return Report([table, asked], figures)


def _row(what: str, limit: str, seconds: float, ours: float) -> list[str]:
    return [what, limit, f"{seconds:.1f}", f"{ours / seconds:.2f}"]


def plane_for(count: int, *, quick: bool) -> ControlPlane:
    """``quick``: only the machine limits the controllers."""
    return ControlPlane(
        nodes=count // PODS_A_NODE + 1,
        capacity=Capacity(cpu="2000", memory="8Ti", pods=PODS_A_NODE + 10),
        audit=True,
        controller_arguments=QUICK if quick else (),
    )


def _flowstead(count: int, *, quick: bool) -> tuple[float, float]:
    with plane_for(count, quick=quick) as plane, Installation(plane.kubeconfig) as installation:
        installation.start()
        began = time.perf_counter()
        installation.call(ROWS, f"make(0, {count})")
        seconds = installation.wait_until_running(count) - began
        asked = sum(event["verb"] not in ("list", "watch") for event in plane.requests("flowstead"))
        of_tenants = TENANT_OBJECTS * -(-count // PER_TENANT)
        return seconds, (asked - of_tenants) / count


def _kubectl(count: int, *, quick: bool) -> float:
    with (
        tempfile.TemporaryDirectory() as folder,
        plane_for(count, quick=quick) as plane,
        Installation(plane.kubeconfig) as installation,
    ):
        installation.call(ROWS, f"make(0, {count})")
        installation.call(ROWS, f"write_manifests({folder!r})")
        began = time.perf_counter()
        for part in ("tenants", "instances"):
            plane.kubectl("apply", "--server-side", "-f", f"{folder}/{part}")
        _wait_for_pods(plane, count)
        return time.perf_counter() - began


def _kubespawner(count: int) -> float:
    program = Path(__file__).with_name("spawning.py")
    with plane_for(count, quick=False) as plane:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "KUBECONFIG": str(plane.kubeconfig),
        }
        command = [str(_spawner_python()), str(program), str(count)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        return float(json.loads(ended.stdout.splitlines()[-1])["seconds"])


def _spawner_python() -> Path:
    """An environment of its own, kept outside the tree: KubeSpawner brings a whole JupyterHub."""
    version = hashlib.sha256(SPAWNER_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = programs().folder.parent / f"kubespawner-{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
    ]
    subprocess.run([*install, "-r", str(SPAWNER_REQUIREMENTS)], check=True)
    return python


def _wait_for_pods(plane: ControlPlane, count: int) -> None:
    deadline = time.perf_counter() + LIMIT_SECONDS
    while (ready := _ready_pods(plane)) != count:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{ready} pods are ready, not {count}")
        time.sleep(0.5)


def _ready_pods(plane: ControlPlane) -> int:
    pods = plane.call("GET", "/api/v1/pods?resourceVersion=0")["items"]
    conditions = (pod["status"].get("conditions", []) for pod in pods)
    return sum(
        any(one["type"] == "Ready" and one["status"] == "True" for one in of_pod) for of_pod in conditions
    )
