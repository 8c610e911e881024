"""The pages of instances: what members see and do there, and what nobody else does."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants.models import Event, Instance, Phase, Power, Role, Tenant
from tests import factories

PAGES = [
    "instance",
    "instance_state",
    "instance_environment",
    "instance_delete",
    "instance_log",
    "instance_log_state",
    "instance_log_download",
    "instance_revisions",
]
CHANGES = [
    "instance_start",
    "instance_stop",
    "instance_restart",
    "instance_environment",
    "instance_delete",
    "revision_keep",
]


@pytest.fixture
def page(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer_page(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(factories.add_member(tenant, Role.VIEWER))
    return client


@pytest.fixture
def other_page(other_user: Any) -> Client:
    client = Client()
    client.force_login(other_user)
    return client


def new_form(**fields: Any) -> dict[str, Any]:
    return {"name": "kitchen", "size": "small", "stack": "node-red-5", "variable": [], "value": [], **fields}


def address(name: str) -> str:
    args: list[Any] = ["kitchen", 1] if name in ("revision_restore", "revision_delete") else ["kitchen"]
    return reverse(name, args=args)


# --- Who gets in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_it_does_not_exist_for_members_of_other_tenants(
    instance: Instance, other_page: Client, name: str
) -> None:
    assert other_page.get(address(name)).status_code == 404


@pytest.mark.parametrize("name", [*CHANGES, "revision_restore", "revision_delete"])
def test_it_cannot_be_changed_from_another_tenant(instance: Instance, other_page: Client, name: str) -> None:
    assert other_page.post(address(name), {"name": "kitchen"}).status_code == 404
    assert Instance.objects.get(pk=instance.pk).generation == 1


@pytest.mark.parametrize("name", [*CHANGES, "revision_restore", "revision_delete"])
def test_it_lets_a_viewer_look_but_not_change(instance: Instance, viewer_page: Client, name: str) -> None:
    assert viewer_page.get(address("instance")).status_code == 200
    answer = viewer_page.post(address(name), {"name": "kitchen"})
    assert answer.status_code == 403
    assert "lets you look, not change" in answer.content.decode()
    assert Instance.objects.get(pk=instance.pk).generation == 1


@pytest.mark.parametrize("name", ["instance_start", "instance_stop", "instance_restart", "revision_keep"])
def test_it_changes_by_post_alone(instance: Instance, page: Client, name: str) -> None:
    assert page.get(address(name)).status_code == 405


@pytest.mark.parametrize("name", ["instances", "instance_new", "account", "tokens"])
def test_it_asks_for_a_login_first(db: None, client: Client, name: str) -> None:
    answer = client.get(reverse(name))
    assert answer.status_code == 302
    assert answer["Location"] == f"/accounts/login/?next={reverse(name)}"


def test_it_leads_to_the_page_after_a_login_that_a_change_needed(instance: Instance, client: Client) -> None:
    answer = client.post(address("instance_stop"))
    assert answer["Location"] == "/accounts/login/?next=/instances/kitchen/"


def test_it_reloads_the_page_when_a_live_piece_finds_nobody_signed_in(
    instance: Instance, client: Client
) -> None:
    answer = client.get(address("instance_state"), headers={"HX-Request": "true"})
    assert answer["HX-Refresh"] == "true"
    assert b"<form" not in answer.content


def test_it_refuses_a_change_without_a_csrf_token(instance: Instance, user: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    answer = client.post(address("instance_stop"))
    assert answer.status_code == 403
    assert "out of date" in answer.content.decode()
    assert Instance.objects.get(pk=instance.pk).is_on


def test_it_lets_no_page_run_code_that_stands_in_it(instance: Instance, page: Client) -> None:
    policy = page.get(address("instance"))["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy


# --- My instances ---------------------------------------------------------------------------------


def test_it_lists_only_what_the_user_may_see(instance: Instance, other_user: Any, page: Client) -> None:
    factories.make_instance(other_user, "cellar")
    text = page.get(reverse("instances")).content.decode()
    assert "kitchen" in text
    assert "cellar" not in text
    assert "1 of 20 used" in text


def test_it_says_what_to_do_first(page: Client) -> None:
    assert "Make your first instance" in page.get(reverse("instances")).content.decode()


def test_it_sends_a_live_piece_only_when_it_has_changed(instance: Instance, page: Client) -> None:
    live = page.get(address("instance")).context["live"]
    ask = {"path": live.address, "data": {"seen": live.digest}, "headers": {"HX-Request": "true"}}
    assert page.get(**ask).status_code == 204
    Instance.objects.filter(pk=instance.pk).update(phase=Phase.RUNNING, observed_generation=1)
    changed = page.get(**ask)
    assert changed.status_code == 200
    assert "Running" in changed.content.decode()


@pytest.mark.parametrize(("phase", "every"), [(Phase.STARTING, "every 1s"), (Phase.RUNNING, "every 5s")])
def test_it_asks_more_often_while_something_moves(
    instance: Instance, page: Client, phase: Phase, every: str
) -> None:
    Instance.objects.update(phase=phase, observed_generation=1)
    assert every in page.get(address("instance")).content.decode()


# --- A new one ------------------------------------------------------------------------------------


def test_it_makes_an_instance(page: Client, tenant: Tenant) -> None:
    form = new_form(variable=["TZ", ""], value=["Europe/Berlin", ""])
    answer = page.post(reverse("instance_new"), form)
    assert answer["Location"] == "/instances/kitchen/"
    made = Instance.objects.get(name="kitchen")
    assert made.tenant == tenant
    assert made.environment == {"TZ": "Europe/Berlin"}


def test_it_leads_the_second_of_two_clicks_to_what_the_first_has_made(page: Client) -> None:
    page.post(reverse("instance_new"), new_form())
    again = page.post(reverse("instance_new"), new_form())
    assert again["Location"] == "/instances/kitchen/"
    assert Instance.objects.count() == 1


def test_it_leads_the_second_click_on_even_where_the_first_took_the_last_place(
    page: Client, tenant: Tenant
) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(max_instances=1)
    page.post(reverse("instance_new"), new_form())
    assert page.post(reverse("instance_new"), new_form()).status_code == 302


def test_it_says_that_somebody_elses_name_is_taken(page: Client, other_user: Any) -> None:
    factories.make_instance(other_user, "kitchen")
    answer = page.post(reverse("instance_new"), new_form())
    assert answer.status_code == 422
    assert "is taken" in answer.context["form"].errors["name"][0]


def test_it_says_that_the_limit_is_reached(page: Client, tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(max_instances=0)
    answer = page.post(reverse("instance_new"), new_form())
    assert answer.status_code == 422
    assert "limit of 0 instances" in answer.content.decode()


def test_it_offers_only_tenants_in_which_one_may_make_something(
    user: Any, page: Client, other_user: Any
) -> None:
    theirs = factories.personal_tenant(other_user)
    theirs.memberships.create(user=user, role=Role.VIEWER)
    answer = page.post(reverse("instance_new"), new_form(tenant=theirs.slug))
    assert answer.status_code == 422
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (["A", "A"], ["1", "2"], "there twice"),
        ([""], ["1"], "has no name"),
        (["NODE_OPTIONS"], ["--inspect"], "cannot be the name"),
        (["<b>"], ["1"], "&lt;b&gt;"),
    ],
)
def test_it_refuses_bad_variables(page: Client, variable: list[str], value: list[str], said: str) -> None:
    answer = page.post(reverse("instance_new"), new_form(variable=variable, value=value))
    assert answer.status_code == 422
    assert said in answer.content.decode()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("garden", "http://garden.localhost"),
        ("kitchen", "is taken"),
        ("registry", "is reserved"),
        ("new", "is reserved"),
        ("Garden", "A name has 1 to 40"),
        ("<script>", "A name has 1 to 40"),
        ("a" * 41, "at most 40"),
    ],
)
def test_it_checks_a_name_while_it_is_typed(instance: Instance, page: Client, name: str, said: str) -> None:
    text = page.get(reverse("name_check"), {"name": name}).content.decode()
    assert said in text
    assert "<script" not in text


# --- What can be done with it ---------------------------------------------------------------------


def test_it_stops_starts_and_restarts(instance: Instance, page: Client, user: Any) -> None:
    assert page.post(address("instance_stop"))["Location"] == "/instances/kitchen/"
    assert Instance.objects.get().power == Power.OFF
    assert page.post(address("instance_start"), {"from": "instances"})["Location"] == "/instances/"
    assert Instance.objects.get().power == Power.ON
    page.post(address("instance_restart"))
    assert Instance.objects.get().restarts == 1
    told = page.get(address("instance")).content.decode()
    assert "alice asked for a restart" in told
    assert "alice switched it off" in told


def test_it_offers_the_editor_only_while_it_runs(instance: Instance, page: Client) -> None:
    assert "Opens when it is running" in page.get(address("instance")).content.decode()
    Instance.objects.update(phase=Phase.RUNNING, observed_generation=1)
    text = page.get(address("instance")).content.decode()
    assert f'href="{instance.url}" target="_blank"' in text


def test_it_says_why_it_fails_as_text(instance: Instance, page: Client) -> None:
    Instance.objects.update(phase=Phase.FAILING, reason="exited", message="<script>alert(1)</script>")
    Event.objects.record(Event.Verb.PHASE, instance=instance, reason="failing", message="<img src=x>")
    text = page.get(address("instance")).content.decode()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x>" not in text


def test_it_says_an_unknown_kind_of_event_without_failing(instance: Instance, page: Client) -> None:
    Event.objects.record(Event.Verb.ACTION, instance=instance, reason="adopt", message="it was there")
    Event.objects.record(Event.Verb.PHASE, instance=instance, reason="sleeping")
    text = page.get(address("instance")).content.decode()
    assert "it was there" in text
    assert "It is sleeping" in text


def test_it_escapes_what_people_call_themselves(instance: Instance, tenant: Tenant, page: Client) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(name="<b>Anna & co</b>")
    Event.objects.filter(instance_id=instance.pk).update(actor_name="<i>x</i>{0.__class__}")
    text = page.get(address("instance")).content.decode()
    assert "<b>Anna" not in text
    assert "&lt;i&gt;x&lt;/i&gt;{0.__class__}" in text


def test_it_changes_the_variables(instance: Instance, page: Client) -> None:
    form = {"variable": ["KEY", "TEXT"], "value": ["a b ", "one\r\ntwo"]}
    assert page.post(address("instance_environment"), form).status_code == 302
    assert Instance.objects.get().environment == {"KEY": "a b ", "TEXT": "one\ntwo"}


def test_it_keeps_what_was_typed_when_variables_are_refused(instance: Instance, page: Client) -> None:
    answer = page.post(address("instance_environment"), {"variable": ["1A"], "value": ["kept</textarea>"]})
    assert answer.status_code == 422
    assert "kept&lt;/textarea&gt;" in answer.content.decode()
    assert Instance.objects.get().environment == {}


def test_it_shows_values_of_variables_only_to_those_who_can_change_them(
    instance: Instance, page: Client, viewer_page: Client, user: Any
) -> None:
    instance.configure(user, environment={"KEY": "hush"})
    assert "hush" in page.get(address("instance_environment")).content.decode()
    for name in PAGES[:2]:
        assert "hush" not in page.get(address(name)).content.decode()
    text = viewer_page.get(address("instance_environment")).content.decode()
    assert "KEY" in text
    assert "hush" not in text


def test_it_shows_no_secret_of_the_instance(instance: Instance, page: Client) -> None:
    for name in ["instance", "instance_state", "instance_environment", "instance_revisions"]:
        text = page.get(address(name)).content.decode()
        for secret in (instance.storage_token, instance.credential_secret, instance.oidc_client_secret):
            assert secret not in text


def test_it_deletes_after_the_name_was_typed(instance: Instance, page: Client) -> None:
    assert page.post(address("instance_delete"), {"name": "kitchen"})["Location"] == "/instances/"
    gone = Instance.objects.get()
    assert gone.retired_at
    assert gone.phase == Phase.DELETING


@pytest.mark.parametrize("typed", ["", "kitche", "KITCHEN", "kitchen2"])
def test_it_deletes_nothing_when_another_name_was_typed(instance: Instance, page: Client, typed: str) -> None:
    assert page.post(address("instance_delete"), {"name": typed}).status_code == 422
    assert Instance.objects.get().retired_at is None


def test_it_says_that_it_is_being_deleted_when_somebody_still_changes_it(
    instance: Instance, page: Client, user: Any
) -> None:
    instance.retire(user)
    assert page.post(address("instance_start")).status_code == 302
    text = page.get(address("instance")).content.decode()
    assert "is being deleted" in text
    assert 'id="start"' not in text
