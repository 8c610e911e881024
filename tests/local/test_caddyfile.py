"""The one public port: who gets what, and what of it may be believed. A real Caddy, stand-ins behind it."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deploy.local import configuration
from deploy.local.layout import Layout

HERE = Path(__file__).parent
FORGED = {
    "X-Forwarded-For": "9.9.9.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil",
    "Forwarded": "for=9.9.9.9",
    "X-Real-Ip": "9.9.9.9",
    "Remote-User": "operator",
    "X-Flowstead-Instance": "other",
}


class Port:
    """``scheme`` is that of the portal's public address, which a proxy in front may serve."""

    def __init__(self, domain: str, home: Path, scheme: str = "http", trusted: tuple[str, ...] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.domain = domain
        self.env: Any = SimpleNamespace(
            DOMAIN=domain,
            PORT=self.port,
            URL=f"{scheme}://portal.{domain}:{self.port}",
            LOCAL_WEB_PROCESSES=2,
            TRUSTED_PROXIES=trusted,
            STATIC_ROOT=home / "static files",
        )
        self.layout = Layout(home, home, home, home, home, home)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, health_timeout: str = "5s") -> None:
        self.layout.web_sockets.mkdir(exist_ok=True)
        file = self.layout.run / "Caddyfile"
        text = configuration.caddyfile(self.layout, self.env)
        assert "health_timeout 5s" in text
        file.write_text(text.replace("health_timeout 5s", f"health_timeout {health_timeout}"))
        run = [str(self.layout.caddy), "run", "--adapter", "caddyfile", "--config", str(file)]
        self.processes.append(subprocess.Popen(run, stderr=subprocess.DEVNULL))
        wait_for(("127.0.0.1", self.port))
        self.serve(self.layout.web_sockets / "1.sock", "web")  # the other one is being restarted

    def serve(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "upstream.py"), str(path), name]
        self.processes.append(subprocess.Popen(command))
        wait_for(str(path))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(10)

    def send(self, host: str, request: bytes, *, finished: bool = False) -> bytes:
        """The answer to ``request`` as it stands, with ``HOST`` filled in; ``finished``: nothing follows."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request.replace(b"HOST", f"{host}:{self.port}".encode()))
            if finished:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(65536)

    def ask(
        self, host: str, path: str = "/", method: str = "GET", *, source: str = "", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """``source`` is the address that connects."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=(source, 0) if source else None
        )
        connection.request(method, path, headers={"Host": host, **headers})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        said = {name.lower(): value for name, value in response.getheaders()}
        return response.status, said, json.loads(text) if text.startswith("{") else text


def wait_for(address: Any) -> None:
    deadline = time.monotonic() + 10
    while True:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        assert time.monotonic() < deadline, f"{address} does not answer"
        time.sleep(0.02)


@pytest.fixture(scope="module", params=["localhost", "flowstead.example.com"])
def port(request: pytest.FixtureRequest) -> Iterator[Port]:
    home = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    port = Port(request.param, home)
    port.start()
    port.serve(port.layout.sockets / "alpha" / "http.sock", "alpha")
    yield port
    port.stop()
    shutil.rmtree(home)


@pytest.fixture
def behind_https(short: Path) -> Iterator[Port]:
    port = Port("flowstead.example.com", short, "https")
    port.start()
    port.serve(port.layout.registry_socket, "registry")
    yield port
    port.stop()


@pytest.mark.parametrize(("name", "by"), [("portal", "web"), ("catalogue", "web"), ("alpha", "alpha")])
def test_each_host_gets_to_its_own(port: Port, name: str, by: str) -> None:
    host = f"{name}.{port.domain}:{port.port}"
    status, _, said = port.ask(host, "/a/path?with=query")
    assert (status, said["by"], said["path"]) == (200, by, "/a/path?with=query")
    assert said["headers"]["host"] == host


@pytest.mark.parametrize("name", ["portal", "alpha"])
def test_nobody_can_tell_the_upstream_who_asks(port: Port, name: str) -> None:
    host = f"{name}.{port.domain}:{port.port}"
    said = port.ask(host, **FORGED)[2]["headers"]
    assert said["x-forwarded-for"] == "127.0.0.1"
    assert said["x-forwarded-proto"] == "http"
    assert said["x-forwarded-host"] == host
    assert not said.keys() & {"forwarded", "x-real-ip", "remote-user", "x-flowstead-instance"}


def test_plain_localhost_is_the_portal_but_for_the_registry(port: Port) -> None:
    for host in (f"localhost:{port.port}", f"127.0.0.1:{port.port}"):
        assert port.ask(host, "/api/v1/me")[2]["by"] == "web"
        status, _, text = port.ask(host, "/registry/some-package")
        assert (status, text) == (503, "The npm registry is not running.\n")


def test_the_registry_says_that_it_is_not_running(port: Port) -> None:
    assert port.ask(f"registry.{port.domain}:{port.port}")[0] == 503


