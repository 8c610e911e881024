"""supervisord when its logs cannot be written: a real one, and the handler that it writes them with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from supervisor import loggers

from deploy.local import configuration
from deploy.local.layout import HERE, Layout
from deploy.local.with_lasting_logs import LastingFileHandler
from portal import env
from tenants.provisioning.processes.supervisor import Process, ProcessState, Supervisor
from tests.e2e.product import wait_for

CONFIGURATION = """
[supervisord]
nodaemon=true
silent=true
logfile=/dev/full
pidfile={home}/pid
[unix_http_server]
file={home}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:talker]
command=/bin/sh -c "while echo something || exit 1; do sleep 0.01; done"
autorestart=true
startsecs=0
redirect_stderr=true
stdout_logfile=/dev/full
stdout_logfile_maxbytes=1MB
"""


@pytest.fixture
def manager(short: Path) -> Iterator[subprocess.Popen[bytes]]:
    (short / "conf").write_text(CONFIGURATION.format(home=short))
    command = [sys.executable, "-I", str(HERE / "with_lasting_logs.py"), "supervisor.supervisord"]
    with Path("/dev/full").open("wb") as full:
        manager = subprocess.Popen([*command, "-n", "-c", str(short / "conf")], stdout=full, stderr=full)
    yield manager
    manager.terminate()
    manager.wait(10)


def test_a_full_disk_ends_neither_supervisord_nor_its_processes(short, manager):
    supervisor = Supervisor(short / "socket")

    def talker() -> Process | None:
        assert manager.poll() is None, "supervisord died"
        if not (short / "socket").exists():
            return None
        process = supervisor.process("talker", "talker")
        return process if process and process.state == ProcessState.RUNNING else None

    first = wait_for(talker, "it runs").pid
    os.kill(first, signal.SIGKILL)  # supervisord has to write about that
    wait_for(lambda: (found := talker()) and found.pid != first, "it was started again")
    second = talker().pid
    # a process whose output is closed ends with its next line
    for _ in range(20):
        assert supervisor.process("talker", "talker").pid == second
        time.sleep(0.02)
    os.kill(second, 0)


def write(handler: LastingFileHandler, text: str) -> None:
    handler.emit(loggers.LogRecord(loggers.LevelsByName.INFO, text.encode()))


def test_a_log_takes_no_more_room_than_its_limit(tmp_path):
    handler = LastingFileHandler(str(tmp_path / "log"), "a", 1000, 2)
    for number in range(1000):
        write(handler, f"{number:09d}\n")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log", "log.1", "log.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = "".join(file.read_text() for file in reversed(files)).split()
    assert kept == [f"{number:09d}" for number in range(1000 - len(kept), 1000)]
    assert len(kept) >= 200


def test_it_writes_again_as_soon_as_that_is_possible(tmp_path):
    file = tmp_path / "folder" / "log"
    handler = LastingFileHandler(str(file), "a", 1000, 1)
    write(handler, "lost")
    file.parent.mkdir()
    write(handler, "kept")
    assert file.read_text() == "kept"


def test_a_log_that_cannot_be_rotated_stays_within_its_limit(tmp_path):
    (tmp_path / "log.1" / "in the way").mkdir(parents=True)
    handler = LastingFileHandler(str(tmp_path / "log"), "a", 1000, 1)
    for _ in range(1000):
        write(handler, "0123456789")
    assert (tmp_path / "log").stat().st_size <= 1000


def test_all_logs_of_the_platform_have_a_limit_that_the_page_tells(tmp_path):
    layout = Layout(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, tmp_path)
    read = ConfigParser(interpolation=None)
    read.read_string(configuration.supervisord_conf(layout, env))
    in_all = 0
    for name in read.sections():
        options, beginning = read[name], ""
        if name.startswith("program:"):
            assert options["redirect_stderr"] == "true", name
            beginning = "stdout_"
        elif name != "supervisord":
            continue
        limit = int(options[f"{beginning}logfile_maxbytes"].removesuffix("MB"))
        in_all += (
            limit * (1 + int(options[f"{beginning}logfile_backups"])) * int(options.get("numprocs", "1"))
        )
    page = (HERE.parents[1] / "docs" / "operating.md").read_text()
    assert f"{in_all} MB in all" in page
