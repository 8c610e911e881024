"""The rights that Flowstead needs in a cluster: what its driver does, and no more. Pure.

With a namespace for each tenant these hold in the whole cluster, as nobody can know the namespaces
beforehand, and rights cannot be narrowed down by labels. So whoever has them reads every Secret of the
cluster. Where that is too much, all tenants share the one namespace that the rights are for.
"""

from collections.abc import Iterable
from typing import Any

from tenants.provisioning.cluster import kinds
from tenants.provisioning.cluster.kinds import Kind
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import Manifest, followed_kinds, owned_kinds

# Applying on the server's side is a patch, and where there is nothing yet a create too; never an update.
_OWN = ("get", "list", "watch", "create", "patch", "delete")
_FOLLOW = ("get", "list", "watch", "delete")  # delete: what was left behind
_AUTHORIZATION = "rbac.authorization.k8s.io"


def rules(cluster: Cluster) -> list[dict[str, Any]]:
    """The rules of a role, by API group."""
    return [
        *_rules(owned_kinds(cluster), _OWN),
        *_rules(followed_kinds(cluster), _FOLLOW),
        _rule(kinds.POD.group, ["pods/log"], ("get",)),
        _rule(kinds.EVENT.group, [kinds.EVENT.plural], ("list",)),
    ]


def manifests(cluster: Cluster, service_account_namespace: str, service_account_name: str) -> list[Manifest]:
    """A role with these rules, and its binding to a service account that is somebody else's to make."""
    role = "Role" if cluster.is_shared else "ClusterRole"
    name = f"flowstead:{service_account_namespace}:{service_account_name}"
    account = {
        "kind": "ServiceAccount",
        "namespace": service_account_namespace,
        "name": service_account_name,
    }
    binding = {
        "roleRef": {"apiGroup": _AUTHORIZATION, "kind": role, "name": name},
        "subjects": [account],
    }
    return [
        {**_header(role, name, cluster), "rules": rules(cluster)},
        {**_header(f"{role}Binding", name, cluster), **binding},
    ]


def _header(kind: str, name: str, cluster: Cluster) -> Manifest:
    metadata = {
        "name": name,
        **({"namespace": cluster.namespace} if cluster.is_shared else {}),
        "labels": {"app.kubernetes.io/name": "flowstead", "app.kubernetes.io/part-of": "flowstead"},
    }
    return {"apiVersion": f"{_AUTHORIZATION}/v1", "kind": kind, "metadata": metadata}


def _rules(allowed: Iterable[Kind], verbs: Iterable[str]) -> list[dict[str, Any]]:
    resources: dict[str, list[str]] = {}
    for kind in allowed:
        resources.setdefault(kind.group, []).append(kind.plural)
    return [_rule(group, plurals, verbs) for group, plurals in resources.items()]


def _rule(group: str, resources: list[str], verbs: Iterable[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
