"""Attacks on passwords, and what those who share an address or a name with the attacker notice of them."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from tests import factories
from tests.clock import Clock

THERE = "198.51.100.7"


def sign_in(client: Client, login: str, password: str = factories.PASSWORD, **environ: Any) -> HttpResponse:
    answer: Any = client.post(reverse("account_login"), {"login": login, "password": password}, **environ)
    return answer


def guess(login: str, times: int, client: Client | None = None, **environ: Any) -> list[int]:
    client = client or Client()
    return [sign_in(client, login, "wrong", **environ).status_code for _ in range(times)]


def known_browser(login: str) -> Client:
    """One that signed in once and signed out again."""
    client = Client()
    assert sign_in(client, login).status_code == 302
    client.post(reverse("account_logout"))
    return client


def test_invented_names_keep_out_no_one_who_shares_the_address(user: Any, clock: Clock) -> None:
    assert {status for n in range(40) for status in guess(f"invented-{n}", 1)} == {200}
    assert sign_in(Client(), "alice").status_code == 302


def test_a_flood_from_an_address_is_slowed_down_there_to_one_in_a_second(user: Any, clock: Clock) -> None:
    statuses = [guess(f"invented-{n}", 1)[0] for n in range(70)]
    assert statuses == [200] * 60 + [429] * 10
    answer = sign_in(Client(), "alice")
    assert (answer.status_code, answer["Retry-After"]) == (429, "1")
    assert "Try again in 1 second." in answer.content.decode()
    clock.forward(1)
    assert sign_in(Client(), "alice").status_code == 302
    assert sign_in(Client(), "alice", REMOTE_ADDR=THERE).status_code == 302


def test_guessing_at_an_account_is_slowed_down_and_its_owner_waits_half_a_minute(
    user: Any, clock: Clock
) -> None:
    assert guess("alice", 8) == [200] * 5 + [429] * 3
    assert guess("ALICE", 1) == [429]
    answer = sign_in(Client(), "alice")
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    assert "Try again in 30 seconds." in answer.content.decode()
    assert 'value="alice"' in answer.content.decode()
    clock.forward(30)
    assert sign_in(Client(), "alice").status_code == 302


def test_a_day_of_guessing_from_one_address_tries_no_more_than_one_password_in_half_a_minute(
    user: Any, clock: Clock
) -> None:
    tried = 0
    for _ in range(120):
        tried += guess("alice", 1).count(200)
        clock.forward(15)
    assert tried <= 5 + 60


def test_guesses_from_many_addresses_are_slowed_down_together(user: Any, clock: Clock) -> None:
    statuses = [guess("alice", 1, REMOTE_ADDR=f"198.51.100.{n}")[0] for n in range(30)]
    assert statuses == [200] * 20 + [429] * 10
    assert int(sign_in(Client(), "alice", REMOTE_ADDR="203.0.113.9")["Retry-After"]) <= 6


def test_the_owner_at_another_address_does_not_notice_an_attack(user: Any, clock: Clock) -> None:
    guess("alice", 50)
    assert sign_in(Client(), "alice", REMOTE_ADDR=THERE).status_code == 302


def test_a_customer_of_a_network_counts_as_one_address(user: Any, clock: Clock) -> None:
    statuses = [guess("alice", 1, REMOTE_ADDR=f"2001:db8:1:2::{n}")[0] for n in range(6)]
    assert statuses == [200] * 5 + [429]


def test_a_browser_that_signed_in_before_gets_in_during_an_attack_from_its_own_address(
    user: Any, clock: Clock
) -> None:
    browser = known_browser("alice")
    for n in range(70):
        guess(f"invented-{n}", 1)
    guess("alice", 20)
    assert sign_in(Client(), "alice").status_code == 429
    assert sign_in(browser, "alice@example.com").status_code == 302


def test_guessing_in_a_known_browser_is_slowed_down_too(user: Any, clock: Clock) -> None:
    browser = known_browser("alice")
    assert guess("alice", 12, browser) == [200] * 10 + [429] * 2
    clock.forward(10)
    assert sign_in(browser, "alice").status_code == 302


def test_a_browser_is_known_for_its_own_account_alone(user: Any, other_user: Any, clock: Clock) -> None:
    browser = known_browser("mallory")
    assert guess("alice", 6, browser) == [200] * 5 + [429]


@pytest.mark.parametrize(
    ("claimed", "login"),
    [
        ({"email": "alice@example.com"}, "alice@example.com"),
        ({"username": "alice@example.com"}, "Alice@example.com"),
    ],
)
def test_who_claims_the_name_of_another_is_not_known_under_it(
    user: Any, clock: Clock, claimed: dict[str, str], login: str
) -> None:
    factories.make_user("mallory")
    browser = known_browser("mallory")
    get_user_model().objects.filter(username="mallory").update(**claimed)
    assert guess(login, 6, browser) == [200] * 5 + [429]


def test_a_browser_is_known_until_the_password_changes(user: Any, clock: Clock) -> None:
    browser = known_browser("alice")
    user.set_password("another-long-one")
    user.save()
    guess("alice", 6)
    assert sign_in(browser, "alice", "another-long-one").status_code == 429


@pytest.mark.parametrize("cookie", ["", "x", "1:x:y", "[1]", "\xff"])
def test_a_forged_cookie_makes_no_browser_known(user: Any, clock: Clock, cookie: str, settings: Any) -> None:
    browser = Client()
    browser.cookies[settings.DEVICE_COOKIE_NAME] = cookie
    assert guess("alice", 6, browser) == [200] * 5 + [429]


def test_the_cookie_is_for_the_portal_alone(user: Any, settings: Any) -> None:
    cookie = sign_in(Client(), "alice").cookies[settings.DEVICE_COOKIE_NAME]
    assert cookie["httponly"] and not cookie["domain"]
    assert (cookie["samesite"], cookie["path"]) == ("Lax", "/")
    assert "alice" not in cookie.value


def test_right_passwords_are_not_taken_for_guesses(user: Any, clock: Clock) -> None:
    assert {sign_in(Client(), "alice").status_code for _ in range(30)} == {302}


def test_a_name_without_an_account_is_answered_as_one_with(user: Any, clock: Clock) -> None:
    def seen(login: str) -> list[tuple[int, str, str]]:
        answers = [sign_in(Client(), login, "wrong") for _ in range(7)]
        return [
            (answer.status_code, answer.get("Retry-After", ""), str(answer.context["form"].errors))
            for answer in answers
        ]

    assert seen("alice") == seen("unknown")
    assert seen("alice@example.com") == seen("unknown@example.com")


@pytest.mark.parametrize("login", ["alice", "alice@example.com", "unknown", "unknown@example.com"])
def test_a_wrong_password_is_hashed_once_for_any_name(
    user: Any, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *args: hashed.append(args[1]) or encode(*args))
    guess(login, 1)
    assert hashed == ["wrong"]


def test_what_is_refused_is_not_hashed(user: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    guess("alice", 5)
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *args: pytest.fail("a password was hashed"))
    assert guess("alice", 5) == [429] * 5


def test_confirming_that_it_is_you_is_not_held_up_by_an_attack_on_the_account(
    user: Any, clock: Clock
) -> None:
    browser = Client()
    browser.force_login(user)
    guess("alice", 20)
    confirm = reverse("account_reauthenticate")
    assert browser.post(confirm, {"password": "wrong"}).status_code == 200
    assert browser.post(confirm, {"password": factories.PASSWORD}).status_code == 302


def test_sessions_of_the_version_before_go_on(user: Any) -> None:
    browser = Client()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.get(reverse("instances")).status_code == 200


# --- The second factor ----------------------------------------------------------------------------


@pytest.fixture
def secret(user: Any) -> str:
    secret: str = totp.generate_totp_secret()
    totp.TOTP.activate(user, secret)
    return secret


def code_of(secret: str) -> str:
    code: str = totp.format_hotp_value(
        totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time())))
    )
    return code


def test_codes_of_the_second_factor_can_be_guessed_five_times_in_five_minutes(
    user: Any, secret: str, clock: Clock
) -> None:
    assert Authenticator.objects.filter(user=user).exists()
    browser = Client()
    assert sign_in(browser, "alice")["Location"] == reverse("mfa_authenticate")
    for n in range(5):
        browser.post(reverse("mfa_authenticate"), {"code": f"00000{n}"}, REMOTE_ADDR=f"198.51.100.{n}")
    late = browser.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert "Too many failed login attempts" in late.content.decode()
    clock.forward(301)
    assert browser.post(reverse("mfa_authenticate"), {"code": code_of(secret)}).status_code == 302


def test_guessing_passwords_does_not_use_up_the_codes(user: Any, secret: str, clock: Clock) -> None:
    browser = Client()
    sign_in(browser, "alice")
    for n in range(40):
        guess(f"invented-{n}", 1)
    assert browser.post(reverse("mfa_authenticate"), {"code": code_of(secret)}).status_code == 302


def test_a_browser_is_not_known_before_the_second_factor(user: Any, secret: str, settings: Any) -> None:
    assert settings.DEVICE_COOKIE_NAME not in sign_in(Client(), "alice").cookies


# --- Signing up, and resetting a password ---------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("account_signup", {"username": "u"}),
        ("account_reset_password", {"email": "{n}@example.com"}),
    ],
)
def test_what_counts_by_address_is_over_after_half_a_minute(
    client: Client, db: None, clock: Clock, address: str, form: dict[str, str]
) -> None:
    def once(n: int) -> HttpResponse:
        filled = {name: value.format(n=n) for name, value in form.items()}
        answer: Any = client.post(reverse(address), filled)
        return answer

    assert [once(n).status_code for n in range(21)][-1] == 429
    answer = once(99)
    assert answer["Retry-After"] == "30"
    assert "Try again in 30 seconds." in answer.content.decode()
    clock.forward(30)
    assert once(99).status_code in (200, 302)
