"""What pages say about mails: never that one was sent where none can be."""

from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from portal import checks

CLAIMS = ("have sent", "send a link", "send the", "on its way")


def text(answer: Any) -> str:
    told: str = answer.content.decode().lower()
    return told


@pytest.mark.parametrize("email", ["alice@example.com", "unknown@example.com"])
def test_without_mail_who_forgot_the_password_is_sent_to_the_operator(
    user: Any, client: Client, email: str
) -> None:
    reset = reverse("account_reset_password")
    for answer in (client.get(reset), client.post(reset, {"email": email}, follow=True)):
        assert answer.status_code == 200
        assert "ask its operator" in text(answer)
        assert 'name="email"' not in text(answer)
        assert not [claim for claim in CLAIMS if claim in text(answer)]


def test_without_mail_no_confirmation_is_said_to_be_on_its_way(user: Any, client: Client) -> None:
    client.force_login(user)
    added = client.post(reverse("account_email"), {"email": "a@example.com", "action_add": ""}, follow=True)
    assert "a@example.com" in text(added)
    assert not [claim for claim in CLAIMS if claim in text(added)]
    assert "ask its operator" in text(client.get(reverse("account_email_verification_sent")))


def test_with_mail_a_link_is_sent_and_says_nothing_of_accounts(
    user: Any, client: Client, settings: Any
) -> None:
    settings.SENDS_MAIL = True
    reset = reverse("account_reset_password")
    assert 'name="email"' in text(client.get(reset))
    answers = [
        client.post(reset, {"email": email}, follow=True)
        for email in ("alice@example.com", "unknown@example.com")
    ]
    assert "we have sent an email" in text(answers[0])
    assert len({answer.content for answer in answers}) == 1
    [sent] = [message for message in mail.outbox if message.to == ["alice@example.com"]]
    assert "/accounts/password/reset/key/" in sent.body


def test_with_mail_the_confirmation_is_said_to_be_on_its_way(
    user: Any, client: Client, settings: Any
) -> None:
    settings.SENDS_MAIL = True
    client.force_login(user)
    added = client.post(reverse("account_email"), {"email": "a@example.com", "action_add": ""}, follow=True)
    assert "on its way to a@example.com" in text(added)
    assert "send the verification again" in text(added)


def test_the_operator_is_told_by_a_check(settings: Any) -> None:
    assert [message.id for message in checks.mails_reach_people(None)] == ["portal.W004"]
    settings.SENDS_MAIL = True
    assert checks.mails_reach_people(None) == []
