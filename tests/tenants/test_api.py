import json

import pytest
from django.test import Client

from tenants import documents
from tenants.models import Event, Instance, Role, Tenant
from tests.conftest import ApiClient
from tests.factories import add_member, make_instance, personal_tenant

pytestmark = pytest.mark.django_db


def test_it_tells_who_i_am_and_my_own_tenant(api):
    answer = api.get("/me").json()
    assert answer["username"] == "alice"
    assert answer["email"] == "alice@example.com"
    assert answer["tenants"] == [{"slug": "alice", "name": "alice", "role": "owner"}]


def test_it_makes_an_instance_with_the_address_of_its_name(api):
    response = api.post("/instances", {"name": "kitchen"})
    assert response.status_code == 201
    answer = response.json()
    assert answer["url"] == "http://kitchen.localhost:8000/"
    assert (answer["power"], answer["phase"], answer["tenant"]) == ("on", "pending", "alice")
    assert (answer["generation"], answer["observed_generation"]) == (1, 0)
    assert Event.objects.filter(verb="created", instance_name="kitchen", actor_name="alice").exists()


@pytest.mark.parametrize(
    "name", ["", "A", "Kitchen", "a.b", "a_b", "-a", "a-", "a--b", "1a", "a" * 41, "ä", "a\n", "a b", "../x"]
)
def test_it_refuses_a_name_that_is_no_dns_label(api, name):
    response = api.post("/instances", {"name": name})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_name")
    assert "name" in response.json()["fields"]


@pytest.mark.parametrize("name", ["a", "a" * 40, "a1", "a-b-c", "x9"])
def test_it_takes_every_name_that_the_rule_allows(api, name):
    assert api.post("/instances", {"name": name}).status_code == 201


@pytest.mark.parametrize(
    "name", ["portal", "manager", "registry", "catalogue", "admin", "api", "www", "auth", "mail"]
)
def test_it_refuses_a_name_that_would_hijack_a_host_of_the_platform(api, name):
    response = api.post("/instances", {"name": name})
    assert (response.status_code, response.json()["code"]) == (422, "reserved_name")


def test_it_refuses_what_the_operator_reserved(api, settings):
    settings.RESERVED_NAMES = frozenset({"shop"})
    assert api.post("/instances", {"name": "shop"}).json()["code"] == "reserved_name"


def test_a_name_is_unique_over_all_tenants(api, other_api):
    assert api.post("/instances", {"name": "kitchen"}).status_code == 201
    for caller in (api, other_api):
        response = caller.post("/instances", {"name": "kitchen"})
        assert (response.status_code, response.json()["code"]) == (409, "name_taken")


def test_a_refused_create_leaves_no_row_that_blocks_the_name(api, tenant):
    Tenant.objects.update(max_instances=0)
    response = api.post("/instances", {"name": "kitchen"})
    assert (response.status_code, response.json()["code"]) == (403, "quota_reached")
    Tenant.objects.update(max_instances=1)
    assert api.post("/instances", {"name": "kitchen"}).status_code == 201


def test_a_tenant_one_is_not_in_does_not_exist(api, other_user):
    response = api.post("/instances", {"name": "kitchen", "tenant": personal_tenant(other_user).slug})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_tenant_must_be_named_by_those_in_several(api, user, other_user):
    personal_tenant(other_user).memberships.create(user=user, role=Role.MEMBER)
    assert api.post("/instances", {"name": "kitchen"}).json()["fields"].keys() == {"tenant"}
    assert api.post("/instances", {"name": "kitchen", "tenant": "mallory"}).json()["tenant"] == "mallory"


def test_somebody_elses_instance_is_404_on_every_call(other_api, instance):
    revision = "/instances/kitchen/snapshots/1/restore"
    calls = [
        ("get", "/instances/kitchen"),
        ("patch", "/instances/kitchen"),
        ("delete", "/instances/kitchen"),
        ("post", "/instances/kitchen/start"),
        ("post", "/instances/kitchen/stop"),
        ("post", "/instances/kitchen/restart"),
        ("get", "/instances/kitchen/logs"),
        ("get", "/instances/kitchen/logs?follow=true"),
        ("get", "/instances/kitchen/events"),
        ("get", "/instances/kitchen/snapshots"),
        ("post", "/instances/kitchen/snapshots"),
        ("post", revision),
        ("delete", "/instances/kitchen/snapshots/1"),
        ("delete", "/instances/kitchen/library/flows?path=a"),
        ("get", "/instances/kitchen/export"),
    ]
    for method, path in calls:
        response = getattr(other_api, method)(path, {} if method in ("post", "patch") else None)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
    assert other_api.get("/instances").json() == {"items": [], "next": None}
    instance.refresh_from_db()
    assert (instance.generation, instance.retired_at) == (1, None)


