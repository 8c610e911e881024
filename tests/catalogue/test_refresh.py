"""From npm publish to the catalogue, with the real npm and the real registry."""

import gzip
import json
import threading

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.utils import timezone

import portal.audiences
from catalogue import refresh
from catalogue.audience import Audience
from catalogue.models import Look, Package, Reading, Rendering, Rule, Version
from catalogue.models.reading import ReadingQuerySet
from catalogue.readmes import Readmes, RenderingFailed
from catalogue.registry import Registry, RegistryError
from tenants import passes
from tenants.models import AccessToken
from tests import factories
from tests.catalogue.factories import make_package
from tests.catalogue.verdaccio import SECRET
from tests.e2e.product import wait_for
from tests.npm import HTML, packed_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(registry):
    """Somebody who may also publish to the shared scope; each test has a name of its own."""
    factories.make_offers()
    user = factories.make_user()
    user.user_permissions.add(Permission.objects.get(codename="publish_shared"))
    return user


@pytest.fixture
def token(member):
    return AccessToken.objects.make(member, "npm")[1]


@pytest.fixture
def scope(member):
    return factories.personal_tenant(member).scope


@pytest.fixture
def publish(registry, token, scope):
    """Publish a node of the member's tenant by its bare name; answers the whole one."""

    def put(bare, version="1.0.0", **fields):
        registry.publish(f"{scope}/{bare}", version, token=token, **fields)
        return f"{scope}/{bare}"

    return put


@pytest.fixture
def signed_in_npm(npm, token):
    npm.sign_in(token)
    return npm


def read_all(refresher):
    refresher.look()
    return list(refresher.read_due())


def listed(*scopes):
    return {package.name: package for package in Package.objects.visible_to(Audience(frozenset(scopes)))}


def test_what_npm_publishes_is_in_the_catalogue_a_moment_later(following, signed_in_npm, scope):
    signed_in_npm.publish(f"{scope}/node-red-pump", type="water pump")
    found = wait_for(lambda: listed(scope), "the notice was taken", 10)
    package = found[f"{scope}/node-red-pump"]
    version = package.offered
    assert (version.number, version.node_types, version.keywords) == ("1.0.0", ["water pump"], ["node-red"])
    assert version.size > 300
    assert version.integrity.startswith("sha512-")
    assert "It pumps." in package.readme


def test_a_package_without_a_scope_is_everybodys(following, signed_in_npm, member):
    name = f"node-red-contrib-{member.username}"
    signed_in_npm.publish(name)
    assert wait_for(lambda: listed("").get(name), "it is listed", 10).offered.node_types == ["pump"]


def test_what_sends_no_notice_is_found_by_the_next_look(refresher, signed_in_npm, scope):
    """A deprecation and a moved tag: where our registry tells them too, the notice is as good as lost."""
    name = f"{scope}/node-red-pump"
    signed_in_npm.publish(name, "1.0.0")
    signed_in_npm.publish(name, "1.1.0")
    read_all(refresher)
    signed_in_npm.done("dist-tag", "add", f"{name}@1.0.0", "latest")
    signed_in_npm.done("deprecate", f"{name}@1.0.0", "Use another one.")
    Reading.objects.update(due_at=None)
    assert listed(scope)[name].shown == "1.1.0"
    read_all(refresher)
    package = listed(scope)[name]
    assert package.shown == "1.0.0"
    assert package.offered.deprecated == "Use another one."
    assert '"deprecated":"Use another one."' in package.entry


def test_unpublishing_a_version_and_then_all_of_it_takes_it_out(following, signed_in_npm, scope):
    name = f"{scope}/node-red-pump"
    signed_in_npm.publish(name, "1.0.0")
    signed_in_npm.publish(name, "1.1.0")
    wait_for(lambda: name in listed(scope) and listed(scope)[name].shown == "1.1.0", "it is listed", 10)
    signed_in_npm.done("unpublish", f"{name}@1.1.0")
    wait_for(lambda: listed(scope)[name].shown == "1.0.0", "the version is out", 10)
    signed_in_npm.done("unpublish", "--force", name)
    wait_for(lambda: not listed(scope), "the package is out", 10)
    wait_for(lambda: not Reading.objects.filter(name=name).exists(), "nothing is left of it", 10)


def test_a_package_without_the_keyword_stays_out(refresher, publish, scope):
    name = publish("library", keywords=["red"])
    assert name in read_all(refresher)
    assert not Package.objects.exists()
    assert read_all(refresher) == []  # and is not read again for nothing
    publish("library", "1.1.0")
    read_all(refresher)
    assert name in listed(scope)
    publish("library", "1.2.0", keywords=[])
    read_all(refresher)
    assert name not in listed(scope)


