"""What instances may reach in a Kubernetes cluster and who reaches them: the rules of network policies. Pure.

Policies add up. One closes everything; the others open what a Node-RED needs. The cluster's network
keeps them, where it can: some do not.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import Any

from tenants.provisioning.cluster.settings import Cluster

Rule = dict[str, Any]

NODE_LOCAL_DNS = "169.254.20.10/32"


def ingress(cluster: Cluster, port: int) -> list[Rule]:
    """The controller that has the route, and nobody else."""
    peer = {"namespaceSelector": _named(cluster.ingress_namespace)}
    return [{"from": [peer], "ports": [{"port": port, "protocol": "TCP"}]}]


def egress(cluster: Cluster) -> list[Rule]:
    """Names, the platform, and the internet. A rule without peers would be open to everything, so there
    is none where all is private."""
    outside = [*_internet(cluster.private_networks), *map(_block, cluster.allowed_networks)]
    return [_dns(cluster), {"to": [_platform(cluster)]}, *([{"to": outside}] if outside else [])]


def _dns(cluster: Cluster) -> Rule:
    servers = [{"namespaceSelector": _named(cluster.dns_namespace)}, _block(NODE_LOCAL_DNS)]
    return {"to": servers, "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}


def _platform(cluster: Cluster) -> Rule:
    """The portal and the registry: where flows are stored and nodes come from."""
    component = {"key": "app.kubernetes.io/component", "operator": "In", "values": ["portal", "registry"]}
    pods = {"matchLabels": {"app.kubernetes.io/part-of": "flowstead"}, "matchExpressions": [component]}
    return {"namespaceSelector": _named(cluster.portal_namespace), "podSelector": pods}


def _internet(private: Iterable[str]) -> list[Rule]:
    """All addresses but the private ones. What is cut out has to be smaller than what it is cut from:
    a family of addresses that is private as a whole is left out."""
    networks = [ip_network(cidr) for cidr in private]
    peers = []
    for everything in (ip_network("0.0.0.0/0"), ip_network("::/0")):
        cut = [network for network in networks if network.version == everything.version]
        if everything not in cut:
            peers.append(_block(str(everything), [str(network) for network in cut]))
    return peers


def _block(cidr: str, cut: Sequence[str] = ()) -> Rule:
    return {"ipBlock": {"cidr": cidr, **({"except": list(cut)} if cut else {})}}


def _named(namespace: str) -> Rule:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
