"""What the system checks say of a cluster that cannot work with these settings."""

from typing import Any

import pytest

from portal import checks
from tenants.provisioning.cluster.settings import Route


@pytest.fixture
def cluster(settings: Any) -> Any:
    settings.FLOWSTEAD_DRIVER = "kubernetes"
    settings.FLOWSTEAD_INTERNAL_URL = "http://portal.flowstead.svc"
    return settings


def found() -> list[str | None]:
    every = (
        checks.driver_is_part_of_this_version,
        checks.cluster_has_a_gateway,
        checks.pods_reach_the_portal,
    )
    return [message.id for check in every for message in check(None)]


def test_the_kubernetes_driver_is_part_of_this_version(cluster: Any) -> None:
    assert found() == []
    cluster.FLOWSTEAD_DRIVER = "docker"
    assert found() == ["portal.E007"]


def test_routes_of_a_gateway_need_one(cluster: Any) -> None:
    cluster.KUBERNETES = {**cluster.KUBERNETES, "route": Route.GATEWAY}
    assert found() == ["portal.E008"]
    cluster.KUBERNETES = {**cluster.KUBERNETES, "gateway": "infra/public"}
    assert found() == []


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://localhost",
        "http://portal.localhost",
        "http://0.0.0.0",
    ],
)
def test_this_machine_is_another_place_in_a_pod(cluster: Any, address: str) -> None:
    cluster.FLOWSTEAD_INTERNAL_URL = address
    assert found() == ["portal.E009"]
    cluster.FLOWSTEAD_DRIVER = "local"
    assert found() == []


@pytest.mark.parametrize(
    ("address", "warnings"),
    [
        ("http://10.0.0.5:8000", ["portal.W002"]),
        ("http://192.168.7.5:8000", []),
        ("http://[fd00::5]", ["portal.W002"]),
        ("http://203.0.113.5", []),
    ],
)
def test_it_warns_of_an_address_that_network_policies_close(
    cluster: Any, address: str, warnings: list[str]
) -> None:
    cluster.KUBERNETES = {**cluster.KUBERNETES, "allowed_networks": ("192.168.7.0/24",)}
    cluster.FLOWSTEAD_INTERNAL_URL = address
    assert found() == warnings
