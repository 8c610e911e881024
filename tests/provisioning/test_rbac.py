"""The rights are what the driver does, and no more."""

from dataclasses import replace
from typing import Any

import pytest

from tenants.provisioning.cluster.rbac import manifests, rules
from tenants.provisioning.cluster.settings import Cluster, Namespaces, Route
from tenants.provisioning.manifests import followed_kinds, owned_kinds

TENANT = Cluster(installation="1")
SINGLE = replace(TENANT, namespaces=Namespaces.SINGLE, namespace="shared")
GATEWAY = replace(TENANT, route=Route.GATEWAY, gateway="infra/public")
CLUSTERS = [TENANT, SINGLE, GATEWAY, replace(SINGLE, route=Route.GATEWAY)]


def verbs(cluster: Cluster, group: str, resource: str) -> set[str]:
    return {
        verb
        for rule in rules(cluster)
        if group in rule["apiGroups"] and resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_what_it_owns_it_may_watch_apply_and_delete(cluster: Cluster) -> None:
    for kind in owned_kinds(cluster):
        expected = {"get", "list", "watch", "create", "patch", "delete"}
        assert verbs(cluster, kind.group, kind.plural) == expected


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_what_follows_it_may_watch_and_clear_away(cluster: Cluster) -> None:
    for kind in followed_kinds(cluster):
        assert verbs(cluster, kind.group, kind.plural) == {"get", "list", "watch", "delete"}
    assert verbs(cluster, "", "pods/log") == {"get"}
    assert verbs(cluster, "", "events") == {"list"}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_it_has_no_right_beside_these(cluster: Cluster) -> None:
    known = {(kind.group, kind.plural) for kind in (*owned_kinds(cluster), *followed_kinds(cluster))}
    known |= {("", "pods/log"), ("", "events")}
    granted = {
        (group, name) for rule in rules(cluster) for group in rule["apiGroups"] for name in rule["resources"]
    }
    assert granted == known
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in rules(cluster))


def test_routes_of_gateways_are_only_touched_where_they_are_used() -> None:
    assert not verbs(TENANT, "gateway.networking.k8s.io", "httproutes")
    assert "create" not in verbs(GATEWAY, "networking.k8s.io", "ingresses")


def test_with_one_namespace_for_all_nothing_outside_of_it_is_needed() -> None:
    role, binding = manifests(SINGLE, "platform", "flowstead")
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shared"
    assert not any("namespaces" in rule["resources"] for rule in role["rules"])


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_binding_leads_from_the_account_to_the_role(cluster: Cluster) -> None:
    role, binding = manifests(cluster, "platform", "flowstead")
    assert role["rules"] == rules(cluster)
    expected: dict[str, Any] = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"]}
    assert binding["roleRef"] == {**expected, "name": role["metadata"]["name"]}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "platform", "name": "flowstead"}]


def test_two_accounts_have_roles_of_their_own() -> None:
    names = {
        manifests(TENANT, *account)[0]["metadata"]["name"]
        for account in [("a", "flowstead"), ("b", "flowstead")]
    }
    assert len(names) == 2
