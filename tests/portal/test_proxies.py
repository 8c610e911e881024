"""Who sent a request: a real uvicorn, asked over TCP from trusted and other addresses, and over a socket."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from a2wsgi import WSGIMiddleware
from django.http import HttpRequest

from portal.proxies import behind_proxies, client_address

PROXY, CLIENT = "127.0.0.2", "127.0.0.3"


def who(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ.get("REMOTE_ADDR"), environ["wsgi.url_scheme"]]).encode()]


class Served:
    """``who`` behind ``behind_proxies``, on a port of this machine or on a Unix socket."""

    def __init__(self, bound: socket.socket, trusted: tuple[str, ...], scheme: str = "http") -> None:
        self._bound = bound
        application: Any = behind_proxies(WSGIMiddleware(who), trusted, scheme)  # type: ignore[arg-type]
        config = uvicorn.Config(application, proxy_headers=False, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        run = self._server.serve(sockets=[bound])
        self._thread = threading.Thread(target=asyncio.run, args=(run,), daemon=True)
        self._thread.start()

    def ask(self, source: str, **headers: str) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", timeout=20)
        connection.sock = socket.socket(self._bound.family)
        if source:
            connection.sock.bind((source, 0))
        connection.sock.connect(self._bound.getsockname())
        connection.request("GET", "/", headers=headers)
        answer: list[str] = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._bound.close()


@pytest.fixture(scope="module")
def portal() -> Iterator[Served]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    served = Served(bound, (f"{PROXY}/32", "10.0.0.0/8"))
    yield served
    served.stop()


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("9.9.9.9, 203.0.113.7", "203.0.113.7"),
        ("9.9.9.9, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_a_trusted_proxy_tells_client_and_scheme(portal: Served, forwarded: str, client: str) -> None:
    given = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    assert portal.ask(PROXY, **given) == [client, "https"]


def test_any_other_address_tells_nothing(portal: Served) -> None:
    given = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert portal.ask(CLIENT, **given) == [CLIENT, "http"]


def test_over_a_unix_socket_the_server_in_front_tells(tmp_path: Path) -> None:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "web.sock"))
    bound.listen()
    served = Served(bound, (), "https")
    assert served.ask("", **{"X-Forwarded-For": "203.0.113.7"}) == ["203.0.113.7", "https"]
    given = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}
    assert served.ask("", **given) == ["203.0.113.7", "http"]
    served.stop()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_limits_count_a_customer_once(address: str, counted: str) -> None:
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address
    assert client_address(request) == counted
