"""What is the local driver's own: processes, files, and what a kill leaves."""

import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tenants.provisioning.driver import DriverError
from tenants.provisioning.local import LocalDriver
from tenants.provisioning.plan import Verb, plan
from tenants.provisioning.processes import containment, survivors
from tenants.provisioning.processes.folders import Folders
from tenants.provisioning.processes.supervisor import ProgramFolder, Supervisor, UnixConnection
from tenants.provisioning.spec import NOT_RESPONDING, InstanceSpec, Observation, State
from tests.drivers.reachable import reachable
from tests.drivers.worlds import (
    HERE,
    NODE,
    NODE_RED,
    LocalWorld,
    alive,
    do,
    eventually,
    instance,
    local_world,
    until,
    watching,
)
from tests.sleepers import sleepers

HOSTILE = {
    "NEWLINES": "one\ntwo\r\n[program:x]\ncommand=/bin/true",
    "PERCENT": "100% %(ENV_PATH)s %%",
    "QUOTES": """'"`$(id)` \\ ;# comment""",
    "UNICODE": "größe \U0001f600 \u2028",
    "EMPTY": "",
}
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
on_linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def up(world: LocalWorld, **changes: object) -> InstanceSpec:
    spec = instance(**changes)
    do(world.driver, Verb.CREATE, spec)
    until(world.driver, spec, State.RUNNING)
    return spec


def reconcile(driver: LocalDriver, spec: InstanceSpec) -> Observation:
    """What a reconciler does, until there is nothing left to do."""

    def one_pass() -> Observation:
        seen = driver.observe(spec)
        for action in plan(spec, seen):
            driver.apply(action, spec)
        return seen

    rest = State.ABSENT if spec.retired else State.RUNNING if spec.power else State.STOPPED
    return eventually(one_pass, lambda seen: seen.state == rest and not plan(spec, seen))


# --- What the process gets ----------------------------------------------------------------------


def test_any_text_reaches_the_process_as_it_was_written(shared_local: LocalWorld) -> None:
    spec = up(shared_local, environment=HOSTILE)
    assert shared_local.tell(spec, "environment")["file"] == spec.process_environment()


