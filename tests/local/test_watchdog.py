"""What hangs is restarted, what is busy or starting is not. A real supervisord, stand-ins below it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import watchdog
from deploy.local.watchdog import Watched, look_at, watched
from tenants.provisioning.local import SUPERVISOR_SOCKET
from tenants.provisioning.processes.supervisor import ProcessState, Supervisor

UPSTREAM = Path(__file__).parent / "upstream.py"
CONF = """
[supervisord]
nodaemon=true
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={home}

[unix_http_server]
file={home}/{socket}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[program:web]
command={python} {upstream} {home}/web.sock web
autorestart=true

[program:deaf]
command=/bin/sleep 600
autorestart=true
"""


@pytest.fixture
def supervisor(short: Path) -> Iterator[Supervisor]:
    conf = short / "supervisord.conf"
    words = {"home": short, "socket": SUPERVISOR_SOCKET, "python": sys.executable, "upstream": UPSTREAM}
    conf.write_text(CONF.format(**words))
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(conf)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    supervisor = Supervisor(short / SUPERVISOR_SOCKET)
    try:
        eventually((short / SUPERVISOR_SOCKET).exists)
        eventually((short / "web.sock").exists)
        for name in ("web", "deaf"):
            eventually(lambda name=name: pid(supervisor, name))
        yield supervisor
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture
def web(short: Path) -> Watched:
    return Watched("web", "web", short / "web.sock", "/livez", patience=1)


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pid(supervisor: Supervisor, name: str) -> int:
    """Return the process id, or 0 unless supervisord counts the process as running."""
    process = supervisor.process(name, name)
    return process.pid if process and process.state == ProcessState.RUNNING else 0


def replaced(supervisor: Supervisor, it: Watched, before: int) -> bool:
    look_at(it, supervisor)
    return pid(supervisor, it.name) not in (0, before)


def test_a_stopped_process_is_replaced(supervisor: Supervisor, web: Watched) -> None:
    before = pid(supervisor, "web")
    os.kill(before, signal.SIGSTOP)
    eventually(lambda: replaced(supervisor, web, before))


def test_a_process_that_says_that_it_is_stuck_is_replaced(supervisor: Supervisor, short: Path) -> None:
    before = pid(supervisor, "web")
    it = Watched("web", "web", short / "web.sock", "/-/instance-unavailable", patience=30)
    eventually(lambda: replaced(supervisor, it, before))


def test_a_process_that_answers_is_left_alone(supervisor: Supervisor, web: Watched) -> None:
    before = pid(supervisor, "web")
    look_at(Watched("web", "web", web.socket, "/livez", patience=30), supervisor)
    assert pid(supervisor, "web") == before


def test_a_process_may_take_its_time_to_listen_but_not_for_ever(
    supervisor: Supervisor, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pid(supervisor, "deaf")
    it = Watched("deaf", "deaf", short / "deaf.sock", "/livez", patience=1)
    look_at(it, supervisor)
    assert pid(supervisor, "deaf") == before
    monkeypatch.setattr(watchdog, "START_SECONDS", 1.0)
    eventually(lambda: replaced(supervisor, it, before))


def test_it_watches_each_web_process_and_the_registry(short: Path) -> None:
    assert [it.name for it in watched(short, 2)] == ["web-0", "web-1", "registry"]
