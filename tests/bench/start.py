"""From the create call to the editor, beside a bare start of the same Node-RED, taking turns."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.bare import start_bare
from tests.bench.polling import wait_for_200
from tests.bench.report import Report, Table
from tests.bench.running import running_product
from tests.e2e.product import Api, Product

ROUNDS = 12
REST_SECONDS = 0.5

OURS = "Flowstead: create call to editor"
BARE = "bare Node-RED: start to editor"
CACHED = "bare Node-RED with NODE_COMPILE_CACHE"


def measure(quick: bool) -> Report:
    rounds = 2 if quick else ROUNDS
    with running_product() as product, tempfile.TemporaryDirectory(prefix="bare-cache-") as cache:
        api = product.api(product.token())
        ways: dict[str, Callable[[], float]] = {
            OURS: lambda: _create(product, api),
            BARE: lambda: _bare(None),
            CACHED: lambda: _bare(Path(cache)),
        }
        for way in ways.values():
            way()  # not counted: it fills the compile caches and the machine's own
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name in _turned(list(ways), number):
                time.sleep(REST_SECONDS)
                seconds[name].append(ways[name]())
    return Report([_table(seconds)], {"seconds": seconds})


def _create(product: Product, api: Api) -> float:
    began = time.perf_counter()
    api.make("kitchen")
    taken = wait_for_200(product.port, "kitchen.localhost") - began
    api.wait("kitchen", "running")
    api.client.delete("/instances/kitchen")
    api.wait("kitchen", 404)
    return taken


def _bare(cache: Path | None) -> float:
    bare = start_bare(cache)
    bare.end()
    return bare.seconds


def _turned(names: list[str], number: int) -> list[str]:
    """In another order each round, so that none always comes after the same."""
    first = number % len(names)
    return names[first:] + names[:first]


def _table(seconds: dict[str, list[float]]) -> Table:
    ours = median(seconds[OURS])
    rows = [
        [
            name,
            str(len(taken)),
            f"{median(taken):.3f}",
            f"{min(taken):.3f}",
            f"{max(taken):.3f}",
            "" if name == OURS else f"{ours / median(taken):.2f}",
        ]
        for name, taken in seconds.items()
    ]
    return Table(
        "Start, in seconds", ["", "n", "median", "min", "max", "Flowstead's median is … times this"], rows
    )