def test_the_process_starts_with_nothing_of_ours_and_no_secret(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    given = shared_local.tell(spec, "environment")["process"]
    assert set(given) == {
        *("PATH", "HOME", "TMPDIR", "NODE_COMPILE_CACHE"),
        *("FLOWSTEAD_ENV_FILE", "FLOWSTEAD_LISTEN", "FLOWSTEAD_USER_DIR"),
        *(survivors.RUN_MARKER, survivors.INSTANCE_MARKER),
    }
    assert not set(given.values()) & {"storage-token", "credential-secret", "client-secret"}


def test_the_process_works_in_its_userdir_within_its_memory(shared_local: LocalWorld) -> None:
    spec = up(shared_local, memory=512)
    process = shared_local.tell(spec, "process")
    assert process["args"] == ["--max-old-space-size=384"]
    userdir = shared_local.config.instances_dir / spec.id / "userdir"
    assert process["cwd"] == str(userdir)
    assert json.loads((userdir / "package.json").read_text())["dependencies"] == {}


def test_npm_is_in_its_path(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    given = shared_local.tell(spec, "environment")["process"]
    asked = subprocess.run(
        ["npm", "--version"], env=given, cwd="/", capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip()[0].isdigit()


@as_root
def test_as_root_it_runs_as_an_unprivileged_user(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    status = Path(f"/proc/{shared_local.pid(spec)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert set(fields["Uid"].split()) == {str(shared_local.tell(spec, "process")["uid"])} != {"0"}
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert shared_local.tell(spec, "read", "/etc/shadow") == {"error": "EACCES"}
    program = shared_local.config.programs_dir / f"{spec.id}.conf"
    assert shared_local.tell(spec, "read", program) == {"error": "EACCES"}


@as_root
def test_as_root_node_and_npm_are_the_bundled_ones_whatever_the_umask(shared_local: LocalWorld) -> None:
    config = shared_local.config
    shutil.rmtree(config.commands_dir, ignore_errors=True)
    umask = os.umask(0o077)
    try:
        up(shared_local)
    finally:
        os.umask(umask)
    become = ["setpriv", "--reuid", config.user, "--regid", "nogroup", "--clear-groups"]
    for command in ("node", "npm"):
        # by its name, in a PATH that holds nothing of the system's
        run = [*become, "env", "-i", f"PATH={config.commands_dir}", command, "--version"]
        said = subprocess.run(run, capture_output=True, text=True, check=False, cwd="/")
        assert said.returncode == 0, said.stderr


@as_root
def test_as_root_it_refuses_to_run_instances_as_root(shared_local: LocalWorld) -> None:
    for user in ("root", "no-such-user"):
        with pytest.raises(DriverError) as caught:
            LocalDriver(replace(shared_local.config, user=user))
        assert caught.value.permanent


def test_its_files_are_for_nobody_else(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    root = shared_local.config.instances_dir / spec.id
    private = [root / "environment.json", root / "instance.json", root / "instance.log"]
    private += [shared_local.config.programs_dir / f"{spec.id}.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    folders = [root / "userdir", root / "tmp", shared_local.config.sockets_dir / spec.name]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_version_that_is_not_installed_is_refused_for_good(shared_local: LocalWorld) -> None:
    spec = instance(node_red_version="3.1.0")
    with pytest.raises(DriverError, match=r"Node-RED 3\.1\.0 is not installed here") as caught:
        do(shared_local.driver, Verb.CREATE, spec)
    assert (caught.value.reason, caught.value.permanent) == ("stack_unavailable", True)
    assert shared_local.driver.observe(spec).state == State.ABSENT


@pytest.mark.parametrize("instance_id", ["..", "../../etc", "", "A" * 36, "{0}"])
def test_an_id_that_is_none_never_becomes_a_path(shared_local: LocalWorld, instance_id: str) -> None:
    driver = shared_local.driver
    for act in (lambda: driver.observe(instance(id=instance_id)), lambda: driver.remove_orphan(instance_id)):
        with pytest.raises(DriverError) as caught:
            act()
        assert caught.value.permanent


# --- Ends that nobody asked for -----------------------------------------------------------------


def test_a_killed_process_is_started_again(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    before = shared_local.driver.observe(spec)
    os.kill(shared_local.pid(spec), signal.SIGKILL)
    eventually(lambda: shared_local.driver.observe(spec), lambda seen: seen.incarnation != before.incarnation)
    assert until(shared_local.driver, spec, State.RUNNING).digest == spec.digest()


@pytest.mark.parametrize("code", [0, 3])
def test_it_says_how_a_process_ended(shared_local: LocalWorld, code: int) -> None:
    spec = instance(environment={"EXIT_AT_ONCE": str(code)})
    do(shared_local.driver, Verb.CREATE, spec)
    seen = until(shared_local.driver, spec, State.BACKOFF)
    assert seen.reason == "exited"
    assert f"exit code {code}" in seen.message
    do(shared_local.driver, Verb.STOP, replace(spec, power=False))
    assert shared_local.driver.observe(spec).state == State.STOPPED


def test_what_ignores_sigterm_is_stopped_all_the_same(shared_local: LocalWorld) -> None:
    spec = up(shared_local, environment={"IGNORE_SIGTERM": "1"})
    pid = shared_local.pid(spec)
    do(shared_local.driver, Verb.STOP, replace(spec, power=False))
    assert shared_local.driver.observe(spec).state == State.STOPPED
    assert not alive(pid)


# --- Processes that a flow detached ---------------------------------------------------------------


def in_a_namespace() -> None:
    if os.getuid() != 0 or not containment.has_pid_namespaces():
        pytest.skip("PID namespaces are not permitted here")


@on_linux
@pytest.mark.parametrize("end", ["stop", "crash", "kill"])
def test_what_a_flow_detached_ends_with_it(shared_local: LocalWorld, end: str) -> None:
    in_a_namespace()
    spec, seconds = up(shared_local), str(uuid4().int % 10**9 + 10**6)
    before = shared_local.driver.observe(spec)
    shared_local.tell(spec, "detach", f"/bin/sleep {seconds}")
    eventually(lambda: sleepers(seconds), bool)
    if end == "stop":
        do(shared_local.driver, Verb.STOP, replace(spec, power=False))
        assert not sleepers(seconds)
        return
    if end == "crash":
        shared_local.crash(spec)
    else:
        os.kill(shared_local.pid(spec), signal.SIGKILL)
    eventually(lambda: shared_local.driver.observe(spec), lambda seen: seen.incarnation != before.incarnation)
    assert not sleepers(seconds)


@on_linux
def test_what_was_detached_and_has_ended_is_collected(shared_local: LocalWorld) -> None:
    in_a_namespace()
    spec = up(shared_local)
    for _ in range(3):
        shared_local.tell(spec, "detach", "/bin/true")
    eventually(lambda: shared_local.tell(spec, "pids"), lambda pids: len(pids) == 2)


@on_linux
def test_an_instance_sees_no_process_of_another(shared_local: LocalWorld) -> None:
    in_a_namespace()
    one, another = up(shared_local), up(shared_local)
    assert shared_local.pid(another) not in shared_local.tell(one, "pids")
    assert len(shared_local.tell(one, "pids")) == 2


@on_linux
def test_without_namespaces_a_stop_ends_what_kept_its_environment(
    local: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containment, "has_pid_namespaces", lambda: False)
    spec, seconds = up(local), str(uuid4().int % 10**9 + 10**6)
    run = f"{survivors.RUN_MARKER}={local.config.run_dir}"
    local.tell(spec, "detach", f"{run} {survivors.INSTANCE_MARKER}={spec.id} /bin/sleep {seconds}")
    eventually(lambda: sleepers(seconds), bool)
    do(local.driver, Verb.STOP, replace(spec, power=False))
    assert local.driver.observe(spec).state == State.STOPPED
    assert not sleepers(seconds)


# --- Processes that do not respond ----------------------------------------------------------------


def test_what_hangs_for_too_long_is_restarted() -> None:
    with local_world(unresponsive_restart_seconds=5) as world:
        spec = up(world)
        before = world.driver.observe(spec)
        with watching(world.driver) as named:
            world.hang(spec)
            eventually(lambda: world.driver.observe(spec), lambda seen: seen.restart_due)
            eventually(lambda: spec.id in named, bool)
        assert reconcile(world.driver, spec).incarnation != before.incarnation


def test_what_is_only_busy_is_left_alone(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    before = shared_local.driver.observe(spec)
    with watching(shared_local.driver):
        busy = threading.Thread(target=shared_local.tell, args=(spec, "loop", 1.2))
        busy.start()
        while busy.is_alive():
            assert shared_local.driver.observe(spec) == before
        busy.join()
    assert shared_local.driver.observe(spec) == before


@on_linux
@pytest.mark.parametrize("removed", ["socket", "folder", "all folders"])
def test_what_has_lost_its_socket_is_restarted_at_once(local: LocalWorld, removed: str) -> None:
    spec = up(local)
    before = local.driver.observe(spec)
    folder = local.config.sockets_dir / spec.name
    with watching(local.driver) as named:
        eventually(lambda: spec.id in named, bool)
        named.clear()
        if removed == "socket":
            (folder / "http.sock").unlink()
        else:
            shutil.rmtree(folder if removed == "folder" else folder.parent)
        eventually(lambda: spec.id in named, bool)
    for driver in (local.driver, LocalDriver(local.config)):  # and one that has not seen it before
        seen = driver.observe(spec)
        assert (seen.state, seen.reason, seen.restart_due) == (State.UNRESPONSIVE, NOT_RESPONDING, True)
        assert seen.incarnation == before.incarnation
    assert reconcile(local.driver, spec).incarnation != before.incarnation


# --- A process manager that ended -----------------------------------------------------------------


@on_linux
@pytest.mark.parametrize("signals", [(signal.SIGKILL,), (signal.SIGTERM,)])
def test_after_the_process_manager_ended_nothing_runs_twice(
    local: LocalWorld, signals: tuple[signal.Signals, ...]
) -> None:
    specs = [up(local) for _ in range(3)]
    before = {local.pid(spec) for spec in specs}
    local.stop(*signals)
    survivors.end(local.config.run_dir)
    assert not any(alive(pid) for pid in before)
    local.start()
    for spec in specs:
        reconcile(local.driver, spec)
        assert survivors.marked(local.config.run_dir, spec.id) == {local.pid(spec)}


@on_linux
def test_it_ends_a_survivor_before_it_starts_the_same_again(local: LocalWorld) -> None:
    spec = up(local)
    do(local.driver, Verb.STOP, replace(spec, power=False))
    marks = {survivors.RUN_MARKER: str(local.config.run_dir), survivors.INSTANCE_MARKER: spec.id}
    survivor = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], **marks})
    do(local.driver, Verb.START, spec)
    assert survivor.wait(5) == -signal.SIGTERM
    until(local.driver, spec, State.RUNNING)


def test_the_watch_names_all_after_the_process_manager_came_back(local: LocalWorld) -> None:
    spec = up(local)
    with watching(local.driver) as named:
        eventually(lambda: named, bool)
        local.stop()
        time.sleep(1.2)
        named.clear()
        local.start()
        eventually(lambda: spec.id in named, bool)


# --- A reconciler that was killed in the middle ---------------------------------------------------


class Killed(BaseException):
    """Nothing after it happens, as after a kill -9."""


STEPS = [
    (Folders, "prepare", "after"),
    (Folders, "create", "after"),
    (Folders, "open_socket_folder", "after"),
    (Folders, "write_environment", "after"),
    (ProgramFolder, "write", "after"),
    (Supervisor, "add", "after"),
    (ProgramFolder, "discard", "after"),
    (Supervisor, "remove", "after"),
    (Folders, "close_socket_folder", "before"),
    (Folders, "close_socket_folder", "after"),
    (Folders, "remove", "after"),
]


@pytest.mark.parametrize(("holder", "step", "when"), STEPS)
def test_a_kill_at_any_step_heals(
    shared_local: LocalWorld, monkeypatch: pytest.MonkeyPatch, holder: type, step: str, when: str
) -> None:
    spec = instance()
    life = [
        spec,
        replace(spec, restarts=1),
        replace(spec, power=False),
        replace(spec, restarts=2),
        replace(spec, restarts=2, retired=True),
    ]
    killed = 0
    for wanted in life:
        with monkeypatch.context() as patch:
            killing(patch, holder, step, when)
            try:
                reconcile(LocalDriver(shared_local.config), wanted)
            except Killed:
                killed += 1
        seen = reconcile(LocalDriver(shared_local.config), wanted)
        running = {shared_local.pid(wanted)} if seen.state == State.RUNNING else set()
        assert survivors.marked(shared_local.config.run_dir, spec.id) == running
        assert shared_local.driver._programs.holds(spec.id) == bool(running)
    assert killed
    assert spec.id not in shared_local.driver.inventory()
    assert not list(shared_local.home.rglob(f"*{spec.id}*"))


def killing(patch: pytest.MonkeyPatch, holder: type, step: str, when: str) -> None:
    """Let the process end right before, or right after, ``holder.step``."""
    real = getattr(holder, step)

    def killed(*arguments: Any, **options: Any) -> None:
        if when == "after":
            real(*arguments, **options)
        raise Killed

    patch.setattr(holder, step, killed)


def test_an_instance_that_was_being_stopped_stays_down_with_a_new_process_manager(
    local: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = up(local)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killing(patch, Supervisor, "remove", "before")
        do(local.driver, Verb.STOP, replace(spec, power=False))
    assert local.driver.observe(spec).state == State.RUNNING
    local.stop(signal.SIGKILL)
    survivors.end(local.config.run_dir)
    local.start()
    assert local.driver.observe(spec).state == State.STOPPED


# --- What else goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"no section", b"[program:x]\ncommand=%(nothing)s\n", b"\xff\xfe", b""])
def test_a_broken_program_file_stops_nobody(shared_local: LocalWorld, text: bytes) -> None:
    broken = shared_local.config.programs_dir / f"{instance().id}.conf"
    broken.write_bytes(text)
    up(shared_local)
    broken.unlink(missing_ok=True)


def test_an_instance_whose_program_file_broke_heals(local: LocalWorld) -> None:
    spec = up(local)
    program = local.config.programs_dir / f"{spec.id}.conf"
    program.write_text(program.read_text()[:-40])
    up(local)
    assert local.driver.observe(spec).state == State.RUNNING
    local.stop()
    assert ProgramFolder(local.config.programs_dir).quarantine() == []
    local.start()
    reconcile(local.driver, spec)


def test_a_folder_that_somebody_removed_stops_nobody(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    shutil.rmtree(shared_local.config.instances_dir / spec.id)
    up(shared_local)
    shared_local.driver.remove_orphan(spec.id)
    assert shared_local.driver.observe(spec).state == State.ABSENT


def test_it_leaves_the_folders_of_another_installation_alone(shared_local: LocalWorld) -> None:
    spec = instance(power=False)
    do(LocalDriver(replace(shared_local.config, installation="another")), Verb.CREATE, spec)
    assert spec.id not in shared_local.driver.inventory() | shared_local.driver.disks().keys()


def test_a_log_is_rotated_and_read_over_the_rotation() -> None:
    with local_world(log_bytes=20_000) as world:
        spec = up(world)
        stop = threading.Event()
        follower = world.driver.logs(spec.id, tail=0, follow=True, stop=stop)
        assert next(follower) == ""
        world.tell(spec, "fill", 30)
        world.tell(spec, "print", "the end")
        came = [line for line in iter(lambda: next(follower), "the end") if line]
        assert came[-1].startswith("line 29 ")
        stop.set()
        seen = list(world.driver.logs(spec.id, tail=10, follow=False, stop=stop))
        assert [line.split()[1] for line in seen[:-1]] == [str(number) for number in range(21, 30)]
        logs = list((world.config.instances_dir / spec.id).glob("instance.log*"))
        assert len(logs) == 2
        assert sum(path.stat().st_size for path in logs) < 60_000


def test_a_log_may_hold_anything(shared_local: LocalWorld) -> None:
    spec = up(shared_local)
    log = shared_local.config.instances_dir / spec.id / "instance.log"
    log.write_bytes(b"caf\xe9 \x00 <script>\n" + b"x" * 40_000 + b"\nlast")
    seen = list(shared_local.driver.logs(spec.id, tail=100, follow=False, stop=threading.Event()))
    assert seen[0] == "caf\ufffd \x00 <script>"
    assert "".join(seen[1:-1]) == "x" * 40_000
    assert seen[-1] == "last"


# --- The real thing -------------------------------------------------------------------------------


LOOP = [
    {"id": "t", "type": "tab"},
    {"id": "i", "type": "http in", "z": "t", "url": "/loop", "method": "get", "wires": [["f"]]},
    {"id": "f", "type": "function", "z": "t", "func": "for (;;);", "wires": [[]]},
]


@contextmanager
def real_node_red(**changes: Any) -> Iterator[LocalWorld]:
    if not (NODE_RED / "node_modules").exists():
        pytest.skip("Node-RED is not installed: make setup")
    red = NODE_RED / "node_modules" / "node-red" / "red.js"
    program = (str(red), "--settings", str(reachable(HERE) / "node-red-settings.js"))
    with local_world(program=program, node=NODE, **changes) as world:
        yield world


def test_a_real_node_red_in_an_endless_loop_is_restarted() -> None:
    with real_node_red(unresponsive_restart_seconds=6) as world, watching(world.driver):
        spec = up(world)
        before = world.driver.observe(spec)
        path = world.config.sockets_dir / spec.name / "http.sock"
        with closing(UnixConnection(path, 10)) as connection:
            connection.request("POST", "/flows", json.dumps(LOOP), {"Content-Type": "application/json"})
            assert connection.getresponse().status == 204
        eventually(lambda: responds(path, "/loop"), lambda does: not does)
        seen = until(world.driver, spec, State.UNRESPONSIVE)
        assert (seen.reason, seen.incarnation) == (NOT_RESPONDING, before.incarnation)
        assert seen.message == "Node-RED does not respond. It is restarted when this has lasted 6 s."
        assert reconcile(world.driver, spec).incarnation != before.incarnation


def responds(path: Path, address: str) -> bool:
    with closing(UnixConnection(path, 1)) as connection:
        try:
            connection.request("GET", address)
            return connection.getresponse().status > 0
        except TimeoutError:
            return False


def test_it_runs_a_real_node_red() -> None:
    with real_node_red() as world:
        spec = up(world)
        connection = UnixConnection(world.config.sockets_dir / spec.name / "http.sock", 5)
        connection.request("GET", "/")
        assert b"<title>Node-RED</title>" in connection.getresponse().read()
        connection.close()
        do(world.driver, Verb.STOP, replace(spec, power=False))
        assert world.driver.observe(spec).state == State.STOPPED
