"""What stops `make run`, each with one sentence; and what a first start makes."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from deploy.local import keys
from deploy.local import launch as launching
from deploy.local.isolation import Isolation
from deploy.local.layout import CannotStart, Layout
from deploy.local.preflight import check_port, claim, make_run_folder
from portal import env
from tests.e2e.product import wait_for

ROOT = Path(__file__).resolve().parents[2]


def launch(home: Path, **settings: str) -> tuple[int, str]:
    """Exit code and what was said of a start that ends before anything is started."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "DATA_DIR": str(home / "data"), "LOCAL_RUN_DIR": str(home / "run"), **settings}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.local.launch"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Flowstead is ready" not in ended.stdout
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "eighty"}, "PORT must be a whole number from 1 to 65535, not 'eighty'."),
        ({"DATA_DIR": "/proc/flowstead"}, "the folder /proc/flowstead cannot be written to"),
        ({"DATA_DIR": "/tmp/some;where"}, "'/tmp/some;where' holds characters that cannot be used"),
        ({"LOCAL_NODE": "/nowhere/node"}, "Node is missing (/nowhere/node): run `make setup`."),
        ({"FLOWSTEAD_DRIVER": "docker"}, "`make run` runs instances as processes"),
        (
            {"FLOWSTEAD_URL": "https://flows.example.com"},
            "FLOWSTEAD_URL=https://flows.example.com is not at portal",
        ),
        (
            {"LOCAL_RUN_DIR": "/tmp/" + "x" * 60},
            "LOCAL_RUN_DIR must be a path of at most 50 plain characters",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(short: Path, settings: dict[str, str], said: str) -> None:
    code, text = launch(short, **settings)
    assert code == 1
    assert text.startswith(f"Flowstead cannot start: {said}")
    assert text.count("\n") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs instances as another user")
@pytest.mark.parametrize("user", ["root", "nobody-at-all"])
def test_as_root_it_wants_another_user_for_instances(short: Path, user: str) -> None:
    code, text = launch(short, LOCAL_USER=user)
    assert code == 1
    assert text.startswith("Flowstead cannot start: LOCAL_USER must be a user of this machine")


def test_a_port_in_use_is_named(short: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, text = launch(short, PORT=str(port))
    assert (code, text.partition(": choose")[0]) == (1, f"Flowstead cannot start: port {port} is in use")
    check_port(port)


def test_a_second_start_in_the_same_folder_is_refused(short: Path) -> None:
    (short / "data").mkdir()
    held = claim(short / "data")
    code, text = launch(short)
    os.close(held)
    assert code == 1
    assert text.startswith("Flowstead cannot start: another `make run` is using")


def test_keys_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.make_missing(folder)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(keys.KEYS)
    assert len(made["secret-key"]) > 50
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys.make_missing(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "run"
    link.symlink_to(tmp_path)
    with pytest.raises(CannotStart, match="belongs to somebody else"):
        make_run_folder(Layout(tmp_path, tmp_path, link, tmp_path, tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("portal", "registry", "waited", "ready"),
    [
        (False, True, 99.0, False),
        (True, True, 0.0, True),
        (True, False, 1.0, False),
        (True, False, 31.0, True),  # without the registry the rest is of use all the same
    ],
)
def test_it_is_ready_with_the_registry_and_in_the_end_without(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    portal: bool,
    registry: bool,
    waited: float,
    ready: bool,
) -> None:
    monkeypatch.setattr(launching, "portal_answers", lambda _: portal)
    monkeypatch.setattr(launching, "registry_answers", lambda _: registry)
    assert launching.Launcher(env, Event())._is_ready(waited) is ready
    assert ("registry.log says why" in capsys.readouterr().err) is (ready and not registry)


@pytest.fixture
def launcher(short: Path, monkeypatch: pytest.MonkeyPatch) -> launching.Launcher:
    """A launcher whose process manager ends as soon as it is started."""
    for setting, folder in (("DATA_DIR", "data"), ("LOCAL_RUN_DIR", "run")):
        monkeypatch.setattr(env, setting, short / folder)
        (short / folder).mkdir()
    monkeypatch.setattr(launching, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(launching, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(launching, "CHECK_SECONDS", 0.01)
    return launching.Launcher(env, Event())


ENDS_AT_ONCE = ("/bin/false",)


def test_it_gives_up_where_nothing_comes_up_at_all(launcher: launching.Launcher) -> None:
    with pytest.raises(CannotStart, match="the portal does not come up"):
        launcher._come_up(Isolation(launcher._layout, ENDS_AT_ONCE))


def test_once_it_was_ready_it_never_gives_up(
    launcher: launching.Launcher, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def has_tried(times: int) -> bool:
        said.extend(capfd.readouterr().err.splitlines())
        return len([line for line in said if "is started again" in line]) > times

    way = Isolation(launcher._layout, ENDS_AT_ONCE)
    thread = Thread(target=launcher._keep_up, args=(way,), daemon=True)
    thread.start()
    wait_for(lambda: has_tried(4 * launching.STARTS), "many starts")
    assert thread.is_alive()
    launcher._stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_process_manager_that_cannot_be_started_is_tried_again(
    launcher: launching.Launcher, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher._layout.supervisor_socket.mkdir()  # in the way
    thread = Thread(target=launcher._keep_up, args=(Isolation(launcher._layout, ENDS_AT_ONCE),), daemon=True)
    thread.start()
    wait_for(lambda: "cannot be started: " in capfd.readouterr().err, "it says so")
    assert thread.is_alive()
    launcher._stop.set()
    thread.join(10)


def test_what_the_terminal_cannot_take_is_lost_and_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", "from deploy.local.progress import say\nsay('x')\nimport os\nos._exit(7)"],
            cwd=ROOT,
            stdout=full,
            check=False,
        )
    assert ended.returncode == 7


def test_a_database_that_cannot_be_used_is_named(short: Path) -> None:
    code, text = launch(short, DATABASE_URL=f"sqlite:///{short}/no-folder/database")
    assert code == 1
    assert "Traceback" not in text
    assert "The database cannot be used: unable to open database file." in text
