"""What is kept of a cluster in memory: which news counts, and whom it wakes."""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from threading import Event, Thread
from typing import Any

import orjson
import pytest

from tenants.provisioning.cluster import reflector
from tenants.provisioning.cluster.api_server import Refusal
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    OF_TENANTS,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.cluster.reflector import Packed, Reflector, Shelf, key_of
from tenants.provisioning.driver import DriverError
from tests.drivers.worlds import eventually

Json = dict[str, Any]
PLACE = ("flowstead-alice", "node-red-kitchen")
KITCHEN = "3f0c3a52-6a3e-4f7c-9d43-1b6c8f0d2a11"
GARAGE = "8d1e4b7a-2c5f-4e0b-a9c6-7f3d5e2b1c90"


def thing(version: int, uid: str = "1", name: str = "node-red-kitchen", **changes: Any) -> Json:
    labels = {"flowstead/instance": KITCHEN, "flowstead/tenant": "alice"}
    metadata = {
        "name": name,
        "namespace": "flowstead-alice",
        "uid": uid,
        "resourceVersion": str(version),
        "labels": changes.pop("labels", labels),
        **changes.pop("metadata", {}),
    }
    return {"metadata": metadata, **changes}


class Shelved:
    """A shelf, and whom its news have woken."""

    def __init__(self, kind: Kind = SERVICE) -> None:
        self.kind = kind
        self.woken: list[str] = []
        self.shelf = Shelf(kind, lambda packed: self.woken.append(packed.instance or packed.tenant))

    def happened(self, what: str, live: Json) -> None:
        self.shelf.happened(what, live)

    def listed(self, version: int, *lives: Json) -> None:
        self.shelf.listed({key_of(live): Packed.of(self.kind, live) for live in lives}, version)

    @property
    def uid(self) -> str | None:
        live = self.shelf.get(*PLACE)
        return live["metadata"]["uid"] if live else None

    @property
    def size(self) -> str | None:
        live = self.shelf.get(*PLACE)
        return live["spec"]["size"] if live else None


@pytest.fixture
def shelved() -> Shelved:
    return Shelved()


def sized(version: int, size: str, uid: str = "1") -> Json:
    return thing(version, uid, spec={"size": size})


# --- Which news counts ----------------------------------------------------------------------------


def test_news_replaces_what_was_known(shelved: Shelved) -> None:
    shelved.happened("ADDED", sized(1, "small"))
    shelved.happened("MODIFIED", sized(2, "large"))
    assert shelved.size == "large"
    shelved.happened("DELETED", sized(3, "large"))
    assert shelved.size is None


def test_what_an_answer_brought_outlives_older_news(shelved: Shelved) -> None:
    shelved.happened("ADDED", sized(1, "small"))
    shelved.shelf.answered(sized(5, "large"))
    shelved.happened("MODIFIED", sized(3, "medium"))
    assert shelved.size == "large"
    shelved.happened("MODIFIED", sized(6, "huge"))
    assert shelved.size == "huge"


def test_an_answer_that_comes_after_later_news_is_old(shelved: Shelved) -> None:
    shelved.happened("MODIFIED", sized(7, "large"))
    shelved.shelf.answered(sized(5, "small"))
    assert shelved.size == "large"
    shelved.happened("DELETED", sized(8, "large"))
    shelved.shelf.answered(sized(6, "small"))
    assert shelved.size is None


def test_an_answer_that_comes_after_the_news_of_its_end_is_old(shelved: Shelved) -> None:
    shelved.happened("DELETED", thing(9))
    shelved.shelf.answered(thing(8))
    assert shelved.uid is None


def test_the_end_of_a_predecessor_is_not_the_end_of_its_successor(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1, "old"))
    shelved.shelf.answered(thing(5, "new"))
    shelved.happened("DELETED", thing(4, "old"))
    assert shelved.uid == "new"


