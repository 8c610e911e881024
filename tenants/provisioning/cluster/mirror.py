"""All that a cluster has of this installation, mirrored: one watch a kind, whatever the number of
instances."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Condition, Event, Thread

from tenants.provisioning.cluster.api_server import ApiServer, Object
from tenants.provisioning.cluster.kinds import Kind
from tenants.provisioning.cluster.reflector import Key, Packed, Reflector, Shelf, key_of
from tenants.provisioning.driver import DriverError

GATHER_SECONDS = 0.2  # what happens to an instance within so short a time is one thing to look at


@dataclass
class _Pending:
    """Ids of instances in whose world something happened, each once."""

    ids: dict[str, None] = field(default_factory=dict)
    arrived: Condition = field(default_factory=Condition)

    def add(self, *ids: str) -> None:
        with self.arrived:
            self.ids.update(dict.fromkeys(ids))
            self.arrived.notify_all()

    def wait(self, seconds: float) -> bool:
        with self.arrived:
            return bool(self.arrived.wait_for(lambda: self.ids, seconds))

    def take(self) -> list[str]:
        with self.arrived:
            taken = list(self.ids)
            self.ids.clear()
            return taken


class Mirror:
    """``paths`` says where each kind is listed: in the whole cluster, or in one namespace."""

    def __init__(self, api: ApiServer, paths: dict[Kind, str], selector: str) -> None:
        self._api = api
        self._pending = _Pending()
        self._shelves = {kind: Shelf(kind, self._note) for kind in paths}
        self._reflectors = [
            Reflector(api, self._shelves[kind], path, selector) for kind, path in paths.items()
        ]
        self._told = Condition()
        self._stop = Event()
        self._threads: list[Thread] = []

    def start(self) -> None:
        """Begin to mirror; where it has begun already, nothing."""
        with self._told:
            if self._threads:
                return
            self._threads = [
                Thread(target=reflector.run, args=(self._stop, self._tell), daemon=True)
                for reflector in self._reflectors
            ]
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        self._stop.set()
        for reflector in self._reflectors:
            reflector.close()
        for thread in self._threads:
            thread.join(5)

    def require_true(self, seconds: float) -> None:
        """Raise ``DriverError`` where the mirror may not show what there is. It waits up to
        ``seconds`` for the first look only: afterwards silence is told at once."""
        self.start()
        deadline = time.monotonic() + seconds
        with self._told:
            self._told.wait_for(lambda: not self._new(), max(0.0, deadline - time.monotonic()))
            problem = next((one.problem for one in self._reflectors if one.problem), None)
        if problem:
            # Never for good: it is the cluster's trouble, and no change of an instance would end it.
            raise DriverError(
                str(problem), reason=problem.reason, retry_after=problem.retry_after
            ) from problem

    def changes(self, stop: Event) -> Iterator[str]:
        """Yield the ids of instances to which something happened, until ``stop`` is set; ``""`` while
        nothing does."""
        self.start()
        while not stop.is_set():
            if self._pending.wait(0.5):
                stop.wait(GATHER_SECONDS)
                yield from self._pending.take()
            else:
                yield ""

    # --- What there is ----------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._shelves[kind].get(namespace, name)

    def of_instance(self, instance_id: str) -> dict[Kind, list[Object]]:
        found = {kind: shelf.of_instance(instance_id) for kind, shelf in self._shelves.items()}
        return {kind: objects for kind, objects in found.items() if objects}

    def instances(self, kinds: Iterable[Kind]) -> set[str]:
        return set().union(*(self._shelves[kind].instances() for kind in kinds))

    def places(self, kind: Kind) -> list[tuple[str, Key]]:
        """The instance, the namespace and the name of each object of a kind that belongs to an instance."""
        return self._shelves[kind].places()

    def without_instance(self, kind: Kind) -> list[Object]:
        return [packed.unpack() for packed in self._shelves[kind].everything() if not packed.instance]

    def everything(self, kind: Kind) -> list[Object]:
        return [packed.unpack() for packed in self._shelves[kind].everything()]

    # --- What our own requests brought ------------------------------------------------------------

    def answered(self, kind: Kind, live: Object) -> None:
        self._shelves[kind].answered(live)

    def absent(self, kind: Kind, live: Object) -> None:
        self._shelves[kind].absent(key_of(live), live["metadata"]["uid"])

    # --- Inside -----------------------------------------------------------------------------------

    def _new(self) -> bool:
        return any(not reflector.has_tried for reflector in self._reflectors)

    def _tell(self) -> None:
        with self._told:
            self._told.notify_all()

    def _note(self, changed: Packed) -> None:
        if changed.instance:
            self._pending.add(changed.instance)
        elif changed.tenant:
            self._pending.add(*self._instances_of(changed.tenant))

    def _instances_of(self, slug: str) -> set[str]:
        return set().union(*(shelf.instances_of_tenant(slug) for shelf in self._shelves.values()))
