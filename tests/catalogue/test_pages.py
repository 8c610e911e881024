"""The catalogue's pages: who finds what, what a package's page says, and how to publish."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from catalogue.models import Look, Package, Rule
from tenants.models import Role, Tenant
from tests import factories
from tests.catalogue.factories import make_package

LIST = "/catalogue/"
PUBLISH = "/catalogue/publish/"
PUMP = "@alice/node-red-pump"
REGISTRY = override_settings(REGISTRY_URL="https://registry.example.com:8443/npm")


@pytest.fixture
def page(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, address: str, status: int = 200, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == status
    return answer.content.decode()


def names(client: Client, **query: str) -> list[str]:
    """The packages on the list, in its order."""
    return [row["package"].name for row in client.get(LIST, query).context["rows"]]


# --- Who finds what -------------------------------------------------------------------------------


def test_it_shows_my_own_packages_shared_ones_and_those_without_a_scope(page: Client) -> None:
    for name in (PUMP, "@private/node-red-b", "node-red-c", "@mallory/node-red-secret"):
        make_package(name)
    assert names(page) == [PUMP, "@private/node-red-b", "node-red-c"]


def test_it_shows_those_of_every_tenant_that_one_is_a_member_of(page: Client, user: Any) -> None:
    make_package("@plant/node-red-line")
    assert names(page) == []
    tenant = Tenant.objects.create(slug="plant", name="Plant")
    tenant.memberships.create(user=user, role=Role.VIEWER)
    assert names(page) == ["@plant/node-red-line"]


def test_another_tenants_package_is_nowhere(page: Client) -> None:
    make_package("@mallory/node-red-secret", types=["hush"], description="hush")
    make_package(PUMP)
    assert "node-red-secret" not in text(page, LIST)
    assert "node-red-secret" not in text(page, LIST, q="hush")
    assert "@mallory" not in text(page, LIST, scope="@mallory")
    text(page, "/catalogue/@mallory/node-red-secret/", 404)


def test_it_shows_only_what_the_tenant_allows(page: Client, tenant: Tenant) -> None:
    make_package(PUMP)
    other = make_package("node-red-other")
    tenant.palette_allow = ["@alice/*"]
    tenant.save()
    assert names(page) == [PUMP]
    assert page.get(other.get_absolute_url()).status_code == 404


@pytest.mark.parametrize("address", [LIST, PUBLISH, f"/catalogue/{PUMP}/"])
def test_it_has_people_sign_in_first(db: None, client: Client, address: str) -> None:
    assert client.get(address)["Location"] == f"/accounts/login/?next={quote(address)}"
    fragment = client.get(address, headers={"HX-Request": "true"})
    assert fragment["HX-Refresh"] == "true"
    assert fragment.content == b""


@pytest.mark.parametrize("address", [LIST, PUBLISH, f"/catalogue/{PUMP}/"])
@override_settings(REGISTRY_URL="")
def test_there_is_no_catalogue_without_a_registry(page: Client, address: str) -> None:
    make_package(PUMP)
    assert page.get(address).status_code == 404
    assert 'href="/catalogue/"' not in text(page, reverse("instances"))


def test_the_navigation_leads_to_it_and_says_where_one_is(page: Client) -> None:
    assert '<a href="/catalogue/">Catalogue</a>' in text(page, reverse("instances"))
    assert '<a href="/catalogue/" aria-current="true">Catalogue</a>' in text(page, LIST)


def test_a_package_whose_name_nobody_can_have_is_not_there(page: Client) -> None:
    for name in ("@a/b/c", "a%00b", "@alice", "../x", "%F0%9F%98%80"):
        assert page.get(f"/catalogue/{name}/").status_code == 404


# --- The list -------------------------------------------------------------------------------------


def test_a_row_says_what_a_package_is(page: Client) -> None:
    make_package(PUMP, "1.0.0", "1.1.0", types=["pump", "valve"], description="Moves water.", days_old=3)
    shown = text(page, LIST)
    assert f'href="/catalogue/{PUMP}/"' in shown
    for part in ("1.1.0", "Moves water.", ">pump<", ">valve<", "3\xa0days ago", "1 package<"):
        assert part in shown
    assert "Deprecated" not in shown


def test_it_says_that_the_offered_version_is_deprecated(page: Client) -> None:
    make_package(PUMP, "1.0.0", "2.0.0", deprecated={"1.0.0": "old"})
    assert "Deprecated" not in text(page, LIST)
    Rule.objects.create(package=PUMP, verb=Rule.Verb.PIN, version="1.0.0")
    assert "Deprecated" in text(page, LIST)


def test_the_many_nodes_of_one_package_are_counted(page: Client) -> None:
    make_package(PUMP, types=[f"pump {number}" for number in range(20)])
    shown = text(page, LIST)
    assert "pump 5<" in shown and "pump 6<" not in shown
    assert "14 more" in shown


def test_a_time_that_nobody_knows_is_not_that_of_1970(page: Client) -> None:
    make_package(PUMP)
    Package.objects.get().versions.update(published_at="1970-01-01T00:00:00Z")
    assert "at an unknown time" in text(page, LIST)


@pytest.mark.parametrize(
    "asked", ["pump", "PUMP", "@alice", "water", "modbus", "hydraulic press", "press pump"]
)
def test_it_finds_by_name_description_keyword_and_node_type(page: Client, asked: str) -> None:
    make_package(PUMP, types=["hydraulic press"], description="Moves water.", keywords=["node-red", "modbus"])
    make_package("node-red-other", types=["other"])
    assert PUMP in names(page, q=asked)
    assert "node-red-other" not in names(page, q=asked)


def test_every_word_has_to_occur(page: Client) -> None:
    make_package(PUMP, description="Moves water.")
    assert names(page, q="moves teleporter") == []


@pytest.mark.parametrize("asked", ["%", "_", "'", '"', "\\", "<script>alert(1)</script>", "x" * 5000])
def test_it_searches_for_whatever_is_typed(page: Client, asked: str) -> None:
    make_package(PUMP)
    assert "<script>alert" not in text(page, LIST, q=asked)


def test_it_says_that_nothing_fits_and_leads_back(page: Client) -> None:
    make_package(PUMP)
    shown = text(page, LIST, q="teleporter")
    assert "Nothing fits “teleporter”" in shown
    assert '<a class="button quiet" href="/catalogue/">Show all packages</a>' in shown


def test_a_live_search_gets_only_the_piece_with_what_was_found(page: Client) -> None:
    make_package(PUMP)
    make_package("node-red-other", types=["other"])
    answer = page.get(LIST, {"q": "pump"}, headers={"HX-Request": "true"})
    piece = answer.content.decode()
    assert piece.strip().startswith('<div id="found"')
    assert "<html" not in piece and "node-red-other" not in piece
    assert 'data-announce="1 package for “pump”"' in piece
    assert 'data-address="/catalogue/?q=pump"' in piece
    assert "no-store" in answer["Cache-Control"]


def test_the_search_works_as_a_form_too_and_says_aloud_what_was_found(page: Client) -> None:
    make_package(PUMP)
    shown = text(page, LIST, q="pump")
    assert 'method="get" action="/catalogue/"' in shown
    assert 'name="q" value="pump"' in shown
    assert 'id="announcer" class="unseen" role="status"' in shown


def test_scopes_are_offered_where_there_are_several(page: Client) -> None:
    make_package(PUMP)
    assert 'name="scope"' not in text(page, LIST)
    make_package("@alice/node-red-valve")
    make_package("node-red-bare")
    shown = text(page, LIST)
    for option in ("All scopes (3)", "@alice (2)", "No scope (1)"):
        assert option in shown
    assert names(page, scope="@alice") == [PUMP, "@alice/node-red-valve"]
    assert names(page, scope="-") == ["node-red-bare"]
    assert names(page, scope="@alice", q="valve") == ["@alice/node-red-valve"]
    assert len(names(page, scope="@unknown")) == 3


def test_fifty_are_on_a_page(page: Client) -> None:
    for number in range(51):
        make_package(f"@alice/node-red-{number:02}")
    make_package("node-red-other")
    first = text(page, LIST, q="alice")
    assert "1 to 50 of 51 packages" in first
    assert 'rel="next" href="?q=alice&amp;page=2"' in first and 'rel="prev"' not in first
    assert names(page, q="alice", page="2") == ["@alice/node-red-50"]
    second = text(page, LIST, q="alice", page="2")
    assert 'rel="prev" href="?q=alice&amp;page=1"' in second and 'rel="next"' not in second
    for odd in ("0", "-1", "999", "x", "1e9"):
        assert page.get(LIST, {"page": odd}).status_code == 200


def test_a_page_of_many_asks_the_database_no_more_often(
    page: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(50):
        make_package(f"@alice/node-red-{number:02}")
    with django_assert_max_num_queries(14):
        page.get(LIST)


def test_the_list_never_asks_for_the_readmes(page: Client, django_assert_max_num_queries: Any) -> None:
    make_package(PUMP, readme="# Long")
    with django_assert_max_num_queries(14) as asked:
        page.get(LIST)
    assert not [query for query in asked.captured_queries if "readme" in query["sql"]]


# --- Nothing yet, and the state of the registry ----------------------------------------------------


def test_an_empty_catalogue_leads_to_publishing(page: Client) -> None:
    shown = text(page, LIST)
    assert "Publish your first package" in shown
    assert f'href="{PUBLISH}"' in shown
    assert 'name="q"' not in shown


def test_an_empty_catalogue_promises_nothing_to_a_viewer(viewer: Client) -> None:
    shown = text(viewer, LIST)
    assert "No packages yet" in shown
    assert "first package" not in shown


def look(seconds_ago: int, problem: str = "") -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    Look.objects.create(began_at=at, ended_at=at, problem=problem)


def test_it_says_when_the_registry_was_last_looked_at(page: Client) -> None:
    assert "has not been looked at yet" in text(page, LIST)
    look(12)
    Look.objects.create(began_at=timezone.now())  # goes on
    assert page.get(LIST).context["watch"].sentence in ("Checked 12 s ago.", "Checked 13 s ago.")


def test_it_says_in_plain_words_that_the_registry_does_not_answer(page: Client) -> None:
    look(5, "The registry does not answer (ConnectError).")
    assert "has not answered yet" in text(page, LIST)
    look(600)
    shown = text(page, LIST)
    assert "does not answer at the moment. This is what was in it 10\xa0minutes ago." in shown
    assert "ConnectError" not in shown


def test_it_says_that_nobody_looks_any_more(page: Client) -> None:
    look(7200)
    assert "last looked at 2\xa0hours ago: newer packages may be missing" in text(page, LIST)


# --- A package's page -----------------------------------------------------------------------------


def test_its_page_says_all_about_it(page: Client) -> None:
    package = make_package(
        PUMP,
        "1.0.0",
        "1.1.0",
        types=["pump"],
        description="Moves water.",
        keywords=["node-red", "modbus"],
        license="Apache-2.0",
        homepage="https://pumps.example/",
        readme="# Pump\n\nHello **there**",
    )
    shown = text(page, package.get_absolute_url())
    assert "<strong>there</strong>" in shown
    assert '<a href="https://pumps.example/" rel="noopener nofollow">' in shown
    assert '<a class="chip" href="/catalogue/?q=modbus">' in shown
    for part in (
        "1.1.0",
        "1.0.0",
        "Moves water.",
        ">pump<",
        "Apache-2.0",
        "12.1\xa0KB",
        "latest",
        "Manage palette",
    ):
        assert part in shown
    assert shown.count("<h1") == 1


def test_a_name_without_its_last_slash_leads_there(page: Client) -> None:
    make_package(PUMP)
    assert page.get(f"/catalogue/{PUMP}")["Location"] == f"/catalogue/{PUMP}/"


@REGISTRY
def test_it_says_how_npm_installs_it(page: Client) -> None:
    shown = text(page, make_package(PUMP).get_absolute_url())
    assert f'<code id="npm-install">npm install {PUMP}</code>' in shown
    assert "npm config set @alice:registry=https://registry.example.com:8443/npm/<" in shown
    assert "npm config set //registry.example.com:8443/npm/:_authToken=&lt;your token&gt;<" in shown
    shared = text(page, make_package("@private/node-red-b").get_absolute_url())
    assert "_authToken" not in shared
    bare = text(page, make_package("node-red-c").get_absolute_url())
    assert ">npm install node-red-c --registry=https://registry.example.com:8443/npm/<" in bare
    assert "npm config set" not in bare


def test_it_says_at_the_top_that_it_is_deprecated(page: Client) -> None:
    package = make_package(PUMP, "1.0.0", "1.1.0", deprecated={"1.1.0": "Use <b>something</b> else."})
    shown = text(page, package.get_absolute_url())
    assert "<b>This package is deprecated.</b> Use &lt;b&gt;something&lt;/b&gt; else." in shown


def test_an_older_version_that_is_deprecated_does_not_make_the_package_so(page: Client) -> None:
    package = make_package(PUMP, "1.0.0", "1.1.0", deprecated={"1.0.0": "It leaks."})
    shown = text(page, package.get_absolute_url())
    assert "This package is deprecated" not in shown
    assert "Deprecated: It leaks." in shown


def test_it_says_what_is_wrong_with_a_tarball(page: Client) -> None:
    package = make_package(PUMP, "1.0.0", types=None, problems={"1.0.0": "Its gzip archive is not complete."})
    assert text(page, package.get_absolute_url()).count("Its gzip archive is not complete.") == 2


@pytest.mark.parametrize(
    ("types", "said"), [(None, "has not been opened yet"), ([], "package.json names no nodes")]
)
def test_it_says_why_there_are_no_nodes(page: Client, types: list[str] | None, said: str) -> None:
    assert said in text(page, make_package(PUMP, types=types).get_absolute_url())


@pytest.mark.parametrize("verb", ["hide", "block"])
def test_a_version_that_the_operator_takes_out_is_not_shown(page: Client, verb: str) -> None:
    package = make_package(PUMP, "1.0.0", "1.1.0", "1.2.0-evil")
    Rule.objects.create(package=PUMP, verb=verb, version="1.2.0-evil")
    assert "evil" not in text(page, package.get_absolute_url())
    assert "evil" not in text(page, LIST)
    assert names(page) == [PUMP]


@pytest.mark.parametrize("verb", ["hide", "block"])
def test_a_package_that_the_operator_takes_out_is_gone(page: Client, verb: str) -> None:
    package = make_package(PUMP)
    rule = Rule.objects.create(package=PUMP, verb=verb)
    assert names(page) == [] and names(page, q="pump") == []
    assert page.get(package.get_absolute_url()).status_code == 404
    rule.delete()
    assert names(page) == [PUMP]


def test_it_shows_the_newest_of_very_many_versions_first_and_folds_the_rest(page: Client) -> None:
    package = make_package(PUMP, *[f"1.{number}.0" for number in range(210)])
    context = page.get(package.get_absolute_url()).context
    assert context["versions"][0]["version"].number == "1.209.0"
    assert len(context["versions"]) + len(context["older"]) == 200
    assert "10 more are in the registry" in text(page, package.get_absolute_url())


def test_what_its_author_wrote_is_text_everywhere(page: Client) -> None:
    evil = "<script>alert(1)</script>"
    package = make_package(
        PUMP,
        "1.0.0-<script>",
        types=[evil],
        description=evil,
        keywords=["node-red", evil, '"><script>'],
        license=evil,
        homepage='https://a.example/"><script>',
        readme=f"{evil}\n\n[x](javascript:alert(1))\n\n![x](https://evil.example/x.png)",
        deprecated={"1.0.0-<script>": evil},
        problems={"1.0.0-<script>": evil},
    )
    for shown in (text(page, LIST), text(page, package.get_absolute_url())):
        assert "<script>" not in shown
        assert 'href="javascript:' not in shown
        assert "evil.example/x.png" not in shown or "<img src" not in shown.split("</header>")[-1]
        assert "style=" not in shown


@pytest.mark.parametrize("homepage", ["javascript:alert(1)", "//evil.example", "https://[", 7, None])
def test_a_homepage_is_on_the_web_or_left_out(page: Client, homepage: Any) -> None:
    shown = text(page, make_package(PUMP, homepage=homepage).get_absolute_url())
    assert ("Homepage" in shown) == (homepage == "https://[")
    assert "javascript:" not in shown


def test_a_readme_that_is_not_rendered_yet_is_announced(page: Client) -> None:
    package = make_package(PUMP, readme="**Hello**", rendered=False)
    shown = text(page, package.get_absolute_url())
    assert "It is being prepared." in shown
    assert "It has none." not in shown and "Hello" not in shown


def test_a_package_without_a_readme_says_so(page: Client) -> None:
    package = make_package(PUMP, readme="ERROR: No README data found!")
    shown = text(page, package.get_absolute_url())
    assert "It has none." in shown
    assert "ERROR" not in shown


# --- How to publish -------------------------------------------------------------------------------


@pytest.fixture
def viewer(user: Any) -> Client:
    """Somebody who only looks, in one tenant."""
    dora = factories.make_user("dora")
    factories.personal_tenant(dora).memberships.update(role=Role.VIEWER)
    client = Client()
    client.force_login(dora)
    return client


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("http://localhost:8000/registry", "localhost:8000/registry"),
        ("https://registry.example.com", "registry.example.com"),
        ("https://example.com:8443/a/npm", "example.com:8443/a/npm"),
    ],
)
def test_it_gives_exactly_three_commands_made_for_me(page: Client, registry: str, host: str) -> None:
    with override_settings(REGISTRY_URL=registry):
        shown = text(page, PUBLISH)
    assert f'<code id="command-scope">npm config set @alice:registry={registry}/</code>' in shown
    assert f'<code id="command-token">npm config set //{host}/:_authToken=&lt;your token&gt;</code>' in shown
    assert '<code id="command-publish">npm publish</code>' in shown
    assert shown.split("<ol")[1].split("</ol>")[0].count('class="command"') == 3
    assert f"npm login --auth-type=legacy --registry={registry}/" in shown
    assert 'href="/account/tokens/"' in shown
    assert "copy.js" in shown


def test_every_command_can_be_copied(page: Client) -> None:
    shown = text(page, PUBLISH)
    for name in ("command-scope", "command-token", "command-publish", "command-login", "example"):
        assert shown.count(f'id="{name}"') == 1
        assert f'data-copy="{name}"' in shown


@override_settings(CATALOGUE_KEYWORD="our-nodes")
def test_it_says_what_package_json_needs(page: Client) -> None:
    shown = text(page, PUBLISH)
    assert "&quot;" not in shown.split("<pre")[1].split("</pre>")[0]
    for part in ('"name": "@alice/node-red-example"', '"keywords": ["our-nodes"]', '"example": "example.js"'):
        assert part in shown


def test_it_lets_me_choose_among_my_scopes(page: Client, user: Any) -> None:
    assert 'class="tabs"' not in text(page, PUBLISH)
    for slug, role in (("plant", Role.MEMBER), ("museum", Role.VIEWER)):
        Tenant.objects.create(slug=slug, name=slug).memberships.create(user=user, role=role)
    assert "npm config set @alice:registry" in text(page, PUBLISH)
    chosen = text(page, PUBLISH, scope="@plant")
    assert "npm config set @plant:registry" in chosen
    assert '<a href="?scope=%40plant" aria-current="true">@plant</a>' in chosen
    for not_mine in ("@museum", "@mallory", "@private", "'; rm -rf ~"):
        assert "npm config set @alice:registry" in text(page, PUBLISH, scope=not_mine)


def test_it_offers_the_shared_scope_to_those_who_may(db: None, client: Client) -> None:
    client.force_login(factories.make_user("olga", is_superuser=True))
    assert "Everybody here can install" in text(client, PUBLISH, scope="@private")


def test_a_viewer_reads_who_can_publish(viewer: Client) -> None:
    shown = text(viewer, PUBLISH)
    assert "You can install packages, not publish them" in shown
    assert "<b>@dora</b>" in shown
    assert "npm config" not in shown


def test_somebody_without_a_tenant_reads_whom_to_ask(db: None, client: Client) -> None:
    nobody = factories.make_user("nobody")
    factories.personal_tenant(nobody).memberships.all().delete()
    client.force_login(nobody)
    assert "you belong to none yet" in text(client, PUBLISH)


def test_no_page_has_styles_or_scripts_in_its_text(page: Client) -> None:
    package = make_package(PUMP, readme="|a|\n|-:|\n|b|")
    for address in (LIST, PUBLISH, package.get_absolute_url()):
        shown = text(page, address)
        assert "style=" not in shown and "<style" not in shown
        assert "<script>" not in shown and "onclick" not in shown


@pytest.mark.parametrize("address", [LIST, PUBLISH, f"/catalogue/{PUMP}/"])
def test_nothing_is_changed_by_a_page(page: Client, address: str) -> None:
    assert page.post(address).status_code == 405
