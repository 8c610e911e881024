"""What an instance printed, read through the API server: now, before, and as it comes."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tenants.provisioning.cluster import pod_logs
from tenants.provisioning.cluster.api_server import ApiServer
from tenants.provisioning.cluster.kinds import POD
from tenants.provisioning.cluster.pods import CONTAINER
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import InstanceSpec, State
from tests.cluster.control_plane import ControlPlane
from tests.cluster.proxy import Answer, Call, Proxy, Wait
from tests.cluster.worlds import KubernetesWorld, kubernetes_world
from tests.drivers.worlds import do, eventually, instance

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

WAITING = Answer(400, 'container "node-red" in pod "node-red" is waiting to start: ContainerCreating')


@pytest.fixture(scope="module")
def world(control_plane: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(control_plane) as world:
        yield world


@pytest.fixture
def spec(world: KubernetesWorld) -> InstanceSpec:
    """One that runs and whose log has been made."""
    spec = world.up()
    printed(world, spec)
    return spec


def printed(world: KubernetesWorld, spec: InstanceSpec, *lines: str, previous: bool = False) -> None:
    """Each line at a time of its own, as a container's runtime stamps them."""
    place = (world.namespace(spec), world.pod(spec))
    world.plane.print(*place)  # makes the log
    for line in lines:
        world.plane.print(*place, line, previous=previous)


def tail(world: KubernetesWorld, spec: InstanceSpec, count: int) -> list[str]:
    return list(world.driver.logs(spec.id, tail=count, follow=False, stop=threading.Event()))


def restarts(world: KubernetesWorld, spec: InstanceSpec) -> int:
    statuses = world.pods(spec)[0]["status"].get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))


def start_anew(world: KubernetesWorld, spec: InstanceSpec) -> None:
    """As a kubelet does it: what was printed is the log of the run before now, and another one begins.
    Here a stream of the old one stays open, so that it is the proxy that ends it."""
    before = restarts(world, spec)
    log = log_of(world, spec)
    log.rename(log.with_name("previous.log"))
    log.touch()
    world.set_fate(spec, f"restart-{before + 1}")
    eventually(lambda: restarts(world, spec), lambda now: now > before)
    world.settle(spec, State.RUNNING)
    world.proxy.end_watches()


def log_of(world: KubernetesWorld, spec: InstanceSpec) -> Path:
    return world.plane.folder / "pods" / world.pods(spec)[0]["metadata"]["uid"] / CONTAINER / "current.log"


class Follower:
    """Somebody who follows. What came is in ``lines``, without the heartbeats; those are counted."""

    def __init__(self, driver: KubernetesDriver, spec: InstanceSpec, count: int) -> None:
        self.lines: list[str] = []
        self.heartbeats = 0
        self.error: DriverError | None = None
        self._stop = threading.Event()
        self._source = driver.logs(spec.id, tail=count, follow=True, stop=self._stop)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for line in self._source:
                if line:
                    self.lines.append(line)
                else:
                    self.heartbeats += 1
        except DriverError as error:
            self.error = error

    def has(self, *lines: str) -> None:
        """As soon as there are so many; then once more, as one line too many comes late."""
        eventually(lambda: len(self.lines), lambda count: count >= len(lines))
        self.listens()
        assert self.lines == list(lines)

    def listens(self) -> None:
        """Until nothing has come for a while."""
        before = self.heartbeats
        eventually(lambda: self.heartbeats, lambda now: now > before)

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def following(
    world: KubernetesWorld, spec: InstanceSpec, count: int = 10, driver: KubernetesDriver | None = None
) -> Iterator[Follower]:
    follower = Follower(driver or world.driver, spec, count)
    try:
        yield follower
    finally:
        follower.leave()


@contextmanager
def ruled(proxy: Proxy, rule: Callable[[Call], Any]) -> Iterator[None]:
    proxy.rule = rule
    try:
        yield
    finally:
        proxy.rule = lambda _: None


def reads_log(call: Call) -> bool:
    return call.path.endswith("/log")


# --- The end of it --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_the_last_lines_as_many_as_were_asked_for(
    world: KubernetesWorld, spec: InstanceSpec, count: int
) -> None:
    lines = ["first", "second", "third"]
    printed(world, spec, *lines)
    assert tail(world, spec, count) == lines[3 - min(count, 3) :]


