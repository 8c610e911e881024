"""The commands of docs/operating.md that back up and restore, run as they stand there."""

import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import CHECKOUT, Product, wait_for
from tests.e2e.test_kill import FLOWS
from tests.npm import Npm

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 program is not installed"),
]

VARIABLE = "a-variables-secret-value"
NODE = "@operator/node-red-pump"


def commands(beginning: str) -> str:
    """The indented lines of *Back up and restore* that begin with ``beginning``."""
    _, _, section = (CHECKOUT / "docs" / "operating.md").read_text().partition("\n## Back up and restore\n")
    blocks = re.findall(r"(?:^    .*\n)+", section.partition("\n## ")[0], re.MULTILINE)
    [found] = [block for block in blocks if block.strip().startswith(beginning)]
    return re.sub(r"^    ", "", found, flags=re.MULTILINE)


def run(script: str, product: Product, backup: Path) -> None:
    script = script.replace("/backup", str(backup / "backup")).replace(
        "/elsewhere", str(backup / "elsewhere")
    )
    subprocess.run(
        ["bash", "-euc", f"umask 022\n{script}"],
        cwd=CHECKOUT,
        env=product.environment,
        check=True,
        timeout=60,
    )


class BackedUp:
    """An installation that was used and backed up while it ran, and what was secret in it."""

    def __init__(self, product: Product, folder: Path) -> None:
        self.folder = folder
        api = product.api(product.token())
        made = api.make("kitchen", environment={"PUMP_PASSWORD": VARIABLE})
        api.wait("kitchen", "running", 60)
        saves = product.storage("kitchen")
        saves.post("/flows", json=FLOWS, headers={"If-Match": saves.get("/flows").headers["ETag"]})
        npm = Npm(folder / "npm", f"{product.local}/registry/")
        npm.sign_in(product.token())
        npm.publish(NODE)
        given = json.loads((product.data_dir / "instances" / made["id"] / "environment.json").read_text())
        registry = json.loads((product.data_dir / "registry" / ".verdaccio-db.json").read_text())
        self.secrets = {
            **{name: value for name, value in given.items() if re.search("TOKEN|SECRET|PASSWORD", name)},
            **{path.name: path.read_text().strip() for path in (product.data_dir / "keys").iterdir()},
            "operator-password": product.password,
            "the registry's": registry["secret"],
        }
        self.flows = saves.get("/flows").json()
        run(commands("umask 077"), product, folder)


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    product = Product()
    try:
        yield BackedUp(product.start(), tmp_path_factory.mktemp("backup"))
    finally:
        product.remove()


@pytest.fixture(scope="module")
def restored(backed_up: BackedUp) -> Iterator[Product]:
    product = Product()
    product.folder.chmod(0o711)
    try:
        run(commands("install").replace("make run", ""), product, backed_up.folder)
        for path in product.data_dir.rglob("*"):  # as by a copy that forgets the modes
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield product.start()
    finally:
        product.remove()


def contents(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            yield member.name, file.read() if file else b""


def test_a_backup_is_for_its_owner_alone(backed_up: BackedUp) -> None:
    files = [path for name in ("backup", "elsewhere") for path in (backed_up.folder / name).iterdir()]
    assert {path.name for path in files} == {"flowstead.sqlite3", "instances.tgz", "registry.tgz", "keys.tgz"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_without_the_keys_a_backup_holds_no_secret(backed_up: BackedUp) -> None:
    assert len(backed_up.secrets) >= 9
    assert all(len(value) >= 12 for value in backed_up.secrets.values())
    backup = backed_up.folder / "backup"
    held = dict(contents(backup / "instances.tgz")) | dict(contents(backup / "registry.tgz"))
    held["flowstead.sqlite3"] = (backup / "flowstead.sqlite3").read_bytes()
    assert any(name.endswith("userdir/package.json") for name in held)
    assert any(name.endswith("node-red-pump-1.0.0.tgz") for name in held)
    found = [
        (what, name)
        for what, secret in backed_up.secrets.items()
        for name in held
        if secret.encode() in held[name]
    ]
    assert found == []


def test_what_ran_runs_again_with_its_flows_its_variables_and_its_packages(
    restored: Product, backed_up: BackedUp
) -> None:
    api = restored.api(restored.token())
    api.wait("kitchen", "running", 60)
    wait_for(lambda: restored.is_up("kitchen"), "its editor opens")
    assert restored.storage("kitchen").get("/flows").json() == backed_up.flows
    wait_for(lambda: restored.get("kitchen", "/hi").status_code == 200, "its flows run")
    asked = "from tenants.models import Instance as I; print(I.objects.get(name='kitchen').environment)"
    assert VARIABLE in restored.manage("shell", "-v", "0", "-c", asked)
    npm = Npm(backed_up.folder / "npm-again", f"{restored.local}/registry/")
    npm.sign_in(restored.token())
    assert npm.done("view", NODE, "version").strip() == "1.0.0"


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs instances as another user")
def test_flows_cannot_read_what_came_back_with_loose_modes(restored: Product) -> None:
    restored.api(restored.token()).wait("kitchen", "running", 60)
    files = [path for path in restored.data_dir.rglob("*") if path.is_file()]
    tell = 'while read -r file; do [ -r "$file" ] && echo "$file"; done; true'
    as_nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "sh", "-c", tell]
    said = subprocess.run(
        as_nobody, input="\n".join(map(str, files)), capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    readable = {str(Path(line).relative_to(restored.data_dir)) for line in said.splitlines()}
    assert "port" not in readable
    theirs = re.compile(
        r"instances/(\.compile-cache|[0-9a-f-]{36}/(userdir|tmp))/|instances/[0-9a-f-]{36}/environment\.json$"
    )
    assert {name for name in readable if not theirs.match(name) and not name.startswith("static/")} == set()
    assert any(theirs.match(name) for name in readable)  # so the question was a real one
