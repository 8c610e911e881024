"""Bad input is refused with a sentence, never a fault, on pages and in the API; on PostgreSQL too."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DataError
from django.test import Client

from tenants import documents
from tests.conftest import ApiClient

pytestmark = pytest.mark.django_db

NUL, SURROGATE = "a\0b", "\ud800"
TEXTS = pytest.mark.parametrize("text", [NUL, SURROGATE], ids=["NUL", "surrogate"])
CURSORS = ["9" * 5000, "AA==", "%FF", "\u0663", "-1", "1.0", b64encode(b"9" * 5000).decode(), "é", "8J+YgA"]


@pytest.fixture
def client_api(api: ApiClient) -> ApiClient:
    api.client.raise_request_exception = False
    return api


@pytest.fixture
def pages(user: Any) -> Client:
    user.user_permissions.set(Permission.objects.all())
    user.is_staff = True
    user.save()
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def is_refused(response: Any) -> bool:
    """A 4xx in the API's form of an error."""
    assert 400 <= response.status_code < 500, response.content
    assert response["Content-Type"].startswith("application/json")
    assert {"detail", "code"} <= response.json().keys() <= {"detail", "code", "fields"}
    return True


# --- The API ---------------------------------------------------------------------------------------


@TEXTS
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/instances", lambda text: {"name": text}),
        ("post", "/instances", lambda text: {"name": "room", "tenant": text}),
        ("post", "/instances", lambda text: {"name": "room", "stack": text}),
        ("post", "/instances", lambda text: {"name": "room", "size": text}),
        ("post", "/instances", lambda text: {"name": "room", "environment": {"A": text}}),
        ("post", "/instances", lambda text: {"name": "room", "environment": {text: "a"}}),
        ("post", "/instances", lambda text: {"name": "room", text: "a"}),
        ("patch", "/instances/kitchen", lambda text: {"power": text}),
        ("patch", "/instances/kitchen", lambda text: {"stack": text}),
        ("patch", "/instances/kitchen", lambda text: {"size": text}),
        ("post", "/instances/kitchen/snapshots", lambda text: {"name": text}),
        ("post", "/tokens", lambda text: {"name": text}),
    ],
)
def test_text_that_cannot_be_stored_is_422(
    client_api: ApiClient, instance: Any, method: str, path: str, body: Callable[[str], Any], text: str
) -> None:
    documents.save_flows(instance.pk, b"[]", expected=None)
    response = getattr(client_api, method)(path, json.dumps(body(text)))
    assert is_refused(response)
    assert (response.status_code, "fields" in response.json()) == (422, True)


@pytest.mark.parametrize(
    "address",
    [
        "/instances?tenant=%00",
        "/instances?phase=%00",
        "/instances?cursor=%00",
        "/instances?%00=1",
        "/tokens?cursor=%00",
        "/instances/kitchen/events?cursor=%00",
        "/instances/kitchen/snapshots?cursor=%00",
        "/instances/kitchen/logs?tail=%00",
        "/catalogue/packages?q=%00",
        "/catalogue/packages?cursor=%00",
    ],
)
def test_a_query_with_nul_is_422_and_says_where(client_api: ApiClient, instance: Any, address: str) -> None:
    response = client_api.get(address)
    assert is_refused(response)
    assert (response.status_code, len(response.json()["fields"])) == (422, 1)


@pytest.mark.parametrize(
    "path",
    [
        "/instances/%00",
        "/instances/a%00b/events",
        "/instances/a%00b/logs",
        "/catalogue/packages/a%00b",
        "/%00",
        "/instances/%ff%fe",
        "/instances/%ED%A0%80",
        f"/tokens/{'9' * 5000}",
        f"/tokens/{'9' * 40}",
        f"/instances/kitchen/snapshots/{'9' * 40}/restore",
        f"/instances/kitchen/snapshots/{'9' * 4000}/restore",
    ],
)
def test_an_address_that_means_nothing_is_404(client_api: ApiClient, instance: Any, path: str) -> None:
    methods = {"tokens": client_api.delete, "restore": client_api.post}
    call = next((method for word, method in methods.items() if word in path), client_api.get)
    response = call(path)
    assert is_refused(response)
    assert response.status_code == 404


@pytest.mark.parametrize("cursor", CURSORS)
@pytest.mark.parametrize(
    "address",
    [
        "/instances/kitchen/snapshots",
        "/instances/kitchen/events",
        "/tokens",
        "/catalogue/packages",
    ],
)
def test_a_bad_cursor_is_422_everywhere(
    client_api: ApiClient, instance: Any, address: str, cursor: str
) -> None:
    response = client_api.get(f"{address}?limit=1&cursor={cursor}")
    assert is_refused(response)
    assert (response.status_code, list(response.json()["fields"])) == (422, ["cursor"])


