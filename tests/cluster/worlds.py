"""A cluster as one of the worlds of the drivers' contract suite."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from kubernetes.client import Configuration

from tenants.provisioning.api_server import ApiServer
from tenants.provisioning.cluster import Cluster
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import INSTANCE, namespace_of
from tenants.provisioning.spec import InstanceSpec
from tests.cluster.control_plane import ControlPlane
from tests.cluster.proxy import Proxy
from tests.drivers.worlds import eventually

REQUEST_SECONDS = 10


class KubernetesWorld:
    """An installation of its own in a real cluster, with the tests' proxy before the API server."""

    def __init__(self, plane: ControlPlane, proxy: Proxy, **changes: Any) -> None:
        self.plane = plane
        self.proxy = proxy
        number = uuid4()
        prefix = f"t{number.hex[:8]}"
        self.cluster = replace(Cluster(installation=str(number), namespace_prefix=prefix), **changes)
        self.driver = self.another_driver()

    def another_driver(self, seconds: float = REQUEST_SECONDS) -> KubernetesDriver:
        """As the process makes one that starts anew: it knows nothing."""
        configuration = Configuration()
        configuration.host = self.proxy.url
        return KubernetesDriver(ApiServer(configuration, seconds), self.cluster, seconds)

    def restart_driver(self) -> None:
        self.driver.close()
        self.driver = self.another_driver()

    def namespace(self, spec: InstanceSpec) -> str:
        return namespace_of(spec.tenant, self.cluster)

    def pods(self, spec: InstanceSpec) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{self.namespace(spec)}/pods"
        found = self.plane.call("GET", f"{path}?labelSelector={INSTANCE}={spec.id}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, spec: InstanceSpec) -> str:
        """The name of the instance's pod, as soon as there is one."""
        name: str = eventually(lambda: self.pods(spec), bool)[0]["metadata"]["name"]
        return name

    def set_fate(self, spec: InstanceSpec, fate: str | None) -> None:
        self.plane.set_fate(self.namespace(spec), self.pod(spec), fate)

    # --- As every world -----------------------------------------------------------------------------

    def crash(self, spec: InstanceSpec) -> None:
        self.set_fate(spec, "restart-1")

    def print(self, spec: InstanceSpec, line: str) -> None:
        self.plane.print(self.namespace(spec), self.pod(spec), line)

    def fall_silent(self) -> None:
        """Until the driver has noticed, it tells what it saw last; that is no absence either."""
        self.proxy.fall_silent()
        eventually(self._is_blind, bool)

    def _is_blind(self) -> bool:
        try:
            self.driver.inventory()
        except DriverError:
            return True
        return False


@contextmanager
def kubernetes_world(plane: ControlPlane, **changes: Any) -> Iterator[KubernetesWorld]:
    with Proxy(plane.kubeconfig) as proxy:
        world = KubernetesWorld(plane, proxy, **changes)
        try:
            yield world
        finally:
            world.driver.close()
