"""The objects of instances and tenants, compared whole with what lies in golden/."""

import difflib
import ipaddress
import os
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenants.provisioning import manifests
from tenants.provisioning.cluster import kinds, quantities
from tenants.provisioning.cluster.settings import Cluster, Namespaces, Route
from tenants.provisioning.manifests import (
    DIGEST,
    INSTALLATION,
    INSTANCE,
    MANIFEST,
    TENANT,
    fingerprint,
    instance_objects,
    label_value,
    namespace_of,
    object_name,
    owned_kinds,
    tenant_objects,
)
from tenants.provisioning.spec import NAME_MAX_LENGTH, InstanceSpec, Quota, Secrets, is_variable_name

GOLDEN = Path(__file__).parent / "golden"
RENEW = "RENEW_GOLDEN"

SPEC = InstanceSpec(
    id="9d0c8a5e-6c1c-4f0e-8f0a-111111111111",
    name="kitchen",
    tenant="alice",
    power=True,
    retired=False,
    generation=1,
    restarts=0,
    node_red_version="5.0.7",
    image="flowstead/custom-node-red:5.0.7",
    cpu=500,
    memory=256,
    url="http://kitchen.example.com",
    portal_url="http://portal.example.com",
    internal_url="http://portal.flowstead.svc",
    secrets=Secrets("storage-token", "credential-secret", "client-secret"),
    nodes_excludes=("90-exec.js",),
    catalogues=("https://catalogue.nodered.org/catalogue.json",),
    environment={"GREETING": "grüß dich"},
)
CLUSTER = Cluster(installation="0c5f4f0a-2f3b-4a57-9a52-222222222222")
LONGEST = "a" + "b" * (NAME_MAX_LENGTH - 1)
SINGLE = replace(CLUSTER, namespaces=Namespaces.SINGLE, namespace="shared")
GATEWAY = replace(CLUSTER, route=Route.GATEWAY, gateway="infra/public/https")
PARTICULAR = replace(
    CLUSTER,
    ingress_class="nginx",
    ingress_annotations={"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
    tls=True,
    tls_secret="{name}-tls",
    ingress_namespace="traefik",
    portal_namespace="platform",
    dns_namespace="dns",
    private_networks=("10.0.0.0/8", "fd00::/8"),
    allowed_networks=("10.9.0.0/16",),
    runtime_class="gvisor",
    node_selector={"flowstead.example/instances": "yes"},
    image_pull_policy="Always",
)

CASES: dict[str, tuple[InstanceSpec, Cluster]] = {
    "tenant": (SPEC, CLUSTER),
    "single": (SPEC, SINGLE),
    "gateway": (SPEC, GATEWAY),
    "particular": (replace(SPEC, url="https://kitchen.example.com"), PARTICULAR),
    "disk-and-quota": (
        replace(SPEC, disk=10, cpu=2000, memory=1536, quota=Quota(3, cpu=4000, memory=8192, disk=2048)),
        replace(CLUSTER, storage_class="fast"),
    ),
    "stopped": (replace(SPEC, power=False), CLUSTER),
    "longest": (
        replace(SPEC, name=LONGEST, tenant=LONGEST, url=f"http://{LONGEST}.example.com", disk=1),
        replace(CLUSTER, namespace_prefix="p" * 22),
    ),
}


def objects(spec: InstanceSpec, cluster: Cluster) -> list[manifests.Manifest]:
    return [*tenant_objects(spec, cluster), *instance_objects(spec, cluster)]


def one(kind: kinds.Kind, spec: InstanceSpec = SPEC, cluster: Cluster = CLUSTER) -> Any:
    return next(manifest for manifest in objects(spec, cluster) if kinds.kind_of(manifest) == kind)


def pod(spec: InstanceSpec = SPEC, cluster: Cluster = CLUSTER) -> Any:
    return one(kinds.DEPLOYMENT, spec, cluster)["spec"]["template"]["spec"]


def egress(cluster: Cluster) -> Any:
    policies = [one for one in tenant_objects(SPEC, cluster) if one["metadata"]["name"].endswith("-egress")]
    return policies[0]["spec"]["egress"]


# --- Whole objects --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_objects_are_those_in_the_golden_file(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    text = yaml.safe_dump_all(objects(*CASES[case]), sort_keys=False, allow_unicode=True)
    if os.environ.get(RENEW):
        path.write_text(text)
    expected = path.read_text() if path.exists() else ""
    difference = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), str(path), "made now", lineterm=""
    )
    assert text == expected, (
        "\n".join(difference) + f"\n\nIf that is meant: {RENEW}=1 .venv/bin/pytest tests/provisioning, "
        "then read what git says has changed."
    )


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_objects_come_in_the_order_of_their_kinds(case: str) -> None:
    spec, cluster = CASES[case]
    made = [kinds.kind_of(manifest) for manifest in objects(spec, cluster)]
    order = owned_kinds(cluster)
    assert made == sorted(made, key=order.index)
    left_out = set() if spec.disk else {kinds.PERSISTENT_VOLUME_CLAIM}
    assert set(order) - set(made) == left_out
    assert made[-1] == kinds.DEPLOYMENT


