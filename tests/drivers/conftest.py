from collections.abc import Iterator

import pytest

from tests.drivers.worlds import LocalWorld, MemoryWorld, World, local_world


@pytest.fixture
def local() -> Iterator[LocalWorld]:
    """A local world of this test's own: it may end the supervisord."""
    with local_world() as world:
        yield world


@pytest.fixture(scope="module")
def shared_local() -> Iterator[LocalWorld]:
    with local_world() as world:
        yield world


@pytest.fixture(params=["memory", "local"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return request.getfixturevalue("shared_local")  # type: ignore[no-any-return]


@pytest.fixture(params=["memory", "local"])
def own_world(request: pytest.FixtureRequest) -> World:
    """As ``world``, for a test that makes it fall silent or counts what is in it."""
    if request.param == "memory":
        return MemoryWorld()
    return request.getfixturevalue("local")  # type: ignore[no-any-return]
