import json

import pytest
from django.test import Client

from tenants.models import Instance, Membership, Role
from tests.factories import add_member, make_instance

pytestmark = pytest.mark.django_db
FLOWS = [{"id": "a", "type": "inject"}]


@pytest.fixture
def storage(instance: Instance) -> Client:
    return Client(headers={"authorization": f"Bearer {instance.storage_token}"})


@pytest.fixture
def base(instance: Instance) -> str:
    return f"/api/v1/storage/{instance.pk}"


def post(client: Client, address: str, body: object, **headers: str) -> object:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(address, text, content_type="application/json", headers=headers)


def test_flows_travel_with_their_revision_and_author(storage, base, api):
    first = storage.get(f"{base}/flows")
    assert (first.json(), first["ETag"]) == ([], '"0"')
    saved = post(storage, f"{base}/flows", FLOWS, **{"If-Match": '"0"', "Flowstead-Author": "J%C3%BCrgen"})
    assert (saved.status_code, saved.json()) == (200, {"revision": 1})
    again = storage.get(f"{base}/flows")
    assert (again.json(), again["ETag"]) == (FLOWS, '"1"')
    assert api.get("/instances/kitchen/snapshots").json()["items"][0]["author"] == "Jürgen"


def test_a_stale_revision_is_409(storage, base):
    post(storage, f"{base}/flows", FLOWS, **{"If-Match": '"0"'})
    response = post(storage, f"{base}/flows", [], **{"If-Match": '"0"'})
    assert (response.status_code, response.json()["code"]) == (409, "stale_revision")
    assert storage.get(f"{base}/flows").json() == FLOWS


def test_credentials_of_a_stale_deploy_are_refused_before_its_flows(storage, base):
    post(storage, f"{base}/credentials", {"a": "1"}, **{"If-Match": '"0"'})
    post(storage, f"{base}/flows", FLOWS, **{"If-Match": '"0"'})
    response = post(storage, f"{base}/credentials", {"a": "2"}, **{"If-Match": '"0"'})
    assert (response.status_code, response.json()["code"]) == (409, "stale_revision")
    assert storage.get(f"{base}/credentials").json() == {"a": "1"}


@pytest.mark.parametrize("etag", ["x", "-1", '"1', "1.5", '""', "9" * 20])
def test_a_bad_if_match_is_refused(storage, base, etag):
    response = post(storage, f"{base}/flows", FLOWS, **{"If-Match": etag})
    assert (response.status_code, response.json()["code"]) in [
        (422, "invalid_input"),
        (409, "stale_revision"),
    ]
    assert storage.get(f"{base}/flows").json() == []


@pytest.mark.parametrize("kind", ["credentials", "settings", "sessions"])
def test_documents_come_back_as_they_were_saved(storage, base, kind):
    assert storage.get(f"{base}/{kind}").json() == {}
    assert post(storage, f"{base}/{kind}", {"ä": [1]}).status_code == 200
    assert storage.get(f"{base}/{kind}").json() == {"ä": [1]}


def test_unknown_kinds_and_types_do_not_exist(storage, base):
    assert storage.get(f"{base}/passwords").json()["code"] == "not_found"
    assert storage.get(f"{base}/library/Flows").json()["code"] == "invalid_input"


def test_the_library_answers_entries_and_folders(storage, base):
    body = {"path": "/lights/lamp", "meta": {"name": "Lamp"}, "body": "[]"}
    assert post(storage, f"{base}/library/flows", body).status_code == 200
    assert storage.get(f"{base}/library/flows?path=lights/lamp").json() == {"kind": "entry", "body": "[]"}
    assert storage.get(f"{base}/library/flows?path=lights").json() == {
        "kind": "folder",
        "entries": [{"name": "Lamp", "fn": "lamp"}],
    }
    assert storage.get(f"{base}/library/flows?path=light").status_code == 404


