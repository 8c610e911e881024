"""The portal under a real uvicorn, in this process: the test and the portal share a database and a driver."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from django.conf import settings
from django.db import connections
from django.test import Client

from portal import asgi
from tenants import logs
from tenants.models import AccessToken, Instance
from tenants.reconciler import Reconciler
from tests.e2e.product import wait_for
from tests.memory_driver import MemoryDriver


@dataclass
class Served:
    port: int
    driver: MemoryDriver

    def client(self, **headers: str) -> httpx.Client:
        host = {"Host": urlsplit(settings.FLOWSTEAD_URL).netloc}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={**host, **headers}, timeout=20, trust_env=False
        )

    @property
    def portal(self) -> str:
        """For a browser, which finds every host below localhost on this machine."""
        return f"http://{urlsplit(settings.FLOWSTEAD_URL).hostname}:{self.port}"

    def cookie(self, user: Any) -> dict[str, str]:
        """A session of that user, for a browser."""
        browser = Client()
        browser.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        return {"name": name, "value": browser.cookies[name].value, "url": self.portal}

    def with_token(self, user: Any) -> httpx.Client:
        return self.client(Authorization=f"Bearer {AccessToken.objects.make(user, 'test')[1]}")

    def with_session(self, user: Any) -> httpx.Client:
        cookie = self.cookie(user)
        return self.client(Cookie=f"{cookie['name']}={cookie['value']}")

    def reconcile(self, passes: int = 3) -> None:
        for _ in range(passes):
            Instance.objects.mark_due()
            Reconciler(self.driver).pass_once()

    def run(self, instance: Instance) -> None:
        """Have the reconciler bring it up."""
        self.reconcile()
        instance.refresh_from_db()
        assert instance.phase == "running"


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    driver = MemoryDriver()
    monkeypatch.setattr(logs, "_driver", lambda: driver)
    monkeypatch.setattr(asgi, "_streams", asgi.StreamHandler())  # a semaphore belongs to one event loop
    # Threads of the portal live on; their connections would hold the test database.
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    config = uvicorn.Config(
        asgi.application,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, "uvicorn listens")
        yield Served(server.servers[0].sockets[0].getsockname()[1], driver)
    finally:
        server.should_exit = True
        thread.join(20)
