import re
from datetime import timedelta

import pytest
from django.utils import timezone

from catalogue.models import Look, Reading
from tenants.models import Instance, Lease
from tests.catalogue.factories import make_package

pytestmark = pytest.mark.django_db


def hold(problem: str = "", seconds: int = 60) -> None:
    Lease.objects.hold("reconciler", "somebody", timedelta(seconds=seconds), problem)


def test_alive_needs_nothing(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_ready_needs_a_reconciler(client):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "No reconciler" in answer.json()["checks"]["driver"]["detail"]
    hold()
    assert client.get("/readyz").json()["status"] == "ok"


def test_ready_says_that_the_driver_does_not_answer(client):
    hold("The process manager does not answer.")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["driver"]["detail"] == "The process manager does not answer."


def test_ready_says_that_an_instance_waits_too_long(client, instance):
    hold()
    Instance.objects.update(due_at=timezone.now() - timedelta(minutes=5))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert not answer.json()["checks"]["due"]["ok"]


def test_metrics_count_what_is_there(client, instance):
    text = client.get("/metrics").content.decode()
    assert 'flowstead_instances{phase="pending"} 1.0' in text
    assert 'flowstead_instances{phase="running"} 0.0' in text
    assert "flowstead_reconciler_active 0.0" in text


def test_metrics_tell_how_the_catalogue_follows_the_registry(client, db):
    text = client.get("/metrics").content.decode()
    assert "flowstead_registry_seen_seconds -1.0" in text
    Look.objects.create(began_at=timezone.now() - timedelta(seconds=90), ended_at=timezone.now())
    Look.objects.create(ended_at=timezone.now(), problem="The registry does not answer.")
    Reading.objects.mark_due("@alice/pump")
    make_package("@alice/valve")
    text = client.get("/metrics").content.decode()
    assert "flowstead_packages 1.0" in text
    assert "flowstead_due_packages 1.0" in text
    assert re.search(r"^flowstead_registry_seen_seconds 9\d\.", text, re.MULTILINE)


def test_metrics_can_ask_for_a_token(client, settings):
    settings.METRICS_TOKEN = "let-me-see"
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer let-me-see"}).status_code == 200
