"""What the cluster has of us, kept in memory by list and watch: looking costs the API server nothing.

One ``Reflector`` a kind fills its ``Shelf``. An object is packed as soon as it comes, without what nobody
here reads, so that ten thousand instances fit into a small process; and an echo that differs in nothing
but what was left out wakes nobody.
"""

import logging
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from sys import intern
from threading import Event, Lock
from typing import Any

import orjson

from tenants.provisioning.cluster.api_server import ApiServer, Gone, Object, Refusal, Stream
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    Kind,
)
from tenants.provisioning.cluster.owners import instance_of, labels_of
from tenants.provisioning.driver import DriverError
from tenants.provisioning.manifests import TENANT

log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace ("" for none) and name

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 30.0
STEADY_SECONDS = 5.0  # a watch that lasted this long had worked
WATCH_SECONDS = (240, 360)
LIST_SECONDS = (2700, 3600)  # from one list to the next: until then an event that got lost stays unnoticed
SILENT = "no_answer"


@dataclass(frozen=True, slots=True)
class Packed:
    """One object as it was last seen."""

    version: int
    uid: str
    instance: str
    tenant: str
    content: bytes

    @classmethod
    def of(cls, kind: Kind, live: Object) -> "Packed":
        metadata = live["metadata"]
        content = orjson.dumps(_read_here(kind, live), option=orjson.OPT_SORT_KEYS)
        return cls(
            version=int(metadata["resourceVersion"]),
            uid=metadata["uid"],
            instance=intern(instance_of(kind, live)),  # one text for the objects of all kinds
            tenant=intern(labels_of(live).get(TENANT, "")),
            content=zlib.compress(content, 1),
        )

    def unpack(self) -> Object:
        live: Object = orjson.loads(zlib.decompress(self.content))
        return live


class _Index:
    """Which objects carry a label's value."""

    def __init__(self) -> None:
        self._keys: dict[str, set[Key]] = {}

    def of(self, value: str) -> set[Key]:
        return self._keys.get(value, set())

    def names(self) -> set[str]:
        return set(self._keys)

    def add(self, value: str, key: Key) -> None:
        if value:
            self._keys.setdefault(value, set()).add(key)

    def remove(self, value: str, key: Key) -> None:
        keys = self._keys.get(value, set())
        keys.discard(key)
        if not keys:
            self._keys.pop(value, None)


Changed = Callable[[Packed], None]


class Shelf:
    """The objects of one kind, by name and by instance. Versions only go forward: an answer to our
    own request may come before or after the same news from the watch."""

    def __init__(self, kind: Kind, changed: Changed) -> None:
        self.kind = kind
        self._changed = changed
        self._objects: dict[Key, Packed] = {}
        self._by_instance = _Index()
        self._by_tenant = _Index()
        self._seen_through = 0
        self._gone: set[str] = set()  # uids: of what an answer said is gone, and the watch not yet
        self._lock = Lock()

    def get(self, namespace: str, name: str) -> Object | None:
        packed = self._objects.get((namespace, name))
        return packed.unpack() if packed else None

    def of_instance(self, instance_id: str) -> list[Object]:
        with self._lock:
            found = [self._objects[key] for key in self._by_instance.of(instance_id)]
        return [packed.unpack() for packed in found]

    def instances(self) -> set[str]:
        with self._lock:
            return self._by_instance.names()

    def places(self) -> list[tuple[str, Key]]:
        """The instance and the key of each object that belongs to one."""
        with self._lock:
            return [(packed.instance, key) for key, packed in self._objects.items() if packed.instance]

    def instances_of_tenant(self, slug: str) -> set[str]:
        with self._lock:
            return {self._objects[key].instance for key in self._by_tenant.of(slug)} - {""}

    def everything(self) -> list[Packed]:
        with self._lock:
            return list(self._objects.values())

    # --- News -------------------------------------------------------------------------------------

    def answered(self, live: Object) -> None:
        """The API server answered one of our requests with this object."""
        packed = Packed.of(self.kind, live)
        with self._lock:
            if packed.version > self._seen_through:  # else the watch told this, and what came after
                self._put(key_of(live), packed)

    def absent(self, key: Key, uid: str) -> None:
        """The API server answered that this object is gone."""
        with self._lock:
            known = self._objects.get(key)
            if known and known.uid == uid:
                self._drop(key)
                self._gone.add(uid)

    def happened(self, what: str, live: Object) -> None:
        """One event of the watch."""
        version = int(live["metadata"]["resourceVersion"])
        changed: list[Packed] = []
        with self._lock:
            self._seen_through = max(self._seen_through, version)
            if what == "DELETED":
                self._gone.discard(live["metadata"]["uid"])
                known = self._objects.get(key_of(live))
                if known and known.version <= version:  # else there is another one of its name already
                    self._drop(key_of(live))
                    changed = [known]
            elif what != "BOOKMARK":
                changed = self._put(key_of(live), Packed.of(self.kind, live))
        for packed in changed:
            self._changed(packed)

    def listed(self, objects: dict[Key, Packed], version: int) -> None:
        """A whole list as of ``version``. What our own requests have brought since then stays, unless
        the cluster itself has gone back in time: a restored backup."""
        changed: list[Packed] = []
        with self._lock:
            back_in_time = version < self._seen_through
            for key, known in list(self._objects.items()):
                if key not in objects and (back_in_time or known.version <= version):
                    self._drop(key)
                    changed.append(known)
            for key, packed in objects.items():
                if back_in_time:
                    self._drop(key)
                changed += self._put(key, packed)
            self._seen_through = version
            self._gone &= {packed.uid for packed in objects.values()}
        for packed in changed:
            self._changed(packed)

    def _put(self, key: Key, packed: Packed) -> list[Packed]:
        """Return what has changed of what is read here; relabelled, also what it was before."""
        known = self._objects.get(key)
        if packed.uid in self._gone or (known and known.version >= packed.version):
            return []
        self._drop(key)
        self._objects[key] = packed
        self._by_instance.add(packed.instance, key)
        self._by_tenant.add(packed.tenant, key)
        if known is None:
            return [packed]
        if (known.uid, known.content) == (packed.uid, packed.content):
            return []
        is_relabelled = (known.instance, known.tenant) != (packed.instance, packed.tenant)
        return [known, packed] if is_relabelled else [packed]

    def _drop(self, key: Key) -> None:
        known = self._objects.pop(key, None)
        if known:
            self._by_instance.remove(known.instance, key)
            self._by_tenant.remove(known.tenant, key)