def test_a_viewer_looks_but_changes_nothing(instance, tenant):
    viewer = ApiClient(add_member(tenant, Role.VIEWER))
    assert viewer.get("/instances/kitchen").status_code == 200
    for method, path in [
        ("patch", ""),
        ("delete", ""),
        ("post", "/start"),
        ("post", "/stop"),
        ("post", "/restart"),
        ("post", "/snapshots"),
        ("post", "/snapshots/1/restore"),
        ("delete", "/snapshots/1"),
        ("delete", "/library/flows?path=a"),
    ]:
        response = getattr(viewer, method)(f"/instances/kitchen{path}", {})
        assert (response.status_code, response.json()["code"]) == (403, "not_allowed"), path
    instance.refresh_from_db()
    assert instance.generation == 1


def test_each_change_makes_a_new_generation_and_marks_it_due(api, instance):
    for number, (method, path, body) in enumerate(
        [
            ("post", "/stop", None),
            ("post", "/start", None),
            ("post", "/restart", None),
            ("patch", "", {"environment": {"ROOM": "1"}}),
        ],
        start=2,
    ):
        Instance.objects.update(due_at=None)
        response = getattr(api, method)(f"/instances/kitchen{path}", body)
        assert response.status_code in (200, 202)
        assert response.json()["generation"] == number
        assert Instance.objects.get().due_at is not None


def test_the_same_wish_twice_is_one_change(api, instance):
    first, second = (api.post("/instances/kitchen/stop").json() for _ in range(2))
    assert first["generation"] == second["generation"] == 2
    assert Event.objects.filter(verb="turned_off").count() == 1


def test_a_deleted_instance_is_deleting_until_the_driver_saw_it_gone(api, instance):
    assert api.delete("/instances/kitchen").status_code == 202
    assert api.delete("/instances/kitchen").json()["phase"] == "deleting"
    assert api.post("/instances/kitchen/start").json()["code"] == "being_deleted"
    assert api.post("/instances", {"name": "kitchen"}).json()["code"] == "name_taken"
    assert Event.objects.filter(verb="retired").count() == 1


def test_values_of_variables_are_told_to_nobody(api):
    answer = api.post("/instances", {"name": "kitchen", "environment": {"API_KEY": "hunter2"}})
    assert answer.json()["environment"] == ["API_KEY"]
    for path in ("/instances/kitchen", "/instances", "/instances/kitchen/events"):
        assert "hunter2" not in api.get(path).content.decode()


@pytest.mark.parametrize(
    "name", ["NODE_OPTIONS", "node_options", "LD_PRELOAD", "PATH", "FLOWSTEAD_X", "1A", "A-B", "", "A=B"]
)
def test_it_refuses_variables_that_would_change_the_platform(api, name):
    response = api.post("/instances", {"name": "kitchen", "environment": {name: "x"}})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    "environment",
    [
        {"A": "\ud800"},
        {"A": "a\0b"},
        {"A": "x" * (32 * 1024 + 1)},
        {f"V{number}": "x" * 32 * 1024 for number in range(17)},
    ],
)
def test_it_refuses_values_that_no_process_can_take(api, environment):
    response = api.post("/instances", {"name": "kitchen", "environment": environment})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"name": 1}', '{"name": "a", "nmae": "b"}', '{"name": null}', "\xff"]
)
def test_bad_json_is_a_documented_error(api, body):
    response = api.client.post("/api/v1/instances", body.encode("latin-1"), content_type="application/json")
    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("invalid_input", "bad_request", "invalid_name")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=%00", "cursor=***", "phase=asleep"]
)
def test_bad_queries_are_a_documented_error(api, query):
    response = api.get(f"/instances?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


def test_lists_come_in_pages(api, user, tenant):
    Tenant.objects.update(max_instances=10)
    for number in range(5):
        make_instance(user, f"flow-{number}")
    names, cursor = [], ""
    while cursor is not None:
        answer = api.get(f"/instances?limit=2&cursor={cursor}").json()
        names += [item["name"] for item in answer["items"]]
        cursor = answer["next"]
    assert names == [f"flow-{number}" for number in range(5)]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Basic abc", "Bearer fs_wrong", "Bearer \xff"]
)
def test_without_a_valid_token_nothing_is_told(client, db, header):
    headers = {"authorization": header} if header is not None else {}
    response = client.get("/api/v1/me", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_guessing_tokens_is_slowed_down(client, db, api):
    codes = [
        client.get("/api/v1/me", headers={"authorization": "Bearer fs_no"}).status_code for _ in range(31)
    ]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert {api.get("/me").status_code for _ in range(40)} == {200}


def test_guessing_tokens_from_the_addresses_of_one_network_is_slowed_down(client, db):
    def guess(n: int) -> int:
        headers = {"authorization": "Bearer fs_no"}
        return client.get("/api/v1/me", headers=headers, REMOTE_ADDR=f"2001:db8:1:2::{n}").status_code

    assert [guess(n) for n in range(1, 32)] == [401] * 30 + [429]
    assert client.get("/api/v1/me", headers={"authorization": "Bearer fs_no"}).status_code == 401


def test_a_forwarded_address_is_not_believed_here(client, db):
    """portal/proxies.py has already decided who the client is."""

    def guess(n: int) -> int:
        headers = {"authorization": "Bearer fs_no", "x-forwarded-for": f"198.51.100.{n}"}
        return client.get("/api/v1/me", headers=headers).status_code

    assert [guess(n) for n in range(31)] == [401] * 30 + [429]


def test_a_token_is_shown_once_and_can_be_revoked(api):
    made = api.post("/tokens", {"name": "ci"}).json()
    assert made["token"].startswith("fs_")
    assert made["token"] not in json.dumps(api.get("/tokens").json())
    assert api.delete(f"/tokens/{made['id']}").status_code == 204
    response = api.client.get("/api/v1/me", headers={"authorization": f"Bearer {made['token']}"})
    assert response.status_code == 401


def test_a_token_of_somebody_else_cannot_be_revoked(api, other_api):
    token_id = api.get("/tokens").json()["items"][0]["id"]
    assert other_api.delete(f"/tokens/{token_id}").status_code == 404
    assert api.get("/me").status_code == 200


def test_an_inactive_user_is_out(api, user):
    user.is_active = False
    user.save()
    assert api.get("/me").status_code == 401


def test_the_api_describes_itself(client, db):
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert "/api/v1/instances/{name}" in paths
    assert client.get("/api/v1/docs").status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("get", "/nothing", 404), ("put", "/me", 405)])
