"""What only a browser shows: the log that follows, and the token that is shown once."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tenants import log_streams
from tenants.models import AccessToken, Instance
from tests import factories
from tests.e2e.pages import WIDTHS
from tests.served import Served


@pytest.fixture
def running(served: Served, page: Page, user: Any) -> Instance:
    """Of a user who is signed in."""
    instance = factories.make_instance(user, "kitchen")
    served.run(instance)
    page.context.add_cookies([served.cookie(user)])  # type: ignore[list-item]
    return instance


def open_log(served: Served, page: Page) -> None:
    page.goto(f"{served.portal}/instances/kitchen/log/")
    expect(page.get_by_text("kitchen starts")).to_be_attached()


# --- The log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_the_newest_line_of_a_long_log_is_in_view(
    served: Served, page: Page, running: Instance, width: str
) -> None:
    page.set_viewport_size(WIDTHS[width])  # type: ignore[arg-type]
    for number in range(400):
        served.driver.print(str(running.pk), f"line {number}")
    open_log_at_its_end(served, page)
    served.driver.print(str(running.pk), "the newest")
    expect(page.get_by_text("the newest")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollHeight") <= WIDTHS[width]["height"]


def open_log_at_its_end(served: Served, page: Page) -> None:
    page.goto(f"{served.portal}/instances/kitchen/log/")
    expect(page.get_by_text("line 399", exact=True)).to_be_in_viewport(ratio=1)


def test_it_stops_following_where_one_scrolls_up_and_goes_on_at_the_end(
    served: Served, page: Page, running: Instance
) -> None:
    for number in range(400):
        served.driver.print(str(running.pk), f"line {number}")
    open_log_at_its_end(served, page)
    page.get_by_role("log").hover()
    page.mouse.wheel(0, -600)
    follow = page.get_by_label("Follow")
    expect(follow).not_to_be_checked()
    served.driver.print(str(running.pk), "said meanwhile")
    expect(page.get_by_text("said meanwhile")).to_be_attached()
    expect(page.get_by_text("said meanwhile")).not_to_be_in_viewport()
    page.mouse.wheel(0, 6000)
    expect(follow).to_be_checked()
    served.driver.print(str(running.pk), "said afterwards")
    expect(page.get_by_text("said afterwards")).to_be_in_viewport(ratio=1)


def test_the_page_of_the_log_says_whether_anything_is_running(
    served: Served, page: Page, running: Instance, user: Any
) -> None:
    open_log(served, page)
    about = page.locator("#log-of")
    expect(about).to_contain_text("Running New lines appear here as they are logged.", use_inner_text=True)
    Instance.objects.get().turn_off(user)
    served.reconcile()
    expect(about).to_contain_text(
        "Stopped Nothing new is logged until it is started.", use_inner_text=True, timeout=20_000
    )
    expect(page.get_by_text("Connected")).not_to_be_attached()
    Instance.objects.get().turn_on(user)
    served.reconcile()
    expect(about).to_contain_text("Running", timeout=20_000)


def test_the_page_says_why_a_log_cannot_be_followed_and_follows_it_when_it_can(
    served: Served, page: Page, running: Instance, user: Any, settings: Any
) -> None:
    settings.LOG_STREAMS_PER_USER = 1
    with served.with_token(user).stream("GET", "/api/v1/instances/kitchen/logs?follow=true") as answer:
        assert answer.status_code == 200
        page.goto(f"{served.portal}/instances/kitchen/log/")
        expect(page.get_by_text("You already follow as many logs as you may")).to_be_visible()
    expect(page.get_by_text("kitchen starts")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("You already follow")).not_to_be_attached()


def test_a_log_that_breaks_off_goes_on_without_a_line_twice(
    served: Served, page: Page, running: Instance
) -> None:
    open_log(served, page)
    for stream in list(log_streams._streams):
        stream.good_until = 0
    expect(page.locator("#log-state")).to_contain_text("Looking again from time to time")
    served.driver.print(str(running.pk), "said meanwhile")
    expect(page.get_by_text("said meanwhile")).to_be_visible()
    assert page.locator("#log p").all_inner_texts() == ["kitchen starts", "said meanwhile"]


# --- Access tokens --------------------------------------------------------------------------------


def test_a_token_is_made_once_and_shown_once(served: Served, page: Page, running: Instance) -> None:
    page.goto(f"{served.portal}/account/tokens/")
    page.get_by_label("What is it for?").fill("laptop")
    page.get_by_role("button", name="Make token").click()
    plain = page.locator("#token").inner_text()
    assert AccessToken.objects.user_of(plain) is not None
    page.reload()
    expect(page.get_by_role("link", name="Revoke… laptop")).to_be_visible()
    assert plain not in page.content()
    assert AccessToken.objects.count() == 1


def test_the_way_back_does_not_show_a_token_again(served: Served, page: Page, running: Instance) -> None:
    page.goto(f"{served.portal}/account/tokens/")
    page.get_by_label("What is it for?").fill("laptop")
    page.get_by_role("button", name="Make token").click()
    plain = page.locator("#token").inner_text()
    page.get_by_role("link", name="Instances").click()
    page.wait_for_url("**/instances/")
    page.go_back()
    expect(page.get_by_role("heading", name="Access tokens")).to_be_visible()
    assert plain not in page.content()
    assert AccessToken.objects.count() == 1


def test_revoking_a_token_asks_first(served: Served, page: Page, running: Instance, user: Any) -> None:
    AccessToken.objects.make(user, "laptop")
    page.goto(f"{served.portal}/account/tokens/")
    page.get_by_role("link", name="Revoke… laptop").click()
    expect(page.get_by_role("heading", name="Revoke “laptop”?")).to_be_visible()
    page.get_by_role("link", name="Keep it").click()
    page.get_by_role("link", name="Revoke… laptop").click()
    assert AccessToken.objects.exists()
    page.get_by_role("button", name="Revoke token").click()
    expect(page.get_by_text("“laptop” is revoked.")).to_be_visible()
    assert not AccessToken.objects.exists()
