"""The history of the flows on its page: what was deployed, kept and restored."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants import documents
from tenants.models import Event, Instance


@pytest.fixture
def page(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def deployed(instance: Instance) -> Instance:
    for number in (1, 2):
        body = b'[{"id":"%d"}]' % number
        documents.save_flows(instance.pk, body, expected=number - 1, author="<b>bob</b>")
    return instance


def test_it_lists_who_deployed_what(deployed: Instance, page: Client) -> None:
    text = page.get(reverse("instance_revisions", args=["kitchen"])).content.decode()
    assert text.count("Deployed by &lt;b&gt;bob&lt;/b&gt;") == 2
    assert "Restore revision 1" in text
    assert "Restore revision 2" not in text


def test_it_says_that_nothing_was_deployed(instance: Instance, page: Client) -> None:
    text = page.get(reverse("instance_revisions", args=["kitchen"])).content.decode()
    assert "Nothing has been deployed yet" in text


def test_it_restores_and_starts_anew(deployed: Instance, page: Client) -> None:
    page.post(reverse("revision_restore", args=["kitchen", 1]))
    assert documents.load_flows(deployed.pk) == (b'[{"id":"1"}]', 3)
    assert Instance.objects.get().restarts == 1
    assert Event.objects.filter(verb="restored", actor_name="alice").count() == 1


def test_it_leaves_a_stopped_instance_stopped_when_it_restores(
    deployed: Instance, page: Client, user: Any
) -> None:
    deployed.turn_off(user)
    page.post(reverse("revision_restore", args=["kitchen", 1]))
    assert not Instance.objects.get().is_on


def test_it_says_that_a_revision_is_not_kept_any_more(deployed: Instance, page: Client) -> None:
    answer = page.post(reverse("revision_restore", args=["kitchen", 99]), follow=True)
    assert "There is no revision 99" in answer.content.decode()
    assert documents.load_flows(deployed.pk)[1] == 2


def test_it_keeps_the_current_flows_under_a_name(deployed: Instance, page: Client) -> None:
    answer = page.post(reverse("revision_keep", args=["kitchen"]), {"name": "before <move>"}, follow=True)
    assert documents.history(deployed.pk)[0].snapshot == "before <move>"
    assert "before &lt;move&gt;" in answer.content.decode()


def test_it_has_nothing_to_keep_before_the_first_deploy(instance: Instance, page: Client) -> None:
    answer = page.post(reverse("revision_keep", args=["kitchen"]), {"name": "x"}, follow=True)
    assert "nothing to keep" in answer.content.decode()


def test_it_deletes_a_snapshot(deployed: Instance, page: Client) -> None:
    documents.snapshot(deployed.pk, "<b>first</b>")
    documents.save_flows(deployed.pk, b"[]", expected=2)
    assert (
        "Delete “&lt;b&gt;first&lt;/b&gt;”"
        in page.get(reverse("instance_revisions", args=["kitchen"])).content.decode()
    )
    answer = page.post(reverse("revision_delete", args=["kitchen", 2]), follow=True)
    assert "“&lt;b&gt;first&lt;/b&gt;” was deleted" in answer.content.decode()
    assert [revision.id for revision in documents.history(deployed.pk)] == [3, 1]
