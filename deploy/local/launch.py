"""``make run``: prepare what is missing, start everything, stay until told to end, leave nothing behind.

The launcher is the parent of one supervisord, which is the parent of all else: web processes, the
reconciler, Caddy and the instances. It holds the data folder, so there is never a second one.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Event
from types import ModuleType

from django.core.exceptions import ImproperlyConfigured

from deploy.local import configuration, descendants, keys, modes, preflight
from deploy.local.isolation import Isolation, isolation
from deploy.local.layout import HERE, CannotStart, Layout, is_root, make_folder, write_private
from deploy.local.progress import progress, say
from deploy.local.ready import portal_answers, registry_answers
from deploy.local.run_folder import RunFolder
from tenants.provisioning.driver import DriverError
from tenants.provisioning.processes import survivors
from tenants.provisioning.processes.folders import remove_tree, sweep
from tenants.provisioning.processes.supervisor import ProgramFolder, Supervisor

STOP_SECONDS = 15.0
END_SECONDS = 5.0  # for what supervisord has not stopped, between SIGTERM and SIGKILL
READY_SECONDS = 300.0
REGISTRY_SECONDS = 30.0
STARTS = 6  # of supervisord, before the portal has answered for the first time
CHECK_SECONDS = 0.5
PAUSE_SECONDS = 0.5  # before supervisord is started again; doubled while it ends within STEADY_SECONDS
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0
SLOW_SECONDS = 3.0  # a start that is quicker than this does not show its steps
NO_WALL = (
    "Instances run as processes of this machine. Flows can run any code, so there is no wall between\n"
    "tenants: let only people in who trust each other."
)
NO_MAIL = (
    "No mail server is set (EMAIL_URL), so people cannot reset their passwords themselves. Set new ones in\n"
    "the admin, or with: manage.py changepassword NAME"
)


def main() -> int:
    os.umask(0o077)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        from portal import env

        Launcher(env, stop).run()
    except (ImproperlyConfigured, CannotStart, OSError) as error:
        if stop.is_set():
            return 0
        say(f"Flowstead cannot start: {_sentence(error)}", problem=True)
        return 1
    return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}."
    return str(error)


class Launcher:
    """One ``make run``. ``env`` is ``portal.env``, read."""

    def __init__(self, env: ModuleType, stop: Event) -> None:
        self._env = env
        self._stop = stop
        self._layout = Layout(
            base=env.BASE_DIR,
            data=env.DATA_DIR,
            run=env.LOCAL_RUN_DIR,
            instances=env.LOCAL_INSTANCES_DIR,
            node=env.LOCAL_NODE,
            node_red=env.LOCAL_NODE_RED_DIR,
        )
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._held: list[int] = []  # locks on folders
        self._step = ""
        self._problem = ""

    def run(self) -> None:
        layout = self._layout
        preflight.check_settings(self._env.DRIVER, self._env.URL, self._env.DOMAIN)
        preflight.check_paths(layout)
        preflight.check_parts(layout)
        preflight.check_user(self._env.LOCAL_USER)
        preflight.make_data_folder(layout)
        preflight.make_run_folder(layout)
        self._held = [preflight.claim(layout.data), preflight.claim(layout.run)]
        descendants.adopt()
        try:
            survivors.end(layout.run)  # of a launcher that was ended by kill -9
            preflight.check_room(layout)
            preflight.check_port(self._env.PORT)
            modes.tighten(layout)
            # an instance that runs out of memory would leave its whole memory as a file
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with progress("[5/5] Starting", lambda: self._step, after=SLOW_SECONDS):
                self._prepare()
                way = self._way()
                self._come_up(way)
            self._keep_up(way)
        finally:
            self._end()
            for descriptor in self._held:
                os.close(descriptor)

    # --- Preparing --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        layout = self._layout
        keys.make_missing(layout.keys)
        write_private(layout.data / "port", f"{self._env.PORT}\n")
        make_folder(layout.instances, 0o711 if is_root() else 0o700)
        for folder in (layout.logs, layout.supervisor, layout.programs, layout.registry):
            make_folder(folder, 0o700)
        self._fill_run_folder()
        sweep(layout.instances)
        self._bootstrap()

    def _fill_run_folder(self) -> None:
        layout = self._layout
        # Rows say what runs. Without program files supervisord starts no instance on its own.
        ProgramFolder(layout.programs).clear()
        for path in layout.run.iterdir():
            remove_tree(path)
        make_folder(layout.web_sockets, 0o700)
        make_folder(layout.sockets, 0o711 if is_root() else 0o700)
        (layout.run / "programs").symlink_to(layout.programs)

    def _bootstrap(self) -> None:
        self._step = "preparing the database and the pages' files"
        command = [sys.executable, str(self._layout.base / "manage.py"), "bootstrap"]
        # a session of its own: Ctrl-C waits for it, and breaks no migration off
        environment = self._environment(self._layout)
        ended = subprocess.run(command, env=environment, start_new_session=True, check=False)
        if ended.returncode != 0:
            raise CannotStart("preparing the database failed, as said above.")

    def _way(self) -> Isolation:
        """How supervisord is started, and its files for that."""
        way = isolation(self._layout, self._env.LOCAL_USER)
        write_private(self._layout.environment, json.dumps(self._environment(way.layout)))
        write_private(
            self._layout.run / "supervisord.conf", configuration.supervisord_conf(self._layout, self._env)
        )
        write_private(self._layout.run / "Caddyfile", configuration.caddyfile(self._layout, self._env))
        self._run_folder = RunFolder(self._layout, self._env.LOCAL_WEB_PROCESSES)
        return way

    def _environment(self, layout: Layout) -> dict[str, str]:
        """What web processes and the reconciler get: what we were given, and where things lie."""
        given = {**os.environ, survivors.RUN_MARKER: str(layout.run)}
        if not given.keys() & {"REGISTRY_HOOK_TOKEN", "REGISTRY_HOOK_TOKEN_FILE"}:
            given["REGISTRY_HOOK_TOKEN_FILE"] = str(layout.keys / keys.HOOK_TOKEN)
        return given | {
            "PORT": str(self._env.PORT),
            "DATA_DIR": str(layout.data),
            "LOCAL_RUN_DIR": str(layout.run),
            "LOCAL_INSTANCES_DIR": str(layout.instances),
            "LOCAL_NODE": str(layout.node),
            "LOCAL_NODE_RED_DIR": str(layout.node_red),
            "FLOWSTEAD_URL": self._env.URL,
            "FLOWSTEAD_INTERNAL_URL": self._env.INTERNAL_URL,
            "REGISTRY_STORAGE": str(layout.registry),
            "REGISTRY_LISTEN": f"unix:{layout.registry_socket}",
            "REGISTRY_UPLINK": self._env.REGISTRY_UPLINK,
            "REGISTRY_MAX_PACKAGE_BYTES": str(self._env.REGISTRY_MAX_PACKAGE_BYTES),
            "PYTHONUNBUFFERED": "1",
            "XDG_DATA_HOME": str(layout.data / "caddy"),
            "XDG_CONFIG_HOME": str(layout.data / "caddy"),
        }

    # --- Running ----------------------------------------------------------------------------------

    def _come_up(self, way: Isolation) -> None:
        """Start everything and wait until the portal answers. Raises ``CannotStart`` where it does not."""
        starts, began = 0, time.monotonic()
        self._step = "waiting for the portal"
        while not self._stop.is_set():
            if self._is_down():
                starts += 1
                self._start(way)
            waited = time.monotonic() - began
            if self._is_ready(waited):
                say(NO_WALL)
                if not self._env.SENDS_MAIL:
                    say(NO_MAIL)
                say(f"Flowstead is ready at {self._env.URL}")
                return
            if waited > READY_SECONDS or starts > STARTS:
                raise CannotStart(f"the portal does not come up; the logs in {self._layout.logs} say why.")
            self._stop.wait(0.05)

    def _keep_up(self, way: Isolation) -> None:
        """Start the process manager again whenever it ends. Never give up: people rely on it now."""
        pause, started = PAUSE_SECONDS, time.monotonic()
        while not self._stop.wait(CHECK_SECONDS):
            self._heal()
            if not self._is_down():
                continue
            is_steady = time.monotonic() - started > STEADY_SECONDS
            pause = PAUSE_SECONDS if is_steady else min(2 * pause, LONGEST_PAUSE_SECONDS)
            say(f"The process manager ended; it is started again in {pause:g} s.", problem=True)
            if self._stop.wait(pause):
                return
            started = time.monotonic()
            try:
                self._start(way)
            except OSError as error:
                say(f"The process manager cannot be started: {_sentence(error)}", problem=True)

    def _is_down(self) -> bool:
        return self._supervisord is None or self._supervisord.poll() is not None

    def _is_ready(self, waited: float) -> bool:
        """The portal answers, and the registry; without that one the rest is of use all the same."""
        if not portal_answers(self._env):
            return False
        self._step = "waiting for the npm registry"
        if registry_answers(self._env):
            return True
        if waited < REGISTRY_SECONDS:
            return False
        say(f"The npm registry does not answer: {self._layout.logs / 'registry.log'} says why.", problem=True)
        return True

    def _start(self, way: Isolation) -> None:
        """Start supervisord; where an earlier one was killed, after ending what it left."""
        layout = self._layout
        if self._supervisord is not None:
            descendants.end(within=END_SECONDS)
        ProgramFolder(layout.programs).quarantine()
        layout.supervisor_socket.unlink(missing_ok=True)
        supervisord = [sys.executable, "-I", str(HERE / "with_lasting_logs.py"), "supervisor.supervisord"]
        command = [*supervisord, "-n", "-c", str(layout.run / "supervisord.conf")]
        self._supervisord = subprocess.Popen(
            [*configuration.dying_with_its_parent(), *way.prefix, *command],
            # its children inherit this, instances too: none of our own variables
            env={"PATH": os.defpath, survivors.RUN_MARKER: str(layout.run)},
            cwd="/",
            # its output goes to ours: it says only why it cannot start, and logs to files
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to hear
        )

    def _heal(self) -> None:
        """Bring back what is missing in the run folder, and reap processes that have ended below us."""
        supervisord = self._supervisord
        if supervisord is None or supervisord.poll() is not None:
            return
        descendants.collect(but=supervisord.pid)
        try:
            if self._run_folder.is_broken(supervisord.pid):
                self._renew_run_folder(supervisord)
            else:
                self._run_folder.restart_the_unreachable()
            self._problem = ""
        except (CannotStart, DriverError, OSError) as error:
            if str(error) != self._problem:
                say(f"The run folder cannot be repaired: {_sentence(error)}", problem=True)
            self._problem = str(error)

    def _renew_run_folder(self, supervisord: subprocess.Popen[bytes]) -> None:
        """Fill the run folder as at the start, after ending every process that used the old one."""
        layout = self._layout
        preflight.make_run_folder(layout)
        if not os.path.samestat(os.fstat(self._held[-1]), layout.run.stat()):
            self._held.append(preflight.claim(layout.run))
        say("Files are missing in the run folder: everything is started again.", problem=True)
        self._stop_all(supervisord)
        descendants.end(within=END_SECONDS)
        self._fill_run_folder()
        self._way()

    def _end(self) -> None:
        if self._supervisord is not None and self._supervisord.poll() is None:
            self._stop_all(self._supervisord)
        if self._supervisord is not None:
            descendants.end(within=END_SECONDS)
            remove_tree(self._layout.run)

    def _stop_all(self, supervisord: subprocess.Popen[bytes]) -> None:
        """The reconciler first, which would start again what it sees ending; then all at once."""
        with suppress(DriverError):  # where it does not answer, the signal has to do
            Supervisor(self._layout.supervisor_socket).stop_all(first="reconciler")
        supervisord.terminate()
        try:
            supervisord.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            supervisord.kill()
            supervisord.wait()


if __name__ == "__main__":
    sys.exit(main())
