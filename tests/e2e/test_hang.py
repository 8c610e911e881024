"""A process that hangs, and a database that is locked: people notice as little as possible."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.e2e.product import Product, wait_for

pytestmark = pytest.mark.e2e


@contextmanager
def asking(product: Product, *paths: str, token: str = "") -> Iterator[list[tuple[object, float]]]:
    """Status (or error) and seconds of each answer to clients that ask without pause, one a path."""
    seen: list[tuple[object, float]] = []
    over = threading.Event()

    def ask(path: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=product.local, headers=headers, timeout=60) as client:
            while not over.wait(0.02):
                began = time.monotonic()
                try:
                    status: object = client.get(path).status_code
                except httpx.HTTPError as error:
                    status = repr(error)
                seen.append((status, time.monotonic() - began))

    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(90)


def test_a_stopped_web_process_is_replaced_and_no_read_fails(product: Product) -> None:
    stopped, other = product.pids("portal.asgi")
    with asking(product, *["/healthz"] * 6) as seen:
        os.kill(stopped, signal.SIGSTOP)
        wait_for(lambda: stopped not in product.pids("portal.asgi"), "the stopped process is gone", 60)
        wait_for(lambda: len(product.pids("portal.asgi")) == 2, "another one is there", 60)
    assert other in product.pids("portal.asgi")
    assert {status for status, _ in seen} == {200}
    # the other process gets what comes next: each client is held up once at most
    assert sum(seconds > 8 for _, seconds in seen) <= 6


def test_waiting_changes_hold_up_no_read_and_no_check(product: Product) -> None:
    """More saves than there are threads, while another program holds the database."""
    token = product.token()
    product.api(token).make("waiting")
    answers: list[int] = []

    def change() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{product.local}/api/v1/instances/waiting/restart"
        answers.append(httpx.post(address, headers=headers, timeout=120).status_code)

    web = product.pids("portal.asgi")
    database = sqlite3.connect(product.data_dir / "flowstead.sqlite3", isolation_level=None, timeout=30)
    threads = [threading.Thread(target=change) for _ in range(24)]
    try:
        database.execute("BEGIN IMMEDIATE")
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert answers == [], "none of them waits"
        with asking(product, "/healthz", "/api/v1/instances", token=token) as seen:
            time.sleep(4)
    finally:
        database.rollback()
        database.close()
        for thread in threads:
            thread.join(120)
    assert {status for status, _ in seen} == {200}
    assert max(seconds for _, seconds in seen) < 3
    assert product.pids("portal.asgi") == web, "waiting is no reason to be restarted"
