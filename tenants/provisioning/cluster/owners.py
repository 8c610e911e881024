"""Whose an object of the cluster is. Pure.

Labels can be edited by anyone with access to the cluster. A name is immutable, and so is the selector of a
Deployment or a ReplicaSet; and the API server notes which writer has last set a field.
"""

from collections.abc import Mapping
from typing import Any

from tenants.provisioning.cluster import kinds
from tenants.provisioning.cluster.kinds import Kind
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import INSTANCE, TENANT, namespace_of, policy_prefix
from tenants.provisioning.spec import is_instance_id

Object = Mapping[str, Any]


def instance_of(kind: Kind, thing: Object) -> str:
    """Return the id of the instance that an object says it belongs to; empty where it names none, or holds
    something else in the place of an id."""
    if kind in kinds.OF_TENANTS:
        return ""
    labels = labels_of(thing)
    if kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET):
        labels = ((thing.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    owner = str(labels.get(INSTANCE, ""))
    return owner if is_instance_id(owner) else ""


def tenant_of(kind: Kind, thing: Object, cluster: Cluster) -> str:
    """Return the slug of the tenant that a namespace or a network policy was made for; empty where its label
    and its name do not agree."""
    name, slug = thing["metadata"]["name"], str(labels_of(thing).get(TENANT, ""))
    if kind == kinds.NAMESPACE:
        return slug if name == namespace_of(slug, cluster) else ""
    return slug if name.rpartition("-")[0] == policy_prefix(slug, cluster) else ""


def was_relabelled(live: Object, writer: str) -> bool:
    """Whether ``writer`` made this object, and has not set the label that now names its instance."""
    entries = live["metadata"].get("managedFields") or []
    written = [entry.get("fieldsV1") or {} for entry in entries if entry.get("manager") == writer]
    labels = [(fields.get("f:metadata") or {}).get("f:labels") or {} for fields in written]
    return bool(written) and not any(f"f:{INSTANCE}" in one for one in labels)


def has_controller(live: Object) -> bool:
    """Whether the cluster itself made it, and will remove it."""
    return any(owner.get("controller") for owner in live["metadata"].get("ownerReferences") or [])


def is_ending(live: Object | None) -> bool:
    return live is not None and "deletionTimestamp" in live["metadata"]


def labels_of(live: Object) -> Mapping[str, str]:
    return live["metadata"].get("labels") or {}
