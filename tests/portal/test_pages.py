"""The front page, sign-up and the pages that say what went wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path, reverse

from portal.urls import handler400, handler403, handler404, handler500
from portal.urls import urlpatterns as real
from tests import factories


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("<secret>")


def refuse(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("<b>no</b>")


urlpatterns = [path("fail/", fail), path("refuse/", refuse), *real]
__all__ = ["handler400", "handler403", "handler404", "handler500"]


def test_it_tells_visitors_what_this_is(db: None, client: Client) -> None:
    text = client.get("/").content.decode()
    assert "Node-RED" in text
    assert reverse("account_signup") in text


def test_it_leads_those_who_are_signed_in_to_their_instances(db: None, client: Client) -> None:
    client.force_login(factories.make_user("anna"))
    assert client.get("/")["Location"] == "/instances/"


def test_it_signs_people_up_and_in(db: None, client: Client) -> None:
    form = {"username": "anna", "email": "anna@example.com", "password1": "x9-long-enough"}
    answer = client.post(reverse("account_signup"), {**form, "password2": form["password1"]}, follow=True)
    assert answer.redirect_chain[-1][0] == "/instances/"
    assert "Make your first instance" in answer.content.decode()


@pytest.mark.parametrize(
    ("signup", "said"), [("closed", "Sign-up is closed"), ("invite", "By invitation only")]
)
def test_it_says_plainly_who_may_sign_up(db: None, client: Client, signup: str, said: str) -> None:
    with override_settings(SIGNUP=signup):
        assert said in client.get(reverse("account_signup")).content.decode()
        assert reverse("account_signup") not in client.get("/").content.decode()


@pytest.mark.parametrize("name", ["account_login", "account_signup", "account_reset_password"])
def test_it_shows_every_entrance_in_one_frame(db: None, client: Client, name: str) -> None:
    text = client.get(reverse(name)).content.decode()
    assert "flowstead.css" in text
    assert "<style" not in text
    assert "style=" not in text


def test_it_says_that_there_is_nothing(db: None, client: Client) -> None:
    answer = client.get("/nothing/<script>/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()
    assert "<script>/" not in answer.content.decode()


def test_it_answers_a_foreign_host_with_a_page(db: None, client: Client) -> None:
    answer = client.get("/", headers={"host": "evil.example.com"})
    assert answer.status_code == 400
    assert "cannot be answered" in answer.content.decode()


@override_settings(ROOT_URLCONF="tests.portal.test_pages")
def test_it_says_why_something_is_not_allowed(db: None, client: Client) -> None:
    answer = client.get("/refuse/")
    assert answer.status_code == 403
    assert "&lt;b&gt;no&lt;/b&gt;" in answer.content.decode()


@override_settings(ROOT_URLCONF="tests.portal.test_pages")
def test_it_says_that_something_broke_without_asking_the_database(
    client: Client, django_assert_num_queries: Callable[[int], Any], db: None
) -> None:
    client.raise_request_exception = False
    with django_assert_num_queries(0):
        answer = client.get("/fail/")
    assert answer.status_code == 500
    assert "Something broke on our side" in answer.content.decode()
    assert "secret" not in answer.content.decode()


def test_signing_up_is_limited(client, db):
    statuses = [client.post("/accounts/signup/", {"username": f"u{n}"}).status_code for n in range(22)]
    assert statuses[-1] == 429
