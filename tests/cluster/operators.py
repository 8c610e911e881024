"""What docs/kubernetes.md asks of an operator."""

from collections.abc import Callable
from typing import Any

from tenants.models import Event, Instance
from tenants.provisioning.cluster.kinds import PERSISTENT_VOLUME_CLAIM
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import INSTANCE
from tests.cluster.agreement import everything


def delete_kept_disks(call: Callable[..., Any], cluster: Cluster) -> None:
    """Delete disks that Flowstead kept and told of, of instances that their people have deleted.

    A request that reaches the API server late can make a claim after its instance has gone. Nothing but
    that may leave one behind.
    """
    known = {str(pk) for pk in Instance.objects.values_list("pk", flat=True)}
    found = everything(lambda path: call("GET", path), cluster)
    for (kind, namespace, name), live in found.items():
        owner = live["metadata"]["labels"].get(INSTANCE, "")
        if kind == PERSISTENT_VOLUME_CLAIM and owner not in known and _was_deleted(owner, name):
            call("DELETE", kind.path(namespace, name))
            Instance.objects.mark_due()


def _was_deleted(owner: str, claim: str) -> bool:
    """Whether an instance of that id and name was deleted, and operators were told of its disk."""
    told = Event.objects.filter(reason="kept_disk", message__contains=owner).exists()
    removed = Event.objects.filter(verb=Event.Verb.REMOVED, instance_name=claim.removeprefix("node-red-"))
    return told and owner in {str(pk) for pk in removed.values_list("instance_id", flat=True)}
