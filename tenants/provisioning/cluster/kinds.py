"""The kinds of Kubernetes objects that Flowstead deals with, and where the API server has them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """``plural`` is the resource's name in paths and rights."""

    kind: str
    api_version: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group as rights name it: empty for the core group."""
        group, _, version = self.api_version.rpartition("/")
        return group if version else ""

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The path of one object, or of all: of a namespace, or with None of the whole cluster."""
        prefix = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        within = ("namespaces", namespace) if namespace and self.namespaced else ()
        return "/".join([prefix, *within, self.plural, *([name] if name else [])])


NAMESPACE = Kind("Namespace", "v1", "namespaces", namespaced=False)
RESOURCE_QUOTA = Kind("ResourceQuota", "v1", "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", "v1", "limitranges")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
SECRET = Kind("Secret", "v1", "secrets")
PERSISTENT_VOLUME_CLAIM = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
SERVICE = Kind("Service", "v1", "services")
INGRESS = Kind("Ingress", "networking.k8s.io/v1", "ingresses")
HTTP_ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")

# What follows from a Deployment, made by the cluster and only looked at by us
REPLICA_SET = Kind("ReplicaSet", "apps/v1", "replicasets")
POD = Kind("Pod", "v1", "pods")
EVENT = Kind("Event", "v1", "events")

_ALL = (
    NAMESPACE,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    NETWORK_POLICY,
    SECRET,
    PERSISTENT_VOLUME_CLAIM,
    SERVICE,
    INGRESS,
    HTTP_ROUTE,
    DEPLOYMENT,
    REPLICA_SET,
    POD,
    EVENT,
)

OF_TENANTS = frozenset({NAMESPACE, RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY})
"""What no single instance has."""

KINDS: Mapping[tuple[str, str], Kind] = MappingProxyType({(one.api_version, one.kind): one for one in _ALL})
"""By the ``apiVersion`` and ``kind`` of an object."""


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of an object. ``KeyError`` where Flowstead does not deal with it."""
    return KINDS[manifest["apiVersion"], manifest["kind"]]
