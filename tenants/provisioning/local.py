"""The local driver: each instance a process under supervisord, on a Unix socket of its own.

What supervisord holds is the truth about what runs: the name of its process carries the digest that
it was made from, so nothing has to be reconciled with a record beside it. A program file exists
exactly while its instance is meant to run, since supervisord starts what it finds there. Hence

- starting: take down what runs, write the folder and the environment, the program file last, then
  tell supervisord. A kill before the file: stopped. After it: seen as failed until it is added;
- stopping: remove the program file first, then the process. A kill in between: still running, and
  it stays down if supervisord itself is started anew.

No wall between tenants: flows can run any code, and all instances are the same system user.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import MappingProxyType

from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import Action, Verb
from tenants.provisioning.processes import containment, logfile, survivors
from tenants.provisioning.processes.endings import UNKNOWN, Ending, ending
from tenants.provisioning.processes.folders import Account, Folders, Record, checked_id
from tenants.provisioning.processes.health import WATCH_SECONDS, Condition, Health
from tenants.provisioning.processes.supervisor import (
    Process,
    ProcessState,
    Program,
    ProgramFolder,
    Supervisor,
)
from tenants.provisioning.spec import ABSENT, NOT_RESPONDING, InstanceSpec, Observation, State, is_instance_id

SUPERVISOR_SOCKET = "supervisor.sock"
PROGRAMS = "programs"
SOCKETS = "i"

PROBE_SECONDS = 1.0
WATCH_SECONDS_WHILE_STARTING = 0.2
YOUNG_SECONDS = 60  # how long after its start a process is observed with the end of the run before
LOG_BYTES = 256 * 1024  # how much of the end of an instance's log is read for why it ended


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Where things lie and what runs.

    ``run_dir`` must be short: the path of a socket has at most 107 bytes. ``program`` is what node
    runs, with its arguments. ``user`` is who instances run as when we are root; otherwise they run
    as we do. ``passed_on`` are variables of our own environment that every instance gets (a proxy,
    a time zone). ``log_bytes`` is the size at which a log is rotated,
    ``settle_seconds`` how long a process has to live for its end not to count as a failed start,
    ``stop_seconds`` what it gets between SIGTERM and SIGKILL. One that stops responding is observed as
    unresponsive within ``unresponsive_seconds``, and restarted after ``unresponsive_restart_seconds``.
    """

    installation: str
    run_dir: Path
    supervisor_dir: Path
    instances_dir: Path
    node: Path
    program: tuple[str, ...]
    node_red_version: str
    user: str = "nobody"
    passed_on: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    log_bytes: int = 5 * 1024 * 1024
    settle_seconds: int = 30
    stop_seconds: int = 10
    unresponsive_seconds: int = 30
    unresponsive_restart_seconds: int = 120

    @property
    def supervisor_socket(self) -> Path:
        return self.run_dir / SUPERVISOR_SOCKET

    @property
    def programs_dir(self) -> Path:
        return self.supervisor_dir / PROGRAMS

    @property
    def sockets_dir(self) -> Path:
        """Caddy's one route for all instances: ``<sockets_dir>/<name>/http.sock``."""
        return self.run_dir / SOCKETS

    @property
    def commands_dir(self) -> Path:
        """``node``, ``npm`` and ``npx`` by these names: what an instance finds in its PATH."""
        return self.run_dir / "bin"


