"""The catalogue: from npm publish to the document, the document itself, and a refresh among many."""

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.bench.packages import fill, name_of
from tests.bench.report import Report, Table
from tests.e2e.product import Product, wait_for
from tests.npm import Npm

SIZES = (100, 1_000, 10_000)
PUBLISHES = 12
COLD, WARM = 7, 300
POLL_SECONDS = 0.01


def measure(quick: bool) -> Report:
    sizes = (10, 100) if quick else SIZES
    figures = {}
    for count in sizes:
        with_many = _Many(count)
        try:
            figures[str(count)] = with_many.figures(quick)
        finally:
            with_many.remove()
    return Report([_publishing(figures), _documents(figures), _refreshing(figures)], figures)


class _Many:
    """A product whose registry holds ``count`` nodes, all of them read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.product = Product(REGISTRY_REFRESH_SECONDS="86400")
        self.folder = Path(tempfile.mkdtemp(prefix="flowstead-bench-"))
        storage = self.product.data_dir / "registry"
        storage.mkdir(parents=True)
        fill(storage, count)
        self.product.start()
        self.registry = f"{self.product.local}/registry"
        self.document = f"{self.product.local}/catalogue.json"

    def remove(self) -> None:
        self.product.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def figures(self, quick: bool) -> dict[str, Any]:
        began = time.monotonic()
        wait_for(lambda: self.listed() >= self.count, "all are read", 1800)
        read = time.monotonic() - began
        client = httpx.Client(headers={"Accept-Encoding": "gzip"}, timeout=60)
        return {
            "first_seconds": read,
            "publish": self._publishes(3 if quick else PUBLISHES),
            "cold": self._cold(client, 2 if quick else COLD),
            "warm": self._asked(client, {}, 200, 20 if quick else WARM),
            "not_modified": self._asked(client, self._etag(client), 304, 20 if quick else WARM),
            "bytes": self._bytes(client),
            **self._refreshes(),
        }

    def listed(self) -> int:
        return len(httpx.get(self.document, timeout=60).json()["modules"])

    # --- npm publish ------------------------------------------------------------------------------

    def _publishes(self, count: int) -> list[dict[str, float]]:
        npm = Npm(self.folder, f"{self.registry}/")
        npm.sign_in(self.product.token())
        measured = [self._publish(npm, f"1.0.{number}") for number in range(count + 1)]
        return measured[1:]  # the first fills caches

    def _publish(self, npm: Npm, version: str) -> dict[str, float]:
        """Seconds that npm took, and after how many more its version was in the document."""
        folder = npm.write("@private/node-red-published", version)
        seen: list[float] = []
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(version, seen, ended))
        watching.start()
        began = time.monotonic()
        npm.done("publish", cwd=folder)
        done = time.monotonic()
        watching.join(60)
        ended.set()
        return {"npm": done - began, "more": seen[0] - done}

    def _watch(self, version: str, seen: list[float], ended: threading.Event) -> None:
        """Asks as an editor does that knows the document of before; 304 costs little."""
        etag, line = "", f'"id":"@private/node-red-published","version":"{version}"'
        with httpx.Client(timeout=60) as client:
            while not seen and not ended.is_set():
                answer = client.get(self.document, headers={"If-None-Match": etag} if etag else {})
                etag = answer.headers["ETag"]
                if line in answer.text:
                    seen.append(time.monotonic())
                time.sleep(POLL_SECONDS)

    # --- The document -----------------------------------------------------------------------------

    def _cold(self, client: httpx.Client, count: int) -> list[float]:
        forget = "from catalogue.models import Rendering; Rendering.objects.all().delete()"
        seconds = []
        for _ in range(count):
            self.product.manage("shell", "-v", "0", "-c", forget)
            seconds.append(_timed(lambda: client.get(self.document).raise_for_status()))
        return seconds

    def _etag(self, client: httpx.Client) -> dict[str, str]:
        return {"If-None-Match": client.get(self.document).headers["ETag"]}

    def _asked(self, client: httpx.Client, headers: dict[str, str], status: int, count: int) -> list[float]:
        """Of the whole answer as it travels; what the client makes of it is not counted."""

        def ask() -> None:
            with client.stream("GET", self.document, headers=headers) as answer:
                assert answer.status_code == status
                for _ in answer.iter_raw():
                    pass

        ask()
        return [_timed(ask) for _ in range(count)]

    def _bytes(self, client: httpx.Client) -> dict[str, int]:
        with client.stream("GET", self.document) as answer:
            packed = sum(len(chunk) for chunk in answer.iter_raw())
        return {"packed": packed, "plain": len(client.get(self.document).content)}

    # --- A refresh --------------------------------------------------------------------------------

    def _refreshes(self) -> dict[str, float]:
        """After one publish: reading what is due; a look at all of the registry; and the way of old."""
        script = f"from tests.bench.catalogue import refresh_one; refresh_one({name_of(self.count // 2)!r})"
        one, look = self.product.manage("shell", "-v", "0", "-c", script).split()[-2:]
        return {"one": float(one), "look": float(look), "rescan": _timed(self._rescan)}

    def _rescan(self) -> None:
        """The predecessor's way: list everything, then fetch each package again. What it made of them
        afterwards is left out."""
        secret = (self.product.data_dir / "keys" / "registry-hook-token").read_text().strip()
        with httpx.Client(timeout=120, headers={"Authorization": f"Bearer {secret}"}) as client:
            listed = client.get(f"{self.registry}/-/flowstead/packages").raise_for_status().json()
            for name in listed["packages"]:
                client.get(f"{self.registry}/{name.replace('/', '%2f')}").raise_for_status()


def refresh_one(name: str) -> None:
    """Inside ``manage.py shell``: seconds of reading one package, and of one look."""
    from catalogue.models import Package, Reading
    from catalogue.refresh import Refresher

    refresher = Refresher.configured()
    refresher.look()
    times = []
    for _ in range(5):
        # as after a publish: the tarball of the newest version is not known yet
        Package.objects.get(name=name).versions.update(node_types=None)
        Reading.objects.mark_due(name)
        times.append(_timed(lambda: list(refresher.read_due())))
    print(statistics.median(times), _timed(refresher.look))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- Tables ---------------------------------------------------------------------------------------


def _publishing(figures: dict[str, Any]) -> Table:
    rows = []
    for count, measured in figures.items():
        npm = statistics.median(each["npm"] for each in measured["publish"])
        more = sorted(each["more"] for each in measured["publish"])
        rows.append(
            [f"among {count} nodes", f"{npm:.2f}", f"{statistics.median(more):.2f}", f"{more[-1]:.2f}"]
        )
    columns = ["", "npm publish, s", "until listed, s more", "at most"]
    return Table("From npm publish to catalogue.json", columns, rows)


def _documents(figures: dict[str, Any]) -> Table:
    columns = ["nodes", "cold ms", "warm p50 ms", "p95 ms", "304 p50 ms", "p95 ms", "kB", "packed kB"]
    rows = []
    for count, measured in figures.items():
        warm, same = measured["warm"], measured["not_modified"]
        rows.append(
            [
                count,
                f"{statistics.median(measured['cold']) * 1000:.0f}",
                *(f"{value:.1f}" for part in (warm, same) for value in (_share(part, 50), _share(part, 95))),
                f"{measured['bytes']['plain'] / 1000:.0f}",
                f"{measured['bytes']['packed'] / 1000:.0f}",
            ]
        )
    return Table("catalogue.json", columns, rows)


def _share(seconds: list[float], share: int) -> float:
    """Milliseconds that ``share`` per cent of them do not exceed."""
    ordered = sorted(seconds)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] * 1000


def _refreshing(figures: dict[str, Any]) -> Table:
    columns = [
        "nodes",
        "one package ms",
        "look at all ms",
        "the predecessor's rescan ms",
        "all for the first time s",
    ]
    rows = [
        [
            count,
            f"{measured['one'] * 1000:.0f}",
            f"{measured['look'] * 1000:.0f}",
            f"{measured['rescan'] * 1000:.0f}",
            f"{measured['first_seconds']:.0f}",
        ]
        for count, measured in figures.items()
    ]
    return Table("Refresh after one publish", columns, rows)
