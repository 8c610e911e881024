"""A supervisord: asking it over XML-RPC on its Unix socket, and the program files it includes."""

import http.client
import re
import shlex
import socket
import time
import xmlrpc.client
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from threading import Lock
from typing import Any
from xml.parsers.expat import ExpatError

from tenants.provisioning.driver import NO_ANSWER, DriverError

ANSWER_SECONDS = 10.0
LOG_TAIL_BYTES = 64 * 1024


class Fault(IntEnum):
    """The faults of supervisord's interface that mean something to us."""

    BAD_NAME = 10
    STILL_RUNNING = 91
    CANNOT_REREAD = 92


class ProcessState(IntEnum):
    """supervisord's own states of a process."""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


@dataclass(frozen=True, slots=True)
class Process:
    """What supervisord says of one process. ``started`` is in seconds since the epoch, 0 for never."""

    group: str
    name: str
    state: ProcessState
    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Program:
    """One program file: a process group ``group`` that holds the one process ``name``."""

    group: str
    name: str
    command: tuple[str, ...]
    directory: Path
    log: Path
    log_bytes: int
    stop_seconds: int
    settle_seconds: int
    user: str | None = None

    def render(self) -> str:
        """The file's text.

        Any exit that nobody asked for is a failure, so ``autorestart`` is unconditional. What could
        end the line, begin a comment or be expanded is refused or escaped: one file that cannot be
        read would block every other start.
        """
        options = {
            "process_name": self.name,
            "command": shlex.join(self.command),
            "directory": str(self.directory),
            **({"user": self.user} if self.user else {}),
            "autostart": "true",
            "autorestart": "true",
            "startretries": "3",
            "startsecs": str(self.settle_seconds),
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": str(self.stop_seconds),
            "redirect_stderr": "true",
            "stdout_logfile": str(self.log),
            "stdout_logfile_maxbytes": str(self.log_bytes),
            "stdout_logfile_backups": "1",
        }
        lines = [f"{key}={_option_value(value)}" for key, value in options.items()]
        return "\n".join([f"[program:{self.group}]", *lines, ""])


_UNREADABLE = re.compile(r"[\x00-\x1f\x7f]|(?:^|\s)[;#]")


def _option_value(text: str) -> str:
    if _UNREADABLE.search(text):
        raise DriverError(
            f"The path in {text!r} holds characters that supervisord cannot read: use another folder.",
            reason="unusable_path",
            permanent=True,
        )
    return text.replace("%", "%%")


