"""How an object is sent to the API server, and whether it has to be. Pure."""

from collections.abc import Mapping
from typing import Any

from tenants.provisioning.cluster.drift import describe, differences
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    PERSISTENT_VOLUME_CLAIM,
    REPLICA_SET,
    SERVICE,
    Kind,
    kind_of,
)
from tenants.provisioning.cluster.owners import is_ending

Object = dict[str, Any]

NEVER = "1"  # a resourceVersion that no object has: the API server's own first writes come before


def is_as_wanted(manifest: Object, live: Mapping[str, Any] | None) -> bool:
    if live is None or is_ending(live) or describe(manifest, live):
        return False
    return kind_of(manifest) != DEPLOYMENT or bool(live["spec"]["replicas"] == manifest["spec"]["replicas"])


def aimed(manifest: Object, live: Mapping[str, Any] | None) -> Object:
    """The manifest, meant for this very object, or for none: any other one is a conflict."""
    aim = {"resourceVersion": NEVER} if live is None else {"uid": live["metadata"]["uid"]}
    meant = {**manifest, "metadata": {**manifest["metadata"], **aim}}
    if live is None or kind_of(manifest) != PERSISTENT_VOLUME_CLAIM:
        return meant
    return _grown(meant, live)


def _grown(claim: Object, live: Mapping[str, Any]) -> Object:
    """A claim can only grow: all else of it stays as it was made."""
    spec = {name: live["spec"][name] for name in ("accessModes", "storageClassName") if name in live["spec"]}
    is_large_enough = not differences({"kind": claim["kind"], "spec": claim["spec"]}, live)
    resources = (live if is_large_enough else claim)["spec"]["resources"]
    return {**claim, "spec": {**spec, "resources": resources}}


def propagation(kind: Kind) -> str:
    """What has dependants goes after them; the rest goes at once."""
    return "Foreground" if kind in (DEPLOYMENT, REPLICA_SET, SERVICE) else "Background"
