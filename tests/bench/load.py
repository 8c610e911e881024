"""The load: a process of its own, ``python -m tests.bench.load``, told what to do on standard input.

It prints how many seconds passed and the latency of each request, all of them answered with 200.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import uvloop

from tests.bench.http_client import Answer, Connection
from tests.e2e.product import ROOT

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """``rows`` holds the id and the token of an instance for each client; ``kind`` is get or save,
    ``size`` the number of bytes that the flows have."""

    port: int
    rows: list[list[str]]
    kind: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """``latencies`` in seconds, sorted."""

    seconds: float
    latencies: list[float]


def run(order: Order) -> Measured:
    """In another process, so that it takes nothing from who asks."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        cwd=ROOT,
        input=json.dumps(asdict(order)),
        capture_output=True,
        text=True,
        timeout=order.seconds + 120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return Measured(**json.loads(ended.stdout))


class Client:
    """One instance's storage module."""

    def __init__(self, connection: Connection, order: Order, row: list[str]) -> None:
        self._connection = connection
        self._head = (
            f"/api/v1/storage/{row[0]}/flows HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n"
            f"Authorization: Bearer {row[1]}\r\n"
        ).encode()
        self._flows = flows(order.size)
        self._revision = 0

    async def get(self) -> Answer:
        answer = await self._connection.request(b"GET ", self._head, b"\r\n")
        self._revision = answer.revision
        assert answer.status == 200, answer
        return answer

    async def save(self) -> Answer:
        """The flows with another first node each time, bound to the revision that is known."""
        first = b'[{"id":"n","type":"comment","name":"%d"},' % time.monotonic_ns()
        length = len(first) + len(self._flows)
        head = b'If-Match: "%d"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'
        answer = await self._connection.request(
            b"POST ", self._head, head % (self._revision, length), first, self._flows
        )
        assert answer.status == 200, answer
        self._revision = answer.revision
        return answer


def flows(size: int) -> bytes:
    """All of an array of nodes but its first one, about ``size`` bytes."""
    node = {
        "type": "function",
        "z": "tab",
        "name": "scale the reading",
        "func": 'msg.payload = {value: msg.payload / 10, unit: "°C"};\nreturn msg;',
        "outputs": 1,
        "wires": [["next"]],
    }
    length = len(json.dumps({"id": f"{0:016x}", **node}, ensure_ascii=False).encode()) + 2
    nodes = [{"id": f"{number:016x}", **node} for number in range(max(1, size // length))]
    return json.dumps(nodes, ensure_ascii=False).encode()[1:]


async def _work(ask: Callable[[], Awaitable[Answer]], until: float) -> list[float]:
    latencies = []
    while (began := time.perf_counter()) < until:
        await ask()
        latencies.append(time.perf_counter() - began)
    return latencies


async def _main(order: Order) -> Measured:
    clients = [Client(await Connection.to(order.port), order, row) for row in order.rows]
    for client in clients:
        await client.get()
        await client.save()
    asks = [getattr(client, order.kind) for client in clients]
    await _together(asks, WARM_UP_SECONDS)
    began = time.perf_counter()
    latencies = await _together(asks, order.seconds)
    return Measured(time.perf_counter() - began, sorted(latencies))


async def _together(asks: list[Callable[[], Awaitable[Answer]]], seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    return [one for many in await asyncio.gather(*(_work(ask, until) for ask in asks)) for one in many]


if __name__ == "__main__":
    order = Order(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(asdict(runner.run(_main(order))), sys.stdout)
