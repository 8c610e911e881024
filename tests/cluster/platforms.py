"""A whole installation in the process of the tests: rows, a reconciler that can die, and a real cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
from django.utils import timezone
from kubernetes.client import Configuration

from tenants.models import Instance, Phase, Tenant
from tenants.observing import Claim
from tenants.provisioning.api_server import ApiServer, Object
from tenants.provisioning.cluster import Cluster
from tenants.provisioning.kinds import DEPLOYMENT, POD, REPLICA_SET
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import INSTANCE, TENANT, namespace_of, object_name
from tenants.reconciler import Reconciler
from tests.cluster.agreement import Name, disagreements, everything
from tests.cluster.control_plane import ControlPlane
from tests.cluster.objects import volume_for
from tests.cluster.proxy import Proxy
from tests.drivers.worlds import eventually

REQUEST_SECONDS = 10
GROWING = "growing"
CLAIMS = "/api/v1/persistentvolumeclaims"


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product catches it."""


class MortalApiServer(ApiServer):
    """The end of the process lies in its change number ``at`` (counted from 0): the API server has not heard
    of it yet, or it has done it and nobody has read the answer. An end before or after a request that
    changes nothing is the same as one after the change before it."""

    at: int | None = None
    after = False
    dying: Callable[[], None] = lambda: None

    def apply(self, path: str, manifest: Object, *, force: bool) -> Object:
        return self._survive(lambda: ApiServer.apply(self, path, manifest, force=force))

    def delete(self, path: str, uid: str, *, propagation: str) -> Object:
        return self._survive(lambda: ApiServer.delete(self, path, uid, propagation=propagation))

    def _survive(self, call: Callable[[], Object]) -> Object:
        if self.at is None:
            return call()
        self.at -= 1
        if self.at >= 0:
            return call()
        self.dying()
        if self.after:
            call()
        raise Killed


class Platform:
    """One installation. Its reconciler works only when it is told to, in the thread of the test."""

    def __init__(self, plane: ControlPlane, proxy: Proxy, request_seconds: float = REQUEST_SECONDS) -> None:
        self.plane = plane
        self.proxy = proxy
        self.seconds = request_seconds
        number = uuid4()
        prefix = f"t{number.hex[:8]}"
        self.cluster = Cluster(installation=str(number), namespace_prefix=prefix, storage_class=GROWING)
        self.origin = self.version()
        self.start()

    def start(self) -> None:
        """As the process does it: nothing is remembered, and claims of others are those of a dead one."""
        configuration = Configuration()
        configuration.host = self.proxy.url
        self.api = MortalApiServer(configuration, self.seconds)
        self.driver = KubernetesDriver(self.api, self.cluster, self.seconds)
        self.reconciler = Reconciler(self.driver)
        Claim.free_those_of_others(self.reconciler.holder)

    def restart(self) -> None:
        self.driver.close()
        self.start()

    # --- Work -------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Nothing is due until something is wanted."""
        Instance.objects.update(due_at=None)

    def work(self) -> None:
        self.reconciler.pass_once()
        self.reconciler.sweep()

    def work_on_everything(self) -> None:
        """As the resync has it, without waiting for it."""
        Instance.objects.update(due_at=timezone.now())
        self.work()

    def settle(self, seconds: float = 60) -> None:
        """Until the database and the cluster agree."""
        self.work_on_everything()
        eventually(self._one_more_pass, lambda found: not found, seconds)

    def _one_more_pass(self) -> list[str]:
        self.bind_volumes()
        moving = Instance.objects.exclude(phase__in=[Phase.RUNNING, Phase.STOPPED])
        if moving.mark_due():
            self.work()
            return [f"{row.name} is {row.phase}: {row.reason} {row.message}" for row in moving]
        self.work_on_everything()
        return self.disagreements()

    def bind_volumes(self) -> None:
        """As the provisioner of a storage class does it."""
        for claim in self.look(CLAIMS)["items"]:
            if claim["status"]["phase"] == "Pending":
                with suppress(httpx.HTTPStatusError):  # it has one, which is not bound yet
                    self.plane.call("POST", "/api/v1/persistentvolumes", volume_for(claim))

    # --- What there is ----------------------------------------------------------------------------

    def look(self, path: str) -> Any:
        return self.plane.call("GET", path)

    def disagreements(self) -> list[str]:
        return disagreements(self.look, self.cluster)

    def everything(self) -> dict[Name, Any]:
        return dict(everything(self.look, self.cluster))

    def kept(self) -> dict[Name, str]:
        """What was made for tenants and instances that are to stay, with its uid."""
        wanted = {str(pk) for pk in Instance.objects.filter(retired_at=None).values_list("pk", flat=True)}
        slugs = set(Tenant.objects.values_list("slug", flat=True))
        return self._made(lambda tenant, instance: instance in wanted if instance else tenant in slugs)

    def retired(self) -> dict[Name, str]:
        """What is still there of instances that are to go, and of those that have no row."""
        wanted = {str(pk) for pk in Instance.objects.filter(retired_at=None).values_list("pk", flat=True)}
        return self._made(lambda _, instance: bool(instance) and instance not in wanted)

    def _made(self, counts: Callable[[str, str], bool]) -> dict[Name, str]:
        return {
            name: live["metadata"]["uid"]
            for name, live in self.everything().items()
            if name[0] not in (REPLICA_SET, POD)
            and "deletionTimestamp" not in live["metadata"]
            and counts(
                live["metadata"]["labels"].get(TENANT, ""), live["metadata"]["labels"].get(INSTANCE, "")
            )
        }

    def sees_everything(self) -> bool:
        """Whether the driver's picture of the cluster is that of this moment, version by version."""
        there = {name: int(live["metadata"]["resourceVersion"]) for name, live in self.everything().items()}
        shelves = self.driver._mirror._shelves.items()
        seen = {(kind, *key): packed.version for kind, shelf in shelves for key, packed in shelf._objects.items()}
        return seen == there

    def version(self) -> str:
        """The resourceVersion of this moment."""
        return str(self.look("/api/v1/namespaces?limit=1")["metadata"]["resourceVersion"])

    def runs(self, instance: Instance) -> tuple[str, int]:
        """Names the deployment, and counts how often what it wants was changed: a start each at most."""
        spec = instance.spec()
        path = DEPLOYMENT.path(namespace_of(spec.tenant, self.cluster), object_name(spec))
        metadata = self.look(path)["metadata"]
        return metadata["uid"], metadata["generation"]


@contextmanager
def platform(plane: ControlPlane, request_seconds: float = REQUEST_SECONDS) -> Iterator[Platform]:
    with Proxy(plane.kubeconfig) as proxy:
        made = Platform(plane, proxy, request_seconds)
        try:
            yield made
        finally:
            made.driver.close()


def storage_class_that_grows() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": GROWING},
        "provisioner": "flowstead.test/volumes",
        "allowVolumeExpansion": True,
    }
