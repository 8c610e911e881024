"""What uvicorn serves: log streams through Django's ASGI handler, everything else through its WSGI handler.

All but the streams is synchronous. Under the ASGI handler each such request hops between threads for
every middleware and opens a database connection of its own; a small pool of threads that live on
serves it at a third of the cost (docs/adr/0011). Reads have a pool of their own, so that changes that
wait for the database hold up no page and no health check (docs/adr/0020).
"""

import asyncio
import os
import time
from typing import Any

import django
from a2wsgi import WSGIMiddleware
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from portal.proxies import behind_proxies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

THREADS = 4  # of each pool
STUCK_SECONDS = 60.0  # longer than any single request may wait for the database
MAX_BODY_BYTES = 16 * 2**20  # as in deploy/local/Caddyfile; DOCUMENT_MAX_BYTES stays below it
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPENING = 16
STREAMS = ("/logs", "/log/stream")


class Pool:
    """A few threads for synchronous requests."""

    def __init__(self, application: Any) -> None:
        self.serve = WSGIMiddleware(application, workers=THREADS)
        self._open = 0
        self._progress_at = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._open < THREADS:
            self._progress_at = time.monotonic()  # this request gets a thread at once
        self._open += 1
        try:
            await self.serve(scope, receive, send)
        finally:
            self._open -= 1
            self._progress_at = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """Whether every thread is taken and none has finished a request for ``STUCK_SECONDS``."""
        return self._open >= THREADS and time.monotonic() - self._progress_at > STUCK_SECONDS


class StreamHandler(ASGIHandler):
    """Opens at most ``OPENING`` streams at a time, each with a database connection of its own. A stream
    that has begun holds none, however long it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self._opening = asyncio.Semaphore(OPENING)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        async with self._opening:
            try:
                return await super().run_get_response(request)
            finally:
                await sync_to_async(connections.close_all)()


_streams = StreamHandler()
_wsgi = get_wsgi_application()
_reads, _writes = Pool(_wsgi), Pool(_wsgi)


async def _divided(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await _reads.serve(scope, receive, send)
    elif scope["path"] == "/livez":
        await _livez(send)
    elif scope["path"].endswith(STREAMS):
        await _streams(scope, receive, send)
    elif scope["method"] in SAFE_METHODS:
        await _with_body(_reads, scope, receive, send)
    else:
        await _with_body(_writes, scope, receive, send)


async def _with_body(pool: Pool, scope: Any, receive: Any, send: Any) -> None:
    """Give ``pool`` the request once its body is complete: a client that stalls holds no thread, and a body
    that breaks off is never acted on."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            await _answer(send, 413, b"The request is too large.\n")
            return
        if not message.get("more_body", False):
            break

    async def receive_whole() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    await pool(scope, receive_whole, send)


async def _livez(send: Any) -> None:
    """Answer 503 when only a restart helps. This needs no thread, so a busy process is quick to answer."""
    stuck = _reads.is_stuck or _writes.is_stuck
    await _answer(send, 503 if stuck else 200, b"stuck\n" if stuck else b"ok\n")


async def _answer(send: Any, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


application = behind_proxies(_divided, settings.TRUSTED_PROXIES, "https" if settings.HTTPS else "http")