class Reflector:
    """Keeps a shelf like the cluster: list, then watch from there; after a broken connection the watch
    goes on where it was, after a 410 everything is listed again, and so it is now and then, since no
    watch shows that an event is missing.

    ``problem`` says why the shelf may not be like the cluster, as long as it may not. One broken
    connection is none: only when the next one fails too, nobody knows what happened meanwhile.
    """

    def __init__(self, api: ApiServer, shelf: Shelf, path: str, selector: str) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._shelf = shelf
        self._version = ""
        self._list_at = 0.0
        self._stream: Stream | None = None
        self._watching_since: float | None = None
        self.problem: DriverError | None = DriverError("The cluster has not been listed yet.", reason=SILENT)
        self.has_tried = False

    def run(self, stop: Event, told: Callable[[], None]) -> None:
        """Until ``stop`` is set. ``told`` is called whenever ``problem`` has changed."""
        failures, error = 0, None
        while not stop.is_set():
            # A list that is only due gives way where it fails: the watch alone still tells the news.
            lists = not self._version or (error is None and time.monotonic() >= self._list_at)
            error, self._watching_since = None, None
            try:
                if lists:
                    self._list()
                self._watch(stop, told)
            except Gone:
                self._version = ""
            except DriverError as happened:
                error = happened
            except Exception as surprise:  # without this thread the shelf would tell old news for ever
                if not stop.is_set():
                    log.exception("%s", self._path)
                error = DriverError(
                    f"The cluster is not understood ({type(surprise).__name__}).", reason=SILENT
                )
                self._version = ""
            if stop.is_set():
                return
            failures = 0 if self._was_steady() else failures + 1
            if error and failures > 1:
                log.log(logging.WARNING if failures == 2 else logging.DEBUG, "%s: %s", self._path, error)
                self._tell(told, error)
            stop.wait((error and error.retry_after) or _pause(failures))

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def _was_steady(self) -> bool:
        """Whether there was a watch for a while. That it took long to get none does not count."""
        since = self._watching_since
        return since is not None and time.monotonic() - since > STEADY_SECONDS

    def _tell(self, told: Callable[[], None], problem: DriverError | None) -> None:
        news = str(problem) != str(self.problem)
        self.problem, self.has_tried = problem, True
        if news:
            told()

    def _list(self) -> None:
        objects: dict[Key, Packed] = {}
        version = ""
        for page in self._api.pages(self._path, self._selector, self._pack):
            version, some = page
            objects |= some
        self._shelf.listed(objects, int(version))
        self._version = version  # not before: a list that broke off has to be asked for again
        self._list_at = time.monotonic() + random.uniform(*LIST_SECONDS)

    def _pack(self, page: Object) -> tuple[str, dict[Key, Packed]]:
        packed = {key_of(item): Packed.of(self._shelf.kind, item) for item in page["items"]}
        return page["metadata"]["resourceVersion"], packed

    def _watch(self, stop: Event, told: Callable[[], None]) -> None:
        seconds = random.randint(*WATCH_SECONDS)
        try:
            stream = self._api.watch(self._path, self._selector, self._version, seconds)
        except Refusal as error:
            raise Gone(str(error)) if error.status == 410 else error from error
        self._stream = stream
        self._watching_since = time.monotonic()
        self._tell(told, None)
        try:
            if stop.is_set():  # ``close`` may have come before there was anything to close
                return
            for what, live in _events(stream):
                self._shelf.happened(what, live)
                self._version = live["metadata"]["resourceVersion"]
                if stop.is_set():
                    return
        finally:
            stream.close()


