"""Every page, as axe sees it: light and dark, on a phone and on a desktop, with messages shown."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib import admin
from django.urls import URLResolver, get_resolver, reverse
from playwright.sync_api import Page

from tenants.models import AccessToken, Instance
from tests import factories
from tests.e2e.pages import WIDTHS, furnish, say_everything
from tests.served import Served

LOOKS = list(itertools.product(("light", "dark"), WIDTHS))
GRAVE = {"serious", "critical"}

ENTRANCES = [
    "landing",
    "account_login",
    "account_signup",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key_done",
    "account_email_verification_sent",
    "account_inactive",
    "socialaccount_login_cancelled",
]
MEMBERS = [
    "instances",
    "instance_new",
    "account",
    "tokens",
    "catalogue",
    "publish",
    "account_logout",
    "account_email",
    "account_change_password",
    "account_reauthenticate",
    "mfa_index",
    "mfa_activate_totp",
    "socialaccount_connections",
    "usersessions_list",
]
OF_AN_INSTANCE = [
    "instance",
    "instance_environment",
    "instance_delete",
    "instance_log",
    "instance_revisions",
]
NOT_A_PAGE = {
    *("name_check", "instance_state", "instance_log_state", "instance_log_stream", "instance_log_download"),
    *("instance_start", "instance_stop", "instance_restart", "revision_keep", "revision_restore"),
    "revision_delete",
    *("openid_connect_login", "openid_connect_callback", "mfa_download_recovery_codes"),
}
ONLY_IN_THE_MIDDLE = {
    # Of a login, a reset or a signup that is under way; they are made of the same parts as the entrances.
    *("account_confirm_login_code", "account_confirm_email", "account_reset_password_from_key"),
    *("account_set_password", "mfa_authenticate", "mfa_reauthenticate", "socialaccount_signup"),
    *("mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes"),
}
BY_THEMSELVES = {"token_revoke", "package", "instance_unavailable", "socialaccount_login_error"}


def test_no_page_is_missing_here() -> None:
    known = {*ENTRANCES, *MEMBERS, *OF_AN_INSTANCE, *NOT_A_PAGE, *ONLY_IN_THE_MIDDLE, *BY_THEMSELVES}
    assert set(named(get_resolver())) == known


def named(resolver: Any) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace is None:  # not the admin's, nor those of the API, whose pages are Swagger's
                yield from named(pattern)
        elif pattern.name:
            yield pattern.name


class Findings:
    """What axe finds, page by page."""

    def __init__(self, page: Page, portal: str) -> None:
        self._page, self._portal, self._axe = page, portal, Axe()
        self.found: list[str] = []

    def look_at(self, path: str, *statuses: int) -> None:
        answer = self._page.goto(self._portal + path)
        assert answer and answer.status in (statuses or (200,)), f"{path}: {answer and answer.status}"
        for scheme, width in LOOKS:
            self._page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            self._page.set_viewport_size(WIDTHS[width])  # type: ignore[arg-type]
            for finding in self._axe.run(self._page).response["violations"]:
                if finding["impact"] in GRAVE:
                    places = "; ".join(node["html"][:150] for node in finding["nodes"][:3])
                    self.found.append(f"{path} ({scheme}, {width}): {finding['id']}: {places}")


@pytest.fixture
def operator(served: Served, page: Page) -> Any:
    """Signed in, with something on every page."""
    user = furnish(served)
    page.context.add_cookies([served.cookie(user)])  # type: ignore[list-item]
    return user


def session_of(page: Page) -> str:
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    return cookies[settings.SESSION_COOKIE_NAME]


def test_entrances_can_be_used_by_everyone(served: Served, page: Page, user: Any) -> None:
    findings = Findings(page, served.portal)
    for name in ENTRANCES:
        findings.look_at(reverse(name))
    findings.look_at(reverse("socialaccount_login_error"), 401)
    findings.look_at("/nothing/", 404)
    findings.look_at(reverse("instance_unavailable"), 404)
    assert not findings.found


def test_pages_can_be_used_by_everyone(served: Served, page: Page, operator: Any) -> None:
    findings = Findings(page, served.portal)
    factories.make_instance(operator, "cellar").turn_off(operator)
    paths = [reverse(name) for name in MEMBERS]
    paths += [reverse(name, args=["kitchen"]) for name in OF_AN_INSTANCE]
    paths += [reverse("instance", args=["cellar"]), reverse("package", args=["@alice/node-red-pump"])]
    paths += [reverse("token_revoke", args=[AccessToken.objects.get().pk])]
    for path in paths:
        say_everything(session_of(page))
        findings.look_at(path)
    assert not findings.found


@pytest.mark.timeout(600)
def test_the_admin_can_be_used_by_everyone(served: Served, page: Page, operator: Any) -> None:
    findings = Findings(page, served.portal)
    for name, *arguments in (("index",), ("app_list", "tenants"), ("password_change",)):
        findings.look_at(reverse(f"admin:{name}", args=arguments))
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        one = model._default_manager.order_by("pk").first()
        say_everything(session_of(page))
        findings.look_at(reverse(f"{name}_changelist"))
        if one:
            findings.look_at(reverse(f"{name}_change", args=[one.pk]))
        else:
            findings.look_at(reverse(f"{name}_add"), 200, 403)  # some are only looked at
        if model is Instance:
            for view in ("history", "delete"):  # made from the same templates for all
                findings.look_at(reverse(f"{name}_{view}", args=[one.pk]))
            findings.look_at(reverse(f"{name}_add"))
    assert not findings.found
