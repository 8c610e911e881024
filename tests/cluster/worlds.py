"""A cluster as one of the worlds of the drivers' contract suite."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from kubernetes.client import Configuration

from tenants.provisioning.cluster.api_server import ApiServer
from tenants.provisioning.cluster.kinds import PERSISTENT_VOLUME_CLAIM, Kind, kind_of
from tenants.provisioning.cluster.reflector import key_of
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import (
    INSTALLATION,
    INSTANCE,
    instance_objects,
    namespace_of,
    object_name,
    tenant_objects,
)
from tenants.provisioning.plan import Verb, plan
from tenants.provisioning.spec import InstanceSpec, Observation, State
from tests.cluster.access import MERGE_PATCH, NOT_HERE, Access
from tests.cluster.control_plane import ControlPlane
from tests.cluster.proxy import Proxy
from tests.drivers.worlds import do, eventually, instance

REQUEST_SECONDS = 10

Json = dict[str, Any]


class KubernetesWorld:
    """An installation of its own in a real cluster, with the tests' proxy before the API server."""

    def __init__(self, plane: Access, proxy: Proxy, **changes: Any) -> None:
        self.plane = plane
        self.proxy = proxy
        number = uuid4()
        prefix = f"t{number.hex[:8]}"
        self.cluster = replace(Cluster(installation=str(number), namespace_prefix=prefix), **changes)
        self.driver = self.another_driver()

    def another_driver(self, seconds: float = REQUEST_SECONDS, **changes: Any) -> KubernetesDriver:
        """As the process makes one that starts anew, maybe with other settings: it knows nothing."""
        configuration = Configuration()
        configuration.host = self.proxy.url
        self.cluster = replace(self.cluster, **changes)
        return KubernetesDriver(ApiServer(configuration, seconds), self.cluster, seconds)

    @property
    def own_plane(self) -> ControlPlane:
        """Whose programs can be ended, and whose pods do as they are told."""
        if not isinstance(self.plane, ControlPlane):
            pytest.skip(NOT_HERE)
        return self.plane

    def restart_driver(self, **changes: Any) -> None:
        self.driver.close()
        self.driver = self.another_driver(**changes)

    def namespace(self, spec: InstanceSpec) -> str:
        return namespace_of(spec.tenant, self.cluster)

    def pods(self, spec: InstanceSpec) -> list[Json]:
        path = f"/api/v1/namespaces/{self.namespace(spec)}/pods"
        found = self.plane.call("GET", f"{path}?labelSelector={INSTANCE}={spec.id}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, spec: InstanceSpec) -> str:
        """The name of the instance's pod, as soon as there is one."""
        name: str = eventually(lambda: self.pods(spec), bool)[0]["metadata"]["name"]
        return name

    def set_fate(self, spec: InstanceSpec, fate: str | None) -> None:
        self.own_plane.set_fate(self.namespace(spec), self.pod(spec), fate)

    # --- As a reconciler ----------------------------------------------------------------------------

    def up(self, spec: InstanceSpec | None = None, **changes: Any) -> InstanceSpec:
        """An instance that runs."""
        spec = replace(spec, **changes) if spec else instance(**changes)
        self.settle(spec, State.RUNNING)
        return spec

    def up_with_disk(self, spec: InstanceSpec) -> InstanceSpec:
        """The disk first: a scheduler that has just turned a pod away may take minutes to look again."""
        self.settle(replace(spec, power=False), State.STOPPED)
        self.plane.bind_volumes(self.namespace(spec))
        return self.up(spec)

    def settle(self, spec: InstanceSpec, state: State, seconds: float = 15) -> Observation:
        """Pass after pass, until it is in this state and nothing is left to do."""
        return eventually(
            lambda: self.one_pass(spec),
            lambda seen: seen is not None and seen.state == state and not plan(spec, seen),
            seconds,
        )  # type: ignore[return-value]

    def one_pass(self, spec: InstanceSpec) -> Observation | None:
        """What was seen before it was acted on; None where the world did not answer, or not yet."""
        try:
            seen = self.driver.observe(spec)
            for action in plan(spec, seen):
                self.driver.apply(action, spec)
        except DriverError as error:
            if error.permanent:
                raise
            return None
        return seen

    def remove(self, spec: InstanceSpec) -> None:
        self.settle(replace(spec, retired=True), State.ABSENT)

    # --- As somebody with kubectl ---------------------------------------------------------------------

    def wanted(self, spec: InstanceSpec) -> list[Json]:
        return [*tenant_objects(spec, self.cluster), *instance_objects(spec, self.cluster)]

    def manifest(self, kind: Kind, spec: InstanceSpec, number: int = 0) -> Json:
        """The instance's or its tenant's object of this kind, as it is wanted."""
        return [one for one in self.wanted(spec) if kind_of(one) == kind][number]

    def path(self, kind: Kind, spec: InstanceSpec, number: int = 0) -> str:
        return path_of(self.manifest(kind, spec, number))

    def live(self, path: str) -> Json | None:
        """What the API server has there."""
        with suppress(httpx.HTTPStatusError):
            live: Json = self.plane.call("GET", path)
            return live
        return None

    def edit(self, path: str, patch: Mapping[str, Any]) -> Json:
        """As ``kubectl edit`` does it."""
        live: Json = self.plane.call("PATCH", f"{path}?fieldManager=somebody", patch, headers=MERGE_PATCH)
        return live

    def delete(self, path: str, propagation: str = "Background") -> None:
        self.plane.call("DELETE", path, {"propagationPolicy": propagation})

    # --- As every world -----------------------------------------------------------------------------

    def crash(self, spec: InstanceSpec) -> None:
        self.set_fate(spec, "restart-1")

    def hang(self, spec: InstanceSpec, hangs: bool = True) -> None:
        time.sleep(1.1 if hangs else 0)  # a pod's times are in seconds: it has to be ready for one at least
        self.set_fate(spec, "hangs" if hangs else None)

    def disk(self, spec: InstanceSpec) -> object:
        live = self.live(PERSISTENT_VOLUME_CLAIM.path(self.namespace(spec), object_name(spec)))
        return live["metadata"]["uid"] if live else None

    def print(self, spec: InstanceSpec, line: str) -> None:
        self.own_plane.print(self.namespace(spec), self.pod(spec), line)

    def fall_silent(self) -> None:
        """Until the driver has noticed, it tells what it saw last; that is no absence either."""
        self.proxy.fall_silent()
        eventually(self.is_blind, bool)

    def is_blind(self) -> bool:
        try:
            self.driver.inventory()
        except DriverError:
            return True
        return False

    def clear_away(self) -> None:
        """What is left would take room from others; its end is not waited for."""
        mine = f"labelSelector={INSTALLATION}={self.cluster.installation}"
        for namespace in self.plane.call("GET", f"/api/v1/namespaces?{mine}")["items"]:
            self.plane.call("DELETE", f"/api/v1/namespaces/{namespace['metadata']['name']}")


def settle_down(named: list[str], *specs: InstanceSpec) -> None:
    """Until the watch has told what had happened before, of these at least."""
    eventually(lambda: {spec.id for spec in specs} <= set(named), bool)
    while named:
        named.clear()
        time.sleep(0.3)


def path_of(manifest: Mapping[str, Any]) -> str:
    namespace, name = key_of(dict(manifest))
    return kind_of(manifest).path(namespace or None, name)


def repair(world: KubernetesWorld, spec: InstanceSpec) -> None:
    do(world.driver, Verb.REPAIR, spec)


@contextmanager
def kubernetes_world(
    plane: Access, *, kubeconfig: Path | None = None, **changes: Any
) -> Iterator[KubernetesWorld]:
    """``kubeconfig``: as whom the driver comes, else as somebody who may do everything."""
    with Proxy(kubeconfig or plane.kubeconfig) as proxy:
        world = KubernetesWorld(plane, proxy, **changes)
        try:
            yield world
        finally:
            world.driver.close()
            with suppress(httpx.HTTPError):  # a test may have ended the API server
                world.clear_away()


@contextmanager
def shared_namespace(plane: Access) -> Iterator[str]:
    """For installations whose tenants are all in one namespace."""
    name = f"shared-{uuid4().hex[:8]}"
    plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    plane.call("DELETE", f"/api/v1/namespaces/{name}")
