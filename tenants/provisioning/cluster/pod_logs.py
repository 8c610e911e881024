"""What an instance printed: the log of its pod, with the run before where the process was started anew."""

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread

from tenants.provisioning.cluster.api_server import ApiServer, Object, Refusal, Stream
from tenants.provisioning.cluster.kinds import POD
from tenants.provisioning.cluster.pods import CONTAINER
from tenants.provisioning.driver import DriverError

NOTHING_YET = (204, 400, 404)  # it has no node, is waiting to start, has no run before, or has gone
SILENCE_SECONDS = 60  # then whoever follows asks anew: a dead connection is as silent as a quiet process

_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\S+) ")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the process: a pod's container since its last start."""

    namespace: str
    pod: str
    uid: str
    restarts: int


@dataclass(slots=True)
class _Place:
    """How far the log of a run has been read: to the line with this time stamp, which every line has
    of its own. So it is read on where it was cut off, with no line twice and none left out."""

    stamp: bytes = b""

    def text(self, line: bytes) -> str:
        """A line without its stamp, which is where the log has been read to now."""
        stamp = _stamp(line)
        self.stamp = stamp or self.stamp
        return line[len(stamp) + 1 if stamp else 0 :].decode(errors="replace")

    def rest(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Those that come after this place."""
        stamp = self.stamp
        return (line for line in lines if not _stamp(line) or _stamp(line) > stamp)


def _stamp(line: bytes) -> bytes:
    """Empty where it is not a line of the process: a node tells its own trouble in between."""
    found = _STAMPED.match(line)
    return found[1] if found else b""


def lines(api: ApiServer, path: str, selector: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
    """As ``Driver.logs`` promises. ``path`` and ``selector`` find the pods of one instance."""
    if not tail and not follow:
        return
    run = newest_run(api, path, selector)
    place = _Place()
    if run:
        yield from _last(api, run, tail, place)
    while follow and not stop.is_set():
        if run and place.stamp:  # before its first line a log does not even answer who follows it
            yield from _follow(api, run, place, stop)
        following = yield from _next_run(api, path, selector, stop)
        if following != run:
            run, place = following, _Place()
        if run and not place.stamp:  # it began while somebody looks: it is shown whole
            yield from _lines(api, run, {}, place)


def newest_run(api: ApiServer, path: str, selector: str) -> Run | None:
    pods = api.get(path, labelSelector=selector)["items"]
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    newest = max(alive or pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
    if newest is None:
        return None
    metadata = newest["metadata"]
    return Run(metadata["namespace"], metadata["name"], metadata["uid"], _restarts(newest))


def _restarts(pod: Object) -> int:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((int(one["restartCount"]) for one in statuses if one["name"] == CONTAINER), 0)


def _last(api: ApiServer, run: Run, tail: int, place: _Place) -> Iterator[str]:
    current = list(_lines(api, run, {"tailLines": str(max(tail, 1))}, place))
    missing = tail - len(current)
    if missing > 0 and run.restarts:
        yield from _lines(api, run, {"tailLines": str(missing), "previous": "true"}, _Place())
    yield from current[:tail]


def _lines(api: ApiServer, run: Run, query: dict[str, str], place: _Place) -> Iterator[str]:
    stream = _open(api, run, query, silence=30)
    if stream:
        yield from map(place.text, stream)


def _open(api: ApiServer, run: Run, query: dict[str, str], silence: float) -> Stream | None:
    try:
        path = f"{POD.path(run.namespace, run.pod)}/log"
        return api.stream(path, {"container": CONTAINER, "timestamps": "true", **query}, silence)
    except Refusal as error:
        if error.status in NOTHING_YET:
            return None
        raise


def _follow(api: ApiServer, run: Run, place: _Place, stop: Event) -> Iterator[str]:
    """The lines that come after this place, until the run ends. A thread reads, so that silence can be
    told from the end."""
    query = {"follow": "true", "sinceTime": place.stamp.decode()}
    stream = _open(api, run, query, SILENCE_SECONDS)
    if stream is None:
        return
    queue: Queue[bytes | None] = Queue(maxsize=1000)
    left = Event()
    Thread(target=_read, args=(place.rest(stream), queue, left), daemon=True).start()
    try:
        while not stop.is_set():
            try:
                line = queue.get(timeout=0.5)
            except Empty:
                yield ""
                continue
            if line is None:
                return
            yield place.text(line)
    finally:
        left.set()
        stream.close()


def _read(source: Iterator[bytes], queue: Queue[bytes | None], left: Event) -> None:
    with suppress(DriverError):  # cut off: whoever follows looks for the run anew
        for line in source:
            _put(queue, line, left)
    _put(queue, None, left)


def _put(queue: Queue[bytes | None], line: bytes | None, left: Event) -> None:
    while not left.is_set():
        with suppress(Full):
            return queue.put(line, timeout=1)


def _next_run(api: ApiServer, path: str, selector: str, stop: Event) -> Generator[str, None, Run | None]:
    """Wait for another run, or for the same one to answer again."""
    while not stop.wait(1):
        yield ""
        run = newest_run(api, path, selector)
        if run is not None:
            return run
    return None