def test_lines_of_the_run_before_fill_up_what_the_current_one_lacks(
    world: KubernetesWorld, spec: InstanceSpec
) -> None:
    printed(world, spec, "a", "b", "c")
    start_anew(world, spec)
    printed(world, spec, "d", "e")
    assert tail(world, spec, 10) == ["a", "b", "c", "d", "e"]
    assert tail(world, spec, 3) == ["c", "d", "e"]
    with world.proxy.counting() as calls:
        assert tail(world, spec, 2) == ["d", "e"]
    assert [call.query.get("previous") for call in calls if reads_log(call)] == [None]
    with following(world, spec, 3) as follower:
        follower.has("c", "d", "e")


def test_the_run_before_is_not_asked_for_where_there_was_none(
    world: KubernetesWorld, spec: InstanceSpec
) -> None:
    printed(world, spec, "never shown", previous=True)
    printed(world, spec, "a")
    assert tail(world, spec, 10) == ["a"]


def test_lines_are_as_they_were_printed(world: KubernetesWorld, spec: InstanceSpec) -> None:
    lines = ["<script>alert(1)</script> &amp;", "\x1b[31mgrüß dich\x1b[0m", "  indented\t", "long " * 20_000]
    printed(world, spec, *lines)
    assert tail(world, spec, 10) == lines
    with following(world, spec) as follower:
        follower.has(*lines)


def test_bytes_that_are_no_text_are_no_error(world: KubernetesWorld, spec: InstanceSpec) -> None:
    with log_of(world, spec).open("ab") as file:
        file.write(b"2026-01-01T00:00:00.000000000Z stdout F a \xff\xfe z\n")
    assert tail(world, spec, 10) == ["a \ufffd\ufffd z"]
    with following(world, spec) as follower:
        follower.has("a \ufffd\ufffd z")


def test_a_cluster_that_cannot_read_it_is_an_error(world: KubernetesWorld, spec: InstanceSpec) -> None:
    with (
        ruled(world.proxy, lambda call: Answer(500, "no route to the node") if reads_log(call) else None),
        pytest.raises(DriverError, match="no route to the node"),
    ):
        tail(world, spec, 10)


# --- Nothing yet ----------------------------------------------------------------------------------


def test_what_is_off_or_unknown_has_no_lines_and_is_no_error(world: KubernetesWorld) -> None:
    off = instance(power=False)
    do(world.driver, Verb.CREATE, off)
    for spec in (off, instance()):
        assert tail(world, spec, 10) == []
        with following(world, spec) as follower:
            follower.listens()
            assert (follower.lines, follower.error) == ([], None)


def test_a_pod_that_no_node_takes_has_no_lines_and_is_no_error(control_plane: ControlPlane) -> None:
    with kubernetes_world(control_plane, node_selector={"pool": "nowhere"}) as world:
        spec = instance()
        do(world.driver, Verb.CREATE, spec)
        world.pod(spec)
        assert tail(world, spec, 10) == []
        with following(world, spec) as follower:
            follower.listens()
            assert (follower.lines, follower.error) == ([], None)


def test_who_follows_what_has_printed_nothing_is_told_so_and_can_leave(
    world: KubernetesWorld, spec: InstanceSpec
) -> None:
    with following(world, spec) as follower:
        follower.listens()
        printed(world, spec, "at last")
        follower.has("at last")


# --- Following ------------------------------------------------------------------------------------


def test_a_process_that_starts_anew_is_followed(world: KubernetesWorld, spec: InstanceSpec) -> None:
    printed(world, spec, "old")
    with following(world, spec) as follower:
        follower.has("old")
        start_anew(world, spec)
        printed(world, spec, "new")
        follower.has("old", "new")
        start_anew(world, spec)
        printed(world, spec, "newest")
        follower.has("old", "new", "newest")


def test_a_pod_that_replaces_another_is_followed_from_its_first_line(
    world: KubernetesWorld, spec: InstanceSpec
) -> None:
    printed(world, spec, "old")
    with following(world, spec, 1) as follower:
        follower.has("old")
        old = world.pod(spec)
        world.delete(POD.path(world.namespace(spec), old))
        eventually(lambda: world.pod(spec), lambda name: name != old)
        printed(world, spec, "new 1", "new 2", "new 3")
        world.proxy.end_watches()
        follower.has("old", "new 1", "new 2", "new 3")


def test_what_a_process_prints_first_is_not_missed(world: KubernetesWorld, spec: InstanceSpec) -> None:
    """Its pod is there before it has a log, and who follows has asked already."""
    with (
        ruled(world.proxy, lambda call: WAITING if reads_log(call) else None),
        following(world, spec, 1) as follower,
    ):
        follower.listens()
        printed(world, spec, "new 1", "new 2")
        world.proxy.rule = lambda _: None
        follower.has("new 1", "new 2")