def test_a_browser_at_an_instance_that_is_not_there_gets_the_portals_page(port: Port) -> None:
    host = f"beta.{port.domain}:{port.port}"
    status, _, said = port.ask(host, "/red/?x=1", Accept="text/html", Cookie="a=b", Authorization="Bearer x")
    assert (status, said["by"], said["path"]) == (404, "web", "/-/instance-unavailable")
    headers = said["headers"]
    assert headers["x-flowstead-instance"] == "beta"
    assert headers["x-flowstead-original-uri"] == "/red/?x=1"
    assert headers["host"] == f"portal.{port.domain}:{port.port}"
    assert not headers.keys() & {"cookie", "authorization"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Accept": "text/html"}),
        ("GET", {"Accept": "application/json"}),
        ("GET", {"Accept": "text/html", "Upgrade": "websocket", "Connection": "Upgrade"}),
    ],
)
@pytest.mark.parametrize("path", ["/", "/comms"])
def test_anything_else_there_gets_a_plain_sentence(
    port: Port, method: str, headers: dict[str, str], path: str
) -> None:
    status, said, text = port.ask(f"beta.{port.domain}:{port.port}", path, method, **headers)
    assert (status, text) == (503, "This instance is not answering.\n")
    assert said["retry-after"] == "2"
    assert said["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "a.b.{domain}", "Alpha.{domain}", "al_pha.{domain}", "-x.{domain}", "{domain}x"],
)
def test_an_unknown_host_is_told_so(port: Port, host: str) -> None:
    assert port.ask(host.format(domain=port.domain))[0] == 421


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/registry/registry-url", "/registry-url"),
        ("/registry/@alice%2fnode-red-pump", "/@alice%2fnode-red-pump"),
        (
            "/registry/@alice/node-red-pump/-/node-red-pump-1.0.0.tgz",
            "/@alice/node-red-pump/-/node-red-pump-1.0.0.tgz",
        ),
    ],
)
def test_the_registry_is_asked_without_the_prefix(port: Port, asked: str, seen: str) -> None:
    if not port.layout.registry_socket.exists():
        port.serve(port.layout.registry_socket, "registry")
    for host in (f"localhost:{port.port}", f"registry.{port.domain}:{port.port}"):
        status, _, said = port.ask(host, asked, **FORGED)
        assert (status, said["by"], said["path"]) == (200, "registry", seen)
        assert said["headers"]["x-forwarded-host"] == host
        assert said["headers"]["x-forwarded-proto"] == "http"
    # on its own host it also answers without it, for a package of any name
    status, _, said = port.ask(f"registry.{port.domain}:{port.port}", "/registry-url")
    assert (status, said["path"]) == (200, "/registry-url")


def test_behind_https_instances_reach_the_registry_by_http_all_the_same(behind_https: Port) -> None:
    port = behind_https
    for host, scheme in (
        (f"127.0.0.1:{port.port}", "http"),
        (f"registry.{port.domain}:{port.port}", "https"),
    ):
        said = port.ask(host, "/registry/some-package", **FORGED)[2]
        assert said["headers"]["x-forwarded-proto"] == scheme


PROXY, CLIENT = "127.0.0.2", "127.0.0.3"  # both connect to Caddy; one of them is trusted


@pytest.fixture(scope="module")
def behind_a_proxy() -> Iterator[Port]:
    home = Path(tempfile.mkdtemp(prefix="fs", dir="/tmp"))
    port = Port("flowstead.example.com", home, "https", trusted=(f"{PROXY}/32", "10.0.0.0/8"))
    port.start()
    port.serve(port.layout.sockets / "alpha" / "http.sock", "alpha")
    port.serve(port.layout.registry_socket, "registry")
    yield port
    port.stop()
    shutil.rmtree(home)


@pytest.mark.parametrize("name", ["portal", "alpha", "registry"])
@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("9.9.9.9, 203.0.113.7", "203.0.113.7"),  # the first one is what the client itself sent
        ("9.9.9.9, 203.0.113.7, 10.1.2.3", "203.0.113.7"),  # through a second trusted proxy
        ("9.9.9.9, 10.1.2.3, 203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_a_trusted_proxy_tells_whose_request_it_passes_on(
    behind_a_proxy: Port, name: str, forwarded: str, client: str
) -> None:
    port = behind_a_proxy
    host = f"{name}.{port.domain}:{port.port}"
    given = {**FORGED, "X-Forwarded-For": forwarded, "X-Forwarded-Proto": "http"}
    said = port.ask(host, source=PROXY, **given)[2]["headers"]
    assert (said["x-forwarded-for"], said["x-forwarded-proto"]) == (client, "http")
    assert said["x-forwarded-host"] == host
    assert not said.keys() & {"forwarded", "x-real-ip", "remote-user", "x-flowstead-instance"}


@pytest.mark.parametrize("name", ["portal", "alpha", "registry"])
def test_an_address_that_is_not_trusted_tells_nothing(behind_a_proxy: Port, name: str) -> None:
    port = behind_a_proxy
    host = f"{name}.{port.domain}:{port.port}"
    said = port.ask(host, source=CLIENT, **{**FORGED, "X-Forwarded-Proto": "http"})[2]["headers"]
    assert (said["x-forwarded-for"], said["x-forwarded-proto"]) == (CLIENT, "https")