def test_only_what_changed_is_read_again(refresher, publish, scope, monkeypatch):
    for bare in ("a", "b"):
        publish(bare)
    read_all(refresher)
    opened = []
    monkeypatch.setattr(
        Registry, "tarball", lambda self, name, file, longest, real=Registry.tarball: (
            opened.append(file), real(self, name, file, longest))[1],
    )  # fmt: skip
    publish("a", "1.1.0")
    Reading.objects.update(due_at=None)
    assert read_all(refresher) == [f"{scope}/a"]
    assert opened == ["a-1.1.0.tgz"]
    assert read_all(refresher) == []


def test_reading_twice_changes_nothing(refresher, publish, scope):
    name = publish("a")
    read_all(refresher)
    audience = Audience(frozenset({scope}))

    def rows():
        package = Package.objects.filter(name=name)
        return list(package.values()), list(package.get().versions.values())

    before, first = rows(), Rendering.objects.current(audience).etag
    Reading.objects.mark_due(name)
    assert list(refresher.read_due()) == [name]
    assert rows() == before
    assert Rendering.objects.current(audience).etag == first


# --- Whatever somebody publishes ------------------------------------------------------------------


MANIFEST = b'{"name": "x", "version": "1.0.0", "node-red": {"nodes": {"a": "../../../etc/passwd.js"}}}'
HOSTILE = {
    "no tarball": b"this is no tarball",
    "cut off": packed_of([("package/package.json", MANIFEST)])[:60],
    "without a package.json": packed_of([("package/readme", b"x")]),
    "package.json is no JSON": packed_of([("package/package.json", b"{")]),
    "a bomb": packed_of([("package/zeros", bytes(220 * 2**20)), ("package/package.json", MANIFEST)]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tarball_that_cannot_be_read_holds_nothing_up(refresher, registry, token, scope, publish, kind):
    name = f"{scope}/broken"
    assert registry.put(name, HOSTILE[kind], token).status_code == 201
    publish("sound")
    read_all(refresher)
    found = listed(scope)
    assert found[f"{scope}/sound"].offered.node_types == ["pump"]
    # it can be installed all the same, so it is listed: without types, and the operator reads why
    version = found[name].offered
    assert version.node_types is None
    assert version.problem.startswith("Version 1.0.0: ")
    assert Reading.objects.get(name=name).problem == version.problem


def test_a_path_that_leaves_the_package_reads_nothing(refresher, signed_in_npm, scope, tmp_path):
    """npm publishes a ready tarball as it is."""
    nodes = {"sly": "../../../etc/passwd.js", "real": "real.js"}
    manifest = {
        "name": f"{scope}/sly",
        "version": "1.0.0",
        "keywords": ["node-red"],
        "node-red": {"nodes": nodes},
    }
    stolen = HTML.format(type="stolen").encode()
    ready = tmp_path / "sly.tgz"
    ready.write_bytes(
        packed_of(
            [
                ("package/package.json", json.dumps(manifest).encode()),
                ("package/real.html", HTML.format(type="real one").encode()),
                ("package/../../../etc/passwd.html", stolen),
                ("/etc/passwd.html", stolen),
            ]
        )
    )
    signed_in_npm.done("publish", str(ready))
    read_all(refresher)
    assert listed(scope)[f"{scope}/sly"].offered.node_types == ["real one"]


def test_a_package_whose_nodes_are_missing_goes_by_what_it_says_of_itself(refresher, signed_in_npm, scope):
    broken = {"nodes": {"main": "gone.js", "odd": 7, "other": "other.js"}}
    signed_in_npm.publish(f"{scope}/broken", **{"node-red": broken})
    read_all(refresher)
    assert listed(scope)[f"{scope}/broken"].offered.node_types == ["main", "other"]


def test_a_huge_package_is_listed_and_not_opened(refresher, signed_in_npm, scope, settings):
    settings.CATALOGUE_MAX_TARBALL_BYTES = 2000
    folder = signed_in_npm.write(f"{scope}/huge")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 4000)
    signed_in_npm.done("publish", cwd=folder)
    (folder / "data.bin").unlink()
    read_all(refresher)
    assert "more than 2,000 bytes" in listed(scope)[f"{scope}/huge"].offered.problem


def test_a_description_of_wrong_kinds_spoils_nothing(refresher, registry, token, scope):
    name = f"{scope}/odd"
    wrong = {"license": ["x"], "homepage": 7}
    assert (
        registry.put(name, packed_of([("package/package.json", MANIFEST)]), token, **wrong).status_code == 201
    )
    read_all(refresher)
    assert listed(scope)[name].offered.licence == ""


# --- READMEs --------------------------------------------------------------------------------------


def test_a_readme_is_html_as_soon_as_its_package_is_read(refresher, signed_in_npm, scope):
    signed_in_npm.publish(f"{scope}/node-red-pump")
    read_all(refresher)
    package = listed(scope)[f"{scope}/node-red-pump"]
    assert package.is_rendered
    assert "<p>It pumps.</p>" in package.readme_html


def test_one_that_costs_too_much_holds_up_no_other(refresher, publish, scope, monkeypatch):
    refresher._readmes = Readmes(cpu_seconds=0.2)
    names = [publish("costly"), publish("sound")]
    real = Registry.packument
    readmes = {names[0]: ("![" * 4990 + "\n\n") * 6, names[1]: "It *pumps*."}
    monkeypatch.setattr(
        Registry, "packument", lambda self, name: {**real(self, name), "readme": readmes[name]}
    )
    read_all(refresher)
    found = listed(scope)
    assert "too complex" in found[names[0]].readme_html
    assert found[names[1]].readme_html == "<p>It <em>pumps</em>.</p>\n"
    assert not Package.objects.to_be_rendered().exists()


def test_what_an_earlier_version_stored_is_rendered_without_the_registry(db):
    package = make_package("@alice/pump", readme="It *pumps*.", rendered=False)
    gone = make_package("@alice/gone", readme="gone", rendered=False)
    make_package("@alice/later", readme="kept")
    Package.objects.filter(name="@alice/later").update(readme_html="by another renderer", rendered_by=99)
    list(refresh.Refresher(Registry("http://127.0.0.1:9", SECRET)).render_due())
    found = listed("@alice")
    assert found[package.name].readme_html == "<p>It <em>pumps</em>.</p>\n"
    assert found[gone.name].is_rendered
    assert found["@alice/later"].readme_html == "<p>kept</p>\n"


def test_the_catalogue_process_renders_it_at_its_first_look(db, settings):
    settings.REGISTRY_INTERNAL_URL = "http://127.0.0.1:9"
    make_package("@alice/pump", readme="It *pumps*.", rendered=False)
    stop = threading.Event()
    thread = threading.Thread(target=refresh.Refresher.configured().follow, args=(stop,))
    thread.start()
    wait_for(lambda: listed("@alice")["@alice/pump"].is_rendered, "it is rendered", 30)
    stop.set()
    thread.join()


def test_a_process_that_ends_leaves_the_readme_for_the_next_look(db, monkeypatch):
    make_package("@alice/pump", readme="It *pumps*.", rendered=False)
    make_package("@alice/valve", readme="It *closes*.", rendered=False)
    refresher = refresh.Refresher(Registry("http://127.0.0.1:9", SECRET))
    real = Readmes.html

    def ended_once(self, readme):
        monkeypatch.setattr(Readmes, "html", real)
        raise RenderingFailed

    monkeypatch.setattr(Readmes, "html", ended_once)
    list(refresher.render_due())
    assert Package.objects.to_be_rendered().count() == 1
    list(refresher.render_due())
    assert not Package.objects.to_be_rendered().exists()


def test_a_readme_that_came_meanwhile_does_not_get_the_html_of_the_one_before(db):
    package = make_package("@alice/pump", readme="old", rendered=False)
    make_package("@alice/pump", readme="new", rendered=False)
    package.take_rendering("<p>old</p>")
    assert not Package.objects.get().is_rendered


# --- When something is away -----------------------------------------------------------------------


def test_without_the_registry_nothing_is_lost(refresher, publish, scope, registry):
    publish("a")
    read_all(refresher)
    Reading.objects.mark_due(f"{scope}/a")
    away = refresh.Refresher(Registry("http://127.0.0.1:9", SECRET))
    with pytest.raises(RegistryError):
        away.look()
    with pytest.raises(RegistryError):
        list(away.read_due())
    assert f"{scope}/a" in listed(scope)
    reading = Reading.objects.get(name=f"{scope}/a")
    assert "does not answer" in reading.problem
    assert reading.attempts == 1
    assert "does not answer" in Look.objects.last().problem
    Reading.objects.mark_due(f"{scope}/a")
    read_all(refresher)
    assert Reading.objects.get(name=f"{scope}/a").problem == ""


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize(
    ("target", "step"),
    [
        (ReadingQuerySet, "compare"),
        (Registry, "packument"),
        (Registry, "tarball"),
        (Version, "save"),
        (Package, "compose"),
        (Reading, "done"),
    ],
)
def test_ended_at_any_step_the_next_one_finishes(refresher, publish, scope, monkeypatch, target, step):
    def killed(*_, **__):
        raise Killed

    name = publish("a")
    Reading.objects.filter(name=name).delete()  # nobody was told
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(target, step, killed)
        read_all(refresher)
    assert (name in listed(scope)) is (step == "done")  # all of it or nothing
    read_all(refresher)
    assert listed(scope)[name].offered.node_types == ["pump"]
    assert not Reading.objects.exclude(due_at=None).exists()


def test_one_package_that_the_registry_cannot_give_holds_up_no_other(refresher, publish, scope, registry):
    names = [publish(bare) for bare in ("a", "b", "c")]
    damaged = registry.folder / "storage" / names[0] / "package.json"
    whole = damaged.read_text()
    damaged.write_text("{")
    assert set(read_all(refresher)) == set(names)
    assert set(listed(scope)) == set(names[1:])
    reading = Reading.objects.get(name=names[0])
    assert "status 500" in reading.problem
    assert reading.due_at > timezone.now()
    damaged.write_text(whole)
    read_all(refresher)
    assert set(listed(scope)) == set(names)


def test_a_change_while_it_is_read_is_read_after_it(refresher, publish, scope, monkeypatch):
    name = publish("a")
    real = Registry.packument

    def meanwhile(self, asked):
        found = real(self, asked)
        if not Package.objects.exists():
            Reading.objects.mark_due(asked)
            monkeypatch.setattr(Registry, "packument", real)
        return found

    monkeypatch.setattr(Registry, "packument", meanwhile)
    refresher.look()
    assert list(refresher.read_due()) == [name, name]


# --- Whose it is ----------------------------------------------------------------------------------


def test_another_tenant_finds_neither_name_nor_tarball(refresher, publish, scope, registry):
    name = publish("secret")
    read_all(refresher)
    stranger = factories.make_instance(factories.make_user())
    key = stranger.pass_for(passes.Purpose.REGISTRY)
    packument = f"{registry.url}/{name.replace('/', '%2f')}"
    tarball_at = f"{registry.url}/{name}/-/secret-1.0.0.tgz"
    for address in (packument, tarball_at):
        for headers in ({}, {"Authorization": f"Bearer {key}"}):
            assert httpx.get(address, headers=headers).status_code == 404
    theirs = portal.audiences.Audiences().rights(key).audience
    for audience, is_there in ((theirs, False), (Audience(frozenset({scope})), True)):
        told = gzip.decompress(Rendering.objects.current(audience).packed).decode()
        assert (name in told) is is_there
    own = factories.make_instance(AccessToken.objects.last().user)
    mine = {"Authorization": f"Bearer {own.pass_for(passes.Purpose.REGISTRY)}"}
    assert httpx.get(tarball_at, headers=mine).status_code == 200


def test_what_is_blocked_is_refused_by_the_registry(publish, scope, registry, token):
    name = publish("pump")
    publish(name.rpartition("/")[2], "1.1.0")
    mine = {"Authorization": f"Bearer {token}"}
    Rule.objects.create(package=name, verb="block", version="1.1.0")
    newer, older = (f"{registry.url}/{name}/-/pump-{number}.tgz" for number in ("1.1.0", "1.0.0"))
    wait_for(lambda: httpx.get(newer, headers=mine).status_code == 403, "the version is refused", 10)
    assert httpx.get(older, headers=mine).status_code == 200
    Rule.objects.create(package=name, verb="block")
    wait_for(lambda: httpx.get(older, headers=mine).status_code == 403, "all of it is refused", 10)


def test_a_revoked_token_is_out_soon(signed_in_npm, scope, member):
    signed_in_npm.publish(f"{scope}/a")
    AccessToken.objects.get(user=member).revoke(by=member)
    wait_for(lambda: signed_in_npm.run("view", f"{scope}/a").returncode != 0, "it is refused", 10)


def test_the_command_says_what_it_did(publish, scope, registry, capsys):
    publish("a")
    call_command("refresh_catalogue")
    captured = capsys.readouterr()
    assert "1 of them offered as nodes." in captured.out
    assert "1/1" in captured.err  # the bar
