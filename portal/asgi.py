"""What uvicorn serves: log streams through Django's ASGI handler, everything else through its WSGI handler.

All but the streams is synchronous. Under the ASGI handler each such request hops between threads for
every middleware and opens a database connection of its own; a small pool of threads that live on
serves it at a third of the cost (docs/adr/0011). Reads have a pool of their own, so that changes that
wait for the database hold up no page and no health check (docs/adr/0020).
"""

import asyncio
import os
import time
from threading import Lock
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
    """A few threads for synchronous requests.

    What counts is how long threads are busy: a client that does not read its response holds none.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self.serve = WSGIMiddleware(self._in_thread, workers=THREADS)
        self._lock = Lock()
        self._busy = 0
        self._progress_at = time.monotonic()

    def _in_thread(self, environ: Any, start_response: Any) -> Any:
        self._count(1)
        try:
            return self._application(environ, start_response)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._busy += change
            self._progress_at = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """Whether every thread is taken and none has finished a request for ``STUCK_SECONDS``."""
        return self._busy >= THREADS and time.monotonic() - self._progress_at > STUCK_SECONDS


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
    elif scope["method"] in SAFE_METHODS and scope["path"].endswith(STREAMS):
        await _streams(scope, _without_body(receive), send)
    elif scope["method"] in SAFE_METHODS:
        await _with_body(_reads.serve, scope, receive, send)
    else:
        await _with_body(_writes.serve, scope, receive, send)


async def _with_body(serve: Any, scope: Any, receive: Any, send: Any) -> None:
    """Serve the request once its body is complete: a client that stalls holds no thread, and a body
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

    await serve(scope, receive_whole, send)


def _without_body(receive: Any) -> Any:
    """Leave out the body of a stream's request: Django would keep it on disk, however large."""
    has_begun = False

    async def receive_no_body() -> dict[str, Any]:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return dict(message)

    return receive_no_body


async def _livez(send: Any) -> None:
    """Answer 503 when only a restart helps. This needs no thread, so a busy process is quick to answer."""
    stuck = _reads.is_stuck or _writes.is_stuck
    await _answer(send, 503 if stuck else 200, b"stuck\n" if stuck else b"ok\n")


async def _answer(send: Any, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


application = behind_proxies(_divided, settings.TRUSTED_PROXIES, "https" if settings.HTTPS else "http")
