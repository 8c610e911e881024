"""What a hostile flow can do with its instance's own token for the storage API."""

import json
import statistics
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.product import Api, Product

SCRIPT = (
    "from tenants.models import Instance;"
    "[print(i.name, i.pk, i.storage_token) for i in Instance.objects.filter(name__in=['hostile', 'neighbour'])]"
)
BODY_BYTES = 9 * 10**6
META_BYTES = 8 * 10**6


class Storage:
    """The storage API as one instance reaches it."""

    def __init__(self, product: Product, instance_id: str, token: str) -> None:
        self.client = httpx.Client(
            base_url=f"{product.local}/api/v1/storage/{instance_id}",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=15,  # as in the storage module
        )

    def save(self, path: str, body: bytes) -> httpx.Response:
        return self.client.post(path, content=body)

    def entry(
        self, path: str, *, meta: str = "{}", body: str = '""', kind: str = "functions"
    ) -> httpx.Response:
        return self.save(f"/library/{kind}", f'{{"path":"{path}","meta":{meta},"body":{body}}}'.encode())


@pytest.fixture(scope="module")
def instances(product: Product) -> dict[str, Storage]:
    api = Api(product.local, product.token())
    for name in ("hostile", "neighbour"):
        api.make(name)
    printed = product.manage("shell", "-v", "0", "-c", SCRIPT)
    lines = [line.split() for line in printed.strip().splitlines()]
    return {name: Storage(product, instance_id, token) for name, instance_id, token in lines}


@pytest.fixture
def hostile(instances: dict[str, Storage]) -> Storage:
    return instances["hostile"]


@pytest.fixture
def neighbour(instances: dict[str, Storage]) -> Storage:
    return instances["neighbour"]


def seconds_of_saves(storage: Storage, go_on: Callable[[], bool]) -> list[float]:
    """Return how long each save of small flows took. All saves, and the reads in between, must succeed."""
    seconds = []
    while go_on():
        began = time.perf_counter()
        saved = storage.save("/flows", json.dumps([{"id": "a", "name": str(began)}]).encode())
        seconds.append(time.perf_counter() - began)
        read = storage.client.get("/flows")
        assert (saved.status_code, read.status_code) == (200, 200)
        time.sleep(0.02)
    return seconds


def test_a_library_with_huge_notes_is_refused_and_delays_no_other_instance(
    hostile: Storage, neighbour: Storage
) -> None:
    numbers = iter(range(20))
    calm = statistics.median(seconds_of_saves(neighbour, lambda: next(numbers, None) is not None))
    answers: list[int] = []

    def attack() -> None:
        meta = '{"info":"%s"}' % ("x" * META_BYTES)
        answers.extend(hostile.entry(f"note-{number}", meta=meta).status_code for number in range(14))

    thread = threading.Thread(target=attack)
    thread.start()
    under_attack = seconds_of_saves(neighbour, thread.is_alive)
    thread.join()
    assert answers == [413] * 14
    assert statistics.median(under_attack) < max(1.0, 20 * calm)
    assert hostile.client.get("/library/functions").json() == {"kind": "folder", "entries": []}


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "entry",
    [
        {"meta": '{"a":' + nested(300) + "}"},
        {"meta": '{"a":' + nested(100_000) + "}"},
        {"body": nested(100_000)},
        {"meta": '{"n":123456789012345678901234567890}'},
        {"meta": '{"n":%s}' % ("9" * 5000)},
        {"meta": '{"a":"\\ud83d"}'},
        {"path": "\\ud83d"},
    ],
    ids=[
        "300 levels",
        "100,000 levels",
        "deep body",
        "large integer",
        "huge integer",
        "broken meta",
        "broken path",
    ],
)
def test_what_the_library_cannot_keep_is_refused(hostile: Storage, entry: dict[str, str]) -> None:
    response = hostile.entry(**{"path": "hostile", **entry})
    assert response.status_code in (413, 422), response.text
    assert response.json().keys() >= {"detail", "code"}


def test_half_of_a_surrogate_pair_survives(hostile: Storage) -> None:
    flows = b'[{"id":"a","type":"comment","name":"cut \\ud83d off"}]'
    assert hostile.save("/flows", flows).status_code == 200
    assert hostile.client.get("/flows").content == flows
    assert hostile.entry("cut", body='"cut \\ud83d off"').status_code == 200
    loaded = hostile.client.get("/library/functions", params={"path": "cut"})
    assert json.loads(loaded.content)["body"] == "cut \ud83d off"


def test_an_instance_cannot_store_without_end_and_can_still_deploy(hostile: Storage) -> None:
    body = '"%s"' % ("x" * BODY_BYTES)
    for number in range(40):
        response = hostile.entry(f"large-{number}", body=body, kind="templates")
        if response.status_code != 200:
            break
    assert (response.status_code, response.json()["code"]) == (413, "storage_full")
    assert "INSTANCE_MAX_BYTES" in response.json()["detail"]
    assert hostile.save("/flows", json.dumps([{"id": "a", "info": "x" * 10**6}]).encode()).status_code == 200
    assert hostile.save("/sessions", b'{"token":{}}').status_code == 200


def test_an_instance_cannot_have_libraries_without_end(hostile: Storage) -> None:
    responses = [hostile.entry("a", kind=f"type-{number}") for number in range(25)]
    assert (responses[0].status_code, responses[-1].status_code) == (200, 413)
    assert "types" in responses[-1].json()["detail"]
