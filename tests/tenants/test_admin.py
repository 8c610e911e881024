"""The operators' admin: what it shows, what it never shows, and what its buttons do."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants.models import AccessToken, Event, Instance, Phase, Power, Size, Stack, Tenant
from tests import factories

LIST = "admin:tenants_instance_changelist"


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(factories.make_user("olga", is_staff=True, is_superuser=True))
    return client


def act(operator: Client, action: str, *instances: Instance) -> Any:
    form = {"action": action, "_selected_action": [str(instance.pk) for instance in instances]}
    return operator.post(reverse(LIST), form, follow=True)


def test_it_has_people_sign_in_at_the_portals_own_login(db: None, client: Client) -> None:
    assert client.get("/admin/login/")["Location"].startswith("/accounts/login/")
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/accounts/login/")


def test_it_is_closed_to_those_who_are_no_operators(user: Any, client: Client) -> None:
    client.force_login(user)
    assert client.get("/admin/", follow=True).status_code == 403


@pytest.mark.parametrize(
    "model", ["tenant", "membership", "stack", "size", "instance", "event", "accesstoken"]
)
def test_it_lists_and_searches(instance: Instance, user: Any, operator: Client, model: str) -> None:
    AccessToken.objects.make(user, "laptop")
    answer = operator.get(reverse(f"admin:tenants_{model}_changelist"), {"q": "kitchen"})
    assert answer.status_code == 200
    assert "Flowstead" in answer.content.decode()


def test_it_shows_state_reason_and_when_it_was_seen(instance: Instance, operator: Client) -> None:
    Instance.objects.update(phase=Phase.FAILING, reason="crash_loop")
    text = operator.get(reverse(LIST), {"phase__exact": "failing"}).content.decode()
    assert "Failing" in text
    assert "crash_loop" in text
    assert "never" in text
    assert (
        "kitchen"
        not in operator.get(reverse(LIST), {"phase__exact": "running"}).content.decode().split("<table")[-1]
    )


def test_it_never_shows_a_secret_or_the_value_of_a_variable(
    instance: Instance, user: Any, operator: Client
) -> None:
    instance.configure(user, environment={"KEY": "hush"})
    text = operator.get(reverse("admin:tenants_instance_change", args=[instance.pk])).content.decode()
    assert "KEY" in text
    for secret in ("hush", instance.storage_token, instance.credential_secret, instance.oidc_client_secret):
        assert secret not in text
    assert instance.storage_token_hash not in text


def test_it_stops_starts_restarts_and_looks_again(instance: Instance, operator: Client) -> None:
    assert "1 instance switched off" in act(operator, "stop", instance).content.decode()
    assert Instance.objects.get().power == Power.OFF
    act(operator, "start", instance)
    assert Instance.objects.get().power == Power.ON
    act(operator, "restart", instance)
    assert Instance.objects.get().restarts == 1
    Instance.objects.update(due_at=None, attempts=5)
    act(operator, "look_again", instance)
    looked = Instance.objects.get()
    assert looked.due_at is not None
    assert looked.attempts == 0
    assert Event.objects.filter(actor_name="olga", verb="restart_asked").exists()


def test_it_goes_on_with_the_others_where_one_is_being_deleted(
    instance: Instance, user: Any, operator: Client
) -> None:
    other = factories.make_instance(user, "cellar")
    instance.retire(user)
    text = act(operator, "stop", instance, other).content.decode()
    assert "is being deleted" in text
    assert not Instance.objects.get(pk=other.pk).is_on


def test_it_makes_an_instance_by_the_rules(user: Any, tenant: Tenant, operator: Client) -> None:
    form = {
        "name": "cellar",
        "tenant": tenant.pk,
        "stack": Stack.objects.get().pk,
        "size": Size.objects.get().pk,
    }
    assert operator.post(reverse("admin:tenants_instance_add"), form).status_code == 302
    made = Instance.objects.get(name="cellar")
    assert made.storage_token_hash
    assert Event.objects.filter(verb="created", actor_name="olga", instance_id=made.pk).exists()


@pytest.mark.parametrize("name", ["kitchen", "Registry", "admin", "a--b"])
def test_it_refuses_a_name_that_the_rules_refuse(instance: Instance, operator: Client, name: str) -> None:
    form = {
        "name": name,
        "tenant": instance.tenant.pk,
        "stack": instance.stack.pk,
        "size": instance.size.pk,
    }
    assert operator.post(reverse("admin:tenants_instance_add"), form).status_code == 200
    assert Instance.objects.count() == 1


def test_it_says_that_a_tenants_limit_is_reached(
    instance: Instance, tenant: Tenant, operator: Client
) -> None:
    Tenant.objects.update(max_instances=1)
    form = {"name": "cellar", "tenant": tenant.pk, "stack": instance.stack.pk, "size": instance.size.pk}
    answer = operator.post(reverse("admin:tenants_instance_add"), form, follow=True)
    assert "limit of 1 instances" in answer.content.decode()
    assert Instance.objects.count() == 1


def test_it_changes_the_size_as_a_new_generation(instance: Instance, operator: Client) -> None:
    large = Size.objects.create(name="large", cpu=2000, memory=1024)
    form = {"stack": instance.stack.pk, "size": large.pk}
    operator.post(reverse("admin:tenants_instance_change", args=[instance.pk]), form)
    changed = Instance.objects.get()
    assert changed.size == large
    assert changed.generation == 2
    assert changed.environment == instance.environment


def test_it_deletes_by_asking_for_removal(instance: Instance, operator: Client) -> None:
    address = reverse("admin:tenants_instance_delete", args=[instance.pk])
    answer = operator.post(address, {"post": "yes"}, follow=True)
    assert "“kitchen” is being deleted." in answer.content.decode()
    assert Instance.objects.get().retired_at


def test_it_deletes_many_by_asking_for_their_removal(instance: Instance, operator: Client) -> None:
    form = {"action": "delete_selected", "_selected_action": [str(instance.pk)], "post": "yes"}
    operator.post(reverse(LIST), form)
    assert Instance.objects.get().retired_at


def test_it_keeps_events_as_they_are(instance: Instance, operator: Client) -> None:
    event = Event.objects.get()
    assert operator.get(reverse("admin:tenants_event_add")).status_code == 403
    assert (
        operator.post(reverse("admin:tenants_event_delete", args=[event.pk]), {"post": "yes"}).status_code
        == 403
    )
    operator.post(reverse("admin:tenants_event_change", args=[event.pk]), {"verb": "changed"})
    assert Event.objects.get().verb == "created"
    listed = operator.get(reverse("admin:tenants_event_changelist"), {"instance_id__exact": str(instance.pk)})
    assert listed.status_code == 200


def test_it_revokes_a_token_and_writes_it_down(user: Any, operator: Client) -> None:
    token, _ = AccessToken.objects.make(user, "laptop")
    page = operator.get(reverse("admin:tenants_accesstoken_change", args=[token.pk])).content.decode()
    assert token.token_hash not in page
    operator.post(reverse("admin:tenants_accesstoken_delete", args=[token.pk]), {"post": "yes"})
    assert not AccessToken.objects.exists()
    assert Event.objects.filter(verb="token_revoked", actor_name="olga").exists()


@pytest.mark.parametrize("slug", ["Plant", "portal", "a--b"])
def test_it_refuses_a_tenants_slug_that_the_rules_refuse(operator: Client, slug: str) -> None:
    form = {"slug": slug, "name": "x", "max_instances": 1}
    form |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    assert operator.post(reverse("admin:tenants_tenant_add"), form).status_code == 200
    assert not Tenant.objects.filter(name="x").exists()


def test_a_tenants_slug_stays_what_it_was(operator: Client, tenant: Tenant) -> None:
    form = {"slug": "moved", "name": "Renamed", "max_instances": 1}
    form |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert operator.post(page, form).status_code == 302
    changed = Tenant.objects.get(pk=tenant.pk)
    assert (changed.slug, changed.name) == (tenant.slug, "Renamed")


def test_it_shows_no_second_factor_and_no_client_secret(operator: Client) -> None:
    text = operator.get("/admin/").content.decode()
    assert "/admin/allauth_idp_oidc/" not in text
    assert "/admin/socialaccount/socialtoken/" not in text