def key_of(live: Object) -> Key:
    return intern(live["metadata"].get("namespace", "")), intern(live["metadata"]["name"])


def _events(stream: Iterable[bytes]) -> Iterator[tuple[str, Object]]:
    """Raises ``Gone`` or ``DriverError`` where the server says in the stream that it cannot go on."""
    for line in stream:
        try:
            event: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DriverError("The watch was cut off.", reason="no_answer") from error
        if event["type"] != "ERROR":
            yield event["type"], event["object"]
        elif event["object"].get("code") == 410:
            raise Gone(str(event["object"].get("message")))
        else:
            raise DriverError(f"The watch ended: {event['object'].get('message')}", reason="cluster_error")


def _pause(failures: int) -> float:
    """Seconds before the next connection: none after one that had lasted."""
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20))
    return longest * random.uniform(0.5, 1) if failures else 0.0


# --- What of an object is read here ---------------------------------------------------------------

_METADATA = (
    "name",
    "namespace",
    "uid",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
)


def _read_here(kind: Kind, live: Object) -> Object:
    """The object without managedFields, versions, times of probes, and the status of what has none
    that matters."""
    metadata = {name: live["metadata"][name] for name in _METADATA if live["metadata"].get(name)}
    named = {"apiVersion": kind.api_version, "kind": kind.kind}  # the items of a list do not say it
    if kind == POD:
        return {**named, "metadata": _own(metadata), "status": _pod_status(live.get("status") or {})}
    if kind == REPLICA_SET:
        return {**named, "metadata": _own(metadata)}
    if kind == DEPLOYMENT:
        metadata = _without_revision(metadata)
    rest = {name: part for name, part in live.items() if name not in {"metadata", "status"}}
    return {**rest, **named, "metadata": metadata, **_status(kind, live.get("status") or {})}


_ROLLOUT = "deployment.kubernetes.io/"
_NO_POD = "ReplicaFailure"
_SINCE = ("lastTransitionTime",)  # tells a pod that was ready from one that never was
_POD_STATUS = ("phase", "reason", "message", "containerStatuses", "initContainerStatuses")


def _own(metadata: Object) -> Object:
    """What others write onto pods is not ours to watch."""
    annotations = metadata.get("annotations") or {}
    ours = {name: text for name, text in annotations.items() if name.startswith("flowstead/")}
    return {**metadata, "annotations": ours}


def _without_revision(metadata: Object) -> Object:
    """What the Deployment's controller notes with every rollout."""
    annotations = metadata.get("annotations") or {}
    others = {name: text for name, text in annotations.items() if not name.startswith(_ROLLOUT)}
    return {**metadata, "annotations": others}


def _status(kind: Kind, status: Object) -> Object:
    if kind == DEPLOYMENT:  # how a rollout gets on is seen by its pods
        conditions = [_condition(one) for one in status.get("conditions") or [] if one["type"] == _NO_POD]
        seen = status.get("observedGeneration", 0)
        return {"status": {"observedGeneration": seen, "conditions": conditions}}
    if kind in (NAMESPACE, PERSISTENT_VOLUME_CLAIM):
        return {"status": {"phase": status.get("phase", "")}}
    return {}


def _pod_status(status: Object) -> Object:
    kept = {name: status[name] for name in _POD_STATUS if status.get(name)}
    return {**kept, "conditions": [_condition(one, *_SINCE) for one in status.get("conditions") or []]}


def _condition(condition: Object, *more: str) -> Object:
    return {name: condition.get(name, "") for name in ("type", "status", "reason", "message", *more)}
