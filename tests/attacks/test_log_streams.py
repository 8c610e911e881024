"""Followed logs: one user who opens hundreds of them, and a reader whose right to them ends."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import httpx
import pytest

from tests.attacks.bystander import watch
from tests.e2e.product import Api, Product, wait_for

STREAMS = 500
ENDS_WITHIN_SECONDS = 30


@pytest.fixture(scope="module")
def logged(product: Product) -> Product:
    """Two tenants, each with an instance that has logged something."""
    for name in ("greedy", "modest"):
        product.make_user(name, "correct-horse-battery")
        Api(product.local, product.token(name)).make(f"of-{name}")
    for name in ("greedy", "modest"):
        api = Api(product.local, product.token(name))
        wait_for(lambda api=api, name=name: api.client.get(f"/instances/of-{name}/logs").text, "it logs", 60)
    return product


def log_of(product: Product, name: str, **query: str) -> str:
    return str(
        httpx.URL(f"{product.local}/api/v1/instances/of-{name}/logs", params={"follow": "true", **query})
    )


def bearer(product: Product, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {product.token(name)}", "Accept": "text/event-stream"}


@contextmanager
def hundreds_of_streams(product: Product) -> Iterator[list[int]]:
    """Open them all, keep those that are answered open, and yield all statuses."""
    statuses: list[int] = []
    opened, over = threading.Event(), threading.Event()

    async def attack() -> None:
        limits = httpx.Limits(max_connections=None)
        headers = bearer(product, "greedy")
        async with (
            httpx.AsyncClient(limits=limits, timeout=60, headers=headers) as client,
            AsyncExitStack() as held,
        ):

            async def open_one() -> None:
                answer = await held.enter_async_context(client.stream("GET", log_of(product, "greedy")))
                statuses.append(answer.status_code)

            await asyncio.gather(*(open_one() for _ in range(STREAMS)))
            opened.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(attack(),))
    thread.start()
    try:
        assert opened.wait(120), f"only {len(statuses)} of {STREAMS} streams were answered"
        yield statuses
    finally:
        over.set()
        thread.join(60)


def first_event(product: Product, name: str) -> str:
    with httpx.stream("GET", log_of(product, name), headers=bearer(product, name), timeout=20) as answer:
        answer.raise_for_status()
        return next(line for line in answer.iter_lines() if line.startswith(("data:", "event:")))


def test_one_users_hundreds_of_streams_do_not_hold_up_others(logged: Product) -> None:
    me = f"{logged.local}/api/v1/me"
    before = watch(me, 3, **bearer(logged, "modest"))
    with hundreds_of_streams(logged) as statuses:
        assert len(statuses) == STREAMS
        assert statuses.count(200) + statuses.count(429) == STREAMS
        assert statuses.count(200) <= 64, "one user holds most of the places"
        for _ in range(4):  # each web process is asked
            assert first_event(logged, "modest").startswith("data:")
        during = watch(me, 3, **bearer(logged, "modest"))
    assert not before.failures
    assert not during.failures
    assert during.median < 10 * before.median + 0.1
    wait_for(lambda: first_event(logged, "greedy").startswith("data:"), "the places are free again", 10)


def test_a_followed_log_does_not_outlive_its_token(logged: Product) -> None:
    owner = httpx.Client(base_url=f"{logged.local}/api/v1", headers=bearer(logged, "modest"), timeout=20)
    made = owner.post("/tokens", json={"name": "stolen"}).json()
    stolen = {**bearer(logged, "modest"), "Authorization": f"Bearer {made['token']}"}
    with httpx.stream("GET", log_of(logged, "modest"), headers=stolen, timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("data:"))
        assert owner.delete(f"/tokens/{made['id']}").status_code == 204
        revoked = time.monotonic()
        for _ in lines:  # comments come at least every second
            assert time.monotonic() - revoked < ENDS_WITHIN_SECONDS, "it outlives its token"