def test_a_path_in_the_library_may_have_nul(client_api: ApiClient, instance: Any) -> None:
    library = "/instances/kitchen/library/functions"
    assert client_api.delete(f"{library}?path=a%00b").json()["code"] == "not_found"
    response = client_api.delete(f"{library}?path=a%00b&other=%00")
    assert is_refused(response)
    assert response.json()["fields"].keys() == {"other"}


BODIES = {
    "empty": b"",
    "null": b"null",
    "an array": b"[]",
    "text": b'"a"',
    "a number": b"1",
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe{}",
    "NUL": b"\0",
    "nested deeply": b'{"name":' + b"[" * 300 + b"]" * 300 + b"}",
    "nested very deeply": b"[" * 100_000,
    "nested very deeply in a field": b'{"name":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "NaN": b'{"name": NaN, "days": NaN}',
    "infinity": b'{"name": "a", "days": Infinity}',
    "beyond 64 bits": b'{"name": "a b", "days": 99999999999999999999999999}',
    "beyond any number": b'{"name": "a", "days": ' + b"9" * 5000 + b"}",
    "huge exponent": b'{"name": "a", "days": 1e999}',
    "a field twice": b'{"name": "a", "name": 1}',
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", ["/instances", "/tokens", "/registry/rights", "/registry/notify"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data; boundary=x", "text/x", ""]
)
def test_a_body_that_means_nothing_is_a_4xx(
    client_api: ApiClient, settings: Any, body: str, path: str, content_type: str
) -> None:
    settings.REGISTRY_HOOK_TOKEN = "secret"
    headers = {"authorization": "Bearer secret"} if "registry" in path else None
    response = client_api.post(path, BODIES[body], content_type=content_type, headers=headers)
    assert is_refused(response)
    assert response.status_code in (400, 422)


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer \xff\xfe", "Bearer a b", "Basic eA==", "Bearer " + "a" * 100_000, "\xff"],
)
def test_a_header_that_is_no_token_is_401(db: None, header: str) -> None:
    client = Client(raise_request_exception=False)
    for path in ("/me", "/registry/policy", "/catalogue/palette"):
        response = client.get(f"/api/v1{path}", headers={"authorization": header})
        assert is_refused(response)
        assert response.status_code == 401


@pytest.mark.parametrize(
    "path", ["", "docs", "openapi.json", "me", "instances", "registry/policy", "nothing", "tokens/1"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GET"])
def test_no_method_gets_a_page(db: None, path: str, method: str) -> None:
    """Without a token, and with the check for forged forms as browsers meet it."""
    response = Client(enforce_csrf_checks=True, raise_request_exception=False).generic(
        method, f"/api/v1/{path}"
    )
    if method == "GET" and path in ("docs", "openapi.json"):
        assert response.status_code == 200
        return
    assert is_refused(response)
    if path in ("", "docs", "openapi.json") and method != "GET":
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert response["Allow"] == "GET, HEAD"


def test_a_host_that_is_not_ours_and_too_many_fields_get_json_under_the_api(client_api: ApiClient) -> None:
    assert is_refused(client_api.client.get("/api/v1/me", headers={"host": "evil.example"}))
    assert is_refused(client_api.get("/instances?" + "&".join(f"a{number}" for number in range(2000))))


def test_what_the_database_cannot_hold_is_refused_by_whatever_way_it_came(
    client_api: ApiClient, pages: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No real input is known that gets this far, so PostgreSQL's refusal is raised where rows are read."""

    def refuse(*_: Any) -> None:
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")

    monkeypatch.setattr("tenants.models.Instance.objects.visible_to", refuse, raising=False)
    response = client_api.get("/instances")
    assert is_refused(response)
    assert response.status_code == 422
    assert pages.get("/instances/").status_code == 400


# --- Pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "/instances/a%00b/",
        "/instances/a%00b/log/stream",
        "/instances/?seen=%00",
        "/instances/new/name/?name=%00",
        "/catalogue/?q=%00",
        "/catalogue/?scope=%00",
        "/catalogue/a%00b/",
        "/catalogue/publish/?scope=%00",
        "/catalogue.json?for=%00",
        "/accounts/login/?next=%00",
        "/accounts/confirm-email/a%00b/",
        "/accounts/password/reset/key/a%00b-c/",
        "/identity/o/authorize?client_id=%00",
        "/admin/tenants/instance/?q=%00",
        "/admin/tenants/instance/?phase=%00",
        "/admin/tenants/instance/?name__startswith=%00",
        "/admin/tenants/instance/a%00b/change/",
        "/admin/catalogue/package/?scope=%00",
        "/admin/tenants/event/?instance_name=%00",
        "/admin/tenants/instance/autocomplete/?term=%00",
    ],
)
def test_a_page_refuses_an_address_with_nul(pages: Client, address: str) -> None:
    assert pages.get(address).status_code in (400, 404)


@pytest.mark.parametrize("text", [NUL, "%ED%A0%80", "\ufffd", "%FF"])
@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/instances/new/", {"name": "{}", "stack": "node-red-5", "size": "small", "tenant": "alice"}),
        ("/instances/new/", {"name": "room", "stack": "{}", "size": "{}", "tenant": "{}"}),
        ("/instances/new/", {"name": "room", "variable": "A", "value": "{}"}),
        ("/instances/kitchen/environment/", {"variable": "{}", "value": "{}"}),
        ("/instances/kitchen/history/keep/", {"name": "{}"}),
        ("/instances/kitchen/delete/", {"name": "{}"}),
        ("/instances/kitchen/stop/", {"from": "{}"}),
        ("/account/tokens/", {"name": "{}", "days": "{}"}),
        ("/accounts/login/", {"login": "{}", "password": "{}"}),
        (
            "/accounts/signup/",
            {"username": "{}", "email": "{}@example.com", "password1": "{}", "password2": "{}"},
        ),
        ("/accounts/password/reset/", {"email": "{}@example.com"}),
        ("/admin/login/", {"username": "{}", "password": "{}"}),
        ("/admin/catalogue/rule/add/", {"package": "{}", "verb": "{}", "version": "{}", "note": "{}"}),
        (
            "/identity/o/api/token",
            {"grant_type": "{}", "client_id": "{}", "client_secret": "{}", "code": "{}"},
        ),
        ("/update", {"name": "{}"}),
    ],
)
def test_a_form_with_text_that_cannot_be_stored_is_no_fault(
    pages: Client, instance: Any, address: str, fields: dict[str, str], text: str
) -> None:
    documents.save_flows(instance.pk, b"[]", expected=None)
    given = {name: value.format(text) for name, value in fields.items()}
    assert pages.post(address, given).status_code < 500  # as multipart
    raw = "&".join(f"{name}={value}" for name, value in given.items()).replace("\0", "%00")
    form = "application/x-www-form-urlencoded"
    anyone = Client(raise_request_exception=False)
    assert pages.post(address, raw, content_type=form).status_code < 500
    assert anyone.post(address, raw, content_type=form).status_code < 500


