"""A real Kubernetes control plane on this machine: etcd, API server, controllers and scheduler, each its own process.

Only the kubelets are not real. kwok plays them: it writes what happens to pods, and serves their logs (stages.py).
Everything listens on 127.0.0.1, on ports of its own, so several control planes run side by side.
"""

import atexit
import base64
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.cluster import stages
from tests.cluster.build import Programs, programs
from tests.cluster.certificates import Authority, Pair
from tests.cluster.program import Program

ADDRESS = "127.0.0.1"
PREFIX = "flowstead-cluster-"
# Below the ports that the kernel gives to outgoing connections: a program that is started again finds its port free.
PORTS = range(20_000, 32_000)
STORAGE_CLASS = "standard"
START_SECONDS = 60
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


class ControlPlaneError(Exception):
    """What did not come up, with the end of its log."""


@dataclass(frozen=True)
class Capacity:
    """What one node has to offer."""

    cpu: str = "8"
    memory: str = "32Gi"
    pods: int = 200


@dataclass(frozen=True)
class _Ports:
    etcd: int
    etcd_peer: int
    api: int
    controllers: int
    scheduler: int
    kubelet: int


class ControlPlane:
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
        _remove_left_overs()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_fast_folder()))
        self._ports = _Ports(*_free_ports(6))
        self._spawner = ThreadPoolExecutor(1, "control-plane")
        atexit.register(self.close)
        try:
            self._write_files()
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
        if "client" in self.__dict__:
            self.client.close()
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
        return f"https://{ADDRESS}:{self._ports.api}"

    @property
    def api_port(self) -> int:
        return self._ports.api

    @property
    def etcd(self) -> str:
        return f"http://{ADDRESS}:{self._ports.etcd}"

    @property
    def ca(self) -> Path:
        return self._authority.certificate

    @property
    def kubeconfig(self) -> Path:
        """Of somebody who may do everything."""
        return self.folder / "admin.kubeconfig"

    def user_kubeconfig(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Of a user who may do what RBAC grants to this name or these groups. At first that is nothing."""
        name = f"user-{_file_name(user)}"
        return self._kubeconfig(name, _certificate_user(self._authority.client(name, user, groups)))

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """Of a service account, with a token that the API server issues now."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.call("POST", path, request | {"spec": {"expirationSeconds": seconds}})
        return self._kubeconfig(f"account-{namespace}-{name}", {"token": answer["status"]["token"]})

    @cached_property
    def client(self) -> httpx.Client:
        """Talks to the API server as somebody who may do everything."""
        context = ssl.create_default_context(cafile=str(self.ca))
        pair = self._admin
        context.load_cert_chain(pair.public, pair.private)
        return httpx.Client(base_url=self.server, verify=context, timeout=20, trust_env=False)

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        """One request as that somebody: the JSON of the answer. Refusals raise httpx.HTTPStatusError."""
        answer = self.client.request(method, path, json=body, **kwargs)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text}",
                request=answer.request,
                response=answer,
            )
        return answer.json()

    def kubectl(self, *arguments: str) -> str:
        command = [str(self._built.path("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

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
        self.call("POST", "/api/v1/nodes", _node(name, capacity or self.capacity, self._ports.kubelet))

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
        container = container or self._first_container(namespace, pod)
        folder = self.folder / "pods" / namespace / pod / container
        if not folder.exists():
            self._make_logs(namespace, pod, container, folder)
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
            self.call("POST", "/api/v1/persistentvolumes", _volume_for(claim))
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
        for line in (self.folder / "audit.log").read_text().splitlines():
            event = json.loads(line)
            watching = event["verb"] == "watch" or "follow=true" in event["requestURI"]
            counts = event["stage"] == ("ResponseStarted" if watching else "ResponseComplete")
            if counts and event.get("userAgent", "").startswith(user_agent):
                yield event

    # -- how it is made ---------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        self._authority = Authority(self.folder / "pki")
        hosts = [ADDRESS, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        self._serving = self._authority.server("server", hosts)
        self._account_keys = self._authority.signing_pair("service-accounts")
        self._kubelet_client = self._authority.client("kubelet-client", "kube-apiserver", ["system:masters"])
        self._admin = self._authority.client("admin", "admin", ["system:masters"])
        for name in ("admin", "kube-controller-manager", "kube-scheduler", "kwok"):
            user = name if name in ("admin", "kwok") else f"system:{name}"
            pair = self._authority.client(name, user, ["system:masters"])
            self._kubeconfig(name, _certificate_user(pair))
        (self.folder / "pods").mkdir()
        empty = self.folder / "pods" / "empty.log"
        empty.touch()
        configuration = "\n---\n".join(json.dumps(document) for document in stages.documents(empty))
        (self.folder / "kwok.yaml").write_text(configuration)
        (self.folder / "audit-policy.yaml").write_text(
            json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
        )

    def _start_all(self) -> None:
        for name, arguments in self._arguments().items():
            command = [self._built.path(name), *arguments, *self._extra.get(name, ())]
            self._programs[name] = Program(command, self.folder / f"{name}.log", self._spawner)
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

    def _arguments(self) -> dict[str, list[str]]:
        return {
            "etcd": self._etcd_arguments(),
            "kube-apiserver": self._api_server_arguments(),
            "kube-controller-manager": [
                *self._component_arguments("kube-controller-manager", self._ports.controllers),
                f"--root-ca-file={self.ca}",
                f"--service-account-private-key-file={self._account_keys.private}",
                "--pvclaimbinder-sync-period=1s",
            ],
            "kube-scheduler": self._component_arguments("kube-scheduler", self._ports.scheduler),
            "kwok": [
                f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
                f"--config={self.folder / 'kwok.yaml'}",
                f"--server-address={ADDRESS}:{self._ports.kubelet}",
                f"--tls-cert-file={self._serving.public}",
                f"--tls-private-key-file={self._serving.private}",
                f"--node-ip={ADDRESS}",
                "--manage-all-nodes",
                "--enable-crds=Logs",
                # Without leases a kwok that is started again takes its nodes at once.
                "--node-lease-duration-seconds=0",
            ],
        }

    def _etcd_arguments(self) -> list[str]:
        peer = f"http://{ADDRESS}:{self._ports.etcd_peer}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self.etcd}",
            f"--advertise-client-urls={self.etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # What was written outlives the process; only a machine that loses power would lose it.
            "--unsafe-no-fsync",
        ]

    def _api_server_arguments(self) -> list[str]:
        arguments = [
            f"--etcd-servers={self.etcd}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={self._ports.api}",
            f"--tls-cert-file={self._serving.public}",
            f"--tls-private-key-file={self._serving.private}",
            f"--client-ca-file={self.ca}",
            "--authorization-mode=Node,RBAC",
            f"--kubelet-certificate-authority={self.ca}",
            f"--kubelet-client-certificate={self._kubelet_client.public}",
            f"--kubelet-client-key={self._kubelet_client.private}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._account_keys.public}",
            f"--service-account-signing-key-file={self._account_keys.private}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # An endpoint of the kubernetes service may not be a loopback address.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'pki'}",
            # By default stop() would take a minute, because the watches of the controllers never end.
            "--shutdown-watch-termination-grace-period=1s",
        ]
        if self.audit:
            arguments += [
                f"--audit-policy-file={self.folder / 'audit-policy.yaml'}",
                f"--audit-log-path={self.folder / 'audit.log'}",
            ]
        return arguments

    def _component_arguments(self, name: str, port: int) -> list[str]:
        return [
            f"--kubeconfig={self.folder / f'{name}.kubeconfig'}",
            f"--bind-address={ADDRESS}",
            f"--secure-port={port}",
            f"--tls-cert-file={self._serving.public}",
            f"--tls-private-key-file={self._serving.private}",
            "--leader-elect=false",
        ]

    def _make_objects(self) -> None:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self.call("POST", definitions, yaml.safe_load((stages.TEMPLATES / "logs-crd.yaml").read_text()))
        self.call("POST", "/apis/storage.k8s.io/v1/storageclasses", _storage_class())
        for number in range(self.nodes):
            self.add_node(f"node-{number}")

    def _kubeconfig(self, name: str, user: Mapping[str, str]) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.server, "certificate-authority-data": _base64(self.ca)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
            "current-context": name,
        }
        path.write_text(json.dumps(document))
        return path

    def _first_container(self, namespace: str, pod: str) -> str:
        answer = self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")
        return str(answer["spec"]["containers"][0]["name"])

    def _make_logs(self, namespace: str, pod: str, container: str, folder: Path) -> None:
        """The files, and the object that tells kwok of them; and waits until kwok knows."""
        folder.mkdir(parents=True)
        for name in ("current.log", "previous.log"):
            (folder / name).touch()
        containers = sorted(path for path in folder.parent.iterdir())
        logs = [
            {
                "containers": [path.name],
                "logsFile": str(path / "current.log"),
                "previousLogsFile": str(path / "previous.log"),
            }
            for path in containers
        ]
        body = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Logs",
            "metadata": {"name": pod, "namespace": namespace},
            "spec": {"logs": logs},
        }
        path = f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{namespace}/logs"
        if len(containers) == 1:
            self.call("POST", path, body)
        else:
            self.call("PATCH", f"{path}/{pod}", {"spec": body["spec"]}, headers=MERGE_PATCH)
        # Only the file of this pod can have a previous log: without it kwok still reads the empty one.
        url = f"https://{ADDRESS}:{self._ports.kubelet}/containerLogs/{namespace}/{pod}/{container}"
        self._wait("the log", lambda: _answers(url, previous="true"))

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _wait_for(self, program: str) -> None:
        url = {
            "etcd": f"{self.etcd}/health",
            "kube-apiserver": f"{self.server}/readyz",
            "kube-controller-manager": f"https://{ADDRESS}:{self._ports.controllers}/healthz",
            "kube-scheduler": f"https://{ADDRESS}:{self._ports.scheduler}/healthz",
            "kwok": f"https://{ADDRESS}:{self._ports.kubelet}/healthz",
        }[program]

        def answers() -> bool:
            if not self.alive(program):
                raise ControlPlaneError(f"{program} ended.\n{self.log(program)}")
            return _answers(url)

        self._wait(program, answers)

    def _wait(self, what: str, is_there: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_there():
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {name}\n{self.log(name, 10)}" for name in self._programs)
                raise ControlPlaneError(f"{what}: nothing for {seconds:.0f} s.\n{logs}")
            time.sleep(0.05)

    def _nodes_are_ready(self) -> bool:
        """To be scheduled to: the taint of a node that is new is taken away by the controllers."""
        nodes = self.call("GET", "/api/v1/nodes")["items"]
        return len(nodes) >= self.nodes and not any(node["spec"].get("taints") for node in nodes)

    def _has_default_account(self) -> bool:
        return self.client.get("/api/v1/namespaces/default/serviceaccounts/default").is_success


def _free_ports(count: int) -> list[int]:
    """Consecutive ones, at random, so that control planes that start together hardly ever meet."""
    while True:
        first = random.randrange(PORTS.start, PORTS.stop, count)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def _fast_folder() -> str | None:
    """In memory, where there is room: etcd writes much."""
    memory = Path("/dev/shm")  # the usual place; nothing is kept there
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return str(memory)
    return None


def _remove_left_overs() -> None:
    """The folders of control planes whose tests were killed: those cannot tidy up themselves."""
    for parent in {_fast_folder() or tempfile.gettempdir(), tempfile.gettempdir()}:
        for folder in Path(parent).glob(f"{PREFIX}*"):
            owner = folder.name.removeprefix(PREFIX).split("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str, **query: str) -> bool:
    """Whether there is a good answer. Whose it is does not matter here, so certificates are not looked at."""
    try:
        return httpx.get(url, params=query, verify=_unverified(), timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate_user(pair: Pair) -> dict[str, str]:
    return {"client-certificate-data": _base64(pair.public), "client-key-data": _base64(pair.private)}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def _node(name: str, capacity: Capacity, port: int) -> dict[str, Any]:
    offered = {"cpu": capacity.cpu, "memory": capacity.memory, "pods": str(capacity.pods)}
    offered["ephemeral-storage"] = "100Gi"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "status": {
            "capacity": offered,
            "allocatable": offered,
            "addresses": [
                {"type": "InternalIP", "address": ADDRESS},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }


def _storage_class() -> dict[str, Any]:
    """The default one. Its volumes come from bind_volumes()."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "flowstead.test/volumes",
    }


def _volume_for(claim: Mapping[str, Any]) -> dict[str, Any]:
    """As a provisioner makes it: for this claim and no other."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}"},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "storageClassName": spec.get("storageClassName", ""),
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            # Nothing is ever written there: no container runs.
            "hostPath": {"path": f"/var/lib/flowstead-test/{metadata['uid']}"},
        },
    }
