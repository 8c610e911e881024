"""Attacks on sign-in from 127.0.0.1, which every flow of a local installation shares with its users."""

import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.attacks.bystander import under
from tests.e2e.product import Product


def browser(product: Product) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{product.port}",
        headers={"Host": f"portal.localhost:{product.port}", "Accept": "text/html"},
        timeout=60,
    )


def sign_in(client: httpx.Client, login: str, password: str) -> httpx.Response:
    return client.post("/accounts/login/", data={"login": login, "password": password, **csrf(client)})


def csrf(client: httpx.Client) -> dict[str, str]:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/accounts/login/").text)
    assert found
    return {"csrfmiddlewaretoken": found[1]}


def test_a_flood_on_an_account_does_not_keep_out_a_browser_that_knows_it(product: Product) -> None:
    password = secrets.token_urlsafe(12)
    product.make_user("alice", password)
    with browser(product) as owner, browser(product) as attacker:
        assert sign_in(owner, "alice", password).status_code == 302
        owner.post("/accounts/logout/", data={"csrfmiddlewaretoken": owner.cookies["flowstead-csrf"]})
        assert owner.get("/instances/").status_code == 302
        form, statuses = csrf(attacker), []

        def guess() -> None:
            data = {"login": "alice", "password": f"guess-{time.monotonic()}", **form}
            statuses.append(attacker.post("/accounts/login/", data=data))

        for _ in range(12):
            guess()
        with under(guess, every=0.05):
            assert sign_in(owner, "alice", password).status_code == 302
        # what the attacker hears: refused without a look at the password, and for how long
        assert statuses[-1].status_code == 429
        assert 0 < int(statuses[-1].headers["Retry-After"]) <= 30


def test_failed_logins_with_invented_names_keep_no_user_out(product: Product) -> None:
    with browser(product) as attacker, ThreadPoolExecutor(4) as threads:
        form = csrf(attacker)

        def guess(n: int) -> int:
            data = {"login": f"invented-{n}", "password": "guess", **form}
            return attacker.post("/accounts/login/", data=data).status_code

        assert len(list(threads.map(guess, range(16)))) == 16
    with browser(product) as owner:
        assert sign_in(owner, "operator", product.password).status_code == 302
