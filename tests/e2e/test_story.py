"""The main job, in a browser, on all real parts: from signing up to deleting the instance."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.product import Product, wait_for
from tests.factories import PASSWORD

NAME = "kitchen"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def alice(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(alice: BrowserContext) -> Page:
    return alice.pages[0] if alice.pages else alice.new_page()


def picture(page: Page, name: str) -> None:
    """A screenshot for the README, where ``SCREENSHOTS`` names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def sign_up(page: Page, product: Product, username: str) -> None:
    page.goto(f"{product.portal}/accounts/signup/")
    page.locator("input[name=username]").fill(username)
    page.locator("input[name=email]").fill(f"{username}@example.com")
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.locator("form:has(input[name=password1]) button").click()
    page.wait_for_url(f"{product.portal}/instances/")


FLOW = [
    {
        "id": "in1",
        "type": "http in",
        "name": "",
        "url": "/hello",
        "method": "get",
        "x": 150,
        "y": 100,
        "wires": [["fn1"]],
    },
    {
        "id": "fn1",
        "type": "function",
        "name": "greet",
        "func": "msg.payload = 'hello from ' + env.get('ROOM'); return msg;",
        "x": 330,
        "y": 100,
        "wires": [["out1"]],
    },
    {"id": "out1", "type": "http response", "name": "", "x": 500, "y": 100, "wires": []},
]


def deploy_a_flow(editor: Page) -> None:
    """Import a flow by the editor's own dialog, drop it, and press Deploy."""
    editor.locator("#red-ui-workspace-chart").wait_for()
    editor.mouse.click(500, 500)
    editor.keyboard.press("Control+i")
    accept = editor.locator("#red-ui-clipboard-dialog-ok")
    text = editor.locator("#red-ui-clipboard-dialog-import-text")
    text.fill(json.dumps(FLOW))
    text.press("End")  # the dialog looks at its field when a key goes up, and filling presses none
    accept.click()
    editor.mouse.move(480, 260)
    editor.mouse.click(480, 260)
    with editor.expect_response(
        lambda answer: answer.url.endswith("/flows") and answer.request.method == "POST"
    ) as saved:
        editor.locator("#red-ui-header-button-deploy").click()
    assert saved.value.status == 200, saved.value.text()


def open_editor(page: Page) -> Page:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=re.compile("open editor", re.I)).first.click()
    editor = opened.value
    editor.locator("#red-ui-header-button-deploy").wait_for()
    return editor


def test_a_person_signs_up_and_is_told_what_to_do_first(page, product):
    sign_up(page, product, "alice")
    expect(page.get_by_role("link", name=re.compile("new instance|create", re.I)).first).to_be_visible()


def test_makes_an_instance_and_watches_it_start(page, product):
    page.goto(f"{product.portal}/instances/new/")
    page.locator("input[name=name]").fill("portal")
    expect(page.get_by_text(re.compile("reserved", re.I))).to_be_visible()
    page.locator("input[name=name]").fill(NAME)
    page.get_by_role("button", name="Make instance").click()
    page.wait_for_url(f"{product.portal}/instances/{NAME}/")
    expect(page.get_by_text(re.compile(r"^\s*running", re.I)).first).to_be_visible(timeout=30_000)


def test_sets_a_variable_through_the_api_and_the_page_follows(page, product):
    api = product.api(product.token("alice"))
    response = api.client.patch(f"/instances/{NAME}", json={"environment": {"ROOM": "the kitchen"}})
    assert response.status_code == 200
    wait_for(lambda: api.instance(NAME)["observed_generation"] == 2, "the change is true")
    api.wait(NAME, "running")


