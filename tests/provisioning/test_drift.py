"""What counts as somebody's change of an object, what does not, and how it is told."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tenants.provisioning.cluster.drift import describe, differences

Json = dict[str, Any]
SECRET = "c2VjcmV0LXZhbHVl"
LABELS = {"app.kubernetes.io/managed-by": "flowstead", "flowstead/instance": "9d0c8a5e"}


def wanted(kind: str, **content: Any) -> Json:
    metadata = {
        "name": "node-red-kitchen",
        "namespace": "flowstead-alice",
        "labels": dict(LABELS),
        "annotations": {"flowstead/manifest": "aaaa"},
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **deepcopy(content)}


def lives(manifest: Json) -> Json:
    """As a list of the API server has it: without kind, and with what it writes itself."""
    live = {key: deepcopy(value) for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    live["metadata"] |= {
        "uid": "6f1c0a52-7a0c-4a7b-9c26-0d6e6c7b4f11",
        "resourceVersion": "48211",
        "generation": 3,
        "creationTimestamp": "2025-03-01T10:00:00Z",
    }
    return live


def deployment() -> Json:
    container = {
        "name": "node-red",
        "image": "ghcr.io/flowstead/node-red:5.0.7",
        "ports": [{"name": "http", "containerPort": 1880}],
        "envFrom": [{"secretRef": {"name": "node-red-kitchen"}}],
        "env": [{"name": "HOME", "value": "/data"}, {"name": "EMPTY", "value": ""}],
        "resources": {
            "limits": {"cpu": "1000m", "memory": "1024Mi"},
            "requests": {"cpu": "0.05", "memory": "1Gi"},
        },
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "initialDelaySeconds": 0},
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": False}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "nodeSelector": {"pool": "tenants"},
        "tolerations": [{"key": "tenants", "operator": "Exists"}],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "node-red-kitchen"}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}},
        ],
    }
    template = {"metadata": {"annotations": {"flowstead/digest": "dddd"}}, "spec": pod}
    selector = {"matchLabels": {"flowstead/instance": "9d0c8a5e"}}
    return wanted(
        "Deployment",
        spec={"replicas": 1, "strategy": {"type": "Recreate"}, "selector": selector, "template": template},
    )


def live_deployment() -> Json:
    """With the defaults of the API server and what others wrote."""
    live = lives(deployment())
    live["status"] = {"observedGeneration": 3, "replicas": 1}
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    live["metadata"]["labels"]["team"] = "blue"
    live["spec"] |= {"revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
    live["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "2025-03-02"
    pod = live["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["containers"].insert(0, {"name": "istio-proxy", "image": "istio/proxyv2"})
    pod["volumes"].append({"name": "istio-envoy", "emptyDir": {}})
    container = pod["containers"][1]
    container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
    container["ports"][0]["protocol"] = "TCP"
    container["env"] = [{"name": "INJECTED", "value": "1"}, {"name": "EMPTY"}, container["env"][0]]
    container["resources"] = {
        "limits": {"cpu": "1", "memory": "1Gi"},
        "requests": {"cpu": "50m", "memory": "1Gi"},
    }
    container["readinessProbe"] = {
        "httpGet": {"path": "/-/ready", "port": "http", "scheme": "HTTP"},
        "periodSeconds": 10,
    }
    container["volumeMounts"] = [
        {"name": "istio-envoy", "mountPath": "/etc/istio"},
        {"name": "data", "mountPath": "/data"},
    ]
    return live


def pod_of(live: Json) -> Any:
    return live["spec"]["template"]["spec"]


def container_of(live: Json) -> Any:
    return next(one for one in pod_of(live)["containers"] if one["name"] == "node-red")


def service() -> Json:
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}
    return wanted("Service", spec={"selector": {"flowstead/instance": "9d0c8a5e"}, "ports": [port]})


def live_service() -> Json:
    live = lives(service())
    live["spec"] |= {"clusterIP": "10.96.0.17", "type": "ClusterIP", "sessionAffinity": "None"}
    live["spec"]["ports"].insert(0, {"name": "debug", "port": 9229, "protocol": "TCP", "targetPort": 9229})
    return live


def ingress() -> Json:
    backend = {"service": {"name": "node-red-kitchen", "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"host": "kitchen.example.com", "http": {"paths": [path]}}
    return wanted("Ingress", spec={"ingressClassName": "nginx", "rules": [rule]})


def route() -> Json:
    backend = {"kind": "Service", "name": "node-red-kitchen", "port": 80}
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    content = {
        "parentRefs": [{"namespace": "gateways", "name": "public"}],
        "hostnames": ["kitchen.example.com"],
        "rules": [{"matches": [match], "backendRefs": [backend]}],
    }
    return wanted("HTTPRoute", spec=content)


def live_route() -> Json:
    live = lives(route())
    live["spec"]["parentRefs"][0] |= {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    live["spec"]["rules"][0]["backendRefs"][0] |= {"group": "", "weight": 1}
    live["status"] = {"parents": []}
    return live


def policy() -> Json:
    portal = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "flowstead"}}}
    internet = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}}
    return wanted(
        "NetworkPolicy",
        spec={
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [{"to": [portal], "ports": [{"port": 80}]}, {"to": [internet]}],
        },
    )


def live_policy() -> Json:
    live = lives(policy())
    del live["spec"]["ingress"]
    live["spec"]["egress"][0]["ports"][0]["protocol"] = "TCP"
    return live


def quota() -> Json:
    return wanted("ResourceQuota", spec={"hard": {"pods": "25", "limits.memory": "4096Mi"}})


def limit_range() -> Json:
    limits = {"type": "Container", "default": {"cpu": "0.1"}, "max": {"memory": "2048Mi"}}
    return wanted("LimitRange", spec={"limits": [limits]})


def claim(size: str = "10Gi") -> Json:
    resources = {"requests": {"storage": size}}
    return wanted("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"], "resources": resources})


def secret() -> Json:
    return wanted("Secret", type="Opaque", data={"FLOWSTEAD_STORAGE_TOKEN": SECRET, "ROOM": "MQ=="})


def live_limit_range() -> Json:
    live = lives(limit_range())
    live["spec"]["limits"][0] = {
        "type": "Container",
        "default": {"cpu": "100m", "memory": "2Gi"},
        "defaultRequest": {"cpu": "100m"},
        "max": {"memory": "2Gi"},
    }
    return live


def live_quota() -> Json:
    live = lives(quota())
    live["spec"]["hard"] = {"pods": "25", "limits.memory": "4Gi", "services": "10"}
    return live


PAIRS = {
    "deployment": (deployment, live_deployment),
    "service": (service, live_service),
    "ingress": (ingress, lambda: lives(ingress())),
    "route": (route, live_route),
    "policy": (policy, live_policy),
    "quota": (quota, live_quota),
    "limits": (limit_range, live_limit_range),
    "claim": (claim, lambda: lives(claim("12Gi"))),
    "secret": (secret, lambda: lives(secret())),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_defaults_and_what_others_added_are_no_difference(pair: str) -> None:
    ours, live = PAIRS[pair]
    assert differences(ours(), live()) == []
    assert describe(ours(), live()) == ""


@pytest.mark.parametrize("pair", PAIRS)
def test_looking_changes_nothing(pair: str) -> None:
    ours, live = (make() for make in PAIRS[pair])
    before = deepcopy((ours, live))
    differences(ours, live)
    assert (ours, live) == before


def put(value: Any, *way: Any) -> Callable[[Json], None]:
    """An edit that writes ``value`` at the end of ``way``."""

    def edit(live: Json) -> None:
        *before, last = way
        there: Any = live
        for step in before:
            there = there[step]
        there[last] = value

    return edit


def drop(*way: Any) -> Callable[[Json], None]:
    def edit(live: Json) -> None:
        *before, last = way
        there: Any = live
        for step in before:
            there = there[step]
        del there[last]

    return edit


CONTAINER = ("spec", "template", "spec", "containers", 1)
IN_CONTAINER = "spec.template.spec.containers[node-red]"


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (put("evil:latest", *CONTAINER, "image"), f"{IN_CONTAINER}.image"),
        (drop("spec", "template", "spec", "containers", 1), IN_CONTAINER),
        (put("2Gi", *CONTAINER, "resources", "limits", "memory"), f"{IN_CONTAINER}.resources.limits.memory"),
        (put("none", *CONTAINER, "resources", "limits", "cpu"), f"{IN_CONTAINER}.resources.limits.cpu"),
        (drop(*CONTAINER, "resources"), f"{IN_CONTAINER}.resources"),
        (put("/root", *CONTAINER, "env", 2, "value"), f"{IN_CONTAINER}.env[HOME].value"),
        (put("full", *CONTAINER, "env", 1, "value"), f"{IN_CONTAINER}.env[EMPTY].value"),
        (drop(*CONTAINER, "env", 2), f"{IN_CONTAINER}.env[HOME]"),
        (put([], *CONTAINER, "envFrom"), f"{IN_CONTAINER}.envFrom"),
        (put(8080, *CONTAINER, "ports", 0, "containerPort"), f"{IN_CONTAINER}.ports[http]"),
        (put("UDP", *CONTAINER, "ports", 0, "protocol"), f"{IN_CONTAINER}.ports[http]"),
        (put(True, *CONTAINER, "volumeMounts", 1, "readOnly"), f"{IN_CONTAINER}.volumeMounts[data].readOnly"),
        (put("/mnt", *CONTAINER, "volumeMounts", 1, "mountPath"), f"{IN_CONTAINER}.volumeMounts[data]"),
        (put(30, *CONTAINER, "readinessProbe", "initialDelaySeconds"), "initialDelaySeconds"),
        (
            put(["ALL", "CHOWN"], *CONTAINER, "securityContext", "capabilities", "drop"),
            f"{IN_CONTAINER}.securityContext.capabilities.drop",
        ),
        (
            put(True, "spec", "template", "spec", "automountServiceAccountToken"),
            "spec.template.spec.automountServiceAccountToken",
        ),
        (
            drop("spec", "template", "spec", "automountServiceAccountToken"),
            "spec.template.spec.automountServiceAccountToken",
        ),
        (
            put({"name": "scratch", "hostPath": {"path": "/"}}, "spec", "template", "spec", "volumes", 1),
            "spec.template.spec.volumes[scratch].emptyDir",
        ),
        (
            put("1Gi", "spec", "template", "spec", "volumes", 2, "emptyDir", "sizeLimit"),
            "spec.template.spec.volumes[tmp].emptyDir.sizeLimit",
        ),
        (
            put("x", "spec", "template", "spec", "nodeSelector", "zone"),
            "spec.template.spec.nodeSelector.zone",
        ),
        (put([], "spec", "template", "spec", "tolerations"), "spec.template.spec.tolerations"),
        (
            put("x", "spec", "template", "metadata", "annotations", "flowstead/digest"),
            "spec.template.metadata.annotations[flowstead/digest]",
        ),
        (put("RollingUpdate", "spec", "strategy", "type"), "spec.strategy.type"),
        (put(3, "spec", "replicas"), "spec.replicas"),
        (drop("metadata", "labels", "flowstead/instance"), "metadata.labels[flowstead/instance]"),
        (drop("metadata", "annotations"), "metadata.annotations"),
    ],
)
def test_an_edit_of_what_we_wrote_in_a_deployment_is_found(edit: Callable[[Json], None], path: str) -> None:
    live = live_deployment()
    edit(live)
    found = differences(deployment(), live)
    assert len(found) == 1
    assert found[0].endswith(path)


@pytest.mark.parametrize("replicas", [0, 1])
def test_being_on_or_off_is_no_difference(replicas: int) -> None:
    live = live_deployment()
    live["spec"]["replicas"] = replicas
    assert differences(deployment(), live) == []


@pytest.mark.parametrize(
    ("pair", "edit", "paths"),
    [
        ("service", put(8080, "spec", "ports", 1, "targetPort"), ["spec.ports[http].targetPort"]),
        ("service", put(81, "spec", "ports", 1, "port"), ["spec.ports[http]"]),
        ("service", put("x", "spec", "selector", "version"), ["spec.selector.version"]),
        (
            "service",
            put("other", "spec", "selector", "flowstead/instance"),
            ["spec.selector[flowstead/instance]"],
        ),
        ("ingress", put("evil.example.com", "spec", "rules", 0, "host"), ["spec.rules"]),
        ("ingress", put([], "spec", "rules"), ["spec.rules"]),
        ("ingress", put("other", "spec", "ingressClassName"), ["spec.ingressClassName"]),
        ("route", put("other", "spec", "parentRefs", 0, "name"), ["spec.parentRefs"]),
        ("route", put(["kitchen.example.com", "other.example.com"], "spec", "hostnames"), ["spec.hostnames"]),
        ("route", put(9229, "spec", "rules", 0, "backendRefs", 0, "port"), ["spec.rules"]),
        ("policy", put([{}], "spec", "ingress"), ["spec.ingress"]),
        ("policy", put({"a": "b"}, "spec", "podSelector", "matchLabels"), ["spec.podSelector.matchLabels"]),
        ("policy", put([{}], "spec", "egress"), ["spec.egress"]),
        ("policy", put({}, "spec", "egress", 0, "to", 0, "podSelector"), ["spec.egress"]),
        ("policy", put("UDP", "spec", "egress", 0, "ports", 0, "protocol"), ["spec.egress"]),
        ("policy", drop("spec", "egress", 0, "ports"), ["spec.egress"]),
        ("policy", put(["10.0.0.0/8"], "spec", "egress", 1, "to", 0, "ipBlock", "except"), ["spec.egress"]),
        ("policy", put(["Ingress"], "spec", "policyTypes"), ["spec.policyTypes"]),
        ("quota", put("8Gi", "spec", "hard", "limits.memory"), ["spec.hard[limits.memory]"]),
        ("quota", drop("spec", "hard", "pods"), ["spec.hard.pods"]),
        ("limits", put("4Gi", "spec", "limits", 0, "max", "memory"), ["spec.limits"]),
        ("secret", put("b3RoZXI=", "data", "FLOWSTEAD_STORAGE_TOKEN"), ["data.FLOWSTEAD_STORAGE_TOKEN"]),
        ("secret", drop("data"), ["data"]),
    ],
)
def test_an_edit_of_what_we_wrote_is_found(pair: str, edit: Callable[[Json], None], paths: list[str]) -> None:
    ours, make = PAIRS[pair]
    live = make()
    edit(live)
    assert differences(ours(), live) == paths


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("1", "1000m", True),
        ("1Gi", "1024Mi", True),
        ("1.5Gi", "1536Mi", True),
        ("1e3", "1k", True),
        ("2000m", 2, True),
        ("0.1", "100m", True),
        ("1G", "1Gi", False),
        ("1", "1m", False),
        ("plenty", "more", False),
        ("1", "plenty", False),
    ],
)
def test_amounts_are_compared_by_their_value(here: str, there: str, same: bool) -> None:
    ours = wanted("ResourceQuota", spec={"hard": {"requests.cpu": here}})
    live = wanted("ResourceQuota", spec={"hard": {"requests.cpu": there}})
    assert (differences(ours, live) == []) is same


def test_elsewhere_an_amount_is_text() -> None:
    ours, live = (wanted("Secret", data={"LIMIT": text}) for text in ("1", "1000m"))
    assert differences(ours, live) == ["data.LIMIT"]


@pytest.mark.parametrize(
    ("size", "same"), [("10Gi", True), ("10240Mi", True), ("20Gi", True), ("5Gi", False), ("10G", False)]
)
def test_of_a_claim_only_a_size_below_the_wanted_one_counts(size: str, same: bool) -> None:
    live = lives(claim(size))
    live["spec"] |= {"accessModes": ["ReadWriteMany"], "storageClassName": "slow", "volumeName": "pvc-1"}
    expected = [] if same else ["spec.resources.requests.storage"]
    assert differences(claim(), live) == expected


def test_the_labels_of_a_claim_count() -> None:
    live = lives(claim())
    del live["metadata"]["labels"]["flowstead/instance"]
    assert differences(claim(), live) == ["metadata.labels[flowstead/instance]"]


@pytest.mark.parametrize("nothing", [None, "", {}, [], {"a": None, "b": {}}])
def test_nothing_that_we_wrote_is_the_same_as_nothing_there(nothing: Any) -> None:
    assert differences(wanted("Service", spec={"externalName": nothing}), wanted("Service", spec={})) == []


# --- In words -------------------------------------------------------------------------------------


def test_it_says_what_is_missing() -> None:
    assert describe(service(), None) == "Service node-red-kitchen was missing"


def test_it_names_what_somebody_changed() -> None:
    live = live_service()
    live["spec"]["ports"][1]["targetPort"] = 8080
    assert describe(service(), live) == "Service node-red-kitchen was changed: spec.ports[http].targetPort"


def test_it_names_three_places_at_most() -> None:
    ours = wanted("Service", spec=dict.fromkeys("abcde", 1))
    live = wanted("Service", spec=dict.fromkeys("abcde", 2))
    assert describe(ours, live) == "Service node-red-kitchen was changed: spec.a, spec.b, spec.c and 2 more"


def test_a_change_of_ours_is_a_renewal() -> None:
    live = live_service()
    live["metadata"]["annotations"]["flowstead/manifest"] = "0000"
    live["spec"]["ports"][1]["targetPort"] = 8080
    assert describe(service(), live) == "Service node-red-kitchen was renewed"


def test_without_our_annotation_it_is_somebody_elses_change() -> None:
    live = live_service()
    del live["metadata"]["annotations"]["flowstead/manifest"]
    assert describe(service(), live) == (
        "Service node-red-kitchen was changed: metadata.annotations[flowstead/manifest]"
    )


def test_a_value_is_never_told() -> None:
    live = lives(secret())
    live["data"] = {"FLOWSTEAD_STORAGE_TOKEN": "b3RoZXI="}
    words = describe(secret(), live)
    assert words == "Secret node-red-kitchen was changed: data.FLOWSTEAD_STORAGE_TOKEN, data.ROOM"
    assert SECRET not in words
