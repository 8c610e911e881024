"""Whether processes respond, asked over real sockets."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tenants.provisioning.processes.health import Condition, Health
from tests.drivers.worlds import eventually
from tests.folders import make_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = make_folder("fsh-", Path("/tmp"))
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def listening(path: Path, backlog: int = 8) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(backlog)
    return server


def respond(server: socket.socket) -> None:
    with closing(server.accept()[0]) as connection:
        connection.recv(1024)
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")


def test_it_follows_a_process_through_its_life(folder: Path) -> None:
    health, path = Health(unresponsive=2, restart=3), folder / "s"
    assert health.of(path, "run") == Condition.STARTING
    with closing(listening(path)) as server:
        assert health.of(path, "run", within=0.1) == Condition.SILENT
        respond(server)
        assert health.of(path, "run") == Condition.RESPONDS
        assert health.of(path, "run", within=0.1) == Condition.RESPONDS  # it may only be busy
        eventually(lambda: health.of(path, "run"), lambda seen: seen == Condition.UNRESPONSIVE)
        eventually(lambda: health.of(path, "run"), lambda seen: seen == Condition.OVERDUE)
        respond(server)
        assert health.of(path, "run") == Condition.RESPONDS
        assert health.of(path, "another run") == Condition.SILENT
    assert health.of(path, "a third run") == Condition.STARTING


def test_one_that_responded_lately_is_not_asked_again(folder: Path) -> None:
    health, path = Health(unresponsive=30, restart=120), folder / "s"
    with closing(listening(path)) as server:
        health.of(path, "run")
        respond(server)
        assert health.of(path, "run", every=60) == Condition.RESPONDS
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_one_whose_queue_is_full_still_counts_as_listening(folder: Path) -> None:
    health, path = Health(unresponsive=30, restart=120), folder / "s"
    with closing(listening(path, backlog=0)), closing(socket.socket(socket.AF_UNIX)) as other:
        other.connect(str(path))
        assert health.of(path, "run", within=0.1) == Condition.SILENT


def test_many_that_hang_hold_nobody_up(folder: Path) -> None:
    health = Health(unresponsive=30, restart=120)
    servers = [listening(folder / str(number)) for number in range(200)]
    began = time.monotonic()
    for _ in range(3):
        assert {health.of(folder / str(number), "run") for number in range(200)} == {Condition.SILENT}
    assert time.monotonic() - began < 10
    for server in servers:
        server.close()
    health.forget_all_but([])