@pytest.mark.parametrize(
    "body", [[], {"path": 1, "body": ""}, {"path": "a"}, {"path": "a", "body": "", "meta": 1}]
)
def test_a_malformed_library_entry_is_refused(storage, base, body):
    response = post(storage, f"{base}/library/flows", body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_document")


def test_a_document_that_is_too_large_is_413(storage, base, settings):
    settings.DOCUMENT_MAX_BYTES = 1000
    response = post(storage, f"{base}/flows", [{"x": "y" * 2000}])
    assert (response.status_code, response.json()["code"]) == (413, "document_too_large")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1500
    response = post(storage, f"{base}/flows", [{"x": "y" * 2000}])
    assert (response.status_code, response.json()["code"]) == (413, "document_too_large")


@pytest.mark.parametrize(
    "path", ["/flows", "/credentials", "/settings", "/sessions", "/library/flows", "/users/alice"]
)
def test_only_its_own_token_opens_an_instances_storage(client, user, api, base, path):
    neighbour = make_instance(user, "neighbour")
    wrong = ["", "Bearer x", f"Bearer {neighbour.storage_token}", f"Bearer {api.token}"]
    for header in wrong:
        response = client.get(f"{base}{path}", headers={"authorization": header})
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_storage_token_opens_nothing_else(client, instance):
    response = client.get("/api/v1/me", headers={"authorization": f"Bearer {instance.storage_token}"})
    assert response.status_code == 401


def test_an_editors_user_is_told_with_the_role_of_now(storage, base, tenant):
    viewer = add_member(tenant, Role.VIEWER, "victor")
    assert storage.get(f"{base}/users/alice").json() == {
        "username": "alice",
        "role": "owner",
        "permissions": "*",
    }
    assert storage.get(f"{base}/users/victor").json()["permissions"] == "read"
    Membership.objects.filter(user=viewer).update(role=Role.MEMBER)
    assert storage.get(f"{base}/users/victor").json()["permissions"] == "*"
    Membership.objects.filter(user=viewer).delete()
    assert storage.get(f"{base}/users/victor").status_code == 404


def test_strangers_and_inactive_users_may_not_enter(storage, base, user, other_user):
    assert storage.get(f"{base}/users/mallory").status_code == 404
    assert storage.get(f"{base}/users/nobody").status_code == 404
    assert storage.get(f"{base}/users/a%00b").json()["code"] == "not_found"
    user.is_active = False
    user.save()
    assert storage.get(f"{base}/users/alice").status_code == 404


def test_secrets_are_encrypted_or_hashed_in_the_database(instance):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM tenants_instance")
        row = " ".join(map(str, cursor.fetchone()))
    for secret in (instance.storage_token, instance.credential_secret, instance.oidc_client_secret):
        assert secret not in row


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        '{"path": "a", "body": "", "meta": {"a": %s}}' % ("[" * 300 + "]" * 300),
        '{"path": "a", "body": "", "meta": {"a": ' + NESTED + "}}",
        '{"path": "a", "body": ' + NESTED + "}",
        '{"path": %s, "body": ""}' % ("[" * 300 + "]" * 300),
        NESTED,
        "[" * 100_000,
        '{"path": "a", "body": "", "meta": {"n": 18446744073709551616}}',
        '{"path": "a", "body": "", "meta": {"n": %s}}' % ("9" * 5000),
        '{"path": "a", "body": "", "meta": {"a": "\\ud83d"}}',
        '{"path": "\\ud83d", "body": ""}',
        '{"path": "a", "body": "", "path": 1}',
        '{"path": "a", "body": "", "other": [%s]}' % ("[]," * 1000 + "[]"),
    ],
    ids=range(12),
)
def test_an_entry_of_the_library_that_cannot_be_kept_is_refused(storage, base, body):
    response = post(storage, f"{base}/library/functions", body.encode())
    assert response.status_code in (413, 422), response.content
    assert response.json()["code"] in ("document_too_large", "invalid_document")
    assert storage.get(f"{base}/library/functions").json() == {"kind": "folder", "entries": []}


def test_what_is_noted_beside_an_entry_is_refused_before_it_is_built(storage, base):
    body = '{"path": "a", "body": "", "meta": {"a": [%s]}}' % ("[]," * 10_000 + "[]")
    response = post(storage, f"{base}/library/functions", body.encode())
    assert (response.status_code, response.json()["code"]) == (413, "document_too_large")


def test_half_of_a_surrogate_pair_comes_back_as_it_was_sent(storage, base):
    body = b'{"path": "a", "meta": null, "body": "cut \\ud83d off, \\ud83d\\ude00"}'
    assert post(storage, f"{base}/library/functions", body).status_code == 200
    entry = storage.get(f"{base}/library/functions?path=a")
    assert json.loads(entry.content)["body"] == "cut \ud83d off, \U0001f600"
    flows = b'[{"id": "a", "name": "cut \\ud83d off"}]'
    assert post(storage, f"{base}/flows", flows).status_code == 200
    assert storage.get(f"{base}/flows").content == flows


def test_a_full_instance_is_413_and_says_what_to_do(storage, base, settings, api):
    settings.INSTANCE_MAX_BYTES = 2**20
    entry = {"path": "a", "meta": {}, "body": "x" * 700_000}
    assert post(storage, f"{base}/library/flows", entry).status_code == 200
    response = post(storage, f"{base}/library/flows", {**entry, "path": "b"})
    assert (response.status_code, response.json()["code"]) == (413, "storage_full")
    assert "0.7 MiB of 0.8 MiB are used" in response.json()["detail"]
    assert api.delete("/instances/kitchen/library/flows?path=a").status_code == 204
    assert post(storage, f"{base}/library/flows", {**entry, "path": "b"}).status_code == 200


def test_every_operation_declares_its_errors(client, db):
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    operations = [
        (method, operation)
        for path, item in paths.items()
        if "/storage/" in path
        for method, operation in item.items()
    ]
    assert len(operations) == 7
    for method, operation in operations:
        common = {"200", "401", "404", "422", "503"}
        assert operation["responses"].keys() == common | ({"409", "413"} if method == "post" else set())
