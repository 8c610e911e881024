"""Between a driver and the API server: it counts what is asked, and delays, drops, cuts and answers itself."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
from kubernetes import client, config

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


@dataclass(frozen=True)
class Call:
    """One request, as the driver sent it. ``number`` counts from 1."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_change(self) -> bool:
        return self.method != "GET"

    def __str__(self) -> str:
        return f"{self.number}: {self.method} {self.path}{' (watch)' if self.is_watch else ''}"


@dataclass(frozen=True)
class Answer:
    """The proxy answers instead of the API server, which never hears of the request."""

    status: int
    message: str = "the proxy says so"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": self.message}
        return json.dumps({**told, "code": self.status}).encode()


@dataclass(frozen=True)
class Lose:
    """The connection ends without an answer: before the API server has heard of the request, or after."""

    after: bool


@dataclass(frozen=True)
class Wait:
    """The request is held back for so long."""

    seconds: float


Fate = Answer | Lose | Wait | None
Rule = Callable[[Call], Fate]
Filter = Callable[[Call, Mapping[str, Any]], bool]


class Proxy:
    """``rule`` decides what becomes of a request; ``passes`` whether an event of a watch gets through."""

    def __init__(self, kubeconfig: Path) -> None:
        configuration = client.Configuration()
        config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        configuration.retries = False
        configuration.connection_pool_maxsize = 200
        self._upstream = client.ApiClient(configuration)
        self._host = configuration.host
        self._lock = threading.Lock()
        self._streams: set[urllib3.BaseHTTPResponse] = set()
        self._silent = threading.Event()
        self.calls: list[Call] = []
        self.rule: Rule = lambda _: None
        self.passes: Filter = lambda _call, _event: True
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_watches()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def cut_watches(self) -> None:
        """Break every watch in the middle of a line."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            with suppress(Exception):
                stream.shutdown()  # type: ignore[attr-defined]

    def fall_silent(self) -> None:
        """From now on every connection ends without an answer, until ``speak``."""
        self._silent.set()
        self.cut_watches()

    def speak(self) -> None:
        self._silent.clear()

    @contextmanager
    def counting(self) -> Iterator[list[Call]]:
        """The calls made meanwhile."""
        begin = len(self.calls)
        counted: list[Call] = []
        yield counted
        counted.extend(self.calls[begin:])

    # --- Inside -----------------------------------------------------------------------------------

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        call = self._noted(handler)
        fate = Lose(after=False) if self._silent.is_set() else self.rule(call)
        if isinstance(fate, Wait):
            time.sleep(fate.seconds)
        if isinstance(fate, Answer):
            return _answer(handler, fate.status, fate.headers, fate.body)
        if isinstance(fate, Lose) and not fate.after:
            return _hang_up(handler)
        response = self._forward(handler, body)
        if response is None:
            return _hang_up(handler)
        if isinstance(fate, Lose):
            response.read()
            return _hang_up(handler)
        if response.status == 200 and (call.is_watch or call.query.get("follow") == "true"):
            return self._stream(handler, call, response)
        with suppress(urllib3.exceptions.HTTPError):
            return _answer(handler, response.status, response.headers, response.read())
        return _hang_up(handler)

    def _noted(self, handler: BaseHTTPRequestHandler) -> Call:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            call = Call(len(self.calls) + 1, handler.command, parts.path, query)
            self.calls.append(call)
        return call

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> urllib3.BaseHTTPResponse | None:
        headers = {name: text for name, text in handler.headers.items() if name.lower() not in HOP_BY_HOP}
        self._upstream.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        try:
            return self._upstream.rest_client.pool_manager.request(
                handler.command,
                f"{self._host}{handler.path}",
                body=body or None,
                headers=headers,
                preload_content=False,
                timeout=urllib3.Timeout(connect=5, read=None),
            )
        except urllib3.exceptions.HTTPError:
            return None

    def _stream(
        self, handler: BaseHTTPRequestHandler, call: Call, response: urllib3.BaseHTTPResponse
    ) -> None:
        with self._lock:
            self._streams.add(response)
        try:
            _begin(handler, response.status, {"Content-Type": response.headers.get("Content-Type", "")})
            for line in _lines(response):
                if not call.is_watch or self.passes(call, json.loads(line)):
                    handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    handler.wfile.flush()
            handler.wfile.write(b"0\r\n\r\n")
        except (OSError, urllib3.exceptions.HTTPError, ValueError):
            _hang_up(handler)
        finally:
            with self._lock:
                self._streams.discard(response)
            response.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 200

    def handle_error(self, *_: Any) -> None:
        """A client that has left is what these tests are about."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            proxy.serve(self)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _begin(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    handler.send_response_only(status)
    for name, text in headers.items():
        handler.send_header(name, text)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.flush()


def _answer(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
    handler.send_response_only(status)
    for name, text in headers.items():
        if name.lower() not in HOP_BY_HOP:
            handler.send_header(name, text)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(2)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Whole lines, with their ends."""
    rest = b""
    for chunk in response.stream(amt=64 * 1024):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
