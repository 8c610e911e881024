"""A service account with exactly the rights that an operator is told to give it, and a world that it comes to."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import httpx

from tenants.provisioning.cluster import rbac
from tenants.provisioning.cluster.kinds import Kind
from tenants.provisioning.cluster.settings import Cluster, Namespaces
from tenants.provisioning.manifests import Manifest
from tests.cluster.access import APPLY, Access
from tests.cluster.worlds import KubernetesWorld, kubernetes_world, shared_namespace
from tests.drivers.worlds import eventually

ACCOUNT = "flowstead"


class Right(NamedTuple):
    verb: str
    group: str
    resource: str


@dataclass(frozen=True)
class Account:
    """A service account with the rights that an operator is told to give it."""

    plane: Access
    mode: Namespaces
    namespace: str  # its own, and in single mode that of all instances
    more: Mapping[str, Any] = field(default_factory=dict)  # settings of the cluster that rights depend on

    @property
    def settings(self) -> dict[str, Any]:
        return {"namespaces": self.mode, "namespace": self.namespace, **self.more}

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{ACCOUNT}"

    def manifests(self) -> list[Manifest]:
        return rbac.manifests(Cluster(installation="any", **self.settings), self.namespace, ACCOUNT)

    @contextmanager
    def world(self) -> Iterator[KubernetesWorld]:
        kubeconfig = self.plane.service_account_kubeconfig(self.namespace, ACCOUNT)
        with kubernetes_world(self.plane, kubeconfig=kubeconfig, **self.settings) as world:
            yield world

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """To ask the API server past the driver."""
        config = json.loads(self.plane.service_account_kubeconfig(self.namespace, ACCOUNT).read_text())
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        trust = ssl.create_default_context(cafile=str(self.plane.ca))
        with httpx.Client(
            base_url=self.plane.server, verify=trust, headers=headers, timeout=20, trust_env=False
        ) as client:
            yield client

    def knows_its_rights(self) -> bool:
        """The API server reads new roles a moment after they were written."""
        asked = {"verb": "list", "resource": "secrets", "namespace": self.namespace}
        body = {"spec": {"user": self.user, "resourceAttributes": asked}}
        answer = self.plane.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        return bool(answer["status"]["allowed"])


@contextmanager
def account(plane: Access, mode: Namespaces, without: Right | None = None, **more: Any) -> Iterator[Account]:
    with ExitStack() as stack:
        made = Account(plane, mode, stack.enter_context(shared_namespace(plane)), more)
        path = f"/api/v1/namespaces/{made.namespace}/serviceaccounts"
        plane.call("POST", path, {"metadata": {"name": ACCOUNT}})
        role, binding = made.manifests()
        if without:
            role["rules"] = one_by_one(granted(role["rules"]) - {without})
        for manifest in (role, binding):
            path = path_of_role(manifest)
            plane.call("PATCH", f"{path}?fieldManager=operator", manifest, headers=APPLY)
            stack.callback(plane.call, "DELETE", path)
        eventually(made.knows_its_rights, bool)
        yield made


def path_of_role(manifest: Manifest) -> str:
    namespace = manifest["metadata"].get("namespace")
    kind = Kind(manifest["kind"], manifest["apiVersion"], f"{manifest['kind'].lower()}s", bool(namespace))
    return kind.path(namespace, manifest["metadata"]["name"])


def granted(rules: list[dict[str, Any]]) -> set[Right]:
    return {
        Right(*right)
        for rule in rules
        for right in product(rule["verbs"], rule["apiGroups"], rule["resources"])
    }


def one_by_one(rights: set[Right]) -> list[dict[str, Any]]:
    return [{"verbs": [verb], "apiGroups": [group], "resources": [name]} for verb, group, name in rights]
