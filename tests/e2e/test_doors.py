"""A second user in front of every door, and everybody who is nobody."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.product import Product, wait_for
from tests.factories import PASSWORD

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def with_two(product: Product) -> Product:
    product.make_user("alice", PASSWORD)
    product.make_user("mallory", PASSWORD)
    alice = product.api(product.token("alice"))
    alice.make("kitchen")
    alice.wait("kitchen", "running")
    return product


def log_in(browser: Browser, product: Product, username: str):
    page = browser.new_context().new_page()
    page.goto(f"{product.portal}/accounts/login/")
    page.locator("input[name=login]").fill(username)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form:has(input[name=password]) button").click()
    page.wait_for_url(f"{product.portal}/instances/")
    return page


@pytest.fixture
def mallory(browser, with_two):
    page = log_in(browser, with_two, "mallory")
    yield page
    page.context.close()


def test_the_operator_is_told_at_the_start_that_no_mail_is_sent(with_two):
    assert "No mail server is set (EMAIL_URL)" in with_two.output.read_text()


def test_the_second_user_sees_404_on_every_page(mallory, with_two):
    for path in ("", "state/", "log/", "log/stream", "log/download", "history/", "delete/"):
        answer = mallory.goto(f"{with_two.portal}/instances/kitchen/{path}")
        assert answer.status == 404, path
    mallory.goto(f"{with_two.portal}/instances/")
    expect(mallory.get_by_text("kitchen")).to_have_count(0)


def test_the_second_user_gets_404_from_the_api(with_two):
    mallory = with_two.api(with_two.token("mallory"))
    for path in ("", "/logs", "/logs?follow=true", "/events", "/snapshots", "/export"):
        assert mallory.client.get(f"/instances/kitchen{path}").status_code == 404
    assert mallory.client.delete("/instances/kitchen").status_code == 404


def test_the_second_user_is_refused_by_the_editor_in_plain_words(mallory, with_two):
    answer = mallory.goto(with_two.editor("kitchen"))
    mallory.wait_for_url(re.compile(re.escape(with_two.portal)))
    assert answer is not None
    expect(mallory.locator("body")).to_contain_text(re.compile("not a member|cannot open|no access", re.I))
    assert mallory.locator("#red-ui-header-button-deploy").count() == 0


def test_the_editors_own_api_asks_for_a_login(with_two):
    for path in ("/flows", "/nodes", "/settings/user", "/library/local/flows"):
        answer = with_two.get("kitchen", path, Accept="application/json")
        assert answer.status_code == 401, path
    for token in ("x", with_two.token("mallory")):
        answer = with_two.get("kitchen", "/flows", Accept="application/json", Authorization=f"Bearer {token}")
        assert answer.status_code == 401


def test_the_portals_cookies_do_not_reach_an_instance(browser, with_two):
    page = log_in(browser, with_two, "alice")
    with page.expect_request(lambda request: request.url == with_two.editor("kitchen")) as asked:
        page.goto(with_two.editor("kitchen"))
    assert "flowstead" not in (asked.value.all_headers().get("cookie") or "")
    for cookie in page.context.cookies():
        assert not cookie["domain"].startswith("."), cookie["name"]
    page.context.close()


def test_a_removed_member_is_out_of_the_editor_within_a_minute(browser, with_two):
    page = log_in(browser, with_two, "alice")
    page.goto(with_two.editor("kitchen"))
    page.locator("#red-ui-header-button-deploy").wait_for()
    token = page.evaluate("() => JSON.parse(localStorage.getItem('auth-tokens')).access_token")

    def asks() -> int:
        return with_two.get(
            "kitchen", "/flows", Accept="application/json", Authorization=f"Bearer {token}"
        ).status_code

    assert asks() == 200
    remove = "from tenants.models import Membership as m; m.objects.filter(user__username='alice').delete()"
    with_two.manage("shell", "-v", "0", "-c", remove)
    wait_for(lambda: asks() == 401, "the editor forgot her", seconds=60)
    again = (
        "from tenants.models import *; from django.contrib.auth import get_user_model as u;"
        "Membership.objects.create(tenant=Tenant.objects.get(slug='alice'), "
        "user=u().objects.get(username='alice'), role='owner')"
    )
    with_two.manage("shell", "-v", "0", "-c", again)
    page.context.close()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "a.b.localhost",
        "kitchen.localhost.evil",
        "-x.localhost",
        "kitchen_.localhost",
        "localhost.localhost",
    ],
)
def test_hosts_that_are_nobodys_get_no_page(with_two, host):
    answer = httpx.get(f"http://127.0.0.1:{with_two.port}/", headers={"Host": host, "Accept": "text/html"})
    assert answer.status_code in (404, 421)


def test_headers_that_the_portal_trusts_cannot_be_smuggled_in(with_two):
    answer = with_two.get("portal", "/", **{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"})
    assert "evil.example" not in answer.text
    answer = with_two.get("nothing", "/", **{"X-Flowstead-Instance": "kitchen"})
    assert answer.status_code == 404


def test_the_portal_has_its_security_headers(with_two):
    headers = with_two.get("portal", "/accounts/login/").headers
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_localhost_serves_scripts_in_place_and_sends_pages_to_the_portal(with_two):
    assert httpx.get(f"{with_two.local}/healthz").json() == {"status": "ok"}
    page = httpx.get(f"{with_two.local}/instances/", headers={"Accept": "text/html"})
    assert page.status_code in (301, 302, 307, 308)
    assert page.headers["location"].startswith(with_two.portal)
    assert httpx.get(f"{with_two.local}/api/v1/openapi.json").status_code == 200


def test_it_is_ready_and_measured(with_two):
    ready = with_two.get("portal", "/readyz", Accept="application/json")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert 'flowstead_instances{phase="running"} 1.0' in with_two.get("portal", "/metrics").text


def test_secrets_lie_in_private_files_outside_the_database(with_two):
    keys = with_two.data_dir / "keys"
    assert keys.stat().st_mode & 0o077 == 0
    assert {path.name for path in keys.iterdir()} >= {"secret-key", "encryption-keys", "oidc-private-key.pem"}
    for path in [*keys.iterdir(), with_two.data_dir / "operator-password"]:
        assert path.stat().st_mode & 0o077 == 0, path.name
    database = (with_two.data_dir / "flowstead.sqlite3").read_bytes()
    assert (keys / "secret-key").read_bytes().strip() not in database
    assert with_two.password.encode() not in database
