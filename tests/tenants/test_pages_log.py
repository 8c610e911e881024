"""The log on its page, as a stream and as a file: for members, as text."""

import asyncio
import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse

from tenants import logs
from tenants.models import Instance
from tenants.provisioning.driver import DriverError
from tests.memory_driver import MemoryDriver

STREAM = "/instances/kitchen/log/stream"


class Driver(MemoryDriver):
    """Have its logs end, so that a stream can be read to its end."""

    said = ("one", "<script>alert(1)</script>", "two\r\ndata: forged", "")
    problem: DriverError | None = None

    def logs(self, instance_id: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
        if self.problem:
            raise self.problem
        yield from self.said if follow else self.said[:2]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(logs, "_driver", lambda: driver)
    return driver


async def read(user: Any) -> tuple[Any, str]:
    client = AsyncClient()
    if user:
        await client.aforce_login(user)
    answer = await client.get(STREAM)
    if not answer.streaming:
        return answer, answer.content.decode()
    return answer, b"".join([part async for part in answer.streaming_content]).decode()


@pytest.mark.django_db(transaction=True)
def test_it_streams_each_line_in_a_frame_that_it_cannot_break(
    instance: Instance, user: Any, driver: Driver
) -> None:
    answer, text = asyncio.run(read(user))
    assert answer["Content-Type"] == "text/event-stream"
    assert answer["Cache-Control"] == "no-store"
    data = [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame.startswith("data: ")]
    assert [json.loads(part) for part in data] == list(driver.said[:3])
    assert ": still here" in text
    assert "\r" not in text


@pytest.mark.django_db(transaction=True)
def test_it_streams_to_members_alone(instance: Instance, other_user: Any, driver: Driver) -> None:
    assert asyncio.run(read(None))[0].status_code == 403
    assert asyncio.run(read(other_user))[0].status_code == 404


@pytest.mark.django_db(transaction=True)
def test_it_says_in_the_stream_that_the_log_cannot_be_read(
    instance: Instance, user: Any, driver: Driver
) -> None:
    driver.problem = DriverError("Nothing answers.")
    assert 'event: problem\ndata: "Nothing answers."' in asyncio.run(read(user))[1]


def test_it_can_be_downloaded_as_text(instance: Instance, user: Any, client: Client, driver: Driver) -> None:
    client.force_login(user)
    answer = client.get(reverse("instance_log_download", args=["kitchen"]))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="kitchen.log"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.content == b"one\n<script>alert(1)</script>\n"


def test_it_says_on_the_page_that_the_log_cannot_be_downloaded(
    instance: Instance, user: Any, client: Client, driver: Driver
) -> None:
    driver.problem = DriverError("Nothing answers.")
    client.force_login(user)
    answer = client.get(reverse("instance_log_download", args=["kitchen"]), follow=True)
    assert "Nothing answers." in answer.content.decode()
