"""The current version on data folders that earlier versions left: everything that people had is still there."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import browser  # noqa: F401
from tests.e2e.product import Api, Product, wait_for
from tests.upgrade.derived import ACCESS_TOKEN, PASSWORD, totp_code, write_keys

pytestmark = pytest.mark.e2e

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.xz"))
NODE = "@alice/node-red-pump"


def unpack(archive: Path, data_dir: Path) -> None:
    data_dir.mkdir(parents=True, mode=0o711 if os.getuid() == 0 else 0o700)
    with tarfile.open(archive) as tar:
        tar.extractall(data_dir, filter="tar")
    if os.getuid() == 0:  # the archive remembers who owned what by name
        for folder in data_dir.glob("instances/*/userdir"):
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, "nobody", "nogroup")
    write_keys(data_dir)


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.xz"))
def upgraded(request: pytest.FixtureRequest) -> Iterator[Product]:
    product = Product()
    try:
        unpack(request.param, product.data_dir)
        yield product.start()
    finally:
        product.remove()


@pytest.fixture
def alice(upgraded: Product) -> Api:
    return upgraded.api(ACCESS_TOKEN)


@pytest.fixture
def page(upgraded: Product, browser: Browser) -> Iterator[Page]:  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, product: Product, username: str) -> None:
    page.goto(f"{product.portal}/accounts/login/")
    page.locator("input[name=login]").fill(username)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form:has(input[name=password]) button").click()


def test_what_was_on_runs_and_what_was_off_stays_off(alice, upgraded):
    alice.wait("kitchen", "running", 60)
    alice.wait("attic", "stopped")
    wait_for(lambda: upgraded.get("kitchen", "/hello").text == "hello from the kitchen", "the flow answers")


def test_a_second_factor_signs_in_and_the_editor_opens_with_flows_and_private_node(page, upgraded, alice):
    sign_in(page, upgraded, "alice")
    page.locator("input[name=code]").fill(totp_code())
    page.locator("form:has(input[name=code]) button").first.click()
    page.wait_for_url(f"{upgraded.portal}/instances/")
    alice.wait("kitchen", "running", 60)
    page.goto(upgraded.editor("kitchen"))
    page.locator("#red-ui-header-button-deploy").wait_for()
    page.wait_for_function("() => RED.nodes.node('fn')")
    assert "hello from" in page.evaluate("() => RED.nodes.node('fn').func")
    assert page.evaluate("() => RED.nodes.registry.getNodeTypes().includes('water pump')")
    credentials = page.evaluate("() => $.getJSON('credentials/http-request/ask')")
    assert credentials == {"user": "pump", "has_password": True}
    assert page.evaluate("() => $.getJSON('library/local/functions/house')") == [
        {"fn": "greet.js", "name": "greet"}
    ]


def test_history_and_snapshot_are_there_and_can_be_restored(alice, upgraded):
    kept = alice.client.get("/instances/kitchen/snapshots").json()["items"]
    assert [one["name"] for one in kept] == ["before the holidays", None]
    alice.client.post(f"/instances/kitchen/snapshots/{kept[-1]['id']}/restore").raise_for_status()
    wait_for(
        lambda: upgraded.get("kitchen", "/hello").text == "good morning from the kitchen",
        "the older revision answers",
        60,
    )


def test_the_package_is_listed_and_handed_out(alice, upgraded):
    assert NODE in alice.client.get("/catalogue/packages").text
    tarball = f"{upgraded.local}/registry/{NODE}/-/node-red-pump-1.0.0.tgz"
    assert httpx.get(tarball, headers={"Authorization": f"Bearer {ACCESS_TOKEN}"}).status_code == 200


def test_a_viewer_still_sees_and_may_not_change(page, upgraded):
    sign_in(page, upgraded, "bob")
    page.goto(f"{upgraded.portal}/instances/kitchen/")
    expect(page.get_by_role("heading", name="kitchen").first).to_be_visible()
    assert page.goto(f"{upgraded.portal}/instances/kitchen/delete/").status == 403


def test_what_is_off_starts_with_a_click(alice):
    alice.client.post("/instances/attic/start").raise_for_status()
    alice.wait("attic", "running", 60)
