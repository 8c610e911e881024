"""The drivers' contract, held by the Kubernetes driver."""

from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.worlds import KubernetesWorld, kubernetes_world
from tests.drivers.test_contract import *  # noqa: F403  (the suite itself)


@pytest.fixture(scope="module")
def world(control_plane: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(control_plane) as world:
        yield world


@pytest.fixture
def own_world(control_plane: ControlPlane) -> Iterator[KubernetesWorld]:
    with kubernetes_world(control_plane) as world:
        yield world
