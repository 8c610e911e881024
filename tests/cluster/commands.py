"""How each program of a control plane is called, and where it listens."""

import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.cluster.certificates import Authority, Pair

ADDRESS = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections: a program that is started again finds its port free.
RANGE = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    etcd: int
    etcd_peer: int
    api: int
    controllers: int
    scheduler: int
    kubelet: int

    @classmethod
    def free(cls) -> Self:
        """Consecutive ones, at random, so that control planes that start together hardly ever meet."""
        count = len(cls.__dataclass_fields__)
        while True:
            first = random.randrange(RANGE.start, RANGE.stop, count)
            ports = range(first, first + count)
            if all(_is_free(port) for port in ports):
                return cls(*ports)


@dataclass(frozen=True)
class Commands:
    """The arguments of each program."""

    folder: Path
    ports: Ports
    audit: bool
    authority: Authority
    serving: Pair
    account_keys: Pair
    kubelet_client: Pair

    @property
    def server(self) -> str:
        return f"https://{ADDRESS}:{self.ports.api}"

    @property
    def etcd_url(self) -> str:
        return f"http://{ADDRESS}:{self.ports.etcd}"

    def health(self) -> dict[str, str]:
        """Where each program says that it is well."""
        return {
            "etcd": f"{self.etcd_url}/health",
            "kube-apiserver": f"{self.server}/readyz",
            "kube-controller-manager": f"https://{ADDRESS}:{self.ports.controllers}/healthz",
            "kube-scheduler": f"https://{ADDRESS}:{self.ports.scheduler}/healthz",
            "kwok": f"https://{ADDRESS}:{self.ports.kubelet}/healthz",
        }

    def arguments(self) -> dict[str, list[str]]:
        """In the order in which they need each other."""
        return {
            "etcd": self._etcd(),
            "kube-apiserver": [*self._api_server(), *(self._audit() if self.audit else ())],
            "kube-controller-manager": self._controllers(),
            "kube-scheduler": self._component("kube-scheduler", self.ports.scheduler),
            "kwok": self._kwok(),
        }

    def _etcd(self) -> list[str]:
        peer = f"http://{ADDRESS}:{self.ports.etcd_peer}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # What was written outlives the process; only a machine that loses power would lose it.
            "--unsafe-no-fsync",
        ]

    def _api_server(self) -> list[str]:
        return [
            f"--etcd-servers={self.etcd_url}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={self.ports.api}",
            *self._certificate(),
            f"--client-ca-file={self.authority.certificate}",
            "--authorization-mode=Node,RBAC",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={self.kubelet_client.public}",
            f"--kubelet-client-key={self.kubelet_client.private}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.account_keys.public}",
            f"--service-account-signing-key-file={self.account_keys.private}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # An endpoint of the kubernetes service may not be a loopback address.
            "--endpoint-reconciler-type=none",
            # Without it, stop() takes a minute: the watches of the controllers never end by themselves.
            "--shutdown-watch-termination-grace-period=1s",
        ]

    def _audit(self) -> list[str]:
        return [
            f"--audit-policy-file={self.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            # In one file: requests are counted.
            "--audit-log-maxsize=4000",
        ]

    def _controllers(self) -> list[str]:
        return [
            *self._component("kube-controller-manager", self.ports.controllers),
            f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={self.account_keys.private}",
            "--pvclaimbinder-sync-period=1s",
        ]

    def _component(self, name: str, port: int) -> list[str]:
        return [
            f"--kubeconfig={self.folder / f'{name}.kubeconfig'}",
            f"--bind-address={ADDRESS}",
            f"--secure-port={port}",
            *self._certificate(),
            "--leader-elect=false",
        ]

    def _kwok(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
            f"--config={self.folder / 'kwok.yaml'}",
            f"--server-address={ADDRESS}:{self.ports.kubelet}",
            *self._certificate(),
            f"--node-ip={ADDRESS}",
            "--cidr=10.244.0.1/16",
            "--manage-all-nodes",
            "--enable-crds=Logs",
            # Without leases a kwok that is started again takes its nodes at once.
            "--node-lease-duration-seconds=0",
        ]

    def _certificate(self) -> list[str]:
        return [f"--tls-cert-file={self.serving.public}", f"--tls-private-key-file={self.serving.private}"]


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((ADDRESS, port))
        except OSError:
            return False
    return True
