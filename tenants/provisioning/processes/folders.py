"""The folders of a local instance: what it may write, what only the platform may, and its socket.

``instances/<id>/`` belongs to the platform and holds ``instance.json`` (what was last asked for),
``environment.json`` (only while it is meant to run), ``reached`` (which run has responded), the log, and
two folders that the instance itself may write: ``userdir`` and ``tmp``. The platform writes nothing into
these once they are handed over, since what lies in them could be a link to anywhere. ``sockets/<name>/``
holds the socket; only the instance's user and the platform may enter.
"""

import json
import math
import os
import pwd
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tenants.provisioning.driver import DriverError
from tenants.provisioning.spec import is_instance_id

COMPILE_CACHE_BYTES = 256 * 2**20

_NPMRC = "audit=false\nfund=false\nupdate-notifier=false\n"


def checked_id(instance_id: str) -> str:
    """``instance_id`` where it is a UUID in its usual form, so that it can be part of a path."""
    if not is_instance_id(instance_id):
        raise DriverError(f"{instance_id!r} is not an instance's id.", reason="invalid_id", permanent=True)
    return instance_id


@dataclass(frozen=True, slots=True)
class Account:
    """The user that instances run as, where that is not our own."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "Account":
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise DriverError(
                f"There is no user {name!r} on this machine to run instances as.",
                reason="no_such_user",
                permanent=True,
            ) from error
        return cls(name, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Record:
    """What ``instance.json`` holds: whose it is and what was last asked for."""

    installation: str
    name: str
    digest: str


class Folders:
    """All folders of one installation's instances. ``account`` is None where instances run as we do."""

    def __init__(self, instances: Path, sockets: Path, installation: str, account: Account | None) -> None:
        self._instances = instances
        self._sockets = sockets
        self._installation = installation
        self._account = account
        # 711: others may pass through to what is theirs, and see nothing
        self._passable = 0o711 if account else 0o700

    def root(self, instance_id: str) -> Path:
        return self._instances / checked_id(instance_id)

    def userdir(self, instance_id: str) -> Path:
        return self.root(instance_id) / "userdir"

    def tmp(self, instance_id: str) -> Path:
        return self.root(instance_id) / "tmp"

    def environment(self, instance_id: str) -> Path:
        return self.root(instance_id) / "environment.json"

    def log(self, instance_id: str) -> Path:
        return self.root(instance_id) / "instance.log"

    def socket(self, name: str) -> Path:
        return self._sockets / name / "http.sock"

    def reached(self, instance_id: str) -> str:
        """Return the run that was noted last as having responded; empty for none."""
        try:
            return (self.root(instance_id) / "reached").read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def note_reached(self, instance_id: str, run: str) -> None:
        if self.root(instance_id).is_dir():
            self._write(self.root(instance_id) / "reached", run)

    def compile_cache(self) -> Path:
        return self._instances / ".compile-cache"

    def prepare(self) -> None:
        """Make what all instances share."""
        for path in (self._instances, self._sockets):
            _make(path, self._passable)
        _make(self.compile_cache(), 0o700)
        self._hand_over(self.compile_cache())

    def ids(self) -> set[str]:
        """The instances of this installation that have a folder."""
        if not self._instances.is_dir():
            return set()
        names = {path.name for path in self._instances.iterdir() if is_instance_id(path.name)}
        return {name for name in names if self._is_ours(name)}

    def record(self, instance_id: str) -> Record | None:
        """What was last asked for; None without a folder, an empty one where it cannot be read."""
        if not self.root(instance_id).is_dir():
            return None
        try:
            fields = json.loads((self.root(instance_id) / "instance.json").read_text())
            return Record(str(fields["installation"]), str(fields["name"]), str(fields["digest"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Record(self._installation, "", "")

    def create(self, instance_id: str, record: Record) -> None:
        """Make the instance's folder where there is none, all at once: a kill leaves no half folder."""
        root = self.root(instance_id)
        if not root.is_dir():
            draft = self._instances / f".new-{uuid4()}"
            self._fill(draft, instance_id)
            self._write(draft / "instance.json", _json(record))
            draft.replace(root)
        self._write(root / "instance.json", _json(record))

    def open_socket_folder(self, name: str) -> None:
        """An empty folder for the socket: what an earlier owner of the name left is gone."""
        self.close_socket_folder(name)
        _make(self.socket(name).parent, 0o700)
        self._hand_over(self.socket(name).parent)

    def close_socket_folder(self, name: str) -> None:
        if name:
            remove_tree(self.socket(name).parent)

    def write_environment(self, instance_id: str, variables: Mapping[str, str]) -> None:
        path = self.environment(instance_id)
        self._write(path, json.dumps(dict(variables), ensure_ascii=False))
        self._hand_over(path)

    def remove(self, instance_id: str) -> None:
        """Remove the folder: by its name at once, then what was in it."""
        if self.root(instance_id).is_dir():
            old = self._instances / f".old-{uuid4()}"
            self.root(instance_id).replace(old)
            remove_tree(old)

    def _fill(self, root: Path, instance_id: str) -> None:
        _make(root, self._passable)
        userdir, tmp = root / "userdir", root / "tmp"
        _make(userdir, 0o700)
        _make(tmp, 0o700)
        package = {"name": f"instance-{instance_id}", "version": "0.0.1", "private": True, "dependencies": {}}
        self._write(userdir / "package.json", json.dumps(package, indent=4) + "\n")
        self._write(userdir / ".npmrc", _NPMRC)
        for path in (userdir / "package.json", userdir / ".npmrc", userdir, tmp):
            self._hand_over(path)

    def _is_ours(self, instance_id: str) -> bool:
        record = self.record(instance_id)
        return record is not None and record.installation == self._installation

    def _hand_over(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _write(self, path: Path, text: str) -> None:
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def _make(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def _json(record: Record) -> str:
    return json.dumps({"installation": record.installation, "name": record.name, "digest": record.digest})


def remove_tree(path: Path) -> None:
    """Remove a folder, as far as that is possible, however deep a flow has made it.

    Python's own ``shutil.rmtree`` and ``Path.rglob`` fail at a depth that any program can make.
    """
    subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL, check=False)


def _disk_usage(path: Path) -> float:
    """Return how many bytes a folder takes on disk; infinity if that cannot be told."""
    told = subprocess.run(["du", "-sk", "--", path], capture_output=True, text=True, check=False)
    return float(told.stdout.split()[0]) * 1024 if told.returncode == 0 else math.inf


def sweep(instances: Path) -> None:
    """Remove what a kill left of folders that were being made or removed, and a compile cache that has grown
    large, from which Node never removes anything. Call this only while no driver works."""
    for leftover in [*instances.glob(".old-*"), *instances.glob(".new-*")]:
        remove_tree(leftover)
    cache = instances / ".compile-cache"
    if cache.is_dir() and _disk_usage(cache) > COMPILE_CACHE_BYTES:
        remove_tree(cache)