def test_what_is_gone_does_not_come_back_with_older_news(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    shelved.shelf.absent(PLACE, "1")
    assert shelved.uid is None
    shelved.happened("MODIFIED", thing(2))
    assert shelved.uid is None
    shelved.listed(2, thing(2))
    assert shelved.uid is None
    shelved.happened("DELETED", thing(3))
    shelved.happened("ADDED", thing(4, "another"))
    assert shelved.uid == "another"


def test_only_the_very_object_is_taken_for_gone(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(3, "new"))
    shelved.shelf.absent(PLACE, "old")
    assert shelved.uid == "new"


def test_a_list_tells_what_is_there_and_what_is_not(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    shelved.listed(5, thing(4, "2", name="node-red-garage"))
    assert shelved.uid is None
    assert shelved.shelf.get("flowstead-alice", "node-red-garage") is not None


def test_a_list_keeps_what_our_own_requests_have_brought_since(shelved: Shelved) -> None:
    shelved.shelf.answered(sized(8, "large"))
    shelved.listed(6)
    assert shelved.size == "large"
    shelved.listed(6, sized(5, "small"))
    assert shelved.size == "large"
    shelved.listed(9)
    assert shelved.size is None


def test_a_cluster_that_went_back_in_time_is_believed(shelved: Shelved) -> None:
    """A backup was restored: versions begin again where they were then."""
    shelved.happened("ADDED", sized(50, "large"))
    shelved.happened("ADDED", thing(60, "2", name="node-red-garage"))
    shelved.listed(40, sized(30, "small"))
    assert shelved.size == "small"
    assert shelved.shelf.get("flowstead-alice", "node-red-garage") is None
    shelved.happened("MODIFIED", sized(41, "medium"))
    shelved.shelf.answered(sized(42, "huge"))
    assert shelved.size == "huge"


def test_a_bookmark_says_how_far_the_news_have_come(shelved: Shelved) -> None:
    shelved.happened("BOOKMARK", {"metadata": {"resourceVersion": "70"}})
    shelved.shelf.answered(thing(69))
    assert shelved.uid is None
    assert shelved.woken == []


# --- Whom it wakes --------------------------------------------------------------------------------


def test_each_change_wakes_its_instance(shelved: Shelved) -> None:
    shelved.happened("ADDED", sized(1, "small"))
    shelved.happened("MODIFIED", sized(2, "large"))
    shelved.happened("DELETED", sized(3, "large"))
    assert shelved.woken == [KITCHEN] * 3


def test_news_of_what_is_already_known_wakes_nobody(shelved: Shelved) -> None:
    shelved.shelf.answered(sized(2, "large"))
    shelved.happened("ADDED", sized(1, "small"))
    shelved.happened("MODIFIED", sized(2, "large"))
    shelved.happened("DELETED", thing(3, name="node-red-garage"))
    assert shelved.woken == []


def test_an_object_that_took_the_place_of_another_wakes(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1, "old"))
    shelved.happened("ADDED", thing(2, "new"))
    assert shelved.woken == [KITCHEN] * 2


def test_a_list_wakes_whom_it_surprises(shelved: Shelved) -> None:
    garage = {"name": "node-red-garage", "labels": {"flowstead/instance": GARAGE}}
    shelved.listed(5, thing(1), thing(2, "2", **garage))
    assert sorted(shelved.woken) == [KITCHEN, GARAGE]
    shelved.woken.clear()
    shelved.listed(9, thing(1))
    assert shelved.woken == [GARAGE]


def test_what_a_tenant_shares_is_told_by_the_tenant(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1, labels={"flowstead/tenant": "alice"}))
    assert shelved.woken == ["alice"]


def put(live: Json, way: tuple[Any, ...], value: Any) -> None:
    *before, last = way
    for step in before:
        live = live[step]
    live[last] = value