def test_opens_the_editor_without_a_second_login_and_deploys(page, product):
    page.goto(f"{product.portal}/instances/{NAME}/")
    editor = open_editor(page)
    assert editor.url.startswith(product.editor(NAME))
    expect(editor).to_have_title(re.compile(NAME))
    deploy_a_flow(editor)
    wait_for(lambda: product.get(NAME, "/hello").text == "hello from the kitchen", "the flow answers")
    if "SCREENSHOTS" in os.environ:  # notices go by themselves
        editor.wait_for_timeout(8000)
    picture(editor, "editor")
    editor.close()
    page.reload()
    picture(page, "instance")


def test_the_deploy_stands_in_the_history_with_its_author(product):
    history = product.api(product.token("alice")).client.get(f"/instances/{NAME}/snapshots").json()["items"]
    assert history[0]["author"] == "alice"
    assert history[0]["size"] > 100


def test_stops_it_and_its_address_says_so(page, product):
    page.goto(f"{product.portal}/instances/{NAME}/")
    page.get_by_role("button", name=re.compile(r"^\s*stop", re.I)).first.click()
    expect(page.get_by_text(re.compile(r"^\s*stopped", re.I)).first).to_be_visible(timeout=20_000)
    answer = product.get(NAME)
    assert answer.status_code == 503
    assert "stopped" in answer.text.lower()
    assert answer.headers["cache-control"] == "no-store"
    assert product.get(NAME, "/hello", Accept="application/json").status_code == 503


def test_starts_it_and_the_waiting_page_goes_on_to_the_editor_with_the_flow(page, product):
    page.goto(f"{product.portal}/instances/{NAME}/")
    page.get_by_role("button", name=re.compile(r"^\s*start", re.I)).first.click()
    page.wait_for_url(f"{product.portal}/instances/{NAME}/")
    waiting = page.context.new_page()
    waiting.goto(product.editor(NAME))
    waiting.locator("#red-ui-header-button-deploy").wait_for(timeout=30_000)
    waiting.wait_for_function("() => RED.nodes.getWorkspaceOrder().length")
    names = waiting.evaluate(
        "() => { const all = []; RED.nodes.eachNode(n => all.push(n.name)); return all }"
    )
    assert "greet" in names
    waiting.close()
    assert product.get(NAME, "/hello").text == "hello from the kitchen"


def test_reads_its_log(page, product):
    page.goto(f"{product.portal}/instances/{NAME}/log/")
    expect(page.get_by_text("Started flows").first).to_be_visible(timeout=20_000)


def test_nothing_that_the_editor_can_reach_shows_a_secret(product):
    answer = product.api(product.token("alice")).client.get(f"/instances/{NAME}/logs", params={"tail": 5000})
    assert answer.status_code == 200
    for word in ("FLOWSTEAD_STORAGE_TOKEN", "FLOWSTEAD_CREDENTIAL_SECRET", "Bearer "):
        assert word not in answer.text


def test_a_followed_log_comes_line_by_line(product):
    token = product.token("alice")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    address = f"{product.local}/api/v1/instances/{NAME}/logs?follow=true&tail=5"
    with httpx.stream("GET", address, headers=headers, timeout=20) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        first = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert first.startswith('data: "')


def test_deletes_it_by_typing_its_name_and_the_name_is_free_again(page, product):
    page.goto(f"{product.portal}/instances/{NAME}/delete/")
    confirmation = page.locator("form input[type=text], form input:not([type])").last
    confirmation.fill("something else")
    page.get_by_role("button", name=re.compile("delete", re.I)).last.click()
    api = product.api(product.token("alice"))
    assert api.instance(NAME)["phase"] == "running"
    confirmation = page.locator("form input[type=text], form input:not([type])").last
    confirmation.fill(NAME)
    page.get_by_role("button", name=re.compile("delete", re.I)).last.click()
    api.wait(NAME, 404)
    assert product.get(NAME).status_code == 404
    assert not list((product.data_dir / "instances").glob("*-*-*"))
    assert api.make(NAME)["phase"] == "pending"
    api.wait(NAME, "running")
    assert api.client.get(f"/instances/{NAME}/export").json() == []
