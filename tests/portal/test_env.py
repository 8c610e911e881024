import os
import subprocess
import sys

import pytest

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
    ],
)
def test_a_bad_setting_stops_the_start_with_one_sentence(settings, sentence):
    ended = run(**settings)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"SECRET_KEY": "short"}, "portal.E001"),
        ({"ENCRYPTION_KEYS": ""}, "portal.E002"),
        ({"ENCRYPTION_KEYS": "not-a-key"}, "portal.E003"),
        ({"OIDC_PRIVATE_KEY": "x"}, "portal.E004"),
        ({"FLOWSTEAD_DRIVER": "kubernetes"}, "portal.E007"),
        ({"FLOWSTEAD_URL": "https://example.com", "FLOWSTEAD_DOMAIN": "example.com"}, "portal.E005"),
    ],
)
def test_misconfiguration_is_a_check_with_a_hint(settings, code):
    ended = run(**settings)
    assert ended.returncode == 1
    assert code in ended.stderr
    assert "HINT" in ended.stderr


def test_a_value_can_stand_in_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("y" * 60)
    environment = {"SECRET_KEY_FILE": str(secret), "SECRET_KEY": ""}
    command = "from portal import env; print(len(env.SECRET_KEY))"
    ended = subprocess.run(
        [sys.executable, "-c", command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout.strip() == "60", ended.stderr
