"""What an instance and its tenant are in Kubernetes: the objects, whole and in order of creation. Pure.

They are written as the API server gives them back: quantities in its form, and its defaults written
out within lists that it keeps as a whole. So what differs later was changed by somebody.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tenants.provisioning.cluster import kinds, network, pods
from tenants.provisioning.cluster.kinds import Kind
from tenants.provisioning.cluster.quantities import cores, gibibytes, mebibytes, whole
from tenants.provisioning.cluster.settings import Cluster, Route
from tenants.provisioning.spec import InstanceSpec, Quota

Manifest = dict[str, Any]

INSTALLATION = "flowstead/installation"
INSTANCE = "flowstead/instance"
TENANT = "flowstead/tenant"
DIGEST = "flowstead/digest"
"""On pods: the digest of the specification that their process has read."""
MANIFEST = "flowstead/manifest"
"""On every object: its ``fingerprint``, so that a change of what is wanted shows."""

PODS_ENDING = 5  # a pod counts against its quota until it is gone

_POD_SECURITY = {
    "pod-security.kubernetes.io/enforce": "restricted",
    # by one version's rules, whatever the cluster's: an upgrade must not begin to refuse instances
    "pod-security.kubernetes.io/enforce-version": "v1.34",
    "pod-security.kubernetes.io/audit": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def owned_kinds(cluster: Cluster) -> tuple[Kind, ...]:
    """The kinds of all objects that are made here, in order of creation."""
    of_tenant = (kinds.NAMESPACE, kinds.RESOURCE_QUOTA, kinds.LIMIT_RANGE)
    return (
        *(() if cluster.is_shared else of_tenant),
        kinds.NETWORK_POLICY,
        kinds.SECRET,
        kinds.PERSISTENT_VOLUME_CLAIM,
        kinds.SERVICE,
        kinds.INGRESS if cluster.route == Route.INGRESS else kinds.HTTP_ROUTE,
        kinds.DEPLOYMENT,
    )


def followed_kinds(cluster: Cluster) -> tuple[Kind, ...]:
    """The kinds that are never made here and removed all the same: what Deployments make, and the routes
    from before there was a gateway."""
    former_routes = (kinds.INGRESS,) if cluster.route == Route.GATEWAY else ()
    return (*former_routes, kinds.REPLICA_SET, kinds.POD)


def namespace_of(slug: str, cluster: Cluster) -> str:
    """Where the instances of a tenant are."""
    return cluster.namespace if cluster.is_shared else f"{cluster.namespace_prefix}-{slug}"


def object_name(spec: InstanceSpec) -> str:
    """The name that all objects of an instance have."""
    return f"node-red-{spec.name}"


def policy_prefix(slug: str, cluster: Cluster) -> str:
    """What the names of a tenant's network policies begin with."""
    return f"flowstead-{slug}" if cluster.is_shared else "flowstead"


def tenant_objects(spec: InstanceSpec, cluster: Cluster) -> list[Manifest]:
    """What all instances of a tenant share.

    In the one namespace of all tenants these are network policies alone: the namespace is not ours,
    and a quota or a limit range in it would hold for everybody's instances together.
    """
    place = _tenant_place(spec.tenant, cluster)
    policies = _network_policies(place, spec.tenant, cluster)
    if cluster.is_shared:
        return policies
    return [_namespace(place), _resource_quota(place, spec.quota), _limit_range(place, spec.quota), *policies]


def instance_objects(spec: InstanceSpec, cluster: Cluster) -> list[Manifest]:
    """What is the instance's alone. The Deployment is last: it starts with everything in place."""
    place = _instance_place(spec, cluster)
    return [
        _secret(place, spec),
        *([_claim(place, spec, cluster)] if spec.disk else []),
        _service(place, spec),
        _ingress(place, spec, cluster) if cluster.route == Route.INGRESS else _route(place, spec, cluster),
        _deployment(place, spec, cluster),
    ]


