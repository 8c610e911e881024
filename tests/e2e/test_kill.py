"""kill -9, everywhere: afterwards the state is right, nothing is lost, nothing runs twice."""

import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

import httpx
import pytest

from tests.e2e.product import Product, is_settled, wait_for

FLOWS = [
    {"id": "t", "type": "tab", "label": "t"},
    {"id": "i", "type": "http in", "z": "t", "url": "/hi", "method": "get", "wires": [["o"]]},
    {"id": "o", "type": "http response", "z": "t", "wires": []},
]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running(product: Product) -> Product:
    api = product.api(product.token())
    api.make("kitchen")
    api.wait("kitchen", "running")
    return product


@pytest.fixture
def api(running: Product):
    return running.api(running.token())


def test_a_killed_node_red_comes_back_and_the_timeline_says_so(running, api):
    [pid] = running.instances()
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: running.instances() not in ([], [pid]) and running.is_up("kitchen"), "a new process answers"
    )
    api.wait("kitchen", "running")
    assert len(running.instances()) == 1
    wait_for(
        lambda: any(
            event["verb"] == "exited" for event in api.client.get("/instances/kitchen/events").json()["items"]
        ),
        "the timeline names the exit",
    )


def test_a_killed_web_process_during_a_save_loses_nothing(running, api):
    client = running.storage("kitchen")
    stop, saved = threading.Event(), []

    def save() -> None:
        number = int(client.get("/flows").headers["ETag"].strip('"'))
        while not stop.is_set():
            body = json.dumps([*FLOWS, {"id": f"c{number}", "type": "comment"}])
            try:
                answer = client.post("/flows", content=body, headers={"If-Match": f'"{number}"'})
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                number = answer.json()["revision"]
                saved.append((number, body))
            else:
                assert answer.status_code in (502, 503), answer.text

    saver = threading.Thread(target=save)
    saver.start()
    for _ in range(3):
        time.sleep(0.5)
        os.kill(running.pids("portal.asgi")[0], signal.SIGKILL)
    time.sleep(1.5)
    stop.set()
    saver.join()
    assert len(saved) > 10
    assert [number for number, _ in saved] == list(range(saved[0][0], saved[0][0] + len(saved)))
    assert client.get("/flows").text == saved[-1][1]
    assert len(running.instances()) == 1
    wait_for(lambda: len(running.pids("portal.asgi")) == 2, "both web processes are back")


def test_instances_outlive_reconciler_and_web(running, api):
    before = running.instances()
    for part in ("manage.py reconcile", "portal.asgi"):
        for pid in running.pids(part):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: running.get("portal", "/readyz").status_code == 200, "it is ready again", 30)
    assert running.instances() == before
    api.make("after-kill")
    api.wait("after-kill", "running")
    api.client.delete("/instances/after-kill")
    api.wait("after-kill", 404)


STEPS = 5  # the calls of a pass are 0 to 3: at the last step nobody dies
WISHES = {
    "create": ("post", "", "running"),
    "stop": ("post", "/stop", "stopped"),
    "start": ("post", "/start", "running"),
    "change": ("patch", "", "running"),
    "delete": ("delete", "", 404),
}


def roles(step: int) -> dict[str, str]:
    """Name by wish. What one step has left is what the next one needs: a Node-RED takes a while to start."""
    first, second = ("k-first", "k-second") if step % 2 else ("k-second", "k-first")
    created, before = f"k-{step}", f"k-{step - 1}" if step else "k-old"
    return {"create": created, "stop": first, "start": second, "change": "k-changed", "delete": before}


def prepare(api) -> None:
    names = roles(0)
    existing = [name for wish, name in names.items() if wish != "create"]
    for name in existing:
        api.make(name)
    for name in existing:
        api.wait(name, "running", 60)
    api.client.post(f"/instances/{names['start']}/stop")
    api.wait(names["start"], "stopped")


def ask(api, wish: str, name: str, step: int) -> None:
    method, path, _ = WISHES[wish]
    bodies = {"create": {"name": name}, "change": {"environment": {"STEP": str(step)}}}
    address = "/instances" if wish == "create" else f"/instances/{name}{path}"
    response = api.client.request(method.upper(), address, json=bodies.get(wish))
    assert response.status_code in (200, 201, 202), response.text