def test_what_the_api_does_not_have_is_an_error_in_its_own_form(api, method, path, status):
    response = getattr(api, method)(path)
    assert response.status_code == status
    assert response.json().keys() == {"detail", "code"}


def test_a_wrong_field_is_named_as_it_was_sent(api):
    assert api.post("/instances", {"name": 1}).json()["fields"].keys() == {"name"}
    assert api.post("/instances", {"name": "a", "nmae": "b"}).json()["fields"].keys() == {"nmae"}


def test_making_tokens_is_limited_for_a_user_whichever_token_asks(api, user, other_api, clock):
    again = ApiClient(user)
    page = Client()
    page.force_login(user)
    statuses = [caller.post("/tokens", {"name": "x"}).status_code for caller in (api, again) * 9]
    assert statuses == [201] * 18
    assert page.post("/account/tokens/", {"name": "x"}).status_code != 429
    assert again.post("/tokens", {"name": "x"}).status_code == 201
    refused = again.post("/tokens", {"name": "x"})
    assert (refused.status_code, refused["Retry-After"]) == (429, "180")
    assert page.post("/account/tokens/", {"name": "x"})["Retry-After"] == "180"
    assert other_api.post("/tokens", {"name": "x"}).status_code == 201
    clock.forward(180)
    assert api.post("/tokens", {"name": "x"}).status_code == 201


def test_a_snapshot_can_be_deleted(api, instance):
    documents.save_flows(instance.pk, b"[]", expected=0)
    api.post("/instances/kitchen/snapshots", {"name": "first"})
    documents.save_flows(instance.pk, b"[1]", expected=1)
    assert api.delete("/instances/kitchen/snapshots/1").status_code == 204
    assert [item["id"] for item in api.get("/instances/kitchen/snapshots").json()["items"]] == [2]
    assert api.delete("/instances/kitchen/snapshots/1").json()["code"] == "not_found"
    assert Event.objects.get(verb="revision_deleted").message == "revision 1 (“first”)"


def test_an_entry_of_the_library_can_be_deleted(api, instance):
    documents.save_library(instance.pk, "functions", "a\0/b", {}, "x")
    assert api.delete("/instances/kitchen/library/functions?path=a%00/b").status_code == 204
    assert documents.load_library(instance.pk, "functions", "") == []
    assert api.delete("/instances/kitchen/library/functions?path=a").json()["code"] == "not_found"
    assert api.delete("/instances/kitchen/library/no.type?path=a").json()["code"] == "invalid_input"
    assert Event.objects.get(verb="entry_deleted").actor_name == "alice"


@pytest.mark.parametrize("name", ["\ud83d", "a\0b"])
def test_a_snapshot_has_a_name_that_can_be_read(api, instance, name):
    documents.save_flows(instance.pk, b"[]", expected=0)
    response = api.post("/instances/kitchen/snapshots", json.dumps({"name": name}))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
