"""Names, patterns, the operator's rules, and what may be installed."""

import pytest

from catalogue.palette import WHOLE, Rules, Wish, denied, fits, is_package_name, judge, scope_of


@pytest.mark.parametrize("name", ["node-red-pump", "@acme/node-red-pump", "JSONStream", "@a/b.c_d"])
def test_it_knows_the_names_that_npm_takes(name):
    assert is_package_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "@acme", "@acme/", "a/b", "../etc", "@a/../b", ".hidden", "a b", "a\n", "@A/b", "x" * 215, "a%2fb"],
)
def test_it_refuses_all_others(name):
    assert not is_package_name(name)


def test_it_tells_the_scope():
    assert scope_of("@acme/pump") == "@acme"
    assert scope_of("pump") == ""


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("@acme/pump", "@acme/*", True),
        ("@acme2/pump", "@acme/*", False),
        ("node-red-contrib-x", "node-red-*", True),
        ("node.red", "node.red", True),
        ("nodexred", "node.red", False),
        ("a", "*", True),
        ("a.b-c", "a*c", True),
    ],
)
def test_a_star_stands_for_anything_and_all_else_for_itself(name, pattern, expected):
    assert fits(name, pattern) is expected


VERSIONS = ["2.0.0-beta", "1.1.0", "1.0.0"]


@pytest.mark.parametrize(
    ("rules", "latest", "shown"),
    [
        (Rules(), "1.1.0", "1.1.0"),
        (Rules(), "", "1.1.0"),  # without the tag: the newest that is no prerelease
        (Rules(), "2.0.0-beta", "2.0.0-beta"),
        (Rules(pinned="1.0.0"), "1.1.0", "1.0.0"),
        (Rules(pinned="0.9.0"), "1.1.0", "1.1.0"),  # pinned to one that went
        (Rules(blocked=frozenset({"1.1.0"})), "1.1.0", "1.0.0"),
        (Rules(hidden=frozenset({"1.1.0", "1.0.0"})), "1.1.0", "2.0.0-beta"),
        (Rules(blocked=frozenset({"1.0.0"}), pinned="1.0.0"), "1.1.0", "1.1.0"),
        (Rules(blocked=frozenset({WHOLE})), "1.1.0", ""),
        (Rules(hidden=frozenset({WHOLE}), pinned="1.0.0"), "1.1.0", ""),
        (Rules(blocked=frozenset(VERSIONS)), "1.1.0", ""),
    ],
)
def test_it_offers_what_is_pinned_or_latest_of_what_may_be_shown(rules, latest, shown):
    assert Rules.shown(rules, VERSIONS, latest) == shown


NO_RULES = Rules()


def verdict(wish, rules=NO_RULES, allow=(), tags=None):
    return judge(wish, rules, allow, tags=tags or {})


def test_without_rules_and_lists_everything_may_be_installed():
    assert verdict(Wish("node-red-pump")).allowed
    assert verdict(Wish("node-red-pump", url="https://example.com/pump.tgz")).allowed


def test_a_tenants_list_lets_nothing_else_in():
    allow = ("@acme/*", "node-red-pump")
    assert verdict(Wish("@acme/any"), allow=allow).allowed
    assert verdict(Wish("node-red-pump"), allow=allow).allowed
    assert "not among" in verdict(Wish("node-red-other"), allow=allow).detail
    # a name is easily claimed where the package comes from an address
    assert "by their name" in verdict(Wish("@acme/any", url="https://example.com/x.tgz"), allow=allow).detail


def test_where_something_is_blocked_names_have_to_be_true():
    wish = Wish("harmless", url="https://example.com/evil.tgz")
    assert judge(wish, NO_RULES, (), tags={}, restricted=True).allowed is False
    assert judge(Wish("harmless"), NO_RULES, (), tags={}, restricted=True).allowed is True


def test_what_the_operator_blocks_is_refused():
    assert "blocked by the operator" in verdict(Wish("pump"), Rules(blocked=frozenset({WHOLE}))).detail


@pytest.mark.parametrize(
    ("version", "tags", "allowed"),
    [
        ("1.0.0", {}, True),
        ("1.1.0", {}, False),
        ("", {"latest": "1.1.0"}, False),
        ("", {"latest": "1.0.0"}, True),
        ("next", {"next": "1.1.0"}, False),
        ("^1.0.0", {"latest": "1.0.0"}, False),  # who knows what npm would take
        ("", {}, False),
    ],
)
def test_a_blocked_version_is_refused_however_it_is_called(version, tags, allowed):
    rules = Rules(blocked=frozenset({"1.1.0"}))
    assert verdict(Wish("pump", version), rules, tags=tags).allowed is allowed


def test_what_is_denied_is_told_in_node_reds_form():
    rules = {
        "a": Rules(blocked=frozenset({WHOLE, "1.0.0"})),
        "b": Rules(blocked=frozenset({"2.0.0", "1.0.0"})),
        "c": Rules(hidden=frozenset({WHOLE})),
    }
    assert denied(rules.items()) == ["a", "b@1.0.0", "b@2.0.0"]
