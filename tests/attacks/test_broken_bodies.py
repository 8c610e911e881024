"""Requests whose body is broken, never ends, or is never read harm no one but their sender."""

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.attacks.bystander import Bystander, under, watch
from tests.e2e.product import Api, Product

CHUNKED = b"Transfer-Encoding: chunked"
BROKEN = {
    "a bad chunk size": (CHUNKED, b"zzzz\r\nabc"),
    "a chunk longer than its size": (CHUNKED, b"3\r\nabcdef\r\n0\r\n\r\n"),
    "a bad trailer": (CHUNKED, b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n"),
    "a long chunk extension": (CHUNKED, b"3;" + b"a" * 9000 + b"\r\nabc"),
    "chunks that stop": (CHUNKED, b"30\r\nabc"),
    "less than announced": (b"Content-Length: 30", b"abc"),
    "two lengths": (b"Content-Length: 3\r\nContent-Length: 4", b"abc"),
    "a negative length": (b"Content-Length: -3", b"abc"),
    "a space before the colon": (b"Transfer-Encoding : chunked", b"0\r\n\r\n"),
    "headers without end": (b"X-Filler: " + b"a" * 200_000, b""),
}
# RFC 9112 asks for 501 here; Caddy refuses these before it looks at anything else
UNKNOWN_CODINGS = {
    "an unknown coding": (b"Transfer-Encoding: xchunked", b"abc"),
    "a second coding": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"abc"),
}
TARGETS = (
    ("localhost", "/update"),
    ("portal.localhost", "/accounts/login/"),
    ("localhost", "/registry/some-package"),
    ("bodies.localhost", "/hook"),
)


@pytest.fixture(scope="module")
def with_instance(product: Product) -> Product:
    """The product with an instance, ``bodies``, so that requests to its host go to a Node-RED."""
    api = product.api(product.token())
    api.make("bodies")
    api.wait("bodies", "running", 60)
    return product


def send(product: Product, host: str, request: bytes) -> bytes:
    """Send ``request`` as it stands, then end the sending side. Return the answer, empty if there was none."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=30) as connection:
        try:
            connection.sendall(request.replace(b"HOST", f"{host}:{product.port}".encode()))
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(65536)
        except OSError:  # closed while we were still sending
            return b""


def request(method: bytes, path: str, header: bytes, body: bytes) -> bytes:
    line = method + b" " + path.encode() + b" HTTP/1.1\r\n"
    return line + b"Host: HOST\r\nAccept: text/html\r\n" + header + b"\r\n\r\n" + body


def unharmed(quiet: Bystander, attacked: Bystander) -> None:
    assert attacked.failures == []
    assert attacked.median < 5 * quiet.median + 0.03
    assert max(attacked.seconds) < 5 * max(quiet.seconds) + 2


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_is_the_clients_fault(with_instance: Product, name: str) -> None:
    for (host, path), method in itertools.product(TARGETS, (b"POST", b"GET")):
        began = time.monotonic()
        answer = send(with_instance, host, request(method, path, *BROKEN[name]))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (host, method, answer[:100])
        assert time.monotonic() - began < 8, (host, method)


@pytest.mark.parametrize("name", UNKNOWN_CODINGS)
def test_an_unknown_coding_is_refused(with_instance: Product, name: str) -> None:
    for host, path in TARGETS:
        answer = send(with_instance, host, request(b"POST", path, *UNKNOWN_CODINGS[name]))
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
        assert b"Connection: close" in answer


def test_a_length_beside_chunks_hides_no_second_request(with_instance: Product) -> None:
    """With the length, the second request is part of a body; with the chunks, it is another request."""
    hidden = b"GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n"
    for host, path in TARGETS:
        both = b"Content-Length: %d\r\nTransfer-Encoding: chunked" % (len(hidden) + 5)
        answer = send(with_instance, host, request(b"POST", path, both, b"0\r\n\r\n" + hidden))
        assert not answer.startswith(b"HTTP/1.1 5")
        if answer.startswith(b"HTTP/1.1 2"):
            assert b"Connection: close" in answer or answer.count(b"HTTP/1.1 ") <= 2


def test_broken_requests_harm_no_bystander(with_instance: Product) -> None:
    product = with_instance
    attacks = itertools.cycle(
        (host, request(method, path, *BROKEN[name]))
        for name in ("a bad chunk size", "a bad trailer", "chunks that stop")
        for method in (b"POST", b"GET")
        for host, path in TARGETS
    )
    pages = (f"{product.local}/healthz", f"{product.local}/api/v1/openapi.json")
    for page in pages:
        quiet = watch(page, 1)
        with under(lambda: send(product, *next(attacks)), every=0.1):
            unharmed(quiet, watch(page, 4))


@contextmanager
def connections(product: Product, count: int, first: bytes) -> Iterator[None]:
    """Open that many connections, which send ``first`` and then neither send nor read."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", product.port))
            try:
                connection.sendall(first.replace(b"HOST", f"portal.localhost:{product.port}".encode()))
            except OSError:
                continue  # it is not even listened to
        yield


STALLED = {
    "headers that never end": (100, b"GET / HTTP/1.1\r\nHost: HOST\r\n"),
    "a body that never comes": (
        100,
        b"POST /update HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100000\r\n\r\n{",
    ),
    "a large body that stops": (
        12,
        b"POST /accounts/login/ HTTP/1.1\r\nHost: HOST\r\n"
        # any cookie of the right form makes Django read the form for its token
        + b"Cookie: flowstead-csrf="
        + b"a" * 32
        + b"\r\nContent-Type: multipart/form-data; boundary=x"
        + b"\r\nContent-Length: 1000000000\r\n\r\n--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n"
        + bytes(17 * 2**20),
    ),
    "an answer that is never read": (
        40,
        b"GET /static/ninja/redoc.standalone.js.map HTTP/1.1\r\nHost: HOST\r\n\r\n" * 3,
    ),
}


@pytest.mark.parametrize("name", STALLED)
def test_clients_that_stall_harm_no_bystander(product: Product, name: str) -> None:
    count, first = STALLED[name]
    quiet = watch(f"{product.local}/healthz", 1)
    with connections(product, count, first):
        unharmed(quiet, watch(f"{product.local}/healthz", 2))


def test_the_product_is_ready_after_all_this(product: Product, api: Api) -> None:
    assert api.client.get("/me").status_code == 200
    assert len(product.pids("portal.asgi")) == 2