class LocalDriver:
    """Instances as processes of this machine. See the protocol in ``driver`` for the methods."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self._account = _account(config.user)
        self._folders = Folders(config.instances_dir, config.sockets_dir, config.installation, self._account)
        self._programs = ProgramFolder(config.programs_dir)
        self._supervisor = Supervisor(config.supervisor_socket)
        self._health = Health(
            unresponsive=config.unresponsive_seconds, restart=config.unresponsive_restart_seconds
        )

    # --- Looking ----------------------------------------------------------------------------------

    def observe(self, spec: InstanceSpec) -> Observation:
        with _as_driver_errors():
            process = self._process(checked_id(spec.id))
            if process is not None:
                return self._observed(spec.id, process)
            if self._programs.holds(spec.id):
                return Observation(State.FAILED, reason="interrupted", message="Its start was interrupted.")
            record = self._folders.record(spec.id)
            return Observation(State.STOPPED, digest=record.digest) if record else ABSENT

    def inventory(self) -> set[str]:
        with _as_driver_errors():
            held = {process.group for process in self._supervisor.processes()}
            return {name for name in held | self._programs.groups() if is_instance_id(name)}

    def disks(self) -> dict[str, str]:
        with _as_driver_errors():
            return {name: f"the folder {self._folders.root(name)}" for name in self._folders.ids()}

    def watch(self, stop: Event) -> Iterator[str]:
        seen: dict[str, _Moment] | None = None
        while not stop.is_set():
            try:
                now = self._moments()
                changed = self.inventory() | self.disks().keys() if seen is None else _changed(seen, now)
            except DriverError:
                seen = None  # whatever happened meanwhile was missed: name everything afterwards
                yield ""
                stop.wait(WATCH_SECONDS)
                continue
            yield from sorted(changed)
            yield ""
            seen = now
            starting = any(moment.condition in _COMING_UP for moment in now.values())
            stop.wait(WATCH_SECONDS_WHILE_STARTING if starting else WATCH_SECONDS)

    def logs(self, instance_id: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
        with _as_driver_errors():
            if self._folders.record(instance_id) is not None:
                path = self._folders.log(instance_id)
                yield from logfile.lines(path, tail=tail, follow=follow, stop=stop)

    def check(self) -> None:
        with _as_driver_errors():
            self._supervisor.pid()

    # --- Acting -----------------------------------------------------------------------------------

    def apply(self, action: Action, spec: InstanceSpec) -> None:
        with _as_driver_errors():
            match action.verb:
                case Verb.CREATE | Verb.UPDATE | Verb.REPAIR | Verb.START:
                    self._bring_up(spec) if spec.power else self._lay_down(spec)
                case Verb.RESTART:
                    self._restart(spec)
                case Verb.STOP:
                    self._take_down(spec.id)
                case Verb.REMOVE:
                    self._clear_the_place(spec.id)
                    self._folders.remove(spec.id)

    def remove_orphan(self, instance_id: str) -> None:
        with _as_driver_errors():
            self._clear_the_place(checked_id(instance_id))

    def remove_strays(self) -> list[str]:
        return []  # every process bears its instance's id

    def remove_tenants_except(self, known: Collection[str]) -> list[str]:
        return []  # a tenant is nothing but its instances here

    def _bring_up(self, spec: InstanceSpec) -> None:
        if self._runs_as_wanted(spec):
            return
        self._require(spec.node_red_version)
        self._clear_the_place(spec.id)
        self._folders.prepare()
        self._link_commands()
        self._folders.create(spec.id, self._record(spec))
        self._folders.open_socket_folder(spec.name)
        self._folders.write_environment(spec.id, {**self._config.passed_on, **spec.process_environment()})
        self._programs.write(self._program(spec))
        self._supervisor.add(spec.id, self._programs)

    def _restart(self, spec: InstanceSpec) -> None:
        process = self._process(spec.id)
        if process is not None and self._observed(spec.id, process).restart_due:
            self._clear_the_place(spec.id)
            self._bring_up(spec)

    def _lay_down(self, spec: InstanceSpec) -> None:
        """What is there while the power is off."""
        self._clear_the_place(spec.id)
        self._folders.prepare()
        self._folders.create(spec.id, self._record(spec))

    def _take_down(self, instance_id: str) -> bool:
        """Whether the process has come to rest in the time it has for that."""
        name = self._name(instance_id)
        self._programs.discard(instance_id)
        if not self._supervisor.remove(instance_id, within=self._config.stop_seconds + 2):
            return False
        # A flow can detach a process, which supervisord then does not stop. And a supervisord that was ended
        # by kill -9 may have left one, which would run beside the new one.
        survivors.end(self._config.run_dir, instance_id, within=self._config.stop_seconds)
        self._folders.environment(instance_id).unlink(missing_ok=True)
        self._folders.close_socket_folder(name)
        return True

    def _clear_the_place(self, instance_id: str) -> None:
        if not self._take_down(instance_id):
            raise DriverError("Its process is still stopping.", reason="stopping", retry_after=1)

    def _require(self, node_red_version: str) -> None:
        installed = self._config.node_red_version
        if node_red_version != installed:
            raise DriverError(
                f"Node-RED {node_red_version} is not installed here, only {installed}: "
                "choose a stack with that version.",
                reason="stack_unavailable",
                permanent=True,
            )

    # --- What it is made of -----------------------------------------------------------------------

    def _program(self, spec: InstanceSpec) -> Program:
        variables = [f"{key}={value}" for key, value in self._variables(spec).items()]
        node = [str(self._config.node), f"--max-old-space-size={spec.heap()}"]
        return Program(
            group=spec.id,
            name=_process_name(spec),
            command=(
                *containment.wrapper(self._account),
                _found("env"),
                "-i",
                *variables,
                *node,
                *self._config.program,
            ),
            directory=self._folders.userdir(spec.id),
            log=self._folders.log(spec.id),
            log_bytes=self._config.log_bytes,
            stop_seconds=self._config.stop_seconds,
            settle_seconds=self._config.settle_seconds,
            # with a PID namespace, the wrapper changes the user
            user=self._account.name if self._account and not containment.has_pid_namespaces() else None,
        )

    def _variables(self, spec: InstanceSpec) -> dict[str, str]:
        """All that the process starts with: its settings and secrets are in the file that it reads,
        since everybody on the machine can see a command."""
        return {
            "PATH": f"{self._config.commands_dir}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._folders.userdir(spec.id)),
            "TMPDIR": str(self._folders.tmp(spec.id)),
            "NODE_COMPILE_CACHE": str(self._folders.compile_cache()),
            "FLOWSTEAD_ENV_FILE": str(self._folders.environment(spec.id)),
            "FLOWSTEAD_LISTEN": str(self._folders.socket(spec.name)),
            "FLOWSTEAD_USER_DIR": str(self._folders.userdir(spec.id)),
            survivors.RUN_MARKER: str(self._config.run_dir),
            survivors.INSTANCE_MARKER: spec.id,
        }

    def _link_commands(self) -> None:
        modules = self._config.node.parent.parent / "lib" / "node_modules" / "npm" / "bin"
        targets = {"node": self._config.node, "npm": modules / "npm-cli.js", "npx": modules / "npx-cli.js"}
        self._config.commands_dir.mkdir(parents=True, exist_ok=True)
        self._config.commands_dir.chmod(0o755)  # the umask takes rights from mkdir's mode
        for name, target in targets.items():
            link = self._config.commands_dir / name
            if not link.is_symlink() or link.readlink() != target:
                link.unlink(missing_ok=True)
                link.symlink_to(target)

    def _record(self, spec: InstanceSpec) -> Record:
        return Record(self._config.installation, spec.name, spec.digest())

    # --- What supervisord says --------------------------------------------------------------------

    def _process(self, instance_id: str) -> Process | None:
        """By the name in the program file, which is quick, else by going through all."""
        name = self._programs.process_name(instance_id)
        if name and (process := self._supervisor.process(instance_id, name)):
            return process
        return next((one for one in self._supervisor.processes() if one.group == instance_id), None)

    def _runs_as_wanted(self, spec: InstanceSpec) -> bool:
        if self._programs.process_name(spec.id) != _process_name(spec):
            return False
        process = self._supervisor.process(spec.id, _process_name(spec))
        return process is not None and _state(process) in {State.STARTING, State.BACKOFF}

    def _name(self, instance_id: str) -> str:
        record = self._folders.record(instance_id)
        if record and record.name:
            return record.name
        return (self._programs.process_name(instance_id) or "").partition(".")[0]

    def _observed(self, instance_id: str, process: Process) -> Observation:
        digest, state, run = process.name.partition(".")[2], _state(process), _run(process)
        if state == State.STARTING:
            seen = self._observed_alive(instance_id, process, digest)
            is_young = time.time() - process.started < YOUNG_SECONDS
            why = self._ending(instance_id, process) if is_young else None
            return replace(seen, ended_reason=why.reason, ended_message=why.message) if why else seen
        if state in {State.BACKOFF, State.FAILED}:
            why = self._ending(instance_id, process) or UNKNOWN
            return Observation(state, digest, run, why.reason, why.message)
        return Observation(state, digest, run)

    def _ending(self, instance_id: str, process: Process) -> Ending | None:
        log = logfile.tail_text(self._folders.log(instance_id), LOG_BYTES)
        return ending(process.name, self._supervisor.log_tail(), log)

    def _observed_alive(self, instance_id: str, process: Process, digest: str) -> Observation:
        condition, run = self._condition(process, within=PROBE_SECONDS), _run(process)
        was_reached = self._folders.reached(instance_id) == run  # by an earlier reconciler, too
        if condition == Condition.STARTING and was_reached and not self._socket_of(process).exists():
            condition = Condition.LOST
        match condition:
            case Condition.RESPONDS:
                if not was_reached:
                    with suppress(OSError):  # a full disk, say: only the next reconciler would miss it
                        self._folders.note_reached(instance_id, run)
                return Observation(State.RUNNING, digest, run)
            case Condition.UNRESPONSIVE | Condition.OVERDUE:
                seconds = self._config.unresponsive_restart_seconds
                message = f"Node-RED does not respond. It is restarted when this has lasted {seconds} s."
                due = condition == Condition.OVERDUE
                return Observation(State.UNRESPONSIVE, digest, run, NOT_RESPONDING, message, restart_due=due)
            case Condition.LOST:
                message = "Node-RED cannot be reached, because its socket was removed. It is restarted."
                return Observation(State.UNRESPONSIVE, digest, run, NOT_RESPONDING, message, restart_due=True)
            case Condition.SILENT:
                message = "Node-RED has started, and does not respond yet."
                return Observation(State.STARTING, digest, run, NOT_RESPONDING, message)
        return Observation(State.STARTING, digest, run)

    def _condition(self, process: Process, *, within: float = 0.0, every: float = 0.0) -> Condition:
        return self._health.of(self._socket_of(process), _run(process), within=within, every=every)

    def _socket_of(self, process: Process) -> Path:
        return self._folders.socket(process.name.partition(".")[0])

    def _moments(self) -> dict[str, "_Moment"]:
        processes = [process for process in self._supervisor.processes() if is_instance_id(process.group)]
        self._health.forget_all_but({self._socket_of(process) for process in processes})
        return {process.group: self._moment(process) for process in processes}

    def _moment(self, process: Process) -> "_Moment":
        condition = self._condition(process, every=self._health.every) if process.pid else None
        return _Moment(process.name, process.state, process.pid, condition)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the watch compares: whatever of it changes is worth a look."""

    name: str
    state: ProcessState
    pid: int
    condition: Condition | None


