"""The storage API as instances use it: through the one port, each client with an instance of its own."""

import math
from dataclasses import dataclass

from tests.bench.load import Measured, Order, run
from tests.bench.report import Report, Table
from tests.bench.running import running_product
from tests.e2e.product import Product

SECONDS = 5.0
SIZES = {"11 kB": 11_000, "1.1 MB": 1_100_000}
CLIENTS = (1, 16)
NAMES = {"get": "getFlows", "save": "saveFlows"}


@dataclass(frozen=True, slots=True)
class Peer:
    per_second: float
    p99: float


# FlowFuse 2.4 (SQLite, two cores, load client on the same machine), by kind, size and clients.
PEER = {
    ("get", "11 kB", 1): Peer(153, 11.7),
    ("save", "11 kB", 1): Peer(137, 13.8),
    ("get", "11 kB", 16): Peer(205, 122),
    ("save", "11 kB", 16): Peer(213, 161),
    ("get", "1.1 MB", 1): Peer(85, math.nan),
    ("save", "1.1 MB", 1): Peer(28, math.nan),
    ("get", "1.1 MB", 16): Peer(119, 178),
    ("save", "1.1 MB", 16): Peer(28, 768),
}

COLUMNS = [
    "",
    "clients",
    "requests/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "peer's requests/s",
    "ratio",
    "peer's p99 ms",
    "ratio",
]


def measure(quick: bool) -> Report:
    seconds = 0.5 if quick else SECONDS
    figures = []
    with running_product() as product:
        rows = _rows(product)
        for size, count in SIZES.items():
            for kind in NAMES:
                for clients in CLIENTS:
                    measured = run(Order(product.port, rows[:clients], kind, count, seconds))
                    figures.append(_figures(kind, size, clients, measured))
    table = Table("Storage API", COLUMNS, [_row(each) for each in figures])
    return Report([table], {"requests": figures})


def _rows(product: Product) -> list[list[str]]:
    script = f"from tests.bench.rows import make_rows; make_rows({max(CLIENTS)})"
    printed = product.manage("shell", "-v", "0", "-c", script)
    return [line.split() for line in printed.strip().splitlines()]


def _figures(kind: str, size: str, clients: int, measured: Measured) -> dict[str, float | str]:
    return {
        "kind": kind,
        "size": size,
        "clients": clients,
        "requests": len(measured.latencies),
        "per_second": len(measured.latencies) / measured.seconds,
        **{f"p{share}": _percentile(measured.latencies, share) * 1000 for share in (50, 95, 99)},
    }


def _percentile(ordered: list[float], share: int) -> float:
    """The value that ``share`` per cent of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def _row(figures: dict[str, float | str]) -> list[str]:
    kind, size, clients = str(figures["kind"]), str(figures["size"]), int(figures["clients"])
    peer = PEER[kind, size, clients]
    per_second, p99 = float(figures["per_second"]), float(figures["p99"])
    return [
        f"{NAMES[kind]} of {size}",
        str(clients),
        f"{per_second:.0f}",
        *(f"{figures[share]:.1f}" for share in ("p50", "p95", "p99")),
        f"{peer.per_second:.0f}",
        f"{per_second / peer.per_second:.1f}",
        "" if math.isnan(peer.p99) else f"{peer.p99:.1f}",
        "" if math.isnan(peer.p99) else f"{p99 / peer.p99:.2f}",
    ]
