"""A README that takes seconds to render, published by anybody, must cost the readers of its page nothing."""

import json
import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha512

import httpx
import pytest

from tests.attacks.bystander import Bystander, watch
from tests.e2e.product import Product, wait_for
from tests.factories import PASSWORD
from tests.npm import packed_of

pytestmark = pytest.mark.e2e

COSTLY = ("![" * 4990 + "\n\n") * 6
AT_ONCE = 19


@pytest.fixture(scope="module")
def publisher(product: Product) -> str:
    product.make_user("publisher", PASSWORD)
    return product.token("publisher")


@pytest.fixture(scope="module")
def browser(product: Product, publisher: str) -> Iterator[httpx.Client]:
    """The publisher, signed in on the pages."""
    address, host = f"http://127.0.0.1:{product.port}", f"portal.localhost:{product.port}"
    limits = httpx.Limits(max_connections=AT_ONCE + 1)
    with httpx.Client(base_url=address, headers={"Host": host}, timeout=120, limits=limits) as client:
        page = client.get("/accounts/login/").text
        token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        form = {"csrfmiddlewaretoken": token, "login": "publisher", "password": PASSWORD}
        assert client.post("/accounts/login/", data=form).status_code == 302
        yield client


@pytest.fixture(scope="module")
def publish(product: Product, publisher: str) -> Callable[[str, str], str]:
    def put(bare: str, readme: str) -> str:
        """Publish a node as npm does, and return the address of its page once it is listed."""
        name, version = f"@publisher/{bare}", "1.0.0"
        manifest = {"name": name, "version": version, "keywords": ["node-red"], "node-red": {"nodes": {}}}
        tarball = packed_of([("package/package.json", json.dumps(manifest).encode())])
        file = f"{bare}-{version}.tgz"
        integrity = f"sha512-{b64encode(sha512(tarball).digest()).decode()}"
        dist = {"integrity": integrity, "tarball": f"{product.local}/registry/{name}/-/{file}"}
        document = {
            "_id": name,
            "name": name,
            "readme": readme,
            "dist-tags": {"latest": version},
            "versions": {version: {**manifest, "readme": readme, "dist": dist}},
            "_attachments": {file: {"data": b64encode(tarball).decode(), "length": len(tarball)}},
        }
        headers = {"Authorization": f"Bearer {publisher}"}
        answer = httpx.put(
            f"{product.local}/registry/{name.replace('/', '%2f')}", json=document, headers=headers, timeout=30
        )
        assert answer.status_code == 201, answer.text
        packages = product.api(publisher).client
        wait_for(lambda: packages.get(f"/catalogue/packages/{name}").status_code == 200, f"{name} is listed")
        return f"/catalogue/{name}/"

    return put


def at_once(browser: httpx.Client, page: str) -> list[int]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: browser.get(page).status_code, range(AT_ONCE)))


def bystander_beside(product: Product, browser: httpx.Client, page: str) -> Bystander:
    """Return what a steady client sees while ``AT_ONCE`` people open a page."""
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(watch, f"{product.local}/healthz", 4)
        time.sleep(0.5)
        assert set(at_once(browser, page)) == {200}
        return seen.result()


def seconds_of(browser: httpx.Client, page: str) -> float:
    """Return the median duration of some views."""

    def view() -> float:
        began = time.perf_counter()
        assert browser.get(page).status_code == 200
        return time.perf_counter() - began

    return statistics.median(view() for _ in range(7))


def test_many_readers_of_its_page_do_not_slow_down_the_portal(
    product: Product, browser: httpx.Client, publish: Callable[[str, str], str]
) -> None:
    usual, costly = publish("usual", "# It pumps"), publish("costly", COSTLY)
    calm = bystander_beside(product, browser, usual)
    attacked = bystander_beside(product, browser, costly)
    assert attacked.failures == []
    assert statistics.mean(attacked.seconds) < 5 * statistics.mean(calm.seconds) + 0.05
    # The next one is rendered, and this one is shown, as text at least, as quickly as any other.
    later = publish("later", "It **pumps**.")
    wait_for(lambda: "It <strong>pumps</strong>." in browser.get(later).text, "the next README is shown", 60)
    wait_for(lambda: "![![![" in browser.get(costly).text, "the README is shown", 60)
    assert seconds_of(browser, costly) < 5 * seconds_of(browser, usual) + 0.05