# --- Names and labels -----------------------------------------------------------------------------

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")


@pytest.mark.parametrize("case", CASES)
def test_names_and_labels_are_ones_that_kubernetes_takes(case: str) -> None:
    spec, cluster = CASES[case]
    for manifest in objects(spec, cluster):
        metadata = manifest["metadata"]
        assert LABEL.match(metadata["name"])
        assert all(VALUE.match(value) for value in metadata["labels"].values())
        namespaced = kinds.kind_of(manifest).namespaced
        assert metadata.get("namespace") == (namespace_of(spec.tenant, cluster) if namespaced else None)
    assert LABEL.match(namespace_of(spec.tenant, cluster))


@pytest.mark.parametrize("case", CASES)
def test_every_object_says_whose_it_is(case: str) -> None:
    spec, cluster = CASES[case]
    of_instance = instance_objects(spec, cluster)
    for manifest in objects(spec, cluster):
        labels = manifest["metadata"]["labels"]
        assert labels[INSTALLATION] == cluster.installation
        assert labels[TENANT] == spec.tenant
        assert labels.get(INSTANCE) == (spec.id if manifest in of_instance else None)
    template = of_instance[-1]["spec"]["template"]
    assert template["metadata"]["labels"] == of_instance[-1]["metadata"]["labels"]
    assert template["metadata"]["annotations"] == {DIGEST: spec.digest()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5.0.7", "5.0.7"),
        ("5.0.0-beta.1+build", "5.0.0-beta.1-build"),
        ("^5 || latest", "5----latest"),
        ("v" * 80, "v" * 63),
        ("…", ""),
    ],
)
def test_a_version_becomes_the_value_of_a_label(text: str, value: str) -> None:
    assert label_value(text) == value
    assert VALUE.match(value)


def test_the_default_prefix_and_the_longest_slug_fit_into_a_namespaces_name() -> None:
    assert len(namespace_of(LONGEST, CLUSTER)) <= 63
    assert len(namespace_of(LONGEST, replace(CLUSTER, namespace_prefix="p" * 22))) == 63
    assert namespace_of("alice", CLUSTER) == "flowstead-alice"
    assert namespace_of("alice", SINGLE) == "shared"
    assert object_name(SPEC) == "node-red-kitchen"


# --- The mark of what is wanted -------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_object_carries_its_own_fingerprint(case: str) -> None:
    marks = []
    for manifest in objects(*CASES[case]):
        assert manifest["metadata"]["annotations"][MANIFEST] == fingerprint(manifest)
        marks.append(fingerprint(manifest))
    assert len(set(marks)) == len(marks)
    assert all(re.fullmatch(r"[0-9a-f]{16}", mark) for mark in marks)


def test_power_changes_the_replicas_and_no_fingerprint() -> None:
    on, off = objects(SPEC, CLUSTER), objects(replace(SPEC, power=False), CLUSTER)
    assert [fingerprint(manifest) for manifest in on] == [fingerprint(manifest) for manifest in off]
    assert (on[-1]["spec"]["replicas"], off[-1]["spec"]["replicas"]) == (1, 0)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"restarts": 1}, {"Deployment"}),
        ({"environment": {}}, {"Secret", "Deployment"}),
        ({"url": "http://kitchen.example.org"}, {"Secret", "Ingress", "Deployment"}),
        ({"cpu_reserved": 60}, {"Deployment"}),
        ({"disk": 2}, {"PersistentVolumeClaim", "Deployment"}),
        ({"quota": Quota(20, memory=4096)}, {"ResourceQuota", "LimitRange"}),
        ({"generation": 9}, set()),
    ],
)
def test_a_change_shows_in_the_objects_that_it_is_about(change: dict[str, Any], changed: set[str]) -> None:
    before = {fingerprint(manifest) for manifest in objects(SPEC, CLUSTER)}
    after = objects(replace(SPEC, **change), CLUSTER)
    assert {manifest["kind"] for manifest in after if fingerprint(manifest) not in before} == changed


def test_all_instances_of_a_tenant_want_the_same_of_it() -> None:
    other = replace(SPEC, id="1", name="garage", memory=512, node_red_version="5.0.8", power=False)
    assert tenant_objects(SPEC, CLUSTER) == tenant_objects(other, CLUSTER)
    assert tenant_objects(SPEC, SINGLE) == tenant_objects(other, SINGLE)


