"""Where everything of one ``make run`` lies."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tenants.provisioning.local import PROGRAMS, SOCKETS, SUPERVISOR_SOCKET

HERE = Path(__file__).resolve().parent


class CannotStart(Exception):
    """One sentence that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``node`` is the real binary, ``node_red`` the folder with its settings and its modules.

    ``data`` holds all state. ``run`` holds sockets and what is written anew at each start.
    """

    base: Path
    data: Path
    run: Path
    instances: Path
    node: Path
    node_red: Path

    @property
    def database(self) -> Path:
        """The default database; ``DATABASE_URL`` may name another."""
        return self.data / "flowstead.sqlite3"

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def supervisor(self) -> Path:
        return self.data / "supervisor"

    @property
    def programs(self) -> Path:
        return self.supervisor / PROGRAMS

    @property
    def supervisor_socket(self) -> Path:
        return self.run / SUPERVISOR_SOCKET

    @property
    def sockets(self) -> Path:
        return self.run / SOCKETS

    @property
    def web_sockets(self) -> Path:
        """A folder of its own that only we may enter: web processes trust whoever reaches them."""
        return self.run / "web"

    @property
    def node_home(self) -> Path:
        """What Node's own archives hold: ``bin/node`` and npm in ``lib``."""
        return self.node.parent.parent

    @property
    def environment(self) -> Path:
        return self.run / "environment.json"

    @property
    def caddy(self) -> Path:
        return Path(sys.executable).parent / "caddy"

    @property
    def registry(self) -> Path:
        """What was published to the private npm registry."""
        return self.data / "registry"

    @property
    def registry_socket(self) -> Path:
        return self.run / "registry.sock"

    @property
    def verdaccio(self) -> Path:
        return self.base / "deploy" / "registry" / "node_modules" / "verdaccio" / "bin" / "verdaccio"

    @property
    def red(self) -> Path:
        return self.node_red / "node_modules" / "node-red" / "red.js"


def make_folder(path: Path, mode: int) -> None:
    """Make ``path`` where there is none, and give it ``mode``."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def write_private(path: Path, text: str) -> None:
    """Write a whole file that only we may read; a reader sees the old one or the new one."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def is_root() -> bool:
    return os.getuid() == 0
