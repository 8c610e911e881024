"""A disk without room: what runs goes on, saves are refused, and it all heals when there is room again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.product import CHECKOUT, Api, Product, wait_for
from tests.e2e.test_kill import FLOWS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk"),
]


class Disk:
    """A small disk at ``path``, with a file on it that takes all the room there is."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    product = Product()
    product.data_dir.mkdir(mode=0o711)
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=711", "tmpfs", str(product.data_dir)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a disk cannot be mounted on this machine")
    try:
        yield product.start()
    finally:
        if product.process is not None:
            product.stop()
        subprocess.run(["umount", "--lazy", str(product.data_dir)], check=True)
        product.remove()


@pytest.fixture(scope="module")
def api(product: Product) -> Api:
    api = product.api(product.token())
    api.make("kitchen")
    api.wait("kitchen", "running")
    return api


@pytest.fixture(scope="module")
def saves(product: Product, api: Api) -> httpx.Client:
    return product.storage("kitchen")


@pytest.fixture(scope="module")
def manager(product: Product, api: Api) -> int:
    """The process manager that the whole product runs under."""
    return product.pids("supervisord.conf")[-1]


@pytest.fixture(scope="module")
def disk(product: Product, saves: httpx.Client, manager: int) -> Disk:
    disk = Disk(product.data_dir)
    disk.fill()
    return disk


def save(saves: httpx.Client, flows: list[dict[str, object]]) -> httpx.Response:
    return saves.post("/flows", json=flows, headers={"If-Match": saves.get("/flows").headers["ETag"]})


def test_instances_and_portal_go_on_while_every_log_has_something_to_write(product, api, disk, manager):
    parts = ("reconcile", "refresh_catalogue", "caddy", "verdaccio", "uvicorn")
    before = {part: product.pids(part) for part in parts}
    [instance] = product.instances()
    for pid in (*(pids[0] for pids in before.values()), instance):
        os.kill(pid, signal.SIGKILL)

    def is_back(part: str) -> bool:
        now = product.pids(part)
        return len(now) == len(before[part]) and before[part][0] not in now

    for part in parts:
        wait_for(lambda part=part: is_back(part), f"{part} is back")
    wait_for(lambda: product.instances() not in ([], [instance]), "a new Node-RED")
    wait_for(lambda: product.is_up("kitchen"), "its editor answers")
    wait_for(lambda: product.get("portal", "/accounts/login/").status_code == 200, "the portal answers")
    assert api.instance("kitchen")["name"] == "kitchen"
    assert product.process.poll() is None
    assert product.pids("supervisord.conf")[-1] == manager


def test_a_reconciler_that_cannot_renew_its_lease_stays(product, disk):
    """/readyz says that none is at work, since the row cannot be written."""
    reconciler = product.pids("reconcile")
    instances = product.instances()
    wait_for(lambda: product.get("portal", "/readyz").status_code == 503, "the lease has run out")
    assert product.pids("reconcile") == reconciler
    assert product.instances() == instances
    assert product.is_up("kitchen")


def test_a_save_is_refused_with_a_sentence_and_loses_nothing(saves, disk):
    before = saves.get("/flows").text
    refused = save(saves, [*FLOWS, {"id": "big", "type": "comment", "info": "x" * 200_000}])
    assert refused.status_code == 503, refused.text
    assert "disk" in refused.json()["detail"] and refused.json()["code"]
    assert saves.get("/flows").text == before


def test_it_heals_without_a_restart_when_there_is_room(product, api, saves, disk, manager):
    log = product.data_dir / "logs" / "supervisord.log"
    started = log.read_text().count("spawned:")
    disk.make_room()
    wait_for(lambda: save(saves, FLOWS).status_code == 200, "a save is taken")
    wait_for(lambda: api.client.post("/instances/kitchen/restart").status_code == 202, "a restart is taken")
    [instance] = product.instances()
    wait_for(lambda: product.instances() not in ([], [instance]), "it was restarted", 60)
    api.wait("kitchen", "running", 60)
    wait_for(lambda: product.get("portal", "/readyz").status_code == 200, "it is ready")
    assert product.pids("supervisord.conf")[-1] == manager
    wait_for(lambda: log.read_text().count("spawned:") > started, "the log goes on")


def test_a_start_on_a_full_disk_says_so(product, api, disk):
    product.stop()
    disk.fill()
    ended = subprocess.run(
        ["make", "run"], cwd=CHECKOUT, env=product.environment, capture_output=True, text=True, timeout=60
    )
    said = [line for line in (ended.stdout + ended.stderr).splitlines() if not line.startswith("make: ")]
    assert ended.returncode != 0
    assert len(said) == 1, said
    assert said[0].startswith(f"Flowstead cannot start: the disk that holds {product.data_dir} is full")