def test_nul_in_a_form_is_400_before_anything_is_stored(pages: Client, instance: Any) -> None:
    documents.save_flows(instance.pk, b"[]", expected=None)
    assert pages.post("/instances/kitchen/history/keep/", {"name": NUL}).status_code == 400
    assert [revision.snapshot for revision in documents.history(instance.pk)] == [None]


def test_a_client_id_with_nul_in_a_header_is_no_fault(pages: Client) -> None:
    credential = b64encode(b"a\0b:c\0d").decode()
    answer = pages.post(
        "/identity/o/api/token", {"grant_type": "x"}, headers={"authorization": f"Basic {credential}"}
    )
    assert answer.status_code < 500


def test_a_cookie_with_nul_counts_as_absent(pages: Client, instance: Any) -> None:
    """An instance's page could set such a cookie for all hosts of the domain, which must lock no one out."""
    pages.cookies["other"] = "x"
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in pages.cookies.items())
    signed_in = Client(raise_request_exception=False)
    assert signed_in.get("/instances/", headers={"cookie": rf'{cookies}; evil="a\000b"'}).status_code == 200
    answer = signed_in.get("/instances/", headers={"cookie": r'flowstead-session="aaaaaaaaa\000b"'})
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/instances/")


def test_a_form_that_is_no_form_is_a_4xx(pages: Client, instance: Any) -> None:
    for body, content_type in [
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=" + "x" * 300),
        (b"\xff\xfe=\xff", "application/x-www-form-urlencoded"),
        (b"a=1&" * 2000, "application/x-www-form-urlencoded"),
        (b"[" * 100_000, "application/json"),
    ]:
        for address in ("/instances/new/", "/accounts/login/", "/account/tokens/", "/identity/o/api/token"):
            assert 200 <= pages.post(address, body, content_type=content_type).status_code < 500, address


@pytest.mark.parametrize("length", [321, 60_000])
def test_a_login_that_is_no_name_is_refused_and_not_sent_back(client, db, length):
    answer = client.post("/accounts/login/", {"login": '"' * length, "password": "x"})
    assert answer.status_code == 400
    assert len(answer.content) < 20_000


def test_a_search_for_a_text_that_is_too_long_for_sqlite_is_no_fault(client, user):
    client.force_login(user)
    assert client.get("/catalogue/", {"q": "a" * 60_000}).status_code in (200, 400)
