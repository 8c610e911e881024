"""Processes that a flow detaches: they end with their instance, or with everything."""

import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.product import Product, wait_for
from tests.sleepers import sleepers

pytestmark = pytest.mark.e2e


@contextmanager
def detached(product: Product, name: str) -> Iterator[int]:
    """The instance's flow starts a process in a session of its own, without any environment."""
    seconds = 10**8 + secrets.randbelow(10**8)
    flows = [
        {"id": "t", "type": "tab", "label": "t"},
        {
            "id": "i",
            "type": "inject",
            "z": "t",
            "once": True,
            "onceDelay": 0.1,
            "props": [],
            "wires": [["e"]],
        },
        {
            **{"id": "e", "type": "function", "z": "t", "outputs": 0, "wires": []},
            "func": f"cp.spawn('setsid', ['env', '-i', 'sleep', '{seconds}'], {{stdio: 'ignore'}}).unref()",
            "libs": [{"var": "cp", "module": "child_process"}],
        },
    ]
    client, api = product.storage(name), product.api(product.token())
    revision = client.get("/flows").headers["ETag"]
    assert client.post("/flows", content=json.dumps(flows), headers={"If-Match": revision}).status_code == 200
    api.client.post(f"/instances/{name}/restart")
    wait_for(lambda: sleepers(seconds), "the flow has detached a process", 60)
    try:
        yield seconds
    finally:
        for pid in sleepers(seconds):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make PID namespaces")
def test_what_a_flow_detached_ends_when_its_instance_is_stopped(product, api):
    api.make("detaching")
    api.wait("detaching", "running")
    with detached(product, "detaching") as seconds:
        api.client.post("/instances/detaching/stop")
        api.wait("detaching", "stopped")
        assert not sleepers(seconds)
    api.client.delete("/instances/detaching")
    api.wait("detaching", 404)


def test_what_a_flow_detached_ends_with_everything_without_root_too():
    product = Product(unprivileged=True)
    try:
        api = product.start().api(product.token())
        api.make("detaching")
        api.wait("detaching", "running")
        with detached(product, "detaching") as seconds:
            assert product.stop(signal.SIGINT) == 0
            assert not sleepers(seconds)
    finally:
        product.remove()
