"""The account's pages: tokens that are shown once, and allauth's pages in our design."""

import json
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from tenants.models import AccessToken, Event


@pytest.fixture
def page(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def make_token(page: Client, name: str = "laptop") -> str:
    plain: str = page.post(reverse("tokens"), {"name": name, "days": "30"}, follow=True).context["plain"]
    return plain


def test_it_shows_a_new_token_once(page: Client, user: Any) -> None:
    made = page.post(reverse("tokens"), {"name": "laptop", "days": "30"})
    assert made.status_code == 302
    shown = page.get(made["Location"])
    plain = shown.context["plain"]
    assert plain in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    assert AccessToken.objects.user_of(plain) == user
    for address in (made["Location"], reverse("tokens")):
        assert plain not in page.get(address).content.decode()
    assert AccessToken.objects.count() == 1


def test_it_shows_a_new_token_where_it_was_made_and_in_no_other_tab(page: Client) -> None:
    made = page.post(reverse("tokens"), {"name": "laptop", "days": "30"})
    for address in (reverse("tokens"), f"{reverse('tokens')}?new=0"):
        assert not page.get(address).context["plain"]
    page.head(made["Location"])
    assert page.get(made["Location"]).context["plain"]


def test_a_new_token_is_in_no_address_and_in_no_session_as_it_is(page: Client) -> None:
    made = page.post(reverse("tokens"), {"name": "laptop", "days": "30"})
    kept = json.dumps(Session.objects.get().get_decoded())
    plain = page.get(made["Location"]).context["plain"]
    assert plain not in made["Location"]
    assert plain not in kept
    assert "new_token" in kept
    assert "new_token" not in json.dumps(Session.objects.get().get_decoded())


def test_it_writes_down_that_a_token_was_made_but_not_the_token(page: Client) -> None:
    plain = make_token(page)
    event = Event.objects.get(verb="token_made")
    assert event.actor_name == "alice"
    assert plain not in event.message


def test_it_makes_tokens_that_end_or_never_do(page: Client) -> None:
    page.post(reverse("tokens"), {"name": "a", "days": ""})
    page.post(reverse("tokens"), {"name": "b", "days": "90"})
    assert AccessToken.objects.get(name="a").expires_at is None
    assert AccessToken.objects.get(name="b").expires_at is not None


@pytest.mark.parametrize("form", [{"name": ""}, {"name": "x" * 101}, {"name": "x", "days": "-1"}])
def test_it_refuses_a_bad_token_form(page: Client, form: dict[str, str]) -> None:
    assert page.post(reverse("tokens"), form).status_code == 422
    assert not AccessToken.objects.exists()


def test_it_limits_how_many_tokens_are_made_in_an_hour(page: Client) -> None:
    for _ in range(20):
        make_token(page)
    answer = page.post(reverse("tokens"), {"name": "one more"})
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()


def test_it_asks_before_it_revokes_a_token(page: Client) -> None:
    plain = make_token(page)
    answer = page.get(reverse("token_revoke", args=[AccessToken.objects.get().pk]))
    assert "Revoke “laptop”?" in answer.content.decode()
    assert AccessToken.objects.user_of(plain) is not None


def test_it_revokes_a_token(page: Client) -> None:
    plain = make_token(page)
    page.post(reverse("token_revoke", args=[AccessToken.objects.get().pk]))
    assert AccessToken.objects.user_of(plain) is None
    assert Event.objects.filter(verb="token_revoked", actor_name="alice").exists()


def test_it_does_not_revoke_somebody_elses_token(page: Client, other_user: Any) -> None:
    token, _ = AccessToken.objects.make(other_user, "theirs")
    for method in (page.get, page.post):
        assert method(reverse("token_revoke", args=[token.pk])).status_code == 404
    assert AccessToken.objects.filter(pk=token.pk).exists()


@pytest.mark.parametrize(
    "name",
    [
        "account",
        "account_email",
        "account_change_password",
        "mfa_index",
        "usersessions_list",
    ],
)
def test_it_shows_every_account_page_in_one_frame(page: Client, name: str) -> None:
    answer = page.get(reverse(name))
    text = answer.content.decode()
    assert answer.status_code == 200
    assert 'aria-label="Account"' in text
    assert "flowstead.css" in text
    assert "style=" not in text
