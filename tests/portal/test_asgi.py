"""How requests are spread over the threads of a web process, and what it says of them."""

import asyncio
import threading
from typing import Any

import pytest

from portal import asgi


class Exchange:
    """One request to ``portal.asgi.application``, and what came back."""

    def __init__(self, method: str, path: str, *messages: dict[str, Any]) -> None:
        headers = [(b"host", b"localhost")]
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": headers,
        }
        self.messages = [*messages] or [{"type": "http.request", "body": b"", "more_body": False}]
        self.status = 0
        self.body = b""

    async def run(self) -> "Exchange":
        await asgi.application(self.scope, self._receive, self._send)
        return self

    async def _receive(self) -> dict[str, Any]:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


class Echo:
    """A WSGI application that answers with the body once ``open`` is set, and counts its calls."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.calls = 0
        self._called = threading.Semaphore(0)

    async def wait_for_calls(self, count: int) -> None:
        """Wait for that many further calls."""
        for _ in range(count):
            assert await asyncio.to_thread(self._called.acquire, timeout=30)

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.calls += 1
        self._called.release()
        body = environ["wsgi.input"].read()
        assert self.open.wait(30)
        start_response("200 OK", [])
        return [body]


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """What changes are sent to, in place of Django."""
    echo = Echo()
    monkeypatch.setattr(asgi, "_writes", asgi.Pool(echo))
    return echo


def part(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_arrives_whole(changes: Echo) -> None:
    changes.open.set()
    answer = asyncio.run(Exchange("POST", "/", part(b"ab", True), part(b"cd", False)).run())
    assert (answer.status, answer.body) == (200, b"abcd")


def test_a_body_that_breaks_off_is_never_acted_on(changes: Echo) -> None:
    changes.open.set()
    answer = asyncio.run(Exchange("POST", "/", part(b"[]", True)).run())
    assert (answer.status, changes.calls) == (0, 0)


def test_a_body_without_end_is_refused(changes: Echo) -> None:
    answer = asyncio.run(Exchange("POST", "/", *[part(bytes(2**20), True)] * 20).run())
    assert (answer.status, changes.calls) == (413, 0)


def test_changes_that_wait_hold_up_no_read_and_no_check(changes: Echo, db: None) -> None:
    async def scenario() -> None:
        waiting = [asyncio.create_task(Exchange("POST", "/").run()) for _ in range(3 * asgi.THREADS)]
        await changes.wait_for_calls(asgi.THREADS)
        for path in ("/healthz", "/livez"):
            assert (await asyncio.wait_for(Exchange("GET", path).run(), 30)).status == 200
        assert not any(task.done() for task in waiting)
        changes.open.set()
        assert {(await task).status for task in waiting} == {200}

    asyncio.run(scenario())


def test_a_pool_without_progress_is_stuck_and_a_busy_one_is_not(
    changes: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status() -> int:
        return (await Exchange("GET", "/livez").run()).status

    async def scenario() -> None:
        waiting = [asyncio.create_task(Exchange("POST", "/").run()) for _ in range(asgi.THREADS - 1)]
        await changes.wait_for_calls(asgi.THREADS - 1)
        monkeypatch.setattr(asgi, "STUCK_SECONDS", 0.0)
        assert await status() == 200, "a thread is free"
        waiting.append(asyncio.create_task(Exchange("POST", "/").run()))
        await changes.wait_for_calls(1)
        assert await status() == 503
        monkeypatch.setattr(asgi, "STUCK_SECONDS", 60.0)
        assert await status() == 200, "busy, and not for long"
        changes.open.set()
        await asyncio.gather(*waiting)
        monkeypatch.setattr(asgi, "STUCK_SECONDS", 0.0)
        assert await status() == 200, "idle"

    asyncio.run(scenario())


def test_a_client_that_does_not_read_makes_no_pool_stuck(
    changes: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        read = asyncio.Event()

        class Unread(Exchange):
            async def _send(self, message: dict[str, Any]) -> None:
                await read.wait()
                await super()._send(message)

        changes.open.set()
        unread = [asyncio.create_task(Unread("POST", "/").run()) for _ in range(2 * asgi.THREADS)]
        await changes.wait_for_calls(2 * asgi.THREADS)
        monkeypatch.setattr(asgi, "STUCK_SECONDS", 0.0)
        assert (await Exchange("GET", "/livez").run()).status == 200
        read.set()
        assert {(await task).status for task in unread} == {200}

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/x/logs", "/instances/x/log/stream"])
def test_no_address_lets_a_body_pass_unlimited(changes: Echo, path: str) -> None:
    answer = asyncio.run(Exchange("POST", path, *[part(bytes(2**20), True)] * 20).run())
    assert (answer.status, changes.calls) == (413, 0)
