"""The drivers' contract, held by the Kubernetes driver."""

from collections.abc import Iterator

import pytest

from tests.cluster.access import Access
from tests.cluster.worlds import KubernetesWorld, kubernetes_world
from tests.drivers.test_contract import *  # noqa: F403  (the suite itself)


@pytest.fixture(scope="module")
def world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world


@pytest.fixture
def own_world(cluster: Access) -> Iterator[KubernetesWorld]:
    with kubernetes_world(cluster) as world:
        yield world
