"""Between a driver and the API server: it counts what is asked, and delays, drops, cuts and answers itself."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import urllib3
from kubernetes import client, config

_END = b"0\r\n\r\n"
_HALF_A_LINE = b'14\r\n{"type":"MODIFIED","\r\n'
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
    def is_list(self) -> bool:
        return "labelSelector" in self.query and not self.is_watch

    @property
    def is_change(self) -> bool:
        return self.method != "GET"

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

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
    """The connection ends without an answer: before the API server has heard of the request, or after.
    What is to happen in that very moment is ``then``."""

    after: bool
    then: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Delay:
    """The connection ends without an answer, and the request is still on its way: until ``deliver``."""


@dataclass(frozen=True)
class Wait:
    """The request is held back for so long."""

    seconds: float


@dataclass(frozen=True)
class Instead:
    """The request reaches the API server with another query."""

    query: Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """How the API server answered: its status, and its warning where there was one."""

    call: Call
    status: int
    warning: str


Fate = Answer | Instead | Lose | Delay | Wait | None
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
        self._ended: set[urllib3.BaseHTTPResponse] = set()
        self._delayed: list[Callable[[], urllib3.BaseHTTPResponse | None]] = []
        self._silent = threading.Event()
        self._view = ""
        self._caught_up = threading.Event()
        self._caught_up.set()
        self.calls: list[Call] = []
        self.answers: list[Answered] = []
        self.rule: Rule = lambda _: None
        self.passes: Filter = lambda _call, _event: True
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.catch_up()
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

    def end_watches(self) -> None:
        """As the API server does it now and then: it says that this was the end."""
        with self._lock:
            self._ended |= self._streams
        self.cut_watches()

    def show(self, version: str) -> None:
        """From now on lists are those of this resourceVersion, and watches tell nothing: the API server
        that the driver talks to has fallen behind. Until ``catch_up``."""
        self._view = version
        self._caught_up.clear()

    def catch_up(self) -> None:
        """Watches tell what happened since."""
        self._view = ""
        self._caught_up.set()

    def deliver(self, *, and_keep: bool = False) -> int:
        """Requests that were delayed reach the API server now. Answers how many. Those that are kept can be
        delivered once more, as if they had come even later."""
        with self._lock:
            delayed, self._delayed = self._delayed, self._delayed if and_keep else []
        for send in delayed:
            response = send()
            if response is not None:
                response.read()
        return len(delayed)

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
        if isinstance(fate, Delay):
            with self._lock:
                self._delayed.append(lambda: self._forward(handler, call, body))
            return _hang_up(handler)
        if isinstance(fate, Lose) and not fate.after:
            fate.then()
            return _hang_up(handler)
        if call.is_watch and not self._caught_up.is_set():
            return self._watch_later(handler, call)
        if isinstance(fate, Instead):
            call = replace(call, query=fate.query)
        response = self._forward(handler, self._of_view(call), body)
        if response is None:
            return _hang_up(handler)
        if isinstance(fate, Lose):
            response.read()
            fate.then()
            return _hang_up(handler)
        if response.status == 200 and (call.is_watch or call.query.get("follow") == "true"):
            return self._stream(handler, call, response)
        with suppress(urllib3.exceptions.HTTPError):
            return _answer(handler, response.status, response.headers, response.read())
        return _hang_up(handler)

    def _noted(self, handler: BaseHTTPRequestHandler) -> Call:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        with self._lock:
            call = Call(len(self.calls) + 1, handler.command, parts.path, query)
            self.calls.append(call)
        return call

    def _of_view(self, call: Call) -> Call:
        if not self._view or not call.is_list:
            return call
        query = {**call.query, "resourceVersion": self._view, "resourceVersionMatch": "Exact"}
        return replace(call, query=query)

    def _watch_later(self, handler: BaseHTTPRequestHandler, call: Call) -> None:
        """A watch that is there and silent, until the view has caught up."""
        _begin(handler, 200, {"Content-Type": "application/json"})
        self._caught_up.wait()
        response = self._forward(handler, call, b"")
        if response is None or response.status != 200:
            return _hang_up(handler)
        self._stream(handler, call, response, has_begun=True)

    def _forward(
        self, handler: BaseHTTPRequestHandler, call: Call, body: bytes
    ) -> urllib3.BaseHTTPResponse | None:
        headers = {name: text for name, text in handler.headers.items() if name.lower() not in HOP_BY_HOP}
        self._upstream.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        try:
            response = self._upstream.rest_client.pool_manager.request(
                call.method,
                f"{self._host}{call.target}",
                body=body or None,
                headers=headers,
                preload_content=False,
                timeout=urllib3.Timeout(connect=5, read=None),
            )
        except urllib3.exceptions.HTTPError:
            return None
        self.answers.append(Answered(call, response.status, response.headers.get("Warning", "")))
        return response

    def _stream(
        self,
        handler: BaseHTTPRequestHandler,
        call: Call,
        response: urllib3.BaseHTTPResponse,
        *,
        has_begun: bool = False,
    ) -> None:
        with self._lock:
            self._streams.add(response)
        try:
            if not has_begun:
                _begin(handler, response.status, response.headers)
            for line in _lines(response):
                if not call.is_watch or self.passes(call, json.loads(line)):
                    handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    handler.wfile.flush()
            handler.wfile.write(_END)
        except (OSError, urllib3.exceptions.HTTPError, ValueError):
            if response not in self._ended:
                return _break_off(handler, call)
            with suppress(OSError):
                handler.wfile.write(_END)
        finally:
            with self._lock:
                self._streams.discard(response)
                self._ended.discard(response)
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
    handler.send_header("Content-Type", headers.get("Content-Type", ""))
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


def _break_off(handler: BaseHTTPRequestHandler, call: Call) -> None:
    if call.is_watch:
        with suppress(OSError):
            handler.wfile.write(_HALF_A_LINE)
            handler.wfile.flush()
    _hang_up(handler)


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