def test_an_operators_annotation_never_takes_the_place_of_ours() -> None:
    cluster = replace(CLUSTER, ingress_annotations={MANIFEST: "mine", "a": "b"})
    ingress = one(kinds.INGRESS, cluster=cluster)
    assert ingress["metadata"]["annotations"] == {"a": "b", MANIFEST: fingerprint(ingress)}


# --- Quantities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thousandths", "text"),
    [
        (0, "0"),
        (1, "1m"),
        (500, "500m"),
        (1000, "1"),
        (1500, "1500m"),
        (2000, "2"),
        (1_000_000, "1k"),
        (1_001_000, "1001"),
    ],
)
def test_cores_are_written_as_the_api_server_writes_them(thousandths: int, text: str) -> None:
    assert quantities.cores(thousandths) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (128, "128Mi"), (1000, "1000Mi"), (1024, "1Gi"), (1536, "1536Mi"), (3 * 2**20, "3Ti")],
)
def test_mebibytes_are_written_as_the_api_server_writes_them(number: int, text: str) -> None:
    assert quantities.mebibytes(number) == text


def test_other_amounts_likewise() -> None:
    assert (quantities.gibibytes(10), quantities.gibibytes(2048)) == ("10Gi", "2Ti")
    assert (quantities.whole(25), quantities.whole(3000)) == ("25", "3k")


# --- The tenant -----------------------------------------------------------------------------------


def test_in_the_one_namespace_of_all_nothing_holds_for_all() -> None:
    shared = tenant_objects(SPEC, SINGLE)
    assert {manifest["kind"] for manifest in shared} == {"NetworkPolicy"}
    assert all(manifest["spec"]["podSelector"] == {"matchLabels": {TENANT: "alice"}} for manifest in shared)
    other = tenant_objects(replace(SPEC, tenant="bob"), SINGLE)
    assert not {one["metadata"]["name"] for one in shared} & {one["metadata"]["name"] for one in other}


def test_a_namespace_takes_only_pods_without_rights() -> None:
    labels = one(kinds.NAMESPACE)["metadata"]["labels"]
    modes = ("enforce", "audit", "warn")
    assert [labels[f"pod-security.kubernetes.io/{mode}"] for mode in modes] == ["restricted"] * 3


def test_the_quota_leaves_room_for_pods_that_are_ending() -> None:
    hard = one(kinds.RESOURCE_QUOTA)["spec"]["hard"]
    assert hard == {"pods": "25"}
    quota = Quota(0, cpu=0, memory=0, disk=0)
    hard = one(kinds.RESOURCE_QUOTA, replace(SPEC, quota=quota))["spec"]["hard"]
    assert hard == {"pods": "5", "limits.cpu": "0", "limits.memory": "0", "requests.storage": "0"}


@pytest.mark.parametrize("quota", [Quota(), Quota(1, cpu=50), Quota(1, memory=32), Quota(1, cpu=0, memory=0)])
def test_no_default_of_the_limit_range_is_above_its_maximum(quota: Quota) -> None:
    limits = one(kinds.LIMIT_RANGE, replace(SPEC, quota=quota))["spec"]["limits"][0]
    amount = {"m": 1, "": 1000, "Mi": 1, "Gi": 1024}

    def of(text: str) -> int:
        number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
        return int(number) * amount[unit]

    for name, default in limits["default"].items():
        assert of(limits["defaultRequest"][name]) <= of(default)
        assert of(default) <= of(limits.get("max", {}).get(name, "1000Gi"))


# --- The network ----------------------------------------------------------------------------------


def test_it_reaches_names_the_platform_and_the_internet() -> None:
    dns, platform, outside = egress(CLUSTER)
    assert {port["port"] for port in dns["ports"]} == {53}
    assert platform["to"][0]["namespaceSelector"] == {
        "matchLabels": {"kubernetes.io/metadata.name": "flowstead"}
    }
    assert [peer["ipBlock"]["cidr"] for peer in outside["to"]] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "127.0.0.1",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
    ],
)
def test_private_addresses_are_no_part_of_the_internet(address: str) -> None:
    for peer in egress(CLUSTER)[-1]["to"]:
        block = peer["ipBlock"]
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(block["cidr"])
        cut = any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in block["except"])
        assert cut or not inside


@pytest.mark.parametrize("cluster", [CLUSTER, PARTICULAR, replace(CLUSTER, private_networks=())])
def test_what_is_cut_out_is_smaller_and_of_the_same_family(cluster: Cluster) -> None:
    for peer in egress(cluster)[-1]["to"]:
        whole = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        for cidr in peer["ipBlock"].get("except", []):
            part = ipaddress.ip_network(cidr)
            assert part.version == whole.version
            assert part.prefixlen > whole.prefixlen


