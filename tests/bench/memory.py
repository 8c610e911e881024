"""What the product needs at rest, and what an instance adds to a bare Node-RED."""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.bare import start_bare
from tests.bench.processes import arguments, cpu_shares, pss
from tests.bench.report import Report, Table
from tests.bench.running import running_product
from tests.e2e.product import Api, Product

MANY = 5
REST_SECONDS = 10.0
CPU_SECONDS = 20.0

PARTS = {
    "web processes": "portal.asgi",
    "reconciler": "manage.py reconcile",
    "catalogue process": "manage.py refresh_catalogue",
    "registry (Verdaccio)": "verdaccio",
    "supervisord": "supervisor.supervisord",
    "Caddy": "caddy run",
    "watchdog": "deploy.local.watchdog",
    "launcher": "deploy.local.launch",
}
PYTHON_PARTS = ("web processes", "reconciler", "supervisord")


@dataclass(frozen=True, slots=True)
class Moment:
    """Megabytes with ``count`` instances beside as many bare Node-REDs, and per cent of one core."""

    count: int
    parts: dict[str, float]
    instances: float
    bare: float
    cpu: dict[str, float]


def measure(quick: bool) -> Report:
    rest, cpu_seconds, many = (1.0, 2.0, 2) if quick else (REST_SECONDS, CPU_SECONDS, MANY)
    moments = []
    with running_product() as product, ExitStack() as stack:
        api = product.api(product.token())
        _warm_up(product, api)
        pairs = Pairs(product, api, stack)
        for count in (0, 1, many):
            while len(pairs.bare) < count:
                pairs.add()
            time.sleep(rest)
            moments.append(_moment(product, pairs.bare, cpu_seconds))
    idle, one, more = moments
    tables = [_idle_table(idle, more), _instance_table(one, more)]
    return Report(tables, {"moments": [asdict(moment) for moment in moments]})


class Pairs:
    """Instances, and beside each a bare Node-RED with the same options of node: so both share node's
    own pages with equally many."""

    def __init__(self, product: Product, api: Api, stack: ExitStack) -> None:
        self._product = product
        self._api = api
        self._stack = stack
        self._cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bare-cache-")))
        self.bare: list[int] = []

    def add(self) -> None:
        name = f"flow-{len(self.bare)}"
        self._api.make(name)
        self._api.wait(name, "running", 60)
        bare = start_bare(self._cache, *self._node_options())
        self._stack.callback(bare.end)
        self.bare.append(bare.process.pid)

    def _node_options(self) -> list[str]:
        command = arguments(self._product.instances()[0])
        return [word for word in command[1:] if word.startswith("--max-")]


def _warm_up(product: Product, api: Api) -> None:
    """Let every part do its work once, so that what it loads late does not count for an instance."""
    product.get("portal")
    product.get("portal", "/accounts/login/")
    api.make("first")
    api.wait("first", "running")
    api.client.delete("/instances/first")
    api.wait("first", 404)


def _moment(product: Product, bare: list[int], cpu_seconds: float) -> Moment:
    parts = {name: product.pids(command) for name, command in PARTS.items()}
    instances = product.instances()
    return Moment(
        count=len(instances),
        parts={name: pss(pids) for name, pids in parts.items()},
        instances=pss(instances),
        bare=pss(bare),
        cpu=cpu_shares(parts, cpu_seconds),
    )


def _idle_table(idle: Moment, more: Moment) -> Table:
    def row(title: str, *names: str) -> list[str]:
        memory = sum(idle.parts[name] for name in names)
        cpu = [sum(moment.cpu[name] for name in names) for moment in (idle, more)]
        return [title, f"{memory:.1f}", *(f"{share:.2f}" for share in cpu)]

    rows = [row(name, name) for name in PARTS]
    rows.append(row("web, reconciler and supervisord", *PYTHON_PARTS))
    rows.append(row("all", *PARTS))
    columns = ["", "PSS in MB", "CPU in % of a core", f"CPU with {more.count} instances"]
    return Table("The product at rest, without instances", columns, rows)


def _instance_table(one: Moment, more: Moment) -> Table:
    """The difference of two counts, since a first process pays alone for what all share."""
    further = more.count - one.count
    instance = (more.instances - one.instances) / further
    bare = (more.bare - one.bare) / further
    rest = (sum(more.parts.values()) - sum(one.parts.values())) / further
    rows = [
        ["Node-RED of an instance, the first", f"{one.instances:.1f}"],
        ["bare Node-RED, the first", f"{one.bare:.1f}"],
        ["Node-RED of an instance, each further one", f"{instance:.1f}"],
        ["bare Node-RED, each further one", f"{bare:.1f}"],
        ["everything else, for each further instance", f"{rest:.1f}"],
        ["what an instance adds to a bare Node-RED", f"{instance + rest - bare:.1f}"],
    ]
    return Table(f"Memory of an instance (1 and {more.count} of them)", ["", "PSS in MB"], rows)
