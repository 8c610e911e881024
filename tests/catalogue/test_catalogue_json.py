"""The document that editors read: who finds what in it, and how cheaply."""

import gzip
import json

import pytest
from django.db import transaction
from django.test import Client

from catalogue import packument
from catalogue.document import timestamp
from catalogue.models import Package, Rendering, Rule
from tenants import passes
from tests import factories
from tests.catalogue.factories import make_package
from tests.catalogue.packuments import packument_of

pytestmark = pytest.mark.django_db
PORTAL = {"host": "portal.localhost:8000"}


def ask(query="", **headers):
    return Client(headers={**PORTAL, **headers}).get(f"/catalogue.json{query}")


def names(response):
    assert response.status_code == 200
    return [module["id"] for module in json.loads(response.content)["modules"]]


@pytest.fixture
def published(instance):
    for name in ("@alice/pump", "@private/valve", "node-red-plain", "@mallory/secret"):
        make_package(name)
    return instance


def address_of(instance):
    return f"?for={instance.pass_for(passes.Purpose.CATALOGUE)}"


def test_an_instance_finds_its_tenants_nodes_and_the_shared_ones(published):
    assert names(ask(address_of(published))) == ["@alice/pump", "@private/valve", "node-red-plain"]


def test_its_settings_hold_that_very_address(published, settings):
    first, *others = published.spec().catalogues
    assert first == f"{settings.FLOWSTEAD_URL}/catalogue.json{address_of(published)}"
    assert tuple(others) == tuple(settings.PALETTE_CATALOGUES)


def test_everybody_else_finds_the_public_part(published):
    assert names(ask()) == ["@private/valve", "node-red-plain"]


@pytest.mark.parametrize("host", ["catalogue.localhost:8000", "localhost:8000", "127.0.0.1:8000"])
def test_it_is_there_on_every_host_that_is_for_programs(published, host):
    assert names(ask(host=host)) == ["@private/valve", "node-red-plain"]


@pytest.mark.parametrize("forged", ["?for=", "?for=x", "?for=fsi_" + "0" * 96])
def test_a_forged_pass_finds_no_more(published, forged):
    assert names(ask(forged)) == ["@private/valve", "node-red-plain"]


def test_a_pass_for_something_else_finds_no_more(published):
    registry = published.pass_for(passes.Purpose.REGISTRY)
    assert "@alice/pump" not in names(ask(f"?for={registry}"))


def test_a_pass_ends_with_its_instance(published, user):
    published.retire(user)
    assert "@alice/pump" not in names(ask(address_of(published)))


def test_each_pass_is_its_own_instances(published, other_user):
    theirs = factories.make_instance(other_user, "garage")
    assert names(ask(address_of(theirs))) == ["@mallory/secret", "@private/valve", "node-red-plain"]


def test_a_tenants_list_limits_what_its_editors_find(published, tenant):
    tenant.palette_allow = ["@alice/*", "node-*-plain"]
    tenant.save()
    assert names(ask(address_of(published))) == ["@alice/pump", "node-red-plain"]


def test_a_line_has_what_the_editor_shows(published):
    [line] = [module for module in json.loads(ask().content)["modules"] if module["id"] == "@private/valve"]
    assert line["version"] == "1.0.0"
    assert line["types"] == ["pump"]
    assert line["url"] == "http://portal.localhost:8000/catalogue/@private/valve/"
    assert line["updated_at"] == timestamp(Package.objects.get(name="@private/valve").updated_at)


def test_what_has_not_changed_is_not_sent_again(published):
    first = ask()
    again = ask(**{"if-none-match": first["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again["ETag"] == first["ETag"]
    make_package("@private/valve", "1.0.0", "1.1.0")
    assert ask(**{"if-none-match": first["ETag"]}).status_code == 200


def test_another_tenants_change_composes_nothing_anew(published):
    first = ask(address_of(published))
    made_at = Rendering.objects.get().made_at
    make_package("@mallory/secret", "1.0.0", "2.0.0")
    assert ask(address_of(published)).content == first.content
    assert Rendering.objects.get().made_at == made_at


def test_it_goes_out_packed_where_that_is_understood(published):
    plain = ask()
    packed = ask(**{"accept-encoding": "br, gzip"})
    assert not plain.has_header("Content-Encoding")
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert not ask(**{"accept-encoding": "gzip;q=0"}).has_header("Content-Encoding")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://kitchen.localhost:8000", True),
        ("https://kitchen.localhost:8000", False),
        ("http://kitchen.localhost:8001", False),
        ("http://a.kitchen.localhost:8000", False),
        ("http://kitchenxlocalhost:8000", False),
        ("http://evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_instances_may_read_it_and_no_others(origin, allowed):
    answer = ask(origin=origin)
    assert answer.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Origin" in answer["Vary"]


def test_nothing_internal_stands_in_it(published, settings):
    text = ask(address_of(published)).content.decode()
    assert settings.FLOWSTEAD_INTERNAL_URL not in text


# --- The operator's rules -------------------------------------------------------------------------


def rule(verb, package, version=""):
    return Rule.objects.create(verb=verb, package=package, version=version)


def version_of(name):
    modules = {module["id"]: module for module in json.loads(ask().content)["modules"]}
    return modules[name]["version"] if name in modules else None


def test_hidden_and_blocked_packages_are_not_listed(published):
    rule("hide", "@private/valve")
    block = rule("block", "node-red-plain")
    assert names(ask()) == []
    block.delete()
    assert names(ask()) == ["node-red-plain"]


def test_a_pinned_version_is_offered(published):
    make_package("@private/valve", "1.0.0", "1.1.0")
    assert version_of("@private/valve") == "1.1.0"
    rule("pin", "@private/valve", "1.0.0")
    assert version_of("@private/valve") == "1.0.0"
    make_package("@private/valve", "1.0.0", "1.1.0", "1.2.0")
    assert version_of("@private/valve") == "1.0.0"


def test_a_blocked_version_gives_way_to_the_one_before(published):
    make_package("@private/valve", "1.0.0", "1.1.0")
    rule("block", "@private/valve", "1.1.0")
    assert version_of("@private/valve") == "1.0.0"


def test_a_package_that_goes_and_comes_back_is_still_blocked(published):
    rule("block", "@private/valve")
    Package.objects.forget("@private/valve")
    make_package("@private/valve")
    assert "@private/valve" not in names(ask())


def test_a_reader_never_sees_a_half_built_list(published):
    """What is being stored is not there until it is all there."""
    before = ask().content

    class Stop(Exception):
        pass

    with pytest.raises(Stop), transaction.atomic():
        found = packument.read(packument_of("@private/valve", "9.0.0"), "@private/valve")
        Package.objects.store(found, {}, {})
        raise Stop
    assert ask().content == before
