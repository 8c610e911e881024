"""A Kubernetes cluster as Flowstead finds it: what an operator says of it in the settings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's host, which answers questions about the machine
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


class Namespaces(StrEnum):
    TENANT = "tenant"  # one for each tenant, which is the wall between them
    SINGLE = "single"  # one for all, where Flowstead may not make any


class Route(StrEnum):
    INGRESS = "ingress"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the objects have to look in this cluster.

    ``namespace`` is the one of ``Namespaces.SINGLE``; otherwise it is ``<namespace_prefix>-<slug>``.
    ``tls_secret`` may hold ``{name}``; empty leaves the certificate to the controller. ``gateway`` is
    ``namespace/name`` or ``namespace/name/listener``. An empty class is the cluster's default.
    An instance that stops responding is out of its Service within ``unresponsive_seconds``, and is
    restarted after ``unresponsive_restart_seconds``.
    ``private_networks`` are cut out of what instances may reach, ``allowed_networks`` put in again.
    """

    installation: str
    namespaces: Namespaces = Namespaces.TENANT
    namespace: str = "flowstead"
    namespace_prefix: str = "flowstead"
    route: Route = Route.INGRESS
    ingress_class: str = ""
    ingress_annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tls: bool = False
    tls_secret: str = ""
    gateway: str = ""
    storage_class: str = ""
    ingress_namespace: str = "ingress-nginx"
    portal_namespace: str = "flowstead"
    dns_namespace: str = "kube-system"
    private_networks: tuple[str, ...] = PRIVATE_NETWORKS
    allowed_networks: tuple[str, ...] = ()
    runtime_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    image_pull_policy: str = "IfNotPresent"
    unresponsive_seconds: int = 30
    unresponsive_restart_seconds: int = 120

    @property
    def is_shared(self) -> bool:
        """Whether all tenants are in the one namespace."""
        return self.namespaces == Namespaces.SINGLE