@pytest.mark.parametrize(("told", "scheme"), [("https", "https"), ("", "http"), ("gopher", "http")])
def test_without_a_usable_word_of_the_proxy_the_scheme_is_that_of_the_host(
    behind_a_proxy: Port, told: str, scheme: str
) -> None:
    """On plain localhost the registry is reached by http, whatever the portal's public address."""
    port = behind_a_proxy
    given = {"X-Forwarded-Proto": told} if told else {}
    said = port.ask(f"localhost:{port.port}", "/registry/some-package", source=PROXY, **given)[2]["headers"]
    assert (said["x-forwarded-for"], said["x-forwarded-proto"]) == (PROXY, scheme)


def test_the_page_for_an_instance_that_is_not_there_is_told_the_client_too(behind_a_proxy: Port) -> None:
    port = behind_a_proxy
    given = {"Accept": "text/html", "X-Forwarded-For": "9.9.9.9, 203.0.113.7", "X-Forwarded-Proto": "http"}
    said = port.ask(f"beta.{port.domain}:{port.port}", source=PROXY, **given)[2]["headers"]
    assert (said["x-forwarded-for"], said["x-forwarded-proto"]) == ("203.0.113.7", "http")


BROKEN = {
    "chunk size": (b"Transfer-Encoding: chunked", b"zzzz\r\nabc"),
    "no chunk size": (b"Transfer-Encoding: chunked", b"\r\nabc"),
    "endless chunk size": (b"Transfer-Encoding: chunked", b"f" * 20 + b"\r\nabc"),
    "long chunk extension": (b"Transfer-Encoding: chunked", b"3;" + b"a" * 9000 + b"\r\nabc"),
    "chunk end": (b"Transfer-Encoding: chunked", b"3\r\nabcdef\r\n0\r\n\r\n"),
    "trailer": (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n"),
    "long trailer": (b"Transfer-Encoding: chunked", b"0\r\nA: " + b"a" * 9000 + b"\r\n\r\n"),
    "short trailer": (b"Transfer-Encoding: chunked", b"0\r\nA: "),
    "short chunk": (b"Transfer-Encoding: chunked", b"30\r\nabc"),
    "short length": (b"Content-Length: 30", b"abc"),
}


@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_body_is_the_clients_fault_and_tried_once(port: Port, broken: str, method: bytes) -> None:
    if not port.layout.registry_socket.exists():
        port.serve(port.layout.registry_socket, "registry")
    header, body = BROKEN[broken]
    for host, path in (
        (f"portal.{port.domain}", b"/update"),
        ("localhost", b"/update"),
        ("localhost", b"/registry/package"),
        (f"registry.{port.domain}", b"/package"),
        (f"alpha.{port.domain}", b"/hook"),
    ):
        request = method + b" " + path + b" HTTP/1.1\r\nHost: HOST\r\nAccept: text/html\r\n" + header
        began = time.monotonic()
        answer = port.send(host, request + b"\r\n\r\n" + body, finished=broken.startswith("short"))
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 499")), (host, answer)
        assert time.monotonic() - began < 5, f"{host}: it was tried again and again"


def test_the_page_about_an_instance_takes_no_body(port: Port) -> None:
    request = (
        b"GET / HTTP/1.1\r\nHost: HOST\r\nAccept: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n"
    )
    answer = port.send(f"beta.{port.domain}", request)
    assert answer.startswith(b"HTTP/1.1 404")  # the stand-in's status for that page


def test_a_body_over_the_limit_is_refused(port: Port) -> None:
    head = b"POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n" % (17 * 2**20) + bytes(17 * 2**20)
    answer = port.send("localhost", head + chunks)
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b'"code": "document_too_large"}')


def test_a_process_that_is_silent_gets_no_more_requests(short: Path) -> None:
    """It listens and never answers, as a stopped process does, and would get half the requests."""
    port = Port("localhost", short)
    port.layout.web_sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(port.layout.web_sockets / "0.sock"))
        silent.listen(2048)
        port.start(health_timeout="1s")
        try:
            in_a_row, deadline = 0, time.monotonic() + 60
            while in_a_row < 30:
                assert time.monotonic() < deadline, "it is still asked"
                in_a_row = in_a_row + 1 if is_answered(port) else 0
        finally:
            port.stop()


def is_answered(port: Port) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port.port}/healthz", timeout=2).status_code == 200
    except httpx.TimeoutException:
        return False


def test_static_files_come_from_the_disk(port: Port) -> None:
    folder = Path(port.env.STATIC_ROOT)
    folder.mkdir(exist_ok=True)
    (folder / "site.0123456789ab.css").write_text("a {}")
    (folder / "site.css").write_text("a {}")
    for host in (f"portal.{port.domain}:{port.port}", f"localhost:{port.port}"):
        status, said, text = port.ask(host, "/static/site.0123456789ab.css")
        assert (status, text) == (200, "a {}")
        assert "immutable" in said["cache-control"]
        assert said["x-content-type-options"] == "nosniff"
        assert "immutable" not in port.ask(host, "/static/site.css")[1]["cache-control"]
        assert port.ask(host, "/static/")[0] == 404