def test_a_new_process_whose_log_is_not_there_yet_is_waited_for(
    world: KubernetesWorld, spec: InstanceSpec
) -> None:
    printed(world, spec, "old")
    with following(world, spec, 1) as follower:
        follower.has("old")
        with ruled(world.proxy, lambda call: WAITING if reads_log(call) else None):
            begun = log_requests(world)
            start_anew(world, spec)
            printed(world, spec, "new 1", "new 2")
            eventually(lambda: log_requests(world), lambda now: now > begun)
        follower.has("old", "new 1", "new 2")


@pytest.mark.parametrize("how", [Proxy.cut_watches, Proxy.end_watches])
def test_a_connection_that_breaks_is_taken_up_again_with_no_line_twice_and_none_left_out(
    world: KubernetesWorld, spec: InstanceSpec, how: Callable[[Proxy], None]
) -> None:
    printed(world, spec, "before")
    with following(world, spec) as follower:
        lines = ["before"]
        for number in range(2):
            printed(world, spec, f"followed {number}")
            follower.has(*lines, f"followed {number}")
            begun = log_requests(world)
            with ruled(world.proxy, lambda call: Wait(0.5) if reads_log(call) else None):
                how(world.proxy)
                printed(world, spec, f"meanwhile {number}")
                eventually(lambda: log_requests(world), lambda now, begun=begun: now > begun)
            lines += [f"followed {number}", f"meanwhile {number}"]
            follower.has(*lines)


def test_a_log_that_is_silent_for_long_is_asked_for_anew(
    world: KubernetesWorld, spec: InstanceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that died without a word is as silent."""
    monkeypatch.setattr(pod_logs, "SILENCE_SECONDS", 0.5)
    printed(world, spec, "before")
    with following(world, spec) as follower:
        begun = log_requests(world)
        eventually(lambda: log_requests(world), lambda now: now > begun + 2)
        printed(world, spec, "after")
        follower.has("before", "after")


def log_requests(world: KubernetesWorld) -> int:
    return sum(reads_log(call) for call in list(world.proxy.calls))


def test_a_cluster_that_falls_silent_is_told_to_who_follows(control_plane: ControlPlane) -> None:
    with kubernetes_world(control_plane) as world:
        spec = world.up()
        printed(world, spec, "before")
        with following(world, spec) as follower:
            follower.has("before")
            world.proxy.fall_silent()
            error = eventually(lambda: follower.error, bool)
            assert error is not None
            assert error.reason == "no_answer"


# --- Leaving --------------------------------------------------------------------------------------


@pytest.fixture
def direct(world: KubernetesWorld) -> Iterator[KubernetesDriver]:
    """With no proxy between, which would keep the connection."""
    driver = KubernetesDriver(ApiServer.connect(kubeconfig=str(world.plane.kubeconfig)), world.cluster)
    yield driver
    driver.close()


def test_who_leaves_leaves_no_connection_and_no_thread(
    world: KubernetesWorld, spec: InstanceSpec, direct: KubernetesDriver
) -> None:
    printed(world, spec, "a", "b")
    pod = world.pod(spec)
    with following(world, spec, driver=direct) as follower:
        follower.has("a", "b")
        assert ended(world.plane, pod) == 0
    eventually(lambda: ended(world.plane, pod), lambda count: count == 1)
    eventually(readers, lambda names: not names)


def test_a_reader_that_is_closed_in_the_middle_closes_its_connection(
    world: KubernetesWorld, spec: InstanceSpec, direct: KubernetesDriver
) -> None:
    printed(world, spec, "before")
    lines = direct.logs(spec.id, tail=1, follow=True, stop=threading.Event())
    assert (next(lines), next(lines)) == ("before", "")  # now it follows
    world.plane.print(world.namespace(spec), world.pod(spec), *["more"] * 5000)
    assert next(line for line in lines if line) == "more"
    lines.close()  # type: ignore[attr-defined]
    eventually(lambda: ended(world.plane, world.pod(spec)), lambda count: count == 1)
    eventually(readers, lambda names: not names)


def ended(plane: ControlPlane, pod: str) -> int:
    """How often somebody followed this pod's log and has left, as the API server noted it."""
    noted = (plane.folder / "audit.log").read_text().split("\n")[:-1]
    mine = (json.loads(line) for line in noted if f"/pods/{pod}/log" in line and "follow=true" in line)
    return sum(event["stage"] == "ResponseComplete" for event in mine)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "_read" in thread.name]
