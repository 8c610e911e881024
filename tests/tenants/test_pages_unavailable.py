"""What a browser is shown at an instance's address while nothing answers there."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from tenants.models import Instance, Phase


def ask(label: str | None = "kitchen") -> Any:
    headers = {"X-Flowstead-Instance": label} if label is not None else {}
    return Client().get(reverse("instance_unavailable"), headers=headers)


@pytest.mark.parametrize(
    ("phase", "said", "goes_on"),
    [
        (Phase.PENDING, "is starting", True),
        (Phase.STARTING, "is starting", True),
        (Phase.RUNNING, "is starting", True),
        (Phase.STOPPING, "is stopped", False),
        (Phase.STOPPED, "is stopped", False),
        (Phase.FAILING, "is not running", False),
        (Phase.DELETING, "is being deleted", False),
    ],
)
def test_it_says_how_the_instance_is(instance: Instance, phase: Phase, said: str, goes_on: bool) -> None:
    Instance.objects.update(phase=phase, message="internal: /srv/secret", reason="exited")
    answer = ask()
    text = answer.content.decode()
    assert answer.status_code == 503
    assert said in text
    assert answer.get("Refresh") == ("1" if goes_on else "5")
    assert "internal" not in text
    assert "alice" not in text


@pytest.mark.parametrize("label", ["nobody", "", None, "Kitchen", "a.b", "<script>", "portal", "x" * 300])
def test_it_says_that_there_is_no_instance(instance: Instance, label: str | None) -> None:
    answer = ask(label)
    assert answer.status_code == 404
    assert "There is no instance here" in answer.content.decode()
    assert "<script" not in answer.content.decode()


@pytest.mark.parametrize("label", ["kitchen", "nobody"])
def test_it_is_neither_cached_nor_indexed_and_sets_no_cookie(instance: Instance, label: str) -> None:
    answer = ask(label)
    assert answer["Cache-Control"] == "no-store"
    assert answer["Retry-After"]
    assert "noindex" in answer["X-Robots-Tag"]
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")


def test_it_loads_its_parts_from_the_portal_alone(instance: Instance) -> None:
    answer = ask()
    policy, text = answer["Content-Security-Policy"], answer.content.decode()
    assert f"style-src {settings.FLOWSTEAD_URL};" in f"{policy};"
    assert f"img-src {settings.FLOWSTEAD_URL};" in f"{policy};"
    assert "unsafe" not in policy
    assert 'href="/' not in text
    assert 'src="/' not in text
    assert "<script" not in text
    assert f'href="{settings.FLOWSTEAD_URL}/instances/kitchen/"' in text


def test_it_knows_nobody_who_is_signed_in(instance: Instance, user: Any, client: Client) -> None:
    client.force_login(user)
    answer = client.get(reverse("instance_unavailable"), headers={"X-Flowstead-Instance": "kitchen"})
    assert "alice" not in answer.content.decode()