def test_a_reconciler_killed_at_any_step_is_finished_by_the_next(running, api):
    prepare(api)
    for step in range(STEPS):
        print(f"killed at step {step}")
        kill_reconcilers(running, api, step)
    left = {name for name in roles(STEPS - 1).values() if api.instance(name)["phase"] != 404}
    assert len(left) == 4
    for name in left:
        assert api.client.delete(f"/instances/{name}").status_code == 202
    for name in left:
        api.wait(name, 404)
    assert len(running.instances()) == 1


CLAIMED = "SELECT count(*) FROM tenants_instance WHERE claimed_until IS NOT NULL"


def hold_still(running: Product) -> None:
    """Stop the reconciler between two passes: it must keep neither SQLite's write lock nor a claim."""
    while True:
        [pid] = running.pids("manage.py reconcile")
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(running.data_dir / "flowstead.sqlite3", timeout=0.5)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                [claims] = database.execute(CLAIMED).fetchone()
            except sqlite3.OperationalError:
                claims = None
        if claims == 0:
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)


def kill_reconcilers(running: Product, api, step: int) -> None:
    """The product's reconciler is held still; others that die at their call number ``step`` work on its
    world, one for each wish. Then all are dead, and supervisord starts the next one."""
    names = roles(step)
    hold_still(running)
    try:
        for wish, name in names.items():
            ask(api, wish, name, step)
        worked = running.run_inside("-m", "tests.e2e.killed_reconciler", str(step), *names.values())
    finally:
        for pid in running.pids("manage.py reconcile"):
            os.kill(pid, signal.SIGKILL)
    assert worked.returncode == 0, worked.stderr[-2000:]
    ended = worked.stdout.split()
    assert set(ended) == {"killed"} if step < STEPS - 1 else "killed" not in ended
    for wish, name in names.items():
        api.wait(name, WISHES[wish][2], 60)
    for wish in ("create", "start", "change"):
        wait_for(lambda name=names[wish]: running.is_up(name), "it answers")
    assert len(running.instances()) == 4


def test_a_killed_process_manager_leaves_nobody_behind_and_nothing_twice(running, api):
    [before] = running.instances()
    [manager] = running.pids("supervisor.supervisord")
    os.kill(manager, signal.SIGKILL)
    wait_for(lambda: running.pids("supervisor.supervisord") not in ([], [manager]), "a new process manager")
    wait_for(lambda: is_settled(running, api, 1), "everything is back", 120)
    assert running.instances() != [before]
    time.sleep(1)
    assert len(running.instances()) == 1


def test_everything_killed_at_once_comes_back_with_another_start(running, api):
    api.make("stopped-one")
    api.wait("stopped-one", "running")
    api.client.post("/instances/stopped-one/stop")
    api.wait("stopped-one", "stopped")
    flows = running.storage("kitchen").get("/flows").text
    api.client.post("/instances", json={"name": "just-made"})
    running.kill_everything()
    wait_for(lambda: not running.processes(), "all are dead")
    running.start()
    wait_for(lambda: is_settled(running, api, 2), "everything is back", 120)
    assert running.is_up("just-made")
    assert api.instance("stopped-one")["phase"] == "stopped"
    assert running.storage("kitchen").get("/flows").text == flows
    assert api.client.post("/instances", json={"name": "stopped-one"}).status_code == 409
    for name in ("stopped-one", "just-made"):
        api.client.delete(f"/instances/{name}")
        api.wait(name, 404)
        api.make(name)
        api.wait(name, "running")
        api.client.delete(f"/instances/{name}")
        api.wait(name, 404)


def test_a_second_start_brings_back_what_ran_and_a_stop_leaves_no_process(running, api):
    assert running.stop(signal.SIGINT) == 0
    assert running.processes() == {}
    running.start()
    wait_for(lambda: is_settled(running, api, 1), "everything is back", 120)
    assert running.stop(signal.SIGTERM) == 0
    assert running.processes() == {}
    running.start()
