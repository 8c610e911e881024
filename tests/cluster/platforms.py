"""A whole installation in the process of the tests: rows, a reconciler that can die, and a real cluster."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.db.models import F, Q
from django.utils import timezone
from kubernetes.client import Configuration

from tenants.models import Instance, Phase, Tenant
from tenants.models.instance import InstanceQuerySet
from tenants.observing import Claim
from tenants.provisioning.cluster.api_server import ApiServer, Object
from tenants.provisioning.cluster.kinds import DEPLOYMENT, NAMESPACE, POD, REPLICA_SET
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import INSTANCE, TENANT, namespace_of, object_name
from tenants.reconciler import Reconciler
from tests.cluster.access import NOT_HERE, REAL
from tests.cluster.agreement import Name, disagreements, everything
from tests.cluster.control_plane import QUICK, ControlPlane
from tests.cluster.objects import Capacity, volume_for
from tests.cluster.operators import delete_kept_disks
from tests.cluster.proxy import Proxy
from tests.drivers.worlds import eventually

REQUEST_SECONDS = 10
GROWING = "growing"
CLAIMS = "/api/v1/persistentvolumeclaims"


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product catches it."""


class MortalApiServer(ApiServer):
    """The end of the process can lie in one of its changes: the API server has not heard of it yet, or it
    has done it and nobody has read the answer. An end at a request that changes nothing is the same as
    one after the change before it."""

    _left: int | None = None
    _after = False

    def dies(self, at: int, *, after: bool, dying: Callable[[], None]) -> None:
        """At change number ``at``, counted from 0 and from now on."""
        self._left, self._after, self._dying = at, after, dying

    def lives(self) -> None:
        self._left = None

    def apply(self, path: str, manifest: Object, *, force: bool) -> Object:
        return self._survive(lambda: ApiServer.apply(self, path, manifest, force=force))

    def delete(self, path: str, uid: str, *, propagation: str) -> Object:
        return self._survive(lambda: ApiServer.delete(self, path, uid, propagation=propagation))

    def _survive(self, call: Callable[[], Object]) -> Object:
        if self._left is None:
            return call()
        if self._left:
            self._left -= 1
            return call()
        self._dying()
        if self._after:
            call()
        raise Killed

    @contextmanager
    def patience(self, seconds: float | None) -> Iterator[None]:
        usual = self._seconds
        self._seconds = seconds or usual
        yield
        self._seconds = usual


class Platform:
    """One installation. Its reconciler works only when it is told to, in the thread of the test."""

    def __init__(self, plane: ControlPlane, proxy: Proxy) -> None:
        self.plane = plane
        self.proxy = proxy
        number = uuid4()
        prefix = f"t{number.hex[:8]}"
        self.cluster = Cluster(installation=str(number), namespace_prefix=prefix, storage_class=GROWING)
        self.origin = self.version()
        self.start()

    def start(self) -> None:
        """As the process does it: nothing is remembered, and claims of others are those of a dead one."""
        configuration = Configuration()
        configuration.host = self.proxy.url
        self.api = MortalApiServer(configuration, REQUEST_SECONDS)
        self.driver = KubernetesDriver(self.api, self.cluster, REQUEST_SECONDS)
        self.reconciler = Reconciler(self.driver)
        Claim.free_those_of_others(self.reconciler.holder)

    def restart(self) -> None:
        self.driver.close()
        self.start()

    def patience(self, seconds: float | None) -> AbstractContextManager[None]:
        """Meanwhile the driver waits only so long for an answer."""
        return self.api.patience(seconds)

    # --- Work -------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Nothing is due until something is wanted."""
        Instance.objects.update(due_at=None)

    def work(self) -> None:
        self.reconciler.pass_once()
        with suppress(DriverError):  # the next sweep goes on
            self.reconciler.sweep()

    def work_on_everything(self) -> None:
        """As the resync has it, without waiting for it."""
        Instance.objects.update(due_at=timezone.now())
        self.work()

    def settle_with_an_operator(self) -> None:
        """As ``settle``, where a request that came late may have made a disk of an instance that is gone."""
        self.work_on_everything()
        delete_kept_disks(self.plane.call, self.cluster)
        self.settle()

    def settle(self, seconds: float = 60) -> None:
        """Until the database and the cluster agree."""
        self.work_on_everything()
        eventually(self._one_more_pass, lambda found: not found, seconds)

    def _one_more_pass(self) -> list[str]:
        if self.work_on_what_moves():
            moving = self._moving().values_list("name", "phase", "reason", "message")
            return [" ".join(row) for row in moving]
        self.work_on_everything()
        return self.disagreements()

    def work_on_what_moves(self) -> int:
        """It is looked at every now and then. Answers how many instances that are."""
        self._bind_volumes()
        moving = self._moving().mark_due()
        self.work()
        return moving

    def _moving(self) -> InstanceQuerySet:
        at_rest = Q(phase__in=[Phase.RUNNING, Phase.STOPPED], observed_generation=F("generation"))
        return Instance.objects.exclude(at_rest)

    def _bind_volumes(self) -> None:
        """As the provisioner of a storage class does it."""
        for claim in self.look(CLAIMS)["items"]:
            if claim["status"]["phase"] == "Pending":
                with suppress(httpx.HTTPStatusError):  # it has one, which is not bound yet
                    self.plane.call("POST", "/api/v1/persistentvolumes", volume_for(claim))

    def clear_away(self) -> None:
        """What is left would take room from others; its end is not waited for."""
        for kind, _, name in self.everything():
            if kind == NAMESPACE:
                self.plane.call("DELETE", kind.path(None, name))

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

    def going(self) -> dict[Name, str]:
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

    def versions(self) -> dict[Name, tuple[int, str]]:
        """Of everything that there is, with its tenant."""
        return {
            name: (int(live["metadata"]["resourceVersion"]), live["metadata"]["labels"].get(TENANT, ""))
            for name, live in self.everything().items()
        }

    def unseen(self, there: dict[Name, tuple[int, str]]) -> dict[Name, str]:
        """What the driver knows nothing or not the newest of, or does not know to be gone; with its tenant."""
        shelves = self.driver._mirror._shelves.items()
        seen = {
            (kind, *key): (packed.version, packed.tenant)
            for kind, shelf in shelves
            for key, packed in list(shelf._objects.items())
        }
        return {name: tenant for name, (_, tenant) in there.items() ^ seen.items()}

    def sees_everything(self) -> bool:
        return not self.unseen(self.versions())

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
def roomy_plane() -> Iterator[ControlPlane]:
    """With room for what all tests leave there: removing it would take longer than all else."""
    if REAL:
        pytest.skip(NOT_HERE)
    room = Capacity(cpu="1000", memory="4000Gi", pods=5000)
    with ControlPlane(capacity=room, controller_arguments=QUICK) as plane:
        plane.call("POST", "/apis/storage.k8s.io/v1/storageclasses", storage_class_that_grows())
        yield plane


@contextmanager
def platform(plane: ControlPlane) -> Iterator[Platform]:
    with Proxy(plane.kubeconfig) as proxy:
        made = Platform(plane, proxy)
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
