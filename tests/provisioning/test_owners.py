"""Whose an object is, when a hand has written into its labels."""

from typing import Any

import pytest

from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    SECRET,
    Kind,
)
from tenants.provisioning.cluster.owners import instance_of, tenant_of, was_relabelled
from tenants.provisioning.cluster.settings import Cluster, Namespaces

ID, OTHER = "6f1c0a4e-2a0b-4d5c-9b1e-3c7d8e9f0a1b", "a3d5e7f9-1b2c-4d3e-8f4a-5b6c7d8e9f0a"
OURS = "flowstead-one"


def labelled(value: str | None, **content: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {} if value is None else {"flowstead/instance": value}}, **content}


@pytest.mark.parametrize("kind", [SECRET, PERSISTENT_VOLUME_CLAIM, POD], ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    ("value", "owner"),
    [
        (ID, ID),
        (None, ""),
        ("", ""),
        ("foo", ""),
        (ID.upper(), ""),
        (ID.replace("-", ""), ""),
        (f"{{{ID}}}", ""),
    ],
)
def test_a_label_that_is_no_id_is_none(kind: Kind, value: str | None, owner: str) -> None:
    assert instance_of(kind, labelled(value)) == owner


def test_an_object_without_any_labels_belongs_to_no_instance() -> None:
    assert instance_of(SECRET, {"metadata": {}}) == ""
    assert instance_of(DEPLOYMENT, {"metadata": {}}) == ""


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("value", [OTHER, "foo", None])
def test_a_selector_counts_for_more_than_a_label(kind: Kind, value: str | None) -> None:
    selector = {"selector": {"matchLabels": {"flowstead/instance": ID}}}
    assert instance_of(kind, labelled(value, spec=selector)) == ID


def test_what_a_tenant_shares_is_no_instances() -> None:
    """Or a label on a namespace would delete all that is in it."""
    assert instance_of(NAMESPACE, labelled(ID)) == instance_of(NETWORK_POLICY, labelled(ID)) == ""


@pytest.mark.parametrize(
    ("name", "slug", "tenant"),
    [
        ("flowstead-alice", "alice", "alice"),
        ("flowstead-alice", "bob", ""),
        ("flowstead-team-bob", "bob", ""),
        ("flowstead-alice", "", ""),
        ("elsewhere-alice", "alice", ""),
    ],
)
def test_label_and_name_of_a_namespace_have_to_agree(name: str, slug: str, tenant: str) -> None:
    live = {"metadata": {"name": name, "labels": {"flowstead/tenant": slug}}}
    assert tenant_of(NAMESPACE, live, Cluster("1")) == tenant


@pytest.mark.parametrize(
    ("name", "slug", "tenant"),
    [
        ("flowstead-alice-deny", "alice", "alice"),
        ("flowstead-a-b-deny", "a-b", "a-b"),
        ("flowstead-a-b-deny", "a", ""),
        ("flowstead-alice-deny", "bob", ""),
    ],
)
def test_label_and_name_of_a_policy_have_to_agree(name: str, slug: str, tenant: str) -> None:
    live = {"metadata": {"name": name, "labels": {"flowstead/tenant": slug}}}
    shared = Cluster("1", namespaces=Namespaces.SINGLE)
    assert tenant_of(NETWORK_POLICY, live, shared) == tenant


def written(*entries: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    fields = [{"manager": manager, "fieldsV1": {"f:metadata": labels}} for manager, labels in entries]
    return {"metadata": {"managedFields": fields}}


MINE: dict[str, Any] = {"f:labels": {"f:flowstead/instance": {}, "f:flowstead/tenant": {}}}
REST: dict[str, Any] = {"f:labels": {"f:flowstead/tenant": {}}}
HAND: dict[str, Any] = {"f:labels": {"f:flowstead/instance": {}}}


@pytest.mark.parametrize(
    ("live", "relabelled"),
    [
        (written((OURS, MINE)), False),
        (written((OURS, REST), ("kubectl", HAND)), True),
        (written((OURS, REST)), True),
        (written((OURS, {}), ("kubectl", HAND)), True),
        (written(("velero", MINE)), False),
        ({"metadata": {}}, False),
    ],
)
def test_who_wrote_the_label_last_is_known(live: dict[str, Any], relabelled: bool) -> None:
    assert was_relabelled(live, OURS) == relabelled
