"""A cluster as somebody who may do everything in it, whosever cluster that is."""

import base64
import json
import os
import shutil
import ssl
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import kubernetes

from tests.folders import make_folder

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}

REAL = os.environ.get("KUBECONFIG")
NOT_HERE = "it ends or fakes parts of the cluster, and KUBECONFIG names a real one"


class Access(ABC):
    """By a kubeconfig."""

    folder: Path  # where further ones are written

    @property
    @abstractmethod
    def kubeconfig(self) -> Path: ...

    @property
    def kubectl_program(self) -> str:
        return "kubectl"

    @property
    def server(self) -> str:
        return str(self._connection.host)

    @property
    def ca(self) -> Path:
        return Path(self._connection.ssl_ca_cert)

    @cached_property
    def client(self) -> httpx.Client:
        connection = self._connection
        context = ssl.create_default_context(cafile=str(self.ca))
        if connection.cert_file:
            context.load_cert_chain(connection.cert_file, connection.key_file)
        token = connection.get_api_key_with_prefix("authorization")
        headers = {"Authorization": token} if token else {}
        return httpx.Client(
            base_url=self.server, verify=context, headers=headers, timeout=20, trust_env=False
        )

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        """One request: the JSON of the answer. Refusals raise httpx.HTTPStatusError."""
        answer = self.client.request(method, path, json=body, **kwargs)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text}",
                request=answer.request,
                response=answer,
            )
        return answer.json()

    def kubectl(self, *arguments: str) -> str:
        command = [self.kubectl_program, "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """Of a service account, with a token that the API server issues now."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.call("POST", path, request | {"spec": {"expirationSeconds": seconds}})
        return self.write_kubeconfig(f"account-{namespace}-{name}", {"token": answer["status"]["token"]})

    def write_kubeconfig(self, name: str, user: Mapping[str, str]) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        authority = base64.b64encode(self.ca.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": self.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
            "current-context": name,
        }
        path.write_text(json.dumps(document))
        return path

    def bind_volumes(self, namespace: str | None = None) -> int:
        """A provisioner of the cluster's own does it. Returns how many were left to do."""
        return 0

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    @cached_property
    def _connection(self) -> kubernetes.client.Configuration:
        connection = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(self.kubeconfig), client_configuration=connection)
        return connection


class GivenCluster(Access):
    """Somebody's own: nothing in it is ended or faked. kubectl has to be on the PATH."""

    def __init__(self, kubeconfig: Path) -> None:
        self.folder = make_folder("flowstead-cluster-")
        self._kubeconfig = kubeconfig

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)
