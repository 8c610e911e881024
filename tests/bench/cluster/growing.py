"""What a growing installation costs while nothing happens, and how soon it is repaired."""

import sys
import time
from typing import Any

from tests.bench import processes
from tests.bench.cluster import ROWS, copies
from tests.bench.cluster.creating import plane_for
from tests.bench.report import Report, Table
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation

STEPS = (1, 5, 10)
REST_SECONDS = 300.0
DELETED = 100


def measure(count: int) -> Report:
    """At ``count`` instances, five and ten times as many, one after the other in one cluster. Only the first
    ones are made by Flowstead, the others are copies."""
    figures: list[dict[str, Any]] = []
    repaired = 0.0
    with plane_for(count * STEPS[-1], quick=True) as plane, Installation(plane.kubeconfig) as installation:
        installation.start()
        there = 0
        for step in STEPS:
            if step == STEPS[0]:
                installation.call(ROWS, f"make(0, {count})")
                installation.wait_until_running(count)
                repaired = _repair(plane)
            else:
                copies.grow(plane, installation, there, count * step)
                installation.start()
                installation.wait_until_running(count * step)
            there = count * step
            figures.append({"instances": there, **_rest(plane, installation)})
            print(figures[-1], file=sys.stderr, flush=True)  # the next step takes a while
    rest = Table(
        "At rest",
        ["instances", "requests a minute", "CPU % of a core", "reconciler's memory (PSS), MB"],
        [
            [str(one["instances"]), f"{one['requests']:.1f}", f"{one['cpu']:.1f}", f"{one['memory']:.0f}"]
            for one in figures
        ],
    )
    repair = Table(
        f"Repair of {DELETED} deleted Services", ["", "seconds"], [["all back", f"{repaired:.2f}"]]
    )
    return Report([rest, repair], {"rest": figures, "repair_seconds": repaired})


def _rest(plane: ControlPlane, installation: Installation) -> dict[str, float]:
    """During one resync of everything: that is the same five minutes for any number of instances."""
    time.sleep(30)  # what the last start has left to do
    before = sum(1 for _ in plane.requests("flowstead"))
    cpu = processes.cpu_shares({"reconciler": [installation.pid]}, REST_SECONDS)["reconciler"]
    asked = sum(1 for _ in plane.requests("flowstead")) - before
    memory = processes.pss([installation.pid])
    return {"requests": asked * 60 / REST_SECONDS, "cpu": cpu, "memory": memory}


def _repair(plane: ControlPlane) -> float:
    """From the last of the deletions to the moment when all are there again, with other uids."""
    services = _services(plane)[:DELETED]
    for service in services:
        metadata = service["metadata"]
        plane.call("DELETE", f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}")
    deleted = {service["metadata"]["uid"] for service in services}
    began = time.perf_counter()
    names = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in services}
    while not names <= _names_without(plane, deleted):
        time.sleep(0.1)
    return time.perf_counter() - began


def _services(plane: ControlPlane) -> list[dict[str, Any]]:
    found = plane.call("GET", "/api/v1/services?labelSelector=flowstead/instance&resourceVersion=0")
    return list(found["items"])


def _names_without(plane: ControlPlane, uids: set[str]) -> set[tuple[str, str]]:
    metadata = (service["metadata"] for service in _services(plane))
    return {(one["namespace"], one["name"]) for one in metadata if one["uid"] not in uids}
