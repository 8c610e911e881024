"""The operators' side of the catalogue: what it shows, and what its buttons and rules change."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from catalogue.audience import audiences
from catalogue.models import Look, Package, Reading, Rule
from tenants.models import Tenant
from tests import factories
from tests.catalogue.factories import make_package

PUMP = "@alice/node-red-pump"
PACKAGES = "/admin/catalogue/package/"
RULES = "/admin/catalogue/rule/"
READINGS = "/admin/catalogue/reading/"
MODELS = ["package", "rule", "reading", "look"]


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(factories.make_user("olga", is_staff=True, is_superuser=True))
    return client


def helper(*permissions: str) -> Client:
    """Somebody on the staff with only these permissions."""
    staff = factories.make_user("sam", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(staff)
    return client


def act(client: Client, address: str, action: str, *rows: Any) -> str:
    form = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(address, form, follow=True).content.decode()


def table(client: Client, address: str, **query: str) -> str:
    return client.get(address, query).content.decode().split("result_list")[-1].split("</table>")[0]


def seen(user: Any) -> list[str]:
    visible = Package.objects.visible_to(audiences().of_user(user))
    return list(visible.values_list("name", flat=True))


# --- Who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_it_is_closed_to_those_who_are_no_operators(user: Any, client: Client, model: str) -> None:
    client.force_login(user)
    assert client.get(f"/admin/catalogue/{model}/", follow=True).status_code == 403
    assert client.post(f"{PACKAGES}read-all/", follow=True).status_code in (403, 405)


@pytest.mark.parametrize("model", MODELS)
def test_it_lists_and_searches(operator: Client, model: str) -> None:
    make_package(PUMP)
    Rule.objects.create(package=PUMP, verb="hide")
    Reading.objects.mark_due(PUMP)
    Look.objects.create()
    assert operator.get(f"/admin/catalogue/{model}/", {"q": "pump"}).status_code == 200


def test_what_was_rendered_and_the_scopes_are_no_matter_for_operators(operator: Client) -> None:
    text = operator.get("/admin/").content.decode()
    assert "/admin/catalogue/package/" in text
    assert "/admin/catalogue/rendering/" not in text
    assert "/admin/catalogue/scope/" not in text


def test_somebody_who_only_looks_has_no_buttons(db: None) -> None:
    make_package(PUMP)
    client = helper("view_package")
    text = client.get(PACKAGES).content.decode()
    assert PUMP in text
    assert 'value="block"' not in text and "Read everything again" not in text
    assert client.post(f"{PACKAGES}read-all/").status_code == 403
    act(client, PACKAGES, "block", Package.objects.get())
    assert not Rule.objects.exists()


def test_reading_again_and_rules_are_permissions_of_their_own(db: None) -> None:
    make_package(PUMP)
    client = helper("view_package", "change_reading")
    text = client.get(PACKAGES).content.decode()
    assert 'value="read_again"' in text and 'value="block"' not in text


# --- Packages -------------------------------------------------------------------------------------


def test_it_shows_version_nodes_and_rules_of_a_package(operator: Client) -> None:
    make_package(PUMP, "1.0.0", "1.1.0", types=["a", "b", "c"])
    Rule.objects.create(package=PUMP, verb="block", version="1.0.0")
    Rule.objects.create(package=PUMP, verb="pin", version="1.1.0")
    shown = table(operator, PACKAGES)
    for part in (PUMP, "@alice", "1.1.0", ">3<", "block 1.0.0, pin 1.1.0"):
        assert part in shown


def test_it_shows_packages_that_nobody_finds(operator: Client) -> None:
    make_package(PUMP, types=None)
    Rule.objects.create(package=PUMP, verb="block")
    shown = table(operator, PACKAGES)
    assert PUMP in shown and "block" in shown and "none" in shown and "unknown" in shown


def test_packages_are_searched_and_filtered_by_scope(operator: Client) -> None:
    make_package(PUMP, types=["hydraulic"])
    make_package("node-red-other")
    assert "node-red-other" not in table(operator, PACKAGES, q="hydraulic")
    assert PUMP in table(operator, PACKAGES, q="hydraulic")
    assert "node-red-other" not in table(operator, PACKAGES, scope="@alice")


def test_a_page_of_packages_asks_the_database_no_more_often(
    operator: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        make_package(f"@alice/node-red-{number:02}")
    with django_assert_max_num_queries(25) as asked:
        operator.get(PACKAGES)
    assert not [query for query in asked.captured_queries if '"readme"' in query["sql"]]


def test_a_package_is_read_only_and_cannot_be_deleted(operator: Client) -> None:
    package = make_package(PUMP, "1.0.0", problems={"1.0.0": "Its gzip archive is not complete."})
    change = f"{PACKAGES}{package.pk}/change/"
    text = operator.get(change).content.decode()
    assert "Its gzip archive is not complete." in text
    assert 'name="_save"' not in text and "deletelink" not in text
    assert operator.post(change, {"name": "x"}).status_code == 403
    assert operator.post(f"{PACKAGES}{package.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{PACKAGES}add/").status_code == 403
    assert 'value="delete_selected"' not in operator.get(PACKAGES).content.decode()
    assert Package.objects.get().name == PUMP


def test_what_an_author_wrote_is_text_to_operators_too(operator: Client) -> None:
    evil = "<script>alert(1)</script>"
    package = make_package(
        PUMP, readme=evil, types=[evil], description=evil, license=evil, problems={"1.0.0": evil}
    )
    for address in (PACKAGES, f"{PACKAGES}{package.pk}/change/"):
        assert evil not in operator.get(address).content.decode()


def test_of_very_many_versions_the_newest_are_shown(operator: Client) -> None:
    package = make_package(PUMP, *[f"1.{number}.0" for number in range(203)])
    text = operator.get(f"{PACKAGES}{package.pk}/change/").content.decode()
    assert "1.202.0" in text and "1.3.0<" in text
    assert "1.2.0<" not in text


@pytest.mark.parametrize(
    ("action", "back", "verb", "done"),
    [("hide", "show_again", "hide", "hidden"), ("block", "unblock", "block", "blocked")],
)
def test_a_package_is_taken_out_and_put_back(
    operator: Client, user: Any, action: str, back: str, verb: str, done: str
) -> None:
    package, other = make_package(PUMP), make_package("node-red-other")
    assert f"1 package is {done}." in act(operator, PACKAGES, action, package)
    assert seen(user) == ["node-red-other"]
    rule = Rule.objects.get()
    assert (rule.package, rule.verb, rule.version, rule.made_by.username) == (PUMP, verb, "", "olga")
    assert f"0 packages are {done}." in act(operator, PACKAGES, action, package)
    act(operator, PACKAGES, back, package, other)
    assert seen(user) == [PUMP, "node-red-other"]
    assert not Rule.objects.exists()
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        f"Now {done}.",
        f"Now no longer {done}.",
    ]


def test_a_rule_for_one_version_is_left_alone_by_the_buttons(operator: Client) -> None:
    package = make_package(PUMP, "1.0.0", "1.1.0")
    Rule.objects.create(package=PUMP, verb="block", version="1.0.0")
    act(operator, PACKAGES, "unblock", package)
    assert Rule.objects.get().version == "1.0.0"


def test_a_package_is_read_again(operator: Client) -> None:
    package = make_package(PUMP)
    assert "1 package is due to be read again." in act(operator, PACKAGES, "read_again", package)
    assert Reading.objects.due().get().name == PUMP


# --- The registry ---------------------------------------------------------------------------------


@override_settings(REGISTRY_URL="https://npm.example", REGISTRY_INTERNAL_URL="http://inside:4873")
def test_it_says_how_it_goes_with_the_registry(operator: Client) -> None:
    Look.objects.create(ended_at=timezone.now(), problem="The registry does not answer (ConnectError).")
    Reading.objects.mark_due("a", "b")
    text = operator.get(PACKAGES).content.decode()
    for part in (
        "https://npm.example",
        "http://inside:4873",
        "ConnectError",
        "2 due to be read",
        "0 with a problem",
    ):
        assert part in text


def test_all_known_packages_are_read_again_by_one_button(operator: Client) -> None:
    Reading.objects.mark_due("a", "b")
    Reading.objects.update(due_at=None)
    text = operator.get(PACKAGES).content.decode()
    assert f'action="{PACKAGES}read-all/"' in text and "csrfmiddlewaretoken" in text
    answer = operator.post(f"{PACKAGES}read-all/", follow=True)
    assert "2 packages are due to be read again." in answer.content.decode()
    assert Reading.objects.due().count() == 2
    assert operator.get(f"{PACKAGES}read-all/").status_code == 405


def test_the_button_needs_its_token(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(factories.make_user("olga", is_staff=True, is_superuser=True))
    assert client.post(f"{PACKAGES}read-all/").status_code == 403


def test_readings_are_filtered_by_what_is_wrong_and_what_is_due(operator: Client) -> None:
    Reading.objects.create(name="node-red-fine")
    Reading.objects.create(name="node-red-bad", problem="It is not one of this package.")
    Reading.objects.mark_due("node-red-due")
    assert "node-red-fine" not in table(operator, READINGS, state="problem")
    assert "node-red-bad" in table(operator, READINGS, state="problem")
    assert "node-red-due" in table(operator, READINGS, state="due")
    assert "node-red-bad" not in table(operator, READINGS, state="due")


def test_a_reading_is_marked_due_and_otherwise_left_as_it_is(operator: Client) -> None:
    reading = Reading.objects.create(name=PUMP)
    act(operator, READINGS, "read_again", reading)
    assert Reading.objects.due().get() == reading
    assert operator.post(f"{READINGS}{reading.pk}/change/", {"name": "x"}).status_code == 403
    assert operator.post(f"{READINGS}{reading.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{READINGS}add/").status_code == 403


def test_looks_are_kept_as_they_are(operator: Client) -> None:
    look = Look.objects.create(ended_at=timezone.now(), packages=7)
    assert " s<" in table(operator, "/admin/catalogue/look/")
    assert operator.post(f"/admin/catalogue/look/{look.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get("/admin/catalogue/look/add/").status_code == 403


# --- Rules ----------------------------------------------------------------------------------------


def rule(**fields: str) -> dict[str, str]:
    return {"package": PUMP, "verb": "block", "version": "", "note": "", **fields}


def test_a_rule_is_made_with_its_author_and_works_at_once(operator: Client, user: Any) -> None:
    make_package(PUMP, "1.0.0", "1.1.0")
    assert operator.post(f"{RULES}add/", rule(version="1.1.0", note="It leaks.")).status_code == 302
    made = Rule.objects.get()
    assert (made.made_by.username, made.note) == ("olga", "It leaks.")
    assert Package.objects.get().shown == "1.0.0"
    operator.post(f"{RULES}{made.pk}/change/", rule(verb="hide", version="1.0.0"))
    assert Package.objects.get().shown == "1.1.0"
    operator.post(f"{RULES}{made.pk}/delete/", {"post": "yes"})
    assert Package.objects.get().shown == "1.1.0" and seen(user) == [PUMP]


def test_rules_are_deleted_together(operator: Client, user: Any) -> None:
    make_package(PUMP)
    made = Rule.objects.create(package=PUMP, verb="block")
    operator.post(RULES, {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"})
    assert seen(user) == [PUMP]


def test_a_rule_may_come_before_its_package(operator: Client, user: Any) -> None:
    operator.post(f"{RULES}add/", rule())
    make_package(PUMP)
    assert seen(user) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"package": "Not a name"}, "not the name of an npm package"),
        ({"package": "@Big/x"}, "not the name of an npm package"),
        ({"verb": "pin", "package": "node-red-other"}, "Say which version"),
        ({"verb": "destroy"}, "not one of the available choices"),
        ({"verb": "hide", "version": "1.0.0"}, "such a rule already"),
        ({"verb": "pin", "version": "2.0.0"}, "pinned already"),
    ],
)
def test_it_refuses_a_rule_that_the_model_refuses(
    operator: Client, fields: dict[str, str], said: str
) -> None:
    Rule.objects.create(package=PUMP, verb="hide", version="1.0.0")
    Rule.objects.create(package=PUMP, verb="pin", version="1.0.0")
    answer = operator.post(f"{RULES}add/", rule(**fields))
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert Rule.objects.count() == 2


@pytest.mark.parametrize(
    "fields", [{"verb": "pin", "version": "2.0.0"}, {"verb": "hide", "version": "1.0.0"}]
)
def test_it_refuses_a_change_that_makes_a_rule_a_second_one(operator: Client, fields: dict[str, str]) -> None:
    Rule.objects.create(package=PUMP, verb="hide", version="1.0.0")
    Rule.objects.create(package=PUMP, verb="pin", version="1.0.0")
    mine = Rule.objects.create(package=PUMP, verb="block", version="3.0.0")
    assert operator.post(f"{RULES}{mine.pk}/change/", rule(**fields)).status_code == 200
    assert Rule.objects.get(pk=mine.pk).verb == "block"


def test_a_rule_stays_with_its_package_and_its_author(operator: Client) -> None:
    made = Rule.objects.create(package=PUMP, verb="hide")
    operator.post(f"{RULES}{made.pk}/change/", rule(package="node-red-other", verb="block"))
    changed = Rule.objects.get()
    assert (changed.package, changed.verb, changed.made_by) == (PUMP, "block", None)


def test_a_pin_is_changed_to_another_version(operator: Client) -> None:
    made = Rule.objects.create(package=PUMP, verb="pin", version="1.0.0")
    operator.post(f"{RULES}{made.pk}/change/", rule(verb="pin", version="1.1.0"))
    assert Rule.objects.get().version == "1.1.0"


# --- What a tenant allows -------------------------------------------------------------------------


def tenant_form(lines: str) -> dict[str, Any]:
    form: dict[str, Any] = {"name": "alice", "max_instances": 5, "palette_allow": lines}
    return form | {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}


def test_a_tenants_allow_list_is_written_as_lines(operator: Client, user: Any, tenant: Tenant) -> None:
    make_package(PUMP)
    make_package("node-red-other")
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    lines = "@alice/*\r\n\r\n  node-red-contrib-*-modbus \r\n@alice/*\r\nnode-red-dashboard\r\n"
    assert operator.post(page, tenant_form(lines)).status_code == 302
    tenant.refresh_from_db()
    assert tenant.palette_allow == ["@alice/*", "node-red-contrib-*-modbus", "node-red-dashboard"]
    assert seen(user) == [PUMP]
    shown = operator.get(page).content.decode()
    assert "@alice/*\nnode-red-contrib-*-modbus\nnode-red-dashboard</textarea>" in shown
    assert operator.post(page, tenant_form(" \r\n")).status_code == 302
    tenant.refresh_from_db()
    assert tenant.palette_allow == []
    assert seen(user) == [PUMP, "node-red-other"]


@pytest.mark.parametrize(
    "line", ["*", "@*/node-red-*", "@a/b", "node-red-*", "Old-Name", "@acme/*", "x" * 214]
)
def test_names_and_patterns_are_allowed(operator: Client, tenant: Tenant, line: str) -> None:
    operator.post(reverse("admin:tenants_tenant_change", args=[tenant.pk]), tenant_form(line))
    tenant.refresh_from_db()
    assert tenant.palette_allow == [line]


@pytest.mark.parametrize(
    "lines",
    [
        "two words",
        "@acme",
        "@acme/",
        "a/b",
        "/x",
        "<script>",
        "a*b*c*d*e",
        "x" * 215,
        "ö",
        "@a/b@1.0.0",
        "https://a.example/x.tgz",
        "\n".join(f"a{number}" for number in range(201)),
    ],
)
def test_it_refuses_lines_that_are_neither(operator: Client, tenant: Tenant, lines: str) -> None:
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert operator.post(page, tenant_form(lines)).status_code == 200
    tenant.refresh_from_db()
    assert tenant.palette_allow == []