def test_where_all_is_private_no_rule_is_left_open() -> None:
    closed = egress(replace(CLUSTER, private_networks=("0.0.0.0/0", "::/0")))
    assert len(closed) == 2
    assert all(rule["to"] for rule in closed)
    allowed = replace(CLUSTER, private_networks=("0.0.0.0/0", "::/0"), allowed_networks=("10.9.0.0/16",))
    assert egress(allowed)[-1] == {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}
    one_family = egress(replace(CLUSTER, private_networks=("::/0",)))[-1]["to"]
    assert one_family == [{"ipBlock": {"cidr": "0.0.0.0/0"}}]


# --- The instance ---------------------------------------------------------------------------------


def test_the_secret_holds_the_whole_environment() -> None:
    data = one(kinds.SECRET)["data"]
    assert {name: b64decode(value).decode() for name, value in data.items()} == SPEC.process_environment()


def test_the_platforms_own_variables_cannot_be_set_by_a_user() -> None:
    names = {variable["name"] for variable in pod()["containers"][0]["env"]}
    assert not names & SPEC.process_environment().keys()
    assert not [name for name in names if is_variable_name(name)]


def test_node_may_fill_a_share_of_the_memory() -> None:
    heap = {
        variable["value"]
        for variable in pod(replace(SPEC, memory=512))["containers"][0]["env"]
        if variable["name"] == "NODE_OPTIONS"
    }
    assert heap == {"--max-old-space-size=384"}


def test_no_more_cpu_is_reserved_than_it_may_use() -> None:
    resources = pod(replace(SPEC, cpu=50, cpu_reserved=100))["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "50m"


def test_only_a_size_with_a_disk_has_a_claim() -> None:
    with_disk = replace(SPEC, disk=2)
    claim = one(kinds.PERSISTENT_VOLUME_CLAIM, with_disk)["metadata"]["name"]
    assert pod(with_disk)["volumes"][0]["persistentVolumeClaim"] == {"claimName": claim}
    assert "emptyDir" in pod()["volumes"][0]


def test_a_claim_leaves_an_unnamed_class_to_the_cluster() -> None:
    spec = one(kinds.PERSISTENT_VOLUME_CLAIM, replace(SPEC, disk=2))["spec"]
    assert "storageClassName" not in spec


def test_tls_without_a_secret_leaves_the_certificate_to_the_controller() -> None:
    spec = one(kinds.INGRESS, cluster=replace(CLUSTER, tls=True))["spec"]
    assert spec["tls"] == [{"hosts": ["kitchen.example.com"]}]


def test_a_gateway_may_be_named_without_a_listener() -> None:
    route = one(kinds.HTTP_ROUTE, cluster=replace(GATEWAY, gateway="infra/public"))
    assert "sectionName" not in route["spec"]["parentRefs"][0]


def test_the_selectors_find_the_pod_and_no_other() -> None:
    labels = one(kinds.DEPLOYMENT)["spec"]["template"]["metadata"]["labels"]
    for selector in (
        one(kinds.DEPLOYMENT)["spec"]["selector"]["matchLabels"],
        one(kinds.SERVICE)["spec"]["selector"],
    ):
        assert selector == {INSTANCE: SPEC.id}
        assert selector.items() <= labels.items()


# --- Kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "where", "path"),
    [
        (kinds.DEPLOYMENT, ("x", "y"), "/apis/apps/v1/namespaces/x/deployments/y"),
        (kinds.DEPLOYMENT, ("x",), "/apis/apps/v1/namespaces/x/deployments"),
        (kinds.DEPLOYMENT, (None,), "/apis/apps/v1/deployments"),
        (kinds.SECRET, ("x", "y"), "/api/v1/namespaces/x/secrets/y"),
        (kinds.NAMESPACE, (None, "x"), "/api/v1/namespaces/x"),
        (kinds.NAMESPACE, ("x", "x"), "/api/v1/namespaces/x"),
        (kinds.HTTP_ROUTE, (None,), "/apis/gateway.networking.k8s.io/v1/httproutes"),
    ],
)
def test_a_kind_knows_its_paths(kind: kinds.Kind, where: tuple[Any, ...], path: str) -> None:
    assert kind.path(*where) == path


def test_a_kind_is_found_by_what_an_object_says() -> None:
    assert (kinds.SECRET.group, kinds.DEPLOYMENT.group) == ("", "apps")
    assert kinds.kind_of({"apiVersion": "apps/v1", "kind": "ReplicaSet"}) == kinds.REPLICA_SET
    with pytest.raises(KeyError):
        kinds.kind_of({"apiVersion": "v1", "kind": "Node"})