def fingerprint(manifest: Manifest) -> str:
    """A hash of what is wanted of an object, without the hash that it carries. The number of replicas
    is no part of it: by that number alone an instance is started and stopped."""
    metadata = manifest["metadata"]
    annotations = {key: text for key, text in metadata.get("annotations", {}).items() if key != MANIFEST}
    content = {**manifest, "metadata": {**metadata, "annotations": annotations}}
    if manifest["kind"] == kinds.DEPLOYMENT.kind:
        content["spec"] = {key: value for key, value in manifest["spec"].items() if key != "replicas"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# --- What all objects have ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where objects go, and the labels that say whose they are."""

    namespace: str
    labels: Mapping[str, str]

    def put(
        self, kind: Kind, name: str, content: Manifest, annotations: Mapping[str, str] | None = None
    ) -> Manifest:
        metadata: Manifest = {
            "name": name,
            **({"namespace": self.namespace} if kind.namespaced else {}),
            "labels": dict(self.labels),
            "annotations": dict(annotations or {}),
        }
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}
        metadata["annotations"][MANIFEST] = fingerprint(manifest)
        return manifest


def _tenant_place(slug: str, cluster: Cluster) -> _Place:
    labels = {"app.kubernetes.io/name": "flowstead", "app.kubernetes.io/instance": slug}
    return _Place(namespace_of(slug, cluster), {**labels, **_owner("tenant", slug, cluster)})


def _instance_place(spec: InstanceSpec, cluster: Cluster) -> _Place:
    labels = {
        "app.kubernetes.io/name": "node-red",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/version": label_value(spec.node_red_version),
        **_owner("instance", spec.tenant, cluster),
        INSTANCE: spec.id,
    }
    return _Place(namespace_of(spec.tenant, cluster), labels)


def _owner(component: str, slug: str, cluster: Cluster) -> dict[str, str]:
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "flowstead",
        "app.kubernetes.io/managed-by": "flowstead",
        INSTALLATION: cluster.installation,
        TENANT: slug,
    }


def label_value(text: str) -> str:
    """``text`` with everything replaced that the value of a label may not have."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("._-")


def _selector(spec: InstanceSpec) -> dict[str, str]:
    return {INSTANCE: spec.id}


# --- A tenant -------------------------------------------------------------------------------------


def _namespace(place: _Place) -> Manifest:
    secured = _Place(place.namespace, {**place.labels, **_POD_SECURITY})
    return secured.put(kinds.NAMESPACE, place.namespace, {})


def _resource_quota(place: _Place, quota: Quota) -> Manifest:
    """A second wall behind the portal's own rule, which refuses with a sentence. Deployments are not
    counted: they cost nothing while they are off."""
    hard = {
        "pods": whole(quota.instances + PODS_ENDING),
        **({"limits.cpu": cores(quota.cpu)} if quota.cpu is not None else {}),
        **({"limits.memory": mebibytes(quota.memory)} if quota.memory is not None else {}),
        **({"requests.storage": gibibytes(quota.disk)} if quota.disk is not None else {}),
    }
    return place.put(kinds.RESOURCE_QUOTA, "flowstead", {"spec": {"hard": hard}})


def _limit_range(place: _Place, quota: Quota) -> Manifest:
    """For what an operator runs there by hand: instances say themselves what they need."""
    most = {
        **({"cpu": cores(quota.cpu)} if quota.cpu is not None else {}),
        **({"memory": mebibytes(quota.memory)} if quota.memory is not None else {}),
    }
    limits = {
        "type": "Container",
        "default": _small(100, 128, quota),
        "defaultRequest": _small(10, 64, quota),
        **({"max": most} if most else {}),
    }
    return place.put(kinds.LIMIT_RANGE, "flowstead", {"spec": {"limits": [limits]}})


def _small(cpu: int, memory: int, quota: Quota) -> dict[str, str]:
    """No more than all of what the tenant has: a default above the maximum is refused."""
    return {
        "cpu": cores(cpu if quota.cpu is None else min(cpu, quota.cpu)),
        "memory": mebibytes(memory if quota.memory is None else min(memory, quota.memory)),
    }


def _network_policies(place: _Place, slug: str, cluster: Cluster) -> list[Manifest]:
    chosen: Manifest = {"matchLabels": {TENANT: slug}} if cluster.is_shared else {}

    def policy(name: str, *types: str, **rules: list[network.Rule]) -> Manifest:
        content = {"podSelector": chosen, "policyTypes": list(types), **rules}
        return place.put(kinds.NETWORK_POLICY, f"{policy_prefix(slug, cluster)}-{name}", {"spec": content})

    return [
        policy("deny", "Ingress", "Egress", ingress=[], egress=[]),  # said, so that more is ours to remove
        policy("ingress", "Ingress", ingress=network.ingress(cluster, pods.PORT)),
        policy("egress", "Egress", egress=network.egress(cluster)),
    ]


# --- An instance ----------------------------------------------------------------------------------


def _secret(place: _Place, spec: InstanceSpec) -> Manifest:
    """All variables, the user's too: which of them are secrets only their owner knows."""
    variables = spec.process_environment().items()
    data = {name: b64encode(value.encode()).decode() for name, value in variables}
    return place.put(kinds.SECRET, object_name(spec), {"type": "Opaque", "data": data})


