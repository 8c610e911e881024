import dataclasses
import os
import re
import subprocess
import sys

import pytest
from django.conf import settings

from tenants.provisioning.cluster.settings import Cluster

KEYS = {"SECRET_KEY": "x" * 60, "ENCRYPTION_KEYS": "", "DATA_DIR": "/nonexistent/flowstead"}


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    """``manage.py check`` in an environment of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={"PATH": os.environ["PATH"], **KEYS, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "http"}, "PORT must be a whole number from 1 to 65535"),
        ({"PORT": "0"}, "PORT must be a whole number"),
        ({"FLOWSTEAD_URL": "portal.example.com"}, "FLOWSTEAD_URL must be an address"),
        ({"FLOWSTEAD_URL": "https://portal.example.com:99999"}, "FLOWSTEAD_URL must be an address"),
        ({"FLOWSTEAD_URL": "https://portal.example.com/path"}, "FLOWSTEAD_URL must be an address"),
        ({"FLOWSTEAD_DRIVER": "docker-swarm"}, "FLOWSTEAD_DRIVER must be one of local, kubernetes, docker"),
        ({"SIGNUP": "maybe"}, "SIGNUP must be one of open, invite, closed"),
        ({"DEBUG": "perhaps"}, "DEBUG must be true or false"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"FLOW_REVISIONS": "-1"}, "FLOW_REVISIONS must be a whole number"),
        ({"INSTANCE_MAX_BYTES": "256 MiB"}, "INSTANCE_MAX_BYTES must be a whole number from 1048576 to"),
        ({"LIBRARY_MAX_INDEX_BYTES": "0"}, "LIBRARY_MAX_INDEX_BYTES must be a whole number from 1024"),
        ({"LOG_STREAMS": "0"}, "LOG_STREAMS must be a whole number from 1"),
        ({"LOG_STREAMS_PER_USER": "many"}, "LOG_STREAMS_PER_USER must be a whole number"),
        ({"LOG_STREAMS_PER_TENANT": "-1"}, "LOG_STREAMS_PER_TENANT must be a whole number"),
        ({"REGISTRY_URL": "registry.example.com"}, "REGISTRY_URL must be an address"),
        ({"REGISTRY_UPLINK": "yarn"}, "REGISTRY_UPLINK must be an address"),
        ({"REGISTRY_REFRESH_SECONDS": "0"}, "REGISTRY_REFRESH_SECONDS must be a whole number"),
        ({"UNRESPONSIVE_SECONDS": "9"}, "UNRESPONSIVE_SECONDS must be a whole number from 10 to 3600"),
        (
            {"UNRESPONSIVE_SECONDS": "90", "UNRESPONSIVE_RESTART_SECONDS": "60"},
            "UNRESPONSIVE_RESTART_SECONDS must be a whole number from 90",
        ),
        ({"KUBERNETES_NAMESPACES": "many"}, "KUBERNETES_NAMESPACES must be one of tenant, single"),
        ({"KUBERNETES_ROUTE": "road"}, "KUBERNETES_ROUTE must be one of ingress, gateway"),
        ({"KUBERNETES_NAMESPACE": "Mine"}, "KUBERNETES_NAMESPACE must be a name of a-z"),
        ({"KUBERNETES_NAMESPACE_PREFIX": "p" * 23}, "KUBERNETES_NAMESPACE_PREFIX must be a name of a-z"),
        ({"KUBERNETES_NAMESPACE_PREFIX": "p-"}, "with at most 22 characters, not 'p-'"),
        ({"KUBERNETES_GATEWAY": "public"}, "KUBERNETES_GATEWAY must be namespace/name"),
        ({"KUBERNETES_GATEWAY": "a/b/c/d"}, "KUBERNETES_GATEWAY must be namespace/name"),
        ({"KUBERNETES_INGRESS_ANNOTATIONS": "a=b"}, "KUBERNETES_INGRESS_ANNOTATIONS must be a JSON object"),
        ({"KUBERNETES_INGRESS_ANNOTATIONS": '{"a": 1}'}, "must be a JSON object of texts"),
        ({"KUBERNETES_NODE_SELECTOR": "[]"}, "KUBERNETES_NODE_SELECTOR must be a JSON object of texts"),
        ({"KUBERNETES_PRIVATE_NETWORKS": "10.0.0.0/8,home"}, "KUBERNETES_PRIVATE_NETWORKS must be networks"),
        ({"KUBERNETES_ALLOWED_NETWORKS": "10.0.0.0/99"}, "KUBERNETES_ALLOWED_NETWORKS must be networks"),
        ({"TRUSTED_PROXIES": "localhost"}, "TRUSTED_PROXIES must be networks such as 10.0.0.0/8"),
        ({"KUBERNETES_TLS": "perhaps"}, "KUBERNETES_TLS must be true or false"),
        ({"KUBERNETES_REQUEST_SECONDS": "0"}, "KUBERNETES_REQUEST_SECONDS must be a whole number from 1"),
        ({"KUBERNETES_IMAGE_PULL_POLICY": "Often"}, "KUBERNETES_IMAGE_PULL_POLICY must be one of"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_sentence(settings, sentence):
    ended = run(**settings)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({"ENCRYPTION_KEYS": ""}, {"E002"}),
        (
            {
                "SECRET_KEY": "short",
                "ENCRYPTION_KEYS": "not-a-key",
                "OIDC_PRIVATE_KEY": "x",
                "FLOWSTEAD_DRIVER": "docker",
                "FLOWSTEAD_URL": "https://example.com",
                "FLOWSTEAD_DOMAIN": "example.com",
            },
            {"E001", "E003", "E004", "E005", "E007"},
        ),
    ],
)
def test_misconfiguration_is_a_check_with_a_hint(settings, codes):
    ended = run(**settings)
    assert ended.returncode == 1
    for code in codes:
        assert re.search(rf"\(portal\.{code}\) .+\n\tHINT: .+", ended.stderr)


def told(expression: str, **environment: str) -> str:
    """What an expression on ``portal.env`` comes to in an environment of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", f"from portal import env; print({expression})"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_value_can_stand_in_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("y" * 60)
    assert told("len(env.SECRET_KEY)", SECRET_KEY_FILE=str(secret), SECRET_KEY="") == "60"


