"""The whole product as a person starts it, with a folder, a port and a password of its own."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = Path(os.environ.get("FLOWSTEAD_CHECKOUT", ROOT))  # which version is started; see tests/attacks
READY_SECONDS = 60
NOBODY = 65534
# Root's Python and checkout are often where no other user may pass through, so this one may read everything.
_MAY_READ = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
AS_NOBODY = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *_MAY_READ)


def python() -> str:
    """The interpreter of the checkout that is started."""
    return sys.executable if CHECKOUT == ROOT else str(CHECKOUT / ".venv" / "bin" / "python")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first truthy answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


def processes(marker: str) -> dict[int, str]:
    """Living processes whose environment or command line holds ``marker``, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
            is_zombie = "\nState:\tZ" in (folder / "status").read_text()
        except OSError:
            continue
        if marker.encode() in command + environment and not is_zombie:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def without_system_node() -> list[str]:
    """A command's beginning that hides node and npm of this machine from it. Only root can; else it hides nothing."""
    if os.getuid() != 0:
        return []
    hide = (
        "for command in node npm npx; do for folder in /usr/local/bin /usr/bin; do "
        'if [ -e "$folder/$command" ]; then mount --bind /dev/null "$folder/$command"; fi; done; done; exec "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", hide, "sh"]


def environment(pid: int) -> bytes:
    """Variables separated by zero bytes; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class Product:
    """``prefix`` is what its command line begins with. ``unprivileged``: it is started by another user
    where the tests are root's."""

    prefix: Sequence[str] = ()

    def __init__(self, unprivileged: bool = False, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flowstead-e2e-"))
        self.data_dir = self.folder / "var"
        self.run_dir = Path(tempfile.mkdtemp(prefix="fs-"))
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self.settings = settings
        self.process: subprocess.Popen[str] | None = None
        self.output = self.folder / "output"
        self._tokens: dict[str, str] = {}
        if unprivileged and os.getuid() == 0:
            self.prefix = AS_NOBODY
            self.settings = {"HOME": str(self.folder), **settings}
            for folder in (self.folder, self.run_dir):
                os.chown(folder, NOBODY, NOBODY)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "DATA_DIR": str(self.data_dir),
            "LOCAL_RUN_DIR": str(self.run_dir),
            "PORT": str(self.port),
            "OPERATOR_PASSWORD": self.password,
        }
        return {**kept, **own, **self.settings}

    @property
    def portal(self) -> str:
        return f"http://portal.localhost:{self.port}"

    @property
    def local(self) -> str:
        return f"http://localhost:{self.port}"

    def editor(self, name: str) -> str:
        return f"http://{name}.localhost:{self.port}/"

    # --- Its life ---------------------------------------------------------------------------------

    def start(self) -> "Product":
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [*self.prefix, python(), "-m", "deploy.local.launch"],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        began = self.output.read_text().count("Flowstead is ready at")
        wait_for(lambda: self._is_ready(began), "the product is ready", READY_SECONDS)
        return self

    def _is_ready(self, earlier: int) -> bool:
        assert self.process is not None
        output = self.output.read_text()
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{output[-3000:]}"
        return output.count("Flowstead is ready at") > earlier

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def processes(self) -> dict[int, str]:
        return processes(str(self.run_dir))

    def instances(self) -> list[int]:
        """Its Node-RED processes, without the wrappers around them."""
        own = self.processes()
        return sorted(pid for pid in own if b"\0FLOWSTEAD_INSTANCE_ID=" in b"\0" + environment(pid))

    def kill_everything(self) -> None:
        """kill -9 of every process at once."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)
            self.process = None

    def pids(self, part: str) -> list[int]:
        """Processes of the product whose command line holds ``part``."""
        return sorted(pid for pid, command in self.processes().items() if part in command)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    # --- Its doors --------------------------------------------------------------------------------

    def manage(self, *arguments: str, **kwargs: Any) -> str:
        ended = subprocess.run(
            [*self.prefix, python(), "manage.py", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            **kwargs,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        return ended.stdout

    def token(self, username: str = "operator") -> str:
        """The user's token, made once: the command takes two seconds of a processor."""
        if username not in self._tokens:
            printed = self.manage("create_token", "--user", username)
            self._tokens[username] = printed.strip().splitlines()[-1]
        return self._tokens[username]

    def run_inside(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A Python program as the product's own processes run: with their settings, and with the
        folders that they see, which may be mounted for them alone."""
        [manager] = self.pids("supervisor.supervisord")
        enter = (
            ["nsenter", "--target", str(manager), "--mount", f"--wd={CHECKOUT}"] if os.getuid() == 0 else []
        )
        environment = json.loads((self.run_dir / "environment.json").read_text())
        command = [*enter, python(), *arguments]
        return subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def make_user(self, username: str, password: str) -> None:
        script = (
            "from django.contrib.auth import get_user_model as m; import sys;"
            "m().objects.create_user(sys.stdin.readline().strip(), '', sys.stdin.readline().strip())"
        )
        self.manage("shell", "-v", "0", "-c", script, input=f"{username}\n{password}\n")

    def api(self, token: str) -> "Api":
        return Api(self.local, token)

    def storage(self, name: str) -> httpx.Client:
        """The storage API as the instance itself uses it."""
        script = f"from tenants.models import Instance as I; i = I.objects.get(name='{name}'); print(i.pk, i.storage_token)"
        pk, token = self.manage("shell", "-v", "0", "-c", script).split()
        return httpx.Client(
            base_url=f"{self.local}/api/v1/storage/{pk}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
        )

    def get(self, host: str, path: str = "/", **headers: str) -> httpx.Response:
        """As a browser asks ``host``, which this machine's resolver need not know."""
        return httpx.get(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Host": f"{host}.localhost:{self.port}", "Accept": "text/html", **headers},
            timeout=10,
        )

    def is_up(self, name: str) -> bool:
        try:
            response = self.get(name)
        except httpx.TransportError:
            return False
        return response.status_code == 200 and "red/" in response.text


class Api:
    def __init__(self, address: str, token: str) -> None:
        self.client = httpx.Client(
            base_url=f"{address}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20
        )

    def instance(self, name: str) -> dict[str, Any]:
        response = self.client.get(f"/instances/{name}")
        return response.json() if response.status_code == 200 else {"phase": response.status_code}

    def make(self, name: str, **fields: Any) -> dict[str, Any]:
        response = self.client.post("/instances", json={"name": name, **fields})
        assert response.status_code == 201, response.text
        return response.json()

    def wait(self, name: str, phase: str | int, seconds: float = 30) -> dict[str, Any]:
        wait_for(lambda: self.instance(name)["phase"] == phase, f"{name} is {phase}", seconds)
        return self.instance(name)


def is_settled(product: Product, api: Api, running: int) -> bool:
    """Whether as many instances run as should, none is on its way, and ``kitchen`` answers."""
    if len(product.instances()) != running or not product.is_up("kitchen"):
        return False
    instances = api.client.get("/instances").json()["items"]
    return {instance["phase"] for instance in instances} <= {"running", "stopped"}
