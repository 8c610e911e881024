"""The cluster that these tests run against: a control plane of their own, or the one that KUBECONFIG names."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import kubernetes
import pytest

from tests.cluster.access import NOT_HERE, REAL, Access, GivenCluster
from tests.cluster.build import BuildError, programs
from tests.cluster.control_plane import ControlPlane


@pytest.fixture(scope="session")
def _own_control_plane() -> Iterator[ControlPlane | None]:
    if REAL:
        yield None
        return
    try:
        missing = programs().missing()
    except BuildError as error:
        pytest.fail(str(error))
    if missing:
        # Not built here: that takes longer than a test may.
        pytest.fail(f"Not built: {', '.join(missing)}. Run `python -m tests.cluster.build`.")
    with ControlPlane(audit=True) as plane:
        yield plane


@pytest.fixture(scope="session")
def cluster(_own_control_plane: ControlPlane | None) -> Iterator[Access]:
    """Whichever it is."""
    if _own_control_plane:
        yield _own_control_plane
        return
    with closing(GivenCluster(Path(str(REAL)))) as given:
        yield given


@pytest.fixture(scope="session")
def control_plane(_own_control_plane: ControlPlane | None) -> ControlPlane:
    """For tests that end programs, or have pods fail. Those want no real cluster."""
    if _own_control_plane is None:
        pytest.skip(NOT_HERE)
    return _own_control_plane


@pytest.fixture
def namespace(cluster: Access) -> Iterator[str]:
    """One of the test's own, deleted afterwards; its end is not waited for."""
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        core = kubernetes.client.CoreV1Api(client)
        name = f"test-{uuid.uuid4().hex[:8]}"
        core.create_namespace({"metadata": {"name": name}})
        yield name
        core.delete_namespace(name)