def test_a_deploy_finds_room_in_every_instance_by_default():
    """Flows, their credentials twice, settings and sessions, three of them encrypted: a third longer."""
    largest = "env.DOCUMENT_MAX_BYTES * (2 + 3 * 4 / 3)"
    assert told(f"env.INSTANCE_MAX_BYTES / 4 >= {largest}") == "True"
    limits = "env.LIBRARY_MAX_TYPES, env.LIBRARY_MAX_META_BYTES, env.LIBRARY_MAX_INDEX_BYTES"
    assert told(limits, LIBRARY_MAX_TYPES="3") == "3 16384 1048576"


def test_networks_are_brought_into_one_form():
    given = "10.1.2.3/8, 192.0.2.7 ,FD00:0::/8"
    expected = "10.0.0.0/8 192.0.2.7/32 fd00::/8"
    assert told("*env.KUBERNETES_PRIVATE_NETWORKS", KUBERNETES_PRIVATE_NETWORKS=given) == expected
    assert told("env.KUBERNETES_PRIVATE_NETWORKS", KUBERNETES_PRIVATE_NETWORKS="") == "()"


def test_proxies_are_networks_and_none_by_default():
    assert told("*env.TRUSTED_PROXIES", TRUSTED_PROXIES="10.1.2.3/8, 127.0.0.1") == "10.0.0.0/8 127.0.0.1/32"
    assert told("env.TRUSTED_PROXIES") == "()"


@pytest.mark.parametrize(
    ("url", "told_of_it"),
    [
        ("", "False none"),
        ("consolemail://", "False none"),
        ("smtp+tls://user:password@mail.example.com:587", "True mandatory"),
    ],
)
def test_addresses_are_confirmed_where_mails_reach_people(url, told_of_it):
    assert told("env.SENDS_MAIL, env.EMAIL_VERIFICATION", EMAIL_URL=url) == told_of_it


def test_a_cluster_has_tls_where_the_portal_has():
    assert told("env.KUBERNETES_TLS", FLOWSTEAD_URL="https://portal.example.com") == "True"
    assert told("env.KUBERNETES_TLS", FLOWSTEAD_URL="http://portal.example.com") == "False"
    given = {"FLOWSTEAD_URL": "https://portal.example.com", "KUBERNETES_TLS": "no"}
    assert told("env.KUBERNETES_TLS", **given) == "False"


def test_the_portal_is_where_the_instances_are_unless_somebody_says_so():
    namespaces = "env.KUBERNETES_NAMESPACE, env.KUBERNETES_PORTAL_NAMESPACE"
    assert told(namespaces, KUBERNETES_NAMESPACE="shared") == "shared shared"
    given = {"KUBERNETES_NAMESPACE": "shared", "KUBERNETES_PORTAL_NAMESPACE": "platform"}
    assert told(namespaces, **given) == "shared platform"


def test_a_cluster_can_be_made_of_the_settings():
    cluster = Cluster(installation="1", **settings.KUBERNETES)
    fields = {field.name for field in dataclasses.fields(Cluster)}
    assert settings.KUBERNETES.keys() == fields - {"installation"}
    names = ("namespaces", "namespace_prefix", "route", "private_networks", "dns_namespace")
    for name in (*names, "ingress_namespace", "image_pull_policy", "allowed_networks", "storage_class"):
        assert getattr(cluster, name) == getattr(Cluster(installation="1"), name)


def test_both_drivers_have_the_same_patience_with_what_does_not_respond():
    given = {"UNRESPONSIVE_SECONDS": "200"}
    times = "env.UNRESPONSIVE_SECONDS, env.UNRESPONSIVE_RESTART_SECONDS"
    assert told(times) == "30 120"
    assert told(times, **given) == "200 200"
    for driver in (settings.LOCAL_DRIVER, settings.KUBERNETES):
        assert (driver["unresponsive_seconds"], driver["unresponsive_restart_seconds"]) == (30, 120)
