"""A real registry that knows the portal under test, and npm."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue.models import Look, Reading
from catalogue.refresh import Refresher
from catalogue.registry import Registry
from tests.catalogue.verdaccio import SECRET, Verdaccio
from tests.npm import Npm


@pytest.fixture(scope="module")
def verdaccio(live_server: Any) -> Iterator[Verdaccio]:
    registry = Verdaccio(live_server.url).start()
    yield registry
    registry.remove()


@pytest.fixture
def registry(verdaccio: Verdaccio, transactional_db: Any, settings: Any) -> Verdaccio:
    """The registry, and the portal set to use it. What other tests published has been read."""
    settings.REGISTRY_INTERNAL_URL = verdaccio.url
    settings.REGISTRY_HOOK_TOKEN = SECRET
    with contextlib.closing(Registry(verdaccio.url, SECRET)) as client:
        Refresher(client).look()
    Reading.objects.update(due_at=None)
    Look.objects.all().delete()
    return verdaccio


@pytest.fixture
def refresher(registry: Verdaccio) -> Iterator[Refresher]:
    client = Registry(registry.url, SECRET)
    yield Refresher(client)
    client.close()


@pytest.fixture
def following(refresher: Refresher) -> Iterator[None]:
    """The process that reads what becomes due, at work."""
    stop = threading.Event()
    thread = threading.Thread(target=refresher.follow, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def npm(registry: Verdaccio, tmp_path: Path) -> Npm:
    return Npm(tmp_path, f"{registry.url}/")
