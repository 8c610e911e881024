"""Whether the database and the cluster agree exactly: what is missing, what is left, what is not as it should be."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tenants.models import Instance, Phase, Tenant
from tenants.provisioning.cluster.drift import differences
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    OF_TENANTS,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    Kind,
    kind_of,
)
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import (
    DIGEST,
    INSTALLATION,
    INSTANCE,
    TENANT,
    instance_objects,
    object_name,
    owned_kinds,
    tenant_objects,
)
from tenants.provisioning.spec import InstanceSpec

Object = Mapping[str, Any]
Name = tuple[Kind, str, str]  # with namespace ("" for none) and name
Look = Callable[[str], Object]
"""What the API server itself answers to a GET of this path."""


def disagreements(look: Look, cluster: Cluster) -> list[str]:
    """A sentence each; none where every row has exactly its objects, and every object its row."""
    rows = list(Instance.objects.select_related("tenant", "stack", "size"))
    return list(_Comparison(rows, everything(look, cluster), cluster).sentences())


def everything(look: Look, cluster: Cluster) -> dict[Name, Object]:
    """All objects that carry the label of this installation."""
    namespace = cluster.namespace if cluster.is_shared else None
    label = quote(f"{INSTALLATION}={cluster.installation}", safe="")
    found: dict[Name, Object] = {}
    for kind in (*owned_kinds(cluster), REPLICA_SET, POD):
        for live in look(f"{kind.path(namespace)}?labelSelector={label}")["items"]:
            found[name_of(kind, live)] = live
    return found


def name_of(kind: Kind, live: Object) -> Name:
    return kind, live["metadata"].get("namespace", ""), live["metadata"]["name"]


@dataclass
class _Comparison:
    rows: list[Instance]
    there: dict[Name, Object]
    cluster: Cluster

    def sentences(self) -> Iterator[str]:
        accounted: set[Name] = set()
        for row in self.rows:
            spec = row.spec()
            yield from _of_row(row)
            yield from self._of_objects(spec)
            yield from self._of_process(spec)
            accounted |= {self._name(manifest) for manifest in self._wanted(spec)}
        living = {str(row.pk) for row in self.rows}
        slugs = set(Tenant.objects.values_list("slug", flat=True))
        for name, live in self.there.items():
            if name not in accounted and not _is_accounted_for(name[0], live, living, slugs):
                yield f"{_title(name)} is left over"

    def _wanted(self, spec: InstanceSpec) -> list[dict[str, Any]]:
        if spec.retired:
            return []
        return [*tenant_objects(spec, self.cluster), *instance_objects(spec, self.cluster)]

    def _name(self, manifest: Object) -> Name:
        return name_of(kind_of(manifest), manifest)

    def _of_objects(self, spec: InstanceSpec) -> Iterator[str]:
        for manifest in self._wanted(spec):
            name = self._name(manifest)
            live = self.there.get(name)
            if live is None:
                yield f"{_title(name)} is missing"
                continue
            if "deletionTimestamp" in live["metadata"]:
                yield f"{_title(name)} is being removed"
            changed = differences(manifest, live)
            if changed:
                yield f"{_title(name)} differs in {', '.join(changed)}"
            # The number of replicas is no difference for the driver, which reads it as on and off.
            if name[0] == DEPLOYMENT and live["spec"]["replicas"] != manifest["spec"]["replicas"]:
                yield f"{_title(name)} has {live['spec']['replicas']} replicas"

    def _of_process(self, spec: InstanceSpec) -> Iterator[str]:
        """One ready pod made from this very specification, or none."""
        deployments, sets, pods = (self._of_instance(kind, spec) for kind in (DEPLOYMENT, REPLICA_SET, POD))
        sets = [each for each in sets if not _was_adopted_and_emptied(each, spec)]
        if len(sets) > len(deployments) or not _all_made_by(sets, deployments):
            yield f"{spec.name} has {len(sets)} replica sets"
        if len(pods) != int(spec.power and not spec.retired):
            yield f"{spec.name} has {len(pods)} pods"
        if not _all_made_by(pods, sets):
            yield f"{spec.name} has a pod that its replica set did not make"
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"] or not _is_ready(pod):
                yield f"{spec.name} has a pod that is not ready"
            if pod["metadata"]["annotations"].get(DIGEST) != spec.digest():
                yield f"{spec.name} has a pod of another specification"

    def _of_instance(self, kind: Kind, spec: InstanceSpec) -> list[Object]:
        """A Deployment or a ReplicaSet counts by its selector, since a hand can change its labels."""
        return [
            live
            for name, live in self.there.items()
            if name[0] == kind and _owner_labels(kind, live).get(INSTANCE) == spec.id
        ]


def _was_adopted_and_emptied(replica_set: Object, spec: InstanceSpec) -> bool:
    """A Deployment adopts a ReplicaSet that a hand gave its label, scales it to zero, and removes it at its
    next sync, which may be long in coming. It runs nothing."""
    owners = {owner["name"] for owner in replica_set["metadata"].get("ownerReferences") or []}
    runs = replica_set["spec"]["replicas"] or (replica_set.get("status") or {}).get("replicas")
    return bool(owners) and object_name(spec) not in owners and not runs


def _owner_labels(kind: Kind, live: Object) -> dict[str, str]:
    if kind in (DEPLOYMENT, REPLICA_SET):
        return dict(live["spec"]["selector"].get("matchLabels") or {})
    return dict(live["metadata"]["labels"])


def _of_row(row: Instance) -> Iterator[str]:
    """What the row itself says of the world."""
    if row.retired_at:
        yield f"{row.name} is still being deleted: {row.reason} {row.message}"
        return
    at_rest = Phase.RUNNING if row.is_on else Phase.STOPPED
    if row.phase != at_rest or row.observed_generation != row.generation:
        seen = f"{row.phase} (generation {row.observed_generation}): {row.reason} {row.message}"
        yield f"{row.name} should be {at_rest} (generation {row.generation}) and says it is {seen}"


def _is_accounted_for(kind: Kind, live: Object, living: set[str], slugs: set[str]) -> bool:
    """What no row asks for, and may be there all the same."""
    labels = live["metadata"]["labels"]
    instance = None if kind in OF_TENANTS else labels.get(INSTANCE)  # added by others, it says nothing
    if instance is None:
        return labels.get(TENANT) in slugs and not _has_instances(labels[TENANT])
    if kind in (REPLICA_SET, POD):
        return instance in living  # they were counted
    return kind == PERSISTENT_VOLUME_CLAIM and instance in living  # a disk goes with its instance only


def _has_instances(slug: str) -> bool:
    """Where a tenant has some, their rows say exactly what the tenant has."""
    return Instance.objects.filter(tenant__slug=slug, retired_at=None).exists()


def _all_made_by(made: list[Object], makers: list[Object]) -> bool:
    known = {maker["metadata"]["uid"] for maker in makers}
    return all(_controller(live) in known for live in made)


def _controller(live: Object) -> str | None:
    owners = live["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def _title(name: Name) -> str:
    kind, namespace, own = name
    return f"{kind.kind} {namespace}/{own}" if namespace else f"{kind.kind} {own}"
