"""Whatever is sent, no address answers with a 500, and none of the API with a page."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.product import Api, Product

pytestmark = pytest.mark.e2e

DEEP = b"[" * 100_000
TEXTS = ("a\0b", "\ud800")


@pytest.fixture(scope="module", autouse=True)
def _no_faults(product: Product) -> Iterator[None]:
    """Fail if any process that answers requests has logged an error."""
    before = _faults(product)
    yield
    assert _faults(product) == before


def _faults(product: Product) -> int:
    logs = [file for file in (product.data_dir / "logs").iterdir() if file.is_file()]
    return sum(file.read_text(errors="replace").count("Internal Server Error") for file in logs)


@pytest.fixture(scope="module")
def owner(product: Product) -> Iterator[Api]:
    """The operator, with an instance in which something was deployed."""
    api = product.api(product.token())
    instance = api.make("bad-input")
    api.wait("bad-input", "running", 60)
    environment = json.loads(
        (product.data_dir / "instances" / instance["id"] / "environment.json").read_text()
    )
    storage = f"/storage/{instance['id']}/flows"
    token = {"Authorization": f"Bearer {environment['FLOWSTEAD_STORAGE_TOKEN']}"}
    assert api.client.post(storage, json=[{"id": "a"}], headers=token).status_code == 200
    yield api
    api.client.delete("/instances/bad-input")


def check(answer: httpx.Response) -> None:
    """A refusal in the API's form of an error."""
    assert 400 <= answer.status_code < 500, (
        f"{answer.request.method} {answer.request.url}: {answer.text[:200]}"
    )
    assert answer.headers["Content-Type"].startswith("application/json"), answer.text[:200]
    assert {"detail", "code"} <= answer.json().keys()


def test_text_that_no_database_can_hold_is_refused(owner: Api) -> None:
    for text in TEXTS:
        for path, body in [
            ("/instances", {"name": text}),
            ("/instances", {"name": "room", "tenant": text}),
            ("/instances", {"name": "room", "stack": text}),
            ("/instances", {"name": "room", "size": text}),
            ("/instances", {"name": "room", "environment": {"A": text}}),
            ("/tokens", {"name": text}),
            ("/instances/bad-input/snapshots", {"name": text}),
        ]:
            answer = owner.client.post(
                path, content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
            check(answer)
            assert answer.status_code == 422, (path, body)


def test_cursors_that_no_answer_gave_are_422(owner: Api) -> None:
    for cursor in ("9" * 5000, "%00", "AA==", "%FF", "-1"):
        for path in (
            "/instances/bad-input/snapshots",
            "/instances/bad-input/events",
            "/tokens",
            "/catalogue/packages",
        ):
            answer = owner.client.get(f"{path}?cursor={cursor}")
            check(answer)
            assert answer.status_code == 422, path


def test_bodies_that_mean_nothing_are_refused(owner: Api) -> None:
    for body in (
        b"",
        b"null",
        b"[]",
        b"1",
        b"{",
        b"\xff",
        DEEP,
        b'{"name":' + DEEP,
        b'{"name": NaN}',
        b"9" * 5000,
    ):
        for path in ("/instances", "/tokens"):
            for kind in ("application/json", "text/plain", "multipart/form-data"):
                check(owner.client.post(path, content=body, headers={"Content-Type": kind}))


def test_a_wrong_method_is_405_and_no_page(product: Product, owner: Api) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/", "/docs", "/openapi.json", "/me"):
            for host in (f"localhost:{product.port}", f"portal.localhost:{product.port}"):
                answer = owner.client.request(method, path, headers={"Host": host})
                check(answer)
                assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def raw(product: Product, head: bytes) -> bytes:
    """The first bytes of the answer to a request that no client library would send; empty if it was cut off."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(head.replace(b"\n", b"\r\n") + b"\r\n\r\n")
        try:
            return connection.recv(4096)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/%",
        b"/api/v1/instances/%zz",
        b"/api/v1/instances/%00",
        b"/api/v1/instances/%ff%fe",
        b"/api/v1/instances/\xff\xfe",
        b"/api/v1/instances?tenant=%00",
        b"/api/v1/instances?tenant=%ff%ED%A0%80",
        b"/api/v1/instances?tenant=\xff",
        b"/api/v1/instances?" + b"a&" * 2000,
        b"/api/v1/instances/" + b"a" * 60_000,
        b"/api/v1/../../etc/passwd",
        b"//api//v1//me",
    ],
)
def test_an_address_that_cannot_be_read_is_a_refusal_and_no_page(
    product: Product, owner: Api, target: bytes
) -> None:
    token = f"Authorization: Bearer {product.token()}".encode()
    answer = raw(product, b"GET " + target + b" HTTP/1.1\nHost: localhost:%d\n" % product.port + token)
    assert answer.split(b" ")[1][:1] in (b"4", b"3", b"2"), answer[:200]
    assert b"text/html" not in answer.lower() or not target.startswith(b"/api"), answer[:200]


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization: Bearer \xff\xfe",
        b"X: " + b"a" * 2_000_000,
        b"Cookie: a=" + b"b" * 60_000,
        b"A: b\nA: b",
    ],
)
def test_a_header_that_cannot_be_read_is_a_refusal(product: Product, owner: Api, header: bytes) -> None:
    answer = raw(product, b"GET /api/v1/me HTTP/1.1\nHost: localhost:%d\n" % product.port + header)
    assert not answer or answer.split(b" ")[1][:1] == b"4", answer[:200]


def test_pages_refuse_what_they_cannot_read(product: Product, owner: Api) -> None:
    for path in (
        "/accounts/login/?next=%00",
        "/instances/%00/",
        "/catalogue/?q=%00",
        "/?%00",
        "/accounts/%ff/",
    ):
        assert product.get("portal", path).status_code < 500, path
    cookie = product.get("portal", "/accounts/login/", Cookie=r'flowstead-session="aaaaaaaa\000"')
    assert cookie.status_code == 200
    for body, kind in [
        (b"login=%00&password=%00", "application/x-www-form-urlencoded"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (DEEP, "application/json"),
    ]:
        answer = httpx.post(
            f"http://127.0.0.1:{product.port}/accounts/login/",
            content=body,
            headers={"Host": f"portal.localhost:{product.port}", "Content-Type": kind},
        )
        assert 400 <= answer.status_code < 500


def test_a_login_to_the_registry_that_is_no_object_is_400(product: Product) -> None:
    registry = f"{product.local}/registry"
    for body in (b"null", b"[]", b"1", b'"x"', b"{}", b"{", DEEP[:60_000], b""):
        answer = httpx.put(
            f"{registry}/-/user/org.couchdb.user:operator",
            content=body,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 400, (body[:20], answer.text[:200])
    assert httpx.get(f"{registry}/-/ping").status_code == 200


def test_the_registry_takes_no_package_that_is_never_listed(product: Product) -> None:
    name, file = "@Operator/pump", "pump-1.0.0.tgz"
    version = {
        "name": name,
        "version": "1.0.0",
        "dist": {"tarball": f"{product.local}/registry/{name}/-/{file}"},
    }
    document = {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
        "_attachments": {file: {"data": "eA=="}},
    }
    answer = httpx.put(
        f"{product.local}/registry/@Operator%2fpump",
        json=document,
        headers={"Authorization": f"Bearer {product.token()}"},
    )
    assert answer.status_code == 400
    assert "lower case" in answer.json()["error"]