_COMING_UP = frozenset({Condition.STARTING, Condition.SILENT})


def _changed(before: Mapping[str, _Moment], now: Mapping[str, _Moment]) -> set[str]:
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


def _run(process: Process) -> str:
    """Return the name of this run of the process; empty where it does not run."""
    return f"{process.pid}-{process.started}" if process.pid else ""


def _process_name(spec: InstanceSpec) -> str:
    return f"{spec.name}.{spec.digest()}"


def _state(process: Process) -> State:
    """STARTING is all that runs: supervisord does not know whether it answers."""
    match process.state:
        case ProcessState.STARTING | ProcessState.RUNNING:
            return State.STARTING
        case ProcessState.STOPPED:
            # taken on a moment ago, and not started yet
            return State.STOPPED if process.started else State.STARTING
        case ProcessState.STOPPING:
            return State.STOPPING
        case ProcessState.BACKOFF:
            return State.BACKOFF
    return State.FAILED


def _account(user: str) -> Account | None:
    if os.getuid() != 0:
        return None
    account = Account.named(user)
    if account.uid == 0:
        raise DriverError("Instances must not run as root.", reason="root_refused", permanent=True)
    return account


def _found(command: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise DriverError(
            f"The command {command!r} is missing here.", reason="missing_command", permanent=True
        )
    return path


@contextmanager
def _as_driver_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DriverError(f"The machine refused: {error.strerror}.", reason="machine_refused") from error