class ProgramFolder:
    """The folder of program files that supervisord includes. Whole files only, by renaming."""

    _HEAD = re.compile(r"\[program:(?P<group>[0-9a-z-]+)\]\nprocess_name=(?P<name>[^\s%:/]+)\n")
    _LOG = re.compile(r"^stdout_logfile=(?P<path>.+)$", re.MULTILINE)
    _LINE = re.compile(r"[a-z_]+=[^\x00-\x1f]*\Z")

    def __init__(self, path: Path) -> None:
        self.path = path

    def groups(self) -> set[str]:
        return {path.stem for path in self._files()}

    def holds(self, group: str) -> bool:
        return self._file(group).exists()

    def process_name(self, group: str) -> str | None:
        """The name that the group's process has by its file; None without a readable file."""
        try:
            head = self._HEAD.match(self._file(group).read_text())
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return head["name"] if head and head["group"] == group else None

    def write(self, program: Program) -> None:
        text = program.render()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # supervisord reads *.conf only: a half-written file has another name
        draft = self.path / f"{program.group}.draft"
        draft.write_text(text)
        draft.chmod(0o600)
        draft.replace(self._file(program.group))

    def discard(self, group: str) -> None:
        self._file(group).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all files, including those that were set aside."""
        for path in [*self._files(), *self.path.glob("*.broken"), *self.path.glob("*.draft")]:
            path.unlink()

    def quarantine(self) -> list[Path]:
        """Set aside, under the name ``*.broken``, every file that supervisord could not read: with
        one of them it would neither start nor take on anything new."""
        broken = [path for path in self._files() if not self._is_readable(path)]
        return [path.replace(path.with_suffix(".broken")) for path in broken]

    def _is_readable(self, path: Path) -> bool:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError):
            return False
        head, log = self._HEAD.match(text), self._LOG.search(text)
        return (
            head is not None
            and head["group"] == path.stem
            and text.endswith("\n")
            and all(self._LINE.match(line) for line in text.splitlines()[1:])
            and log is not None
            and Path(log["path"].replace("%%", "%")).parent.is_dir()
        )

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("*.conf"))

    def _file(self, group: str) -> Path:
        return self.path / f"{group}.conf"


class Refusal(DriverError):
    """supervisord answered, and said no: ``code`` is its fault."""

    def __init__(self, fault: xmlrpc.client.Fault) -> None:
        super().__init__(f"The process manager refused: {fault.faultString}.", retry_after=1)
        self.code = fault.faultCode


class Supervisor:
    """The supervisord behind ``socket_path``. Every method raises ``DriverError`` where it does not
    answer; each call has a connection of its own, so threads do not meet."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._changing = Lock()

    def pid(self) -> int:
        return int(self._call("getPID"))

    def processes(self) -> list[Process]:
        return [_process(info) for info in self._call("getAllProcessInfo")]

    def process(self, group: str, name: str) -> Process | None:
        try:
            return _process(self._call("getProcessInfo", f"{group}:{name}"))
        except Refusal as refusal:
            if refusal.code == Fault.BAD_NAME:
                return None
            raise

    def add(self, group: str, folder: ProgramFolder) -> None:
        """Take on the group whose file is in ``folder``; supervisord starts it at once."""
        with self._changing:
            try:
                self._call("reloadConfig")
            except Refusal as refusal:
                if refusal.code != Fault.CANNOT_REREAD or not folder.quarantine():
                    raise
                self._call("reloadConfig")
            self._call("addProcessGroup", group)

    def remove(self, group: str, *, within: float) -> bool:
        """Stop the group's process and forget the group. False where it still runs after
        ``within`` seconds; True where there is no such group (any more)."""
        deadline = time.monotonic() + within
        while not self._stop_and_forget(group):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def stop_all(self, *, first: str) -> None:
        """Tell all processes to end, without waiting for it, once the group ``first`` has ended."""
        self.remove(first, within=ANSWER_SECONDS)
        self._call("stopAllProcesses", False)

    def kill(self, group: str, name: str) -> None:
        """Send SIGKILL, which also ends a process that SIGSTOP has stopped; supervisord starts it again."""
        self._call("signalProcess", f"{group}:{name}", "KILL")

    def log_tail(self) -> str:
        """The end of supervisord's own log, empty where it keeps none."""
        try:
            return str(self._call("readLog", -LOG_TAIL_BYTES, 0))
        except Refusal:
            return ""

    def _stop_and_forget(self, group: str) -> bool:
        # Both each time: a process that ended by itself may have been started again in between.
        try:
            self._call("stopProcessGroup", group, False)
            with self._changing:
                self._call("removeProcessGroup", group)
        except Refusal as refusal:
            if refusal.code == Fault.STILL_RUNNING:
                return False
            if refusal.code != Fault.BAD_NAME:
                raise
        return True

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _Transport(self._socket_path)
        try:
            with xmlrpc.client.ServerProxy("http://supervisord", transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise Refusal(fault) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise DriverError(
                f"The process manager does not answer ({error}).", reason=NO_ANSWER, retry_after=1
            ) from error


def _process(info: Any) -> Process:
    return Process(info["group"], info["name"], ProcessState(info["state"]), info["pid"], info["start"])


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return UnixConnection(self._path, ANSWER_SECONDS)
