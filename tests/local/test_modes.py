"""What a start corrects in the data folder that it finds: loose modes, and things that only grow."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import modes
from deploy.local.layout import Layout
from tenants.provisioning.processes import folders
from tenants.provisioning.processes.supervisor import ProgramFolder

SECRET = (
    "flowstead.sqlite3",
    "flowstead.sqlite3-wal",
    "flowstead.sqlite3.before-upgrade",
    "operator-password",
    "keys/secret-key",
    "logs/web-0.log",
    "registry/.verdaccio-db.json",
    "instances/11111111-1111-4111-8111-111111111111/instance.json",
    "instances/11111111-1111-4111-8111-111111111111/environment.json",
    "instances/11111111-1111-4111-8111-111111111111/instance.log",
    "instances/11111111-1111-4111-8111-111111111111/userdir/.npmrc",
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    data = tmp_path / "data"
    for name in (*SECRET, "port"):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in data.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Layout(tmp_path, data, tmp_path / "run", data / "instances", tmp_path, tmp_path)


def others_reach(path: Path, top: Path) -> bool:
    """Whether a user who can pass through ``top`` can read ``path``."""
    between = [folder for folder in path.parents if top in folder.parents]
    return bool(path.stat().st_mode & 0o044) and all(folder.stat().st_mode & 0o011 for folder in between)


def test_what_is_secret_is_for_its_owner_alone_after_a_start(layout: Layout) -> None:
    assert all(others_reach(layout.data / name, layout.data) for name in SECRET)
    modes.tighten(layout)
    assert [name for name in SECRET if others_reach(layout.data / name, layout.data)] == []
    assert stat.S_IMODE((layout.keys / "secret-key").stat().st_mode) == 0o600
    # as root, instances pass through these to what is theirs
    assert stat.S_IMODE(layout.instances.stat().st_mode) == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
def test_what_it_may_not_change_ends_the_start_with_a_sentence() -> None:
    script = (
        "import os, sys; from pathlib import Path; from deploy.local import modes; from deploy.local.layout import *\n"
        "os.setuid(65534)\n"
        "data = Path(sys.argv[1])\n"
        "try: modes.tighten(Layout(data, data, data, data / 'instances', data, data))\n"
        "except CannotStart as error: print(error)\n"
    )
    data = Path("/tmp") / f"flowstead-modes-{os.getpid()}"
    try:
        data.mkdir(mode=0o755)
        (data / "flowstead.sqlite3").touch()
        (data / "flowstead.sqlite3").chmod(0o644)
        said = subprocess.run(
            [sys.executable, "-c", script, str(data)], capture_output=True, text=True, check=True
        ).stdout
    finally:
        (data / "flowstead.sqlite3").unlink()
        data.rmdir()
    assert said.startswith(f"others can reach {data}/flowstead.sqlite3 (mode 644)")
    assert "chmod go=" in said


def test_what_was_set_aside_goes_with_the_next_start(tmp_path: Path) -> None:
    for name in ("a.conf", "b.broken", "c.draft"):
        (tmp_path / name).touch()
    ProgramFolder(tmp_path).clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stays", [True, False])
def test_a_compile_cache_that_has_grown_large_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    cached = tmp_path / ".compile-cache" / "v24" / "module"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(bytes(300_000))
    monkeypatch.setattr(folders, "COMPILE_CACHE_BYTES", 400_000 if stays else 200_000)
    folders.sweep(tmp_path)
    assert cached.exists() is stays


@pytest.mark.parametrize("place", [".compile-cache", ".old-1"])
def test_folders_of_any_depth_hold_up_no_start(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows write into these folders: 3,000 levels are more than Python recurses, and than a path may have."""
    monkeypatch.setattr(folders, "COMPILE_CACHE_BYTES", 0)
    (tmp_path / place).mkdir()
    descend = "import os, sys; os.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir('a'); os.chdir('a')"
    subprocess.run([sys.executable, "-c", descend, tmp_path / place], check=True)
    folders.sweep(tmp_path)
    assert not (tmp_path / place).exists()


def test_a_link_that_leads_nowhere_holds_up_no_start(layout: Layout) -> None:
    layout.keys.mkdir(parents=True, exist_ok=True)
    (layout.keys / "old-key").symlink_to("nowhere")
    modes.tighten(layout)
