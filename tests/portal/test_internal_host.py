"""The settings that docs/kubernetes.md gives let an instance reach its storage, and show no page inside the cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from portal.checks import portal_serves_its_own_addresses

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"
KEYS = ("SECRET_KEY", "ENCRYPTION_KEYS", "OIDC_PRIVATE_KEY", "DATA_DIR")
INSIDE = "flowstead-portal.flowstead.svc"
TELL = """
import json
from django.conf import settings
from django.core.management import call_command
call_command("check", verbosity=0)
print(json.dumps([settings.ALLOWED_HOSTS, sorted(settings.HOSTS_FOR_SCRIPTS), settings.FLOWSTEAD_URL]))
"""


def documented() -> dict[str, str]:
    """The environment of the page's first steps."""
    _, _, steps = PAGE.read_text().partition(
        "Set the environment of the web processes and of the reconciler:"
    )
    block = steps.strip().partition("\n\n")[0]
    return dict(line.strip().split("=", 1) for line in block.splitlines())


@pytest.fixture
def as_documented(settings: Any) -> Any:
    """The hosts that the page's settings come to, once ``manage.py check`` has accepted them."""
    own = {name: os.environ[name] for name in KEYS}
    ended = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-v", "0", "-c", TELL],
        env={"PATH": os.environ["PATH"], **own, **documented()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    allowed, for_scripts, url = json.loads(ended.stdout.splitlines()[-1])
    settings.ALLOWED_HOSTS = allowed
    settings.HOSTS_FOR_SCRIPTS = frozenset(for_scripts)
    settings.FLOWSTEAD_URL = url
    return settings


def test_an_instance_reaches_its_storage_with_the_documented_settings(as_documented, instance):
    assert documented()["FLOWSTEAD_INTERNAL_URL"] == f"http://{INSIDE}"
    storage = Client(headers={"host": INSIDE, "authorization": f"Bearer {instance.storage_token}"})
    answer = storage.get(f"/api/v1/storage/{instance.pk}/flows")
    assert (answer.status_code, answer.json()) == (200, [])
    page = storage.get("/instances/")
    assert (page.status_code, page["Location"]) == (302, "https://portal.example.com/instances/")
    assert Client(headers={"host": "elsewhere.flowstead.svc"}).get("/healthz").status_code == 400


@pytest.mark.parametrize(
    ("address", "allowed", "found"),
    [
        ("http://portal.flowstead.svc:8080", ["portal.flowstead.svc"], []),
        ("http://portal.flowstead.svc.", [".flowstead.svc"], []),
        ("http://[fd00::5]:8000", ["[fd00::5]"], []),
        ("http://[fd00::5]:8000", ["fd00::5"], ["portal.E010"]),
        ("http://portal.flowstead.svc", ["portal.other.svc"], ["portal.E010"]),
        ("http://portal.flowstead.svc", ["*"], []),
    ],
)
def test_the_check_asks_as_an_instance_would(settings, address, allowed, found):
    settings.FLOWSTEAD_INTERNAL_URL = address
    settings.ALLOWED_HOSTS = ["portal.localhost", *allowed]
    assert [message.id for message in portal_serves_its_own_addresses(None)] == found


def test_an_internal_host_in_brackets_is_allowed():
    ended = subprocess.run(
        [sys.executable, "-c", "from portal.settings import ALLOWED_HOSTS; print(*ALLOWED_HOSTS)"],
        env={
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "x" * 60,
            "FLOWSTEAD_INTERNAL_URL": "http://[fd00::5]:8000",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "[fd00::5]" in ended.stdout.split(), ended.stderr