def _claim(place: _Place, spec: InstanceSpec, cluster: Cluster) -> Manifest:
    content = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": gibibytes(spec.disk)}},
        **({"storageClassName": cluster.storage_class} if cluster.storage_class else {}),
    }
    return place.put(kinds.PERSISTENT_VOLUME_CLAIM, object_name(spec), {"spec": content})


def _service(place: _Place, spec: InstanceSpec) -> Manifest:
    content = {
        "type": "ClusterIP",
        "selector": _selector(spec),
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
    }
    return place.put(kinds.SERVICE, object_name(spec), {"spec": content})


def _ingress(place: _Place, spec: InstanceSpec, cluster: Cluster) -> Manifest:
    backend = {"service": {"name": object_name(spec), "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    content = {
        **({"ingressClassName": cluster.ingress_class} if cluster.ingress_class else {}),
        **({"tls": [_tls(spec, cluster)]} if cluster.tls else {}),
        "rules": [{"host": _host(spec), "http": {"paths": [path]}}],
    }
    return place.put(kinds.INGRESS, object_name(spec), {"spec": content}, cluster.ingress_annotations)


def _tls(spec: InstanceSpec, cluster: Cluster) -> Manifest:
    secret = cluster.tls_secret.replace("{name}", spec.name)
    return {"hosts": [_host(spec)], **({"secretName": secret} if secret else {})}


def _route(place: _Place, spec: InstanceSpec, cluster: Cluster) -> Manifest:
    """Certificates are the listener's business here."""
    backend = {"group": "", "kind": "Service", "name": object_name(spec), "port": 80, "weight": 1}
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    content = {
        "parentRefs": [_gateway(cluster)],
        "hostnames": [_host(spec)],
        "rules": [{"matches": [match], "backendRefs": [backend]}],
    }
    return place.put(kinds.HTTP_ROUTE, object_name(spec), {"spec": content})


def _gateway(cluster: Cluster) -> Manifest:
    namespace, name, *listener = cluster.gateway.split("/")
    return {
        "group": kinds.HTTP_ROUTE.group,
        "kind": "Gateway",
        "namespace": namespace,
        "name": name,
        **({"sectionName": listener[0]} if listener else {}),
    }


def _host(spec: InstanceSpec) -> str:
    return urlsplit(spec.url).hostname or ""


def _deployment(place: _Place, spec: InstanceSpec, cluster: Cluster) -> Manifest:
    """Never two pods at once: both would write the same flows, and a disk is one node's at a time."""
    metadata = {"labels": dict(place.labels), "annotations": {DIGEST: spec.digest()}}
    content = {
        "replicas": 1 if spec.power else 0,
        "revisionHistoryLimit": 0,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": _selector(spec)},
        "template": {"metadata": metadata, "spec": pods.pod(spec, cluster, name=object_name(spec))},
    }
    return place.put(kinds.DEPLOYMENT, object_name(spec), {"spec": content})
