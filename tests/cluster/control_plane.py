"""A real Kubernetes control plane on this machine: etcd, API server, controllers and scheduler, each its own process.

Only the kubelets are not real. kwok plays them: it writes what happens to pods, and serves their logs (stages.py).
Everything listens on 127.0.0.1, on ports of its own, so several control planes run side by side.
"""

import atexit
import base64
import json
import os
import shutil
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.cluster import stages
from tests.cluster.access import APPLY, MERGE_PATCH, Access
from tests.cluster.build import Programs, kubernetes_version, programs
from tests.cluster.certificates import Authority, Pair
from tests.cluster.commands import ADDRESS, Commands, Ports
from tests.cluster.objects import Capacity, logs, node, storage_class, volume_for
from tests.cluster.program import Program
from tests.folders import make_folder

PREFIX = "flowstead-cluster-"
MEMORY = Path("/dev/shm")
# The group that no rule of RBAC can refuse.
EVERYTHING = "system:masters"
START_SECONDS = 60
# By itself each controller sends at most 20 requests a second. With these only the machine limits them.
QUICK = ("--kube-api-qps=1000", "--kube-api-burst=2000")


class ControlPlaneError(Exception):
    """What did not come up, with the end of its log."""


class ControlPlane(Access):
    """Started by `with` or open(); close() leaves no process and no file.

    Programs are named as their executables: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        capacity: Capacity | None = None,
        audit: bool = False,
        api_server_arguments: Sequence[str] = (),
        controller_arguments: Sequence[str] = (),
        built: Programs | None = None,
    ) -> None:
        """With `audit`, the API server writes down every request (see requests())."""
        self.nodes = nodes
        self.capacity = capacity or Capacity()
        self.audit = audit
        self._extra = {
            "kube-apiserver": tuple(api_server_arguments),
            "kube-controller-manager": tuple(controller_arguments),
        }
        self._built = built or programs()
        self._programs: dict[str, Program] = {}

    # -- its life ---------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        missing = self._built.missing()
        if missing:
            raise ControlPlaneError(
                f"Not built: {', '.join(missing)}. `python -m tests.cluster.build` builds them."
            )
        self.folder = make_folder(PREFIX, _fast_folder())
        self._spawner = ThreadPoolExecutor(1, "control-plane")
        atexit.register(self.close)
        try:
            self._write_files()
            self._make_programs()
            self._start_all()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        atexit.unregister(self.close)
        for program in self._programs.values():
            program.kill()
        self._programs.clear()
        super().close()
        if hasattr(self, "_spawner"):
            self._spawner.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- where it is ------------------------------------------------------------------------------------------------

    @property
    def server(self) -> str:
        return self._commands.server

    @property
    def api_port(self) -> int:
        return self._commands.ports.api

    @property
    def etcd(self) -> str:
        return self._commands.etcd_url

    @property
    def ca(self) -> Path:
        return self._authority.certificate

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def kubectl_program(self) -> str:
        return str(self._built.path("kubectl"))

    def user_kubeconfig(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Of a user who may do what RBAC grants to this name or these groups. At first that is nothing."""
        name = f"user-{uuid.uuid4()}"
        return self.write_kubeconfig(name, _certificate_user(self._authority.client(name, user, groups)))

    # -- what a test does to it -------------------------------------------------------------------------------------

    def kill(self, program: str) -> None:
        """As the kernel would, without a word."""
        self._programs[program].kill()

    def stop(self, program: str) -> None:
        """Asks it to end, and waits until it has."""
        self._programs[program].stop()

    def start(self, program: str, *, wait: bool = True) -> None:
        """Where it was, with the data that it had; and waits until it answers."""
        self._programs[program].start()
        if wait:
            self._wait_for(program)
            if program in ("etcd", "kube-apiserver"):
                self._begin_kwok_anew()

    def pause(self, program: str) -> None:
        """It keeps its connections and answers nothing, as a machine that hangs."""
        self._programs[program].pause()

    def resume(self, program: str) -> None:
        self._programs[program].resume()

    def alive(self, program: str) -> bool:
        return self._programs[program].alive

    def pids(self) -> dict[str, int]:
        return {name: program.pid for name, program in self._programs.items() if program.pid}

    def log(self, program: str, lines: int = 30) -> str:
        return self._programs[program].tail(lines)

    def add_node(self, name: str, capacity: Capacity | None = None) -> None:
        """A node that is ready shortly afterwards."""
        self.call(
            "POST",
            "/api/v1/nodes",
            node(
                name, capacity or self.capacity, ADDRESS, self._commands.ports.kubelet, kubernetes_version()
            ),
        )

    # -- what a kubelet, a container or a storage system does ----------------------------------------------------------

    def set_fate(self, namespace: str, pod: str, fate: str | None) -> None:
        """What becomes of a living pod (the table in stages.py). None takes its fate away, and it recovers."""
        patch = {"metadata": {"annotations": {stages.FATE: fate}}}
        self.call("PATCH", f"/api/v1/namespaces/{namespace}/pods/{pod}", patch, headers=MERGE_PATCH)

    def print(
        self, namespace: str, pod: str, *lines: str, container: str | None = None, previous: bool = False
    ) -> None:
        """Writes these lines into the log of a pod's container, its first one if none is named.

        With `previous`, into the log of the container before its last restart. Without lines, the log is only
        made: somebody who follows a log sees what is printed only if the log was made before.
        """
        found = self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")
        container = container or found["spec"]["containers"][0]["name"]
        folder = self.folder / "pods" / found["metadata"]["uid"] / container
        if not folder.exists():
            self._make_log(found, folder)
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        text = "".join(f"{stamp} stdout F {line}\n" for line in lines)
        with (folder / ("previous.log" if previous else "current.log")).open("a") as file:
            # In one piece, because kwok reads while this is written.
            file.write(text)

    def bind_volumes(self, namespace: str | None = None) -> int:
        """Makes a volume for every claim that has none, and waits until all are bound. Returns how many."""
        path = f"/api/v1/namespaces/{namespace}" if namespace else "/api/v1"
        path += "/persistentvolumeclaims"
        claims = [claim for claim in self.call("GET", path)["items"] if claim["status"]["phase"] == "Pending"]
        for claim in claims:
            self.call("POST", "/api/v1/persistentvolumes", volume_for(claim))
        wanted = {claim["metadata"]["uid"] for claim in claims}

        def bound() -> bool:
            now = self.call("GET", path)["items"]
            return wanted <= {
                claim["metadata"]["uid"] for claim in now if claim["status"]["phase"] == "Bound"
            }

        self._wait("the volumes", bound)
        return len(claims)

    def requests(self, user_agent: str = "") -> Iterator[Mapping[str, Any]]:
        """The audit events of the requests that were answered, by clients whose user agent begins like this.

        A watch counts when it begins. Needs `audit`. An event has `verb`, `requestURI`, `user`, `objectRef`,
        `responseStatus` and more.
        """
        # What comes after the last end of a line is still being written.
        for line in (self.folder / "audit.log").read_text().split("\n")[:-1]:
            event = json.loads(line)
            watching = event["verb"] == "watch" or "follow=true" in event["requestURI"]
            counts = event["stage"] == ("ResponseStarted" if watching else "ResponseComplete")
            if counts and event.get("userAgent", "").startswith(user_agent):
                yield event

    # -- how it is made ---------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        self._authority = authority = Authority(self.folder / "pki")
        hosts = [ADDRESS, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        self._commands = Commands(
            folder=self.folder,
            ports=Ports.free(),
            audit=self.audit,
            authority=authority,
            serving=authority.server("server", hosts),
            account_keys=authority.signing_pair("service-accounts"),
            kubelet_client=authority.client("kubelet-client", "kube-apiserver", [EVERYTHING]),
        )
        for name in ("admin", "kube-controller-manager", "kube-scheduler", "kwok"):
            self.write_kubeconfig(name, _certificate_user(authority.client(name, name, [EVERYTHING])))
        (self.folder / "pods").mkdir()
        empty = self.folder / "pods" / "empty.log"
        empty.touch()
        configuration = "\n---\n".join(json.dumps(document) for document in stages.documents(empty))
        (self.folder / "kwok.yaml").write_text(configuration)
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
        (self.folder / "audit-policy.yaml").write_text(json.dumps(policy))

    def _make_programs(self) -> None:
        for name, arguments in self._commands.arguments().items():
            command = [self._built.path(name), *arguments, *self._extra.get(name, ())]
            self._programs[name] = Program(command, self.folder / f"{name}.log", self._spawner)

    def _start_all(self) -> None:
        self.start("etcd")
        self.start("kube-apiserver")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.start(name, wait=False)
        self._make_objects()
        self.start("kwok", wait=False)
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self._wait_for(name)
        self._wait("the nodes", self._nodes_are_ready)
        self._wait("the default service account", self._has_default_account)

    def _begin_kwok_anew(self) -> None:
        """It sees all pods as they are. Of itself it gives up a pod whose request broke off with the server's
        connection, where a kubelet tries again."""
        if self.alive("kwok") and self.alive("kube-apiserver"):
            self._wait_for("kube-apiserver")
            self.kill("kwok")
            self.start("kwok")

    def _make_objects(self) -> None:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self.call("POST", definitions, yaml.safe_load((stages.TEMPLATES / "logs-crd.yaml").read_text()))
        self.call("POST", "/apis/storage.k8s.io/v1/storageclasses", storage_class())
        for number in range(self.nodes):
            self.add_node(f"node-{number}")

    def _make_log(self, pod: Mapping[str, Any], folder: Path) -> None:
        """The files, and the object that tells kwok of them; and waits until kwok has read it."""
        folder.mkdir(parents=True)
        (folder / "current.log").touch()
        sign = str(uuid.uuid4())
        (folder / "previous.log").write_text(f"2000-01-01T00:00:00.000000000Z stdout F {sign}\n")
        body = logs(pod, sorted(folder.parent.iterdir()))
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        path = f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{namespace}/logs/{name}"
        self.call("PATCH", f"{path}?fieldManager=tests&force=true", body, headers=APPLY)
        kubelet = f"https://{ADDRESS}:{self._commands.ports.kubelet}"
        url = f"{kubelet}/containerLogs/{namespace}/{name}/{folder.name}?previous=true"
        self._wait("the log", lambda: sign in (_answer(url) or ""))
        (folder / "previous.log").write_text("")

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _wait_for(self, program: str) -> None:
        url = self._commands.health()[program]

        def answers() -> bool:
            if not self.alive(program):
                raise ControlPlaneError(f"{program} ended.\n{self.log(program)}")
            return _answer(url) is not None

        self._wait(program, answers)

    def _wait(self, what: str, is_there: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_there():
            if time.monotonic() > deadline:
                ends = "\n".join(f"== {name}\n{self.log(name, 10)}" for name in self._programs)
                raise ControlPlaneError(f"{what}: nothing for {seconds:.0f} s.\n{ends}")
            time.sleep(0.05)

    def _nodes_are_ready(self) -> bool:
        """To be scheduled to: the taint of a node that is new is taken away by the controllers."""
        found = self.call("GET", "/api/v1/nodes")["items"]
        return len(found) >= self.nodes and not any(item["spec"].get("taints") for item in found)

    def _has_default_account(self) -> bool:
        return self.client.get("/api/v1/namespaces/default/serviceaccounts/default").is_success


def _fast_folder() -> Path | None:
    """In memory, where there is room: etcd writes much."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**30:
        return MEMORY
    return None


def _answer(url: str) -> str | None:
    """A good answer, or None. Whose it is does not matter here, so certificates are not looked at."""
    try:
        answer = httpx.get(url, verify=_unverified(), timeout=5, trust_env=False)
    except httpx.HTTPError:
        return None
    return answer.text if answer.is_success else None


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate_user(pair: Pair) -> dict[str, str]:
    return {"client-certificate-data": _base64(pair.public), "client-key-data": _base64(pair.private)}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
