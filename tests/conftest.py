"""What every test may ask for."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tenants.models import AccessToken, Instance, Tenant
from tests import factories
from tests.clock import Clock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the modules that need Chromium: all of their tests, since many tell a story in order."""
    in_browser = {item.path for item in items if "browser" in getattr(item, "fixturenames", ())}
    for item in items:
        if item.path in in_browser:
            item.add_marker("browser")


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that limits and the cache read, stopped."""
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.fixture
def user(db: Any) -> Any:
    factories.make_offers()
    return factories.make_user("alice")


@pytest.fixture
def other_user(db: Any) -> Any:
    return factories.make_user("mallory")


@pytest.fixture
def tenant(user: Any) -> Tenant:
    return factories.personal_tenant(user)


@pytest.fixture
def instance(user: Any) -> Instance:
    return factories.make_instance(user, "kitchen")


class ApiClient:
    """Calls the API as one user, with a bearer token."""

    def __init__(self, user: Any) -> None:
        self.token = AccessToken.objects.make(user, "test")[1]
        self.client = Client(headers={"authorization": f"Bearer {self.token}"})

    def __getattr__(self, method: str) -> Any:
        def call(path: str, data: Any = None, **kwargs: Any) -> Any:
            if method != "get":
                kwargs.setdefault("content_type", "application/json")
            return getattr(self.client, method)(f"/api/v1{path}", data, **kwargs)

        return call


@pytest.fixture
def api(user: Any) -> ApiClient:
    return ApiClient(user)


@pytest.fixture
def other_api(other_user: Any) -> ApiClient:
    return ApiClient(other_user)
