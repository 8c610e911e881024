"""A private node, from npm publish to a flow that uses it: on the running product, with the real npm."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.product import Product, wait_for, without_system_node
from tests.factories import PASSWORD
from tests.npm import Npm

pytestmark = pytest.mark.e2e

NAME = "kitchen"
NODE = "@alice/node-red-pump"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    product = Product(REGISTRY_REFRESH_SECONDS="2")
    product.prefix = without_system_node()  # instances have the npm that comes with the product
    try:
        yield product.start()
    finally:
        product.remove()


@pytest.fixture(scope="module")
def alice(product: Product) -> Product:
    product.make_user("alice", PASSWORD)
    product.make_user("mallory", PASSWORD)
    api = product.api(product.token("alice"))
    api.make(NAME)
    api.wait(NAME, "running")
    return product


@pytest.fixture(scope="module")
def npm(alice: Product, tmp_path_factory: pytest.TempPathFactory) -> Npm:
    """As somebody sets it up with the README alone: the registry's address on plain localhost."""
    npm = Npm(tmp_path_factory.mktemp("npm"), "http://127.0.0.1:9/")
    address = f"//localhost:{alice.port}/registry/"
    npm.done("config", "set", f"@alice:registry=http:{address}")
    npm.done("config", "set", f"{address}:_authToken={alice.token('alice')}")
    return npm


@pytest.fixture(scope="module")
def editor(browser: Browser, alice: Product) -> Iterator[Page]:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{alice.portal}/accounts/login/")
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form:has(input[name=password]) button").click()
    page.wait_for_url(f"{alice.portal}/instances/")
    page.goto(alice.editor(NAME))
    page.locator("#red-ui-header-button-deploy").wait_for()
    yield page
    page.context.close()


def folder_of(product: Product) -> Path:
    instance = product.api(product.token("alice")).instance(NAME)
    return product.data_dir / "instances" / instance["id"]


def userdir(product: Product) -> Path:
    return folder_of(product) / "userdir"


def catalogue_of(product: Product) -> list[str]:
    """What the address lists that the instance was given for its editors."""
    given = json.loads((folder_of(product) / "environment.json").read_text())
    private, *_ = json.loads(given["FLOWSTEAD_CATALOGUES"])
    answer = httpx.get(private.replace(product.portal, product.local))
    return [module["id"] for module in answer.json()["modules"]]


def test_three_commands_publish_a_node(npm, alice):
    npm.publish(NODE, type="water pump")
    wait_for(lambda: NODE in catalogue_of(alice), "the catalogue lists it", 10)
    assert NODE not in httpx.get(f"{alice.local}/catalogue.json").text


def test_the_members_page_shows_it(editor, alice):
    page = editor.context.new_page()
    page.goto(f"{alice.portal}/catalogue/")
    page.get_by_role("link", name=NODE).first.click()
    expect(page.get_by_text("water pump").first).to_be_visible()
    page.close()


def test_the_editors_palette_finds_and_installs_it(editor):
    editor.keyboard.press("Alt+Shift+p")
    editor.locator("#red-ui-palette-editor").wait_for()
    editor.locator("#red-ui-palette-editor li:has-text('Install') a").first.click()
    search = editor.locator(".red-ui-palette-editor-tab:visible .red-ui-searchBox-input")
    search.fill("node-red-pump")
    row = editor.locator(".red-ui-palette-module-header", has_text=NODE)
    row.wait_for()
    row.get_by_text("install", exact=True).click()
    editor.locator(".ui-dialog:visible button, .red-ui-notification button").filter(
        has_text="Install"
    ).click()
    editor.wait_for_function("() => RED.nodes.registry.getNodeTypes().includes('water pump')", timeout=30_000)


def test_its_npm_configuration_lets_it_in_and_nobody_else_reads_it(alice):
    file = userdir(alice) / ".npmrc"
    assert f"@alice:registry=http://127.0.0.1:{alice.port}/registry/" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_what_was_installed_comes_back_on_an_empty_disk(alice, editor):
    api = alice.api(alice.token("alice"))
    api.client.post(f"/instances/{NAME}/stop")
    api.wait(NAME, "stopped")
    for path in userdir(alice).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    api.client.post(f"/instances/{NAME}/start")
    api.wait(NAME, "running")
    installed = userdir(alice) / "node_modules" / NODE / "package.json"
    wait_for(installed.exists, "it is installed again", 30)
    assert json.loads(installed.read_text())["version"] == "1.0.0"


def test_another_tenant_finds_neither_name_nor_tarball(alice, npm):
    registry = f"{alice.local}/registry"
    tarball = f"{registry}/{NODE}/-/node-red-pump-1.0.0.tgz"
    missing = httpx.get(f"{registry}/@alice/nothing").text
    for headers in ({}, {"Authorization": f"Bearer {alice.token('mallory')}"}):
        answer = httpx.get(f"{registry}/{NODE}", headers=headers)
        assert (answer.status_code, answer.text) == (404, missing)
        assert httpx.get(tarball, headers=headers).status_code == 404
    mine = {"Authorization": f"Bearer {alice.token('alice')}"}
    assert httpx.get(tarball, headers=mine).status_code == 200
    theirs = httpx.get(f"{registry}/{NODE}", headers=mine).json()["versions"]["1.0.0"]["dist"]["tarball"]
    assert theirs == tarball


def test_the_registrys_host_serves_it_too(alice):
    mine = {"Authorization": f"Bearer {alice.token('alice')}"}
    answer = alice.get("registry", f"/{NODE}", **mine)
    assert answer.status_code == 200
    address = answer.json()["versions"]["1.0.0"]["dist"]["tarball"]
    assert address.startswith(f"http://registry.localhost:{alice.port}/")
    path = address.partition(f":{alice.port}")[2]
    assert alice.get("registry", path, **mine).status_code == 200


def test_what_the_operator_blocks_is_installed_no_more(alice, editor, npm):
    npm.publish("@alice/node-red-valve", type="valve")
    wait_for(lambda: "@alice/node-red-valve" in catalogue_of(alice), "it is listed", 10)
    script = "from catalogue.models import Rule; Rule.objects.create(package='@alice/node-red-valve', verb='block')"
    alice.manage("shell", "-v", "0", "-c", script)
    assert "@alice/node-red-valve" not in catalogue_of(alice)
    editor.goto(alice.editor(NAME))
    editor.locator("#red-ui-header-button-deploy").wait_for()
    refused = editor.evaluate(
        """() => new Promise(done => $.ajax({url: 'nodes', type: 'POST', contentType: 'application/json',
            data: JSON.stringify({module: '@alice/node-red-valve', version: '1.0.0'})})
            .then(() => done('installed'), xhr => done(xhr.responseText)))"""
    )
    assert "is blocked by the operator" in refused


def test_what_is_published_while_the_portal_is_away_is_found_later(alice, npm):
    """The registry trusts whom it knows; its notice gets lost, and the next look at all of it heals that."""
    away = alice.pids("uvicorn")
    log = alice.data_dir / "logs" / "registry.log"
    for pid in away:
        os.kill(pid, signal.SIGSTOP)
    try:
        npm.publish("@alice/node-red-lamp", type="lamp")
        told = "The portal was not told that @alice/node-red-lamp has changed"
        wait_for(lambda: told in log.read_text(), "the registry gave its notice up", 10)
    finally:
        for pid in away:  # with all that waited for them
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: alice.get("portal", "/healthz").status_code == 200, "the portal is back", 20)
    wait_for(lambda: "@alice/node-red-lamp" in catalogue_of(alice), "the look found it", 20)