QUOTA = {"spec": {"hard": {"pods": "5"}}, "status": {"used": {"pods": "0"}}}
CLAIM = {"spec": {"resources": {}}, "status": {"phase": "Pending", "conditions": []}}
CONDITION = {"type": "Available", "status": "True", "reason": "Fine", "lastUpdateTime": "1"}
GENERATION = {"metadata": {"generation": 1}}
NO_POD = {**CONDITION, "type": "ReplicaFailure"}
CONDITIONS = [NO_POD, CONDITION]
SELECTOR = {"spec": {"selector": {"matchLabels": {"flowstead/instance": KITCHEN}}}}
ROLLED = {
    **GENERATION,
    **SELECTOR,
    "status": {"observedGeneration": 1, "replicas": 1, "conditions": CONDITIONS},
}
READY = {"type": "Ready", "status": "True", "lastProbeTime": "1"}
CONTAINER = {"name": "node-red", "restartCount": 0, "state": {"running": {}}}
RUNNING = {"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [READY]}}
RUNNING["status"] |= {"containerStatuses": [CONTAINER], "initContainerStatuses": [CONTAINER]}


@pytest.mark.parametrize(
    ("kind", "content", "way", "value"),
    [
        (SERVICE, {}, ("metadata", "managedFields"), [{"manager": "kubectl"}]),
        (RESOURCE_QUOTA, QUOTA, ("status", "used", "pods"), "1"),
        (PERSISTENT_VOLUME_CLAIM, CLAIM, ("status", "conditions"), [{"type": "Resizing"}]),
        (NAMESPACE, {"status": {"phase": "Active"}}, ("status", "conditions"), []),
        (DEPLOYMENT, ROLLED, ("status", "replicas"), 2),
        (DEPLOYMENT, ROLLED, ("status", "conditions", 0, "lastUpdateTime"), "2"),
        (DEPLOYMENT, ROLLED, ("status", "conditions", 1, "status"), "False"),
        (DEPLOYMENT, ROLLED, ("metadata", "annotations"), {"deployment.kubernetes.io/revision": "2"}),
        (POD, RUNNING, ("status", "conditions", 0, "lastProbeTime"), "2"),
        (POD, RUNNING, ("status", "podIP"), "10.0.0.2"),
        (POD, RUNNING, ("metadata", "annotations"), {"somebody/else": "was here"}),
        (POD, RUNNING, ("spec",), {"nodeName": "node-1"}),
    ],
)
def test_an_echo_of_what_nobody_reads_wakes_nobody(
    kind: Kind, content: Json, way: tuple[Any, ...], value: Any
) -> None:
    assert woken_by(kind, content, way, value) == []


@pytest.mark.parametrize(
    ("kind", "content", "way", "value"),
    [
        (SERVICE, {"spec": {"type": "ClusterIP"}}, ("spec", "type"), "NodePort"),
        (SERVICE, {}, ("metadata", "annotations"), {"somebody/else": "was here"}),
        (SERVICE, {}, ("metadata", "deletionTimestamp"), "2026-01-01T00:00:00Z"),
        (SECRET, {"data": {"A": "MQ=="}}, ("data", "A"), "Mg=="),
        (RESOURCE_QUOTA, QUOTA, ("spec", "hard", "pods"), "6"),
        (PERSISTENT_VOLUME_CLAIM, CLAIM, ("status", "phase"), "Bound"),
        (NAMESPACE, {"status": {"phase": "Active"}}, ("status", "phase"), "Terminating"),
        (DEPLOYMENT, ROLLED, ("status", "conditions", 0, "status"), "False"),
        (DEPLOYMENT, ROLLED, ("status", "observedGeneration"), 2),
        (DEPLOYMENT, ROLLED, ("metadata", "generation"), 2),
        (POD, RUNNING, ("status", "conditions", 0, "status"), "False"),
        (POD, RUNNING, ("status", "containerStatuses", 0, "restartCount"), 1),
        (POD, RUNNING, ("status", "initContainerStatuses", 0, "restartCount"), 1),
        (POD, RUNNING, ("status", "phase"), "Failed"),
        (POD, RUNNING, ("metadata", "ownerReferences"), [{"kind": "ReplicaSet", "controller": True}]),
    ],
)
def test_what_somebody_reads_wakes(kind: Kind, content: Json, way: tuple[Any, ...], value: Any) -> None:
    assert woken_by(kind, content, way, value) == ["alice" if kind in OF_TENANTS else KITCHEN]


def woken_by(kind: Kind, content: Json, way: tuple[Any, ...], value: Any) -> list[str]:
    shelved = Shelved(kind)
    before = thing(1, **deepcopy(content))
    shelved.happened("ADDED", before)
    shelved.woken.clear()
    after = deepcopy(before)
    after["metadata"]["resourceVersion"] = "2"
    put(after, way, value)
    shelved.happened("MODIFIED", after)
    return shelved.woken


def test_a_changed_label_wakes_whose_it_was_too(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    shelved.woken.clear()
    shelved.happened("MODIFIED", thing(2, labels={"flowstead/instance": GARAGE}))
    assert shelved.woken == [KITCHEN, GARAGE]
    shelved.woken.clear()
    shelved.listed(3, thing(3, labels={"flowstead/instance": "foo", "flowstead/tenant": "bob"}))
    assert shelved.woken == [GARAGE, "bob"]


# --- Finding --------------------------------------------------------------------------------------


def test_objects_are_found_by_instance_and_by_tenant(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    garage = {"flowstead/instance": GARAGE, "flowstead/tenant": "alice"}
    shelved.happened("ADDED", thing(2, "2", name="node-red-garage", labels=garage))
    shelved.happened("ADDED", thing(3, "3", name="flowstead", labels={"flowstead/tenant": "bob"}))
    assert [live["metadata"]["name"] for live in shelved.shelf.of_instance(GARAGE)] == ["node-red-garage"]
    assert shelved.shelf.instances() == {KITCHEN, GARAGE}
    assert shelved.shelf.instances_of_tenant("alice") == {KITCHEN, GARAGE}
    assert shelved.shelf.instances_of_tenant("bob") == set()
    assert len(shelved.shelf.everything()) == 3


def test_an_object_whose_labels_change_is_found_by_the_new_ones(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    shelved.happened("MODIFIED", thing(2, labels={"flowstead/instance": GARAGE}))
    assert shelved.shelf.instances() == {GARAGE}
    assert shelved.shelf.of_instance(KITCHEN) == []
    assert shelved.shelf.instances_of_tenant("alice") == set()
    shelved.happened("MODIFIED", thing(3, labels={}))
    assert shelved.shelf.instances() == set()
    assert shelved.uid == "1"


def test_nothing_is_found_of_what_is_gone(shelved: Shelved) -> None:
    shelved.happened("ADDED", thing(1))
    shelved.happened("DELETED", thing(2))
    assert shelved.shelf.instances() == shelved.shelf.instances_of_tenant("alice") == set()
    assert shelved.shelf.of_instance(KITCHEN) == []


def test_an_object_of_a_list_says_what_it_is(shelved: Shelved) -> None:
    shelved.listed(1, thing(1, spec={"type": "ClusterIP"}))
    live = shelved.shelf.get(*PLACE)
    assert live is not None
    assert (live["apiVersion"], live["kind"], live["spec"]) == ("v1", "Service", {"type": "ClusterIP"})


# --- List and watch -------------------------------------------------------------------------------


class Lines(list[bytes]):
    """An answer whose lines have all come; then the connection breaks, or ends."""

    def __init__(self, *events: Json, broken: bool = False, seconds: float = 0) -> None:
        super().__init__(orjson.dumps(event) for event in events)
        self.broken, self.seconds = broken, seconds
        self.was_read = self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        self.was_read = True
        yield from super().__iter__()
        time.sleep(self.seconds)
        if self.broken:
            raise DriverError("The cluster does not answer (reset).", reason="no_answer")

    def close(self) -> None:
        self.is_closed = True


class Script:
    """An API server that says what it is told to, and in the end nothing any more."""

    def __init__(self, *, lists: list[Any] | None = None, watches: list[Any] | None = None) -> None:
        self.lists = lists or []
        self.watches = watches or []
        self.asked: list[str] = []
        self.over = Event()

    def pages(self, path: str, selector: str, read: Callable[[Json], Any]) -> Iterator[Any]:
        self.asked.append("list")
        for page in self._next(self.lists, [{"metadata": {"resourceVersion": "10"}, "items": [thing(9)]}]):
            if isinstance(page, Exception):
                raise page
            yield read(page)

    def watch(self, path: str, selector: str, version: str, seconds: int) -> Any:
        self.asked.append(version)
        return self._next(self.watches, self._quiet)

    def _next(self, said: list[Any], otherwise: Any) -> Any:
        following = said.pop(0) if said else otherwise
        if isinstance(following, Exception):
            raise following
        return following() if callable(following) else following

    def _quiet(self) -> Any:
        script = self

        class Quiet(Lines):
            def __iter__(self) -> Iterator[bytes]:
                script.over.wait(10)
                return iter(())

        return Quiet()


class Run:
    """A reflector that runs on a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.shelf = Shelf(SERVICE, lambda packed: None)
        self.told: list[str] = []
        self.stop = Event()
        api: Any = script
        self.reflector = Reflector(api, self.shelf, "/api/v1/services", "flowstead/installation=1")
        self.thread = Thread(target=self.reflector.run, args=(self.stop, self._tell), daemon=True)

    def _tell(self) -> None:
        self.told.append(str(self.reflector.problem or ""))

    def __enter__(self) -> "Run":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.script.over.set()
        self.thread.join(5)
        assert not self.thread.is_alive()

    def asks(self, *asked: str) -> None:
        eventually(lambda: self.script.asked, lambda seen: tuple(seen) == asked, seconds=5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "FIRST_RETRY_SECONDS", 0.01)


CUT = DriverError("The cluster does not answer (reset).", reason="no_answer")


def event(what: str, live: Json) -> Json:
    return {"type": what, "object": live}


def failed(code: int) -> Json:
    return event("ERROR", {"kind": "Status", "code": code, "message": "it says so"})


def test_a_watch_goes_on_where_it_was() -> None:
    script = Script(watches=[Lines(event("MODIFIED", thing(12)), broken=True)])
    with Run(script) as run:
        run.asks("list", "10", "12")
        assert [told for told in run.told if told] == []
        assert run.reflector.problem is None


def test_a_watch_that_ends_by_itself_goes_on_too() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "15"}})
    with Run(Script(watches=[Lines(bookmark), Lines(event("ADDED", thing(17)))])) as run:
        run.asks("list", "10", "15", "17")
        assert [told for told in run.told if told] == []


@pytest.mark.parametrize("gone", [Refusal("too old", status=410), Lines(failed(410))])
def test_what_has_grown_too_old_is_listed_again(gone: Any) -> None:
    with Run(Script(watches=[gone])) as run:
        run.asks("list", "10", "list", "10")
        assert [told for told in run.told if told] == []


def test_a_second_failure_in_a_row_is_a_problem_until_the_watch_works_again() -> None:
    script = Script(watches=[CUT, CUT, CUT])
    with Run(script) as run:
        run.asks("list", "10", "10", "10", "10")
        eventually(lambda: run.reflector.problem, lambda problem: problem is None)
        assert run.told == [str(CUT), ""]


def test_an_error_in_the_stream_is_no_answer() -> None:
    with Run(Script(watches=[Lines(failed(500)), Lines(failed(500))])) as run:
        run.asks("list", "10", "10", "10")
        assert any("it says so" in told for told in run.told)


def test_half_a_line_is_a_broken_connection() -> None:
    half = Lines()
    half.append(b'{"type":"MODIFIED","object":{"met')
    with Run(Script(watches=[half])) as run:
        run.asks("list", "10", "10")


def test_attempts_that_take_long_are_no_watch_that_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs lets each connection run into its timeout."""
    monkeypatch.setattr(reflector, "STEADY_SECONDS", 0.01)

    def hang() -> None:
        time.sleep(0.05)
        raise CUT

    with Run(Script(watches=[hang, hang])) as run:
        run.asks("list", "10", "10", "10")
        assert str(CUT) in run.told


def test_a_watch_that_had_lasted_may_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "STEADY_SECONDS", 0.01)
    watches = [Lines(broken=True, seconds=0.05) for _ in range(3)]
    with Run(Script(watches=watches)) as run:
        run.asks("list", "10", "10", "10", "10")
        assert [told for told in run.told if told] == []


def test_a_list_that_broke_off_is_no_list() -> None:
    """What is on the pages that never came would seem to be gone."""
    first = {"metadata": {"resourceVersion": "10", "continue": "more"}, "items": []}
    whole = {"metadata": {"resourceVersion": "11"}, "items": [thing(9)]}
    with Run(Script(lists=[[first, CUT], [whole]])) as run:
        run.asks("list", "list", "11")
        assert run.shelf.get(*PLACE) is not None


def test_it_waits_as_long_as_it_is_asked_to() -> None:
    busy = Refusal("busy", status=429, reason="too_many_requests", retry_after=0.3)
    with Run(Script(watches=[busy])) as run:
        begun = time.monotonic()
        run.asks("list", "10", "10")
        assert time.monotonic() - begun >= 0.29  # clocks differ by a tick


def test_a_problem_keeps_its_reason() -> None:
    forbidden = Refusal("not yours", status=403, reason="forbidden", permanent=True)
    with Run(Script(lists=[forbidden, forbidden, forbidden])) as run:
        problem = eventually(lambda: run.reflector.problem, lambda seen: str(seen) == "not yours")
        assert problem is not None
        assert problem.reason == "forbidden"


@pytest.mark.parametrize(
    "nonsense", [{"type": "ADDED"}, {"object": {}}, ["text"], {"type": "ADDED", "object": {}}]
)
def test_what_nobody_understands_ends_no_thread(nonsense: Any) -> None:
    """A mirror that nobody fills would go on telling what it saw last."""
    with Run(Script(watches=[Lines(nonsense), Lines(nonsense)])) as run:
        run.asks("list", "10", "list", "10", "list", "10")
        assert [told for told in run.told if told] != []


def test_it_does_not_begin_to_watch_when_it_has_been_stopped() -> None:
    """``close`` ends the connection that there is; one that is being opened has to end itself."""
    late = Lines(event("ADDED", thing(12)))

    def open_late() -> Lines:
        run.stop.set()
        return late

    run = Run(Script(watches=[open_late]))
    with run:
        eventually(run.thread.is_alive, lambda alive: not alive, seconds=5)
    assert late.is_closed
    assert not late.was_read
