"""What the registry asks and tells: rights, policy, notices. And what an instance asks."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from catalogue.models import Reading, Rule
from tenants import passes
from tenants.models import AccessToken, Membership, Role, Tenant
from tests import factories
from tests.catalogue.factories import make_package

pytestmark = pytest.mark.django_db
SECRET = "the-secret-of-both"
DEFAULT = (
    '{"name":"@lab/node-red-tiny","package":"@lab/node-red-tiny@1.0.0","type":"publish","publisher":"alice",'
    '"tags":{"latest":"1.0.0"},"versions":["1.0.0"]}'
)
PREDECESSORS = (
    '{"name": "node-red-contrib-tiny", "versions": "[object Object]", "dist-tags": "[object Object]"}'
)
UNPUBLISH = (
    '{"name":"@lab/node-red-tiny","package":"@lab/node-red-tiny","type":"unpublish","tags":{},"versions":[]}'
)


@pytest.fixture(autouse=True)
def _secret(settings):
    settings.REGISTRY_HOOK_TOKEN = SECRET


def registry(method, path, data=None, secret=SECRET, **headers):
    client = Client(headers={"authorization": f"Bearer {secret}", **headers})
    kwargs = {"content_type": "application/json"} if method == "post" else {}
    return getattr(client, method)(f"/api/v1/registry{path}", data, **kwargs)


# --- Notices --------------------------------------------------------------------------------------

DOORS = ("/update", "/api/v1/registry/notify")


def notice(door, body, secret=SECRET):
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return Client(headers=headers, enforce_csrf_checks=True).post(door, body, content_type="application/json")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("body", [DEFAULT, PREDECESSORS, UNPUBLISH])
def test_a_notice_only_marks_its_package_due(door, body):
    answer = notice(door, body)
    assert answer.status_code == 202
    reading = Reading.objects.get()
    assert reading.name == answer.json()["due"]
    assert reading.due_at


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("secret", ["", "wrong", SECRET[:-1], "geheim-\u00fc"])
def test_without_the_secret_nothing_is_taken(door, secret):
    answer = notice(door, DEFAULT, secret.encode().decode("latin-1"))
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"
    assert not Reading.objects.exists()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "body", ["", "{", "[]", "7", '{"name": 7}', '{"name": "../../etc/passwd"}', '{"n": 1}', "x" * 300_000]
)
def test_what_is_no_notice_is_refused_with_a_sentence(door, body):
    answer = notice(door, body)
    assert answer.status_code == 422
    assert "name" in answer.json()["detail"]


def test_where_no_secret_is_set_notices_are_hints_that_are_counted(settings):
    settings.REGISTRY_HOOK_TOKEN = ""
    codes = [notice("/update", DEFAULT, "").status_code for _ in range(31)]
    assert codes == [202] * 30 + [429]
    assert Reading.objects.count() == 1


def test_a_notice_is_taken_on_the_catalogues_host():
    client = Client(headers={"authorization": f"Bearer {SECRET}", "host": "catalogue.localhost:8000"})
    assert client.post("/update", DEFAULT, content_type="application/json").status_code == 202


def test_update_is_no_page():
    assert Client().get("/update").status_code == 405


# --- Rights ---------------------------------------------------------------------------------------


def rights(token):
    return registry("post", "/rights", {"token": token})


def test_a_member_reads_and_publishes_in_the_scope_of_the_tenant(user):
    _, token = AccessToken.objects.make(user, "npm")
    assert rights(token).json() == {
        "name": "alice", "read": ["@alice"], "publish": ["@alice"], "shared": False,
    }  # fmt: skip


def test_a_viewer_only_reads(user, tenant):
    viewer = factories.add_member(tenant, Role.VIEWER, "vera")
    _, token = AccessToken.objects.make(viewer, "npm")
    told = rights(token).json()
    assert set(told["read"]) == {"@alice", "@vera"}
    assert told["publish"] == ["@vera"]


def test_whom_the_operator_allows_publishes_to_the_shared_scope(user):
    user.user_permissions.add(Permission.objects.get(codename="publish_shared"))
    _, token = AccessToken.objects.make(user, "npm")
    assert rights(token).json()["shared"] is True


def test_an_instance_reads_and_never_publishes(instance):
    told = rights(instance.pass_for(passes.Purpose.REGISTRY)).json()
    assert told == {"name": "instance:kitchen", "read": ["@alice"], "publish": [], "shared": False}


def test_a_revoked_token_opens_nothing(user):
    row, token = AccessToken.objects.make(user, "npm")
    row.revoke(by=user)
    assert rights(token).status_code == 404
    assert rights(token).json()["code"] == "unknown_token"


def test_the_token_of_somebody_who_is_locked_out_opens_nothing(user):
    _, token = AccessToken.objects.make(user, "npm")
    user.is_active = False
    user.save()
    assert rights(token).status_code == 404


def test_neither_the_catalogues_pass_nor_the_storage_token_opens_the_registry(instance):
    for token in (instance.pass_for(passes.Purpose.CATALOGUE), instance.storage_token, "", "fsi_", "fs_x"):
        assert rights(token).status_code == 404


def test_a_deleted_instance_is_out(instance, user):
    token = instance.pass_for(passes.Purpose.REGISTRY)
    instance.retire(user)
    assert rights(token).status_code == 404


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_nobody_but_the_registry_is_told(settings, user, secret):
    assert registry("post", "/rights", {"token": "x"}, secret=secret).status_code == 401
    assert registry("get", "/policy", secret=secret).status_code == 401
    settings.REGISTRY_HOOK_TOKEN = ""  # then nobody is
    assert registry("get", "/policy", secret=secret).status_code == 401


# --- Policy ---------------------------------------------------------------------------------------


def test_the_policy_names_scopes_that_are_somebodys_and_what_is_blocked(user):
    Rule.objects.create(package="@alice/pump", verb="block", version="1.0.0")
    Rule.objects.create(package="node-red-evil", verb="block")
    Rule.objects.create(package="@alice/old", verb="hide")
    answer = registry("get", "/policy")
    assert answer.json() == {
        "scopes": ["@alice"],
        "blocked": {"@alice/pump": ["1.0.0"], "node-red-evil": []},
    }
    assert registry("get", "/policy", **{"if-none-match": answer["ETag"]}).status_code == 304


def test_a_deleted_tenants_scope_stays_somebodys_for_ever(user, tenant):
    tenant.delete()
    assert registry("get", "/policy").json()["scopes"] == ["@alice"]
    again = factories.make_user("alice.")  # would become the tenant “alice”
    assert factories.personal_tenant(again).slug == "alice-2"


@pytest.mark.parametrize("username", ["private", "types", "node-red"])
def test_nobodys_tenant_takes_a_scope_that_is_of_others(db, username):
    assert factories.personal_tenant(factories.make_user(username)).slug == f"{username}-t"


# --- What an instance asks ------------------------------------------------------------------------


def palette(instance, path="", **query):
    token = instance.pass_for(passes.Purpose.REGISTRY)
    return Client(headers={"authorization": f"Bearer {token}"}).get(f"/api/v1/catalogue/palette{path}", query)


def test_an_instance_asks_before_it_installs(instance):
    make_package("@alice/pump", "1.0.0", "1.1.0")
    Rule.objects.create(package="@alice/pump", verb="block", version="1.1.0")
    Rule.objects.create(package="node-red-evil", verb="block")
    assert palette(instance, "/check", module="@alice/pump", version="1.0.0").json() == {
        "allowed": True, "detail": "", "private": True,
    }  # fmt: skip
    for query in ({"version": "1.1.0"}, {}, {"version": "latest"}):
        assert palette(instance, "/check", module="@alice/pump", **query).json()["allowed"] is False
    evil = palette(instance, "/check", module="node-red-evil").json()
    assert evil == {
        "allowed": False, "detail": "“node-red-evil” is blocked by the operator.", "private": False,
    }  # fmt: skip


def test_an_unscoped_package_of_ours_is_told_from_a_public_one(instance):
    make_package("node-red-plain")
    assert palette(instance, "/check", module="node-red-plain").json()["private"] is True
    assert palette(instance, "/check", module="node-red-other").json()["private"] is False


def test_another_tenants_package_is_no_package_of_ours(instance, other_user):
    make_package("@mallory/secret")
    assert palette(instance, "/check", module="@mallory/secret").json()["private"] is False


def test_the_tenants_list_is_asked_too(instance, tenant):
    tenant.palette_allow = ["@alice/*"]
    tenant.save()
    assert palette(instance, "/check", module="@alice/x").json()["allowed"] is True
    assert palette(instance, "/check", module="node-red-other").json()["allowed"] is False


def test_the_lists_for_the_editor_name_nothing_of_other_tenants(instance, tenant, other_user):
    Rule.objects.create(package="node-red-evil", verb="block")
    Rule.objects.create(package="@mallory/secret", verb="block")
    Rule.objects.create(package="@alice/pump", verb="block", version="1.0.0")
    assert palette(instance).json() == {"allow": ["*"], "deny": ["@alice/pump@1.0.0", "node-red-evil"]}
    tenant.palette_allow = ["@alice/*"]
    tenant.save()
    assert palette(instance).json()["allow"] == ["@alice/*"]


def test_what_is_no_name_of_a_package_is_not_installed(instance):
    for module in ("", "../evil", "a b", "x" * 1000, "<script>"):
        told = palette(instance, "/check", module=module).json()
        assert told["allowed"] is False
        assert "script" not in told["detail"]


def test_the_palette_asks_for_a_token(instance):
    assert Client().get("/api/v1/catalogue/palette").status_code == 401


# --- The API for people ---------------------------------------------------------------------------


def test_people_list_what_they_may_install(api, other_user):
    for name in ("@alice/pump", "@mallory/secret", "@private/valve"):
        make_package(name)
    page = api.get("/catalogue/packages").json()
    assert [item["name"] for item in page["items"]] == ["@alice/pump", "@private/valve"]
    assert page["next"] is None
    assert page["items"][0]["types"] == ["pump"]
    assert api.get("/catalogue/packages/@mallory/secret").status_code == 404
    detail = api.get("/catalogue/packages/@alice/pump").json()
    assert detail["versions"][0]["number"] == "1.0.0"
    assert detail["tags"] == {"latest": "1.0.0"}


def test_long_lists_come_in_pages(api):
    for number in range(5):
        make_package(f"@alice/pump{number}")
    first = api.get("/catalogue/packages?limit=2").json()
    second = api.get(f"/catalogue/packages?limit=2&cursor={first['next']}").json()
    third = api.get(f"/catalogue/packages?limit=2&cursor={second['next']}").json()
    assert [len(page["items"]) for page in (first, second, third)] == [2, 2, 1]
    assert third["next"] is None
    assert api.get("/catalogue/packages?cursor=AA==").status_code == 422
    assert api.get("/catalogue/packages?limit=0").status_code == 422


def test_words_are_looked_for_in_names_and_types(api):
    make_package("@alice/pump", types=("water pump",))
    make_package("@alice/lamp", types=("light",))
    found = api.get("/catalogue/packages?q=WATER").json()["items"]
    assert [item["name"] for item in found] == ["@alice/pump"]


def test_a_tenants_slug_that_is_a_public_scope_is_refused_by_the_operators_form(admin_client):
    answer = admin_client.post(
        "/admin/tenants/tenant/add/", {"slug": "types", "name": "Types", "max_instances": 1}
    )
    assert answer.status_code == 200
    assert not Tenant.objects.filter(slug="types").exists()


def test_people_find_what_one_of_their_tenants_may_install(api, user, tenant, other_user):
    theirs = factories.personal_tenant(other_user)
    for name in ("@alice/pump", "@mallory/valve", "@private/lamp"):
        make_package(name)

    def found():
        return [item["name"] for item in api.get("/catalogue/packages").json()["items"]]

    tenant.palette_allow = ["@alice/*"]
    tenant.save()
    assert found() == ["@alice/pump"]
    Membership.objects.create(tenant=theirs, user=user, role=Role.VIEWER)
    assert found() == ["@alice/pump", "@mallory/valve", "@private/lamp"]
    theirs.palette_allow = ["@private/*"]
    theirs.save()
    assert found() == ["@alice/pump", "@private/lamp"]
