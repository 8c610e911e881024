"""Instances behind a gateway, and the way there from an ingress controller."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tenants.provisioning.cluster.kinds import HTTP_ROUTE, INGRESS
from tenants.provisioning.cluster.settings import Namespaces, Route
from tenants.provisioning.spec import State
from tests.cluster.accounts import Account, account
from tests.cluster.control_plane import ControlPlane
from tests.cluster.routes import serve_routes
from tests.cluster.worlds import kubernetes_world, repair
from tests.drivers.worlds import eventually

GATEWAY = {"route": Route.GATEWAY, "gateway": "infra/public/https"}


@pytest.fixture(scope="module")
def behind_a_gateway(control_plane: ControlPlane) -> Iterator[Account]:
    """With the rights that these settings ask for."""
    serve_routes(control_plane)
    with account(control_plane, Namespaces.TENANT, **GATEWAY) as made:
        yield made


def test_a_route_is_made_and_put_back_and_removed(behind_a_gateway: Account) -> None:
    with behind_a_gateway.world() as world:
        spec = world.up()
        path = world.path(HTTP_ROUTE, spec)
        assert world.live(path)["spec"] == world.manifest(HTTP_ROUTE, spec)["spec"]  # type: ignore[index]
        world.delete(path)
        eventually(lambda: world.driver.observe(spec).drift, bool)
        repair(world, spec)
        world.edit(path, {"spec": {"hostnames": ["theirs.example.com"]}})
        seen = eventually(lambda: world.driver.observe(spec), lambda seen: bool(seen.drift))
        assert seen.drift == (f"HTTPRoute node-red-{spec.name} was changed: spec.hostnames",)
        repair(world, spec)
        world.remove(spec)
        assert world.live(path) is None


def test_after_the_change_to_a_gateway_the_ingress_goes(behind_a_gateway: Account) -> None:
    plane = behind_a_gateway.plane
    with kubernetes_world(plane) as before:
        spec = before.up()
        ingress = before.path(INGRESS, spec)
        same = {key: getattr(before.cluster, key) for key in ("installation", "namespace_prefix")}
        with replace(behind_a_gateway, more=GATEWAY | same).world() as world:
            running = before.driver.observe(spec)
            assert set(world.driver.observe(spec).drift) == {
                f"HTTPRoute node-red-{spec.name} was missing",
                f"Ingress node-red-{spec.name} was out of place",
            }
            world.settle(spec, State.RUNNING)
            eventually(lambda: world.live(ingress), lambda live: live is None)
            assert world.live(world.path(HTTP_ROUTE, spec))
            assert world.driver.observe(spec) == running  # the process was left alone
