"""What an instance printed: the log of its pod, with the run before where the process was started anew."""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread

from tenants.provisioning.api_server import ApiServer, Object, Refusal, Stream
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kinds import POD
from tenants.provisioning.pods import CONTAINER

NOTHING_YET = (400, 404)  # it is waiting to start, has no run before, or has gone


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the process: a pod's container since its last start."""

    namespace: str
    pod: str
    uid: str
    restarts: int


def lines(api: ApiServer, path: str, selector: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
    """As ``Driver.logs`` promises. ``path`` and ``selector`` find the pods of one instance."""
    run = newest_run(api, path, selector)
    if run and tail:
        yield from _last(api, run, tail, and_current=not follow)
    if not follow:
        return
    known = tail
    while not stop.is_set():
        if run:
            yield from _follow(api, run, known, stop)
        following = yield from _next_run(api, path, selector, stop)
        # A run that began while somebody looks is shown whole; one that was cut off goes on.
        known = 0 if following == run else -1
        run = following


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


def _last(api: ApiServer, run: Run, tail: int, *, and_current: bool) -> Iterator[str]:
    current = list(_lines(api, run, tail, previous=False))
    missing = tail - len(current)
    if missing > 0 and run.restarts:
        yield from _lines(api, run, missing, previous=True)
    if and_current:
        yield from current


def _lines(api: ApiServer, run: Run, tail: int, *, previous: bool) -> Iterator[str]:
    stream = _open(api, run, {"tailLines": str(tail), "previous": str(previous).lower()}, silence=30)
    if stream:
        yield from (line.decode(errors="replace") for line in stream)


def _open(api: ApiServer, run: Run, query: dict[str, str], silence: float | None) -> Stream | None:
    try:
        path = f"{POD.path(run.namespace, run.pod)}/log"
        return api.stream(path, {"container": CONTAINER, **query}, silence)
    except Refusal as error:
        if error.status in NOTHING_YET:
            return None
        raise


def _follow(api: ApiServer, run: Run, tail: int, stop: Event) -> Iterator[str]:
    """The last ``tail`` lines (all where it is negative) and those that come, until the run ends. A
    thread reads, so that silence can be told from the end."""
    query = {"follow": "true"} | ({"tailLines": str(tail)} if tail >= 0 else {})
    stream = _open(api, run, query, silence=None)
    if stream is None:
        return
    queue: Queue[str | None] = Queue(maxsize=1000)
    left = Event()
    Thread(target=_read, args=(stream, queue, left), daemon=True).start()
    try:
        while not stop.is_set():
            try:
                line = queue.get(timeout=0.5)
            except Empty:
                yield ""
                continue
            if line is None:
                return
            yield line
    finally:
        left.set()
        stream.close()


def _read(stream: Stream, queue: Queue[str | None], left: Event) -> None:
    with suppress(DriverError):  # cut off: whoever follows looks for the run anew
        for line in stream:
            _put(queue, line.decode(errors="replace"), left)
    _put(queue, None, left)


def _put(queue: Queue[str | None], line: str | None, left: Event) -> None:
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
