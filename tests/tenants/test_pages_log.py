"""The log on its page, as a stream and as a file: for members, as text."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse

from tenants import logs
from tenants.models import Instance, Membership
from tenants.provisioning.driver import DriverError

STREAM = "/instances/kitchen/log/stream"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said = ["one", "<script>alert(1)</script>", "two\r\ndata: forged", ""]

    async def follow(instance: Instance, count: int, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        for line in said:
            yield line

    monkeypatch.setattr(logs, "follow", follow)
    monkeypatch.setattr(logs, "tail", lambda instance, count: said[:2])
    return said


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
    instance: Instance, user: Any, lines: list[str]
) -> None:
    answer, text = asyncio.run(read(user))
    assert answer["Content-Type"] == "text/event-stream"
    assert answer["Cache-Control"] == "no-store"
    data = [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame.startswith("data: ")]
    assert [json.loads(part) for part in data] == lines[:3]
    assert ": still here" in text
    assert "\r" not in text


@pytest.mark.django_db(transaction=True)
def test_it_streams_to_members_alone(instance: Instance, other_user: Any, lines: list[str]) -> None:
    assert asyncio.run(read(None))[0].status_code == 403
    assert asyncio.run(read(other_user))[0].status_code == 404


@pytest.mark.django_db(transaction=True)
def test_it_ends_the_stream_of_somebody_who_was_put_out(
    instance: Instance, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[bool] = []

    async def follow(instance: Instance, count: int, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        allowed.append(await asyncio.to_thread(still_allowed))
        await Membership.objects.all().adelete()
        allowed.append(await asyncio.to_thread(still_allowed))
        yield ""

    monkeypatch.setattr(logs, "follow", follow)
    asyncio.run(read(user))
    assert allowed == [True, False]


@pytest.mark.django_db(transaction=True)
def test_it_says_in_the_stream_that_the_log_cannot_be_read(
    instance: Instance, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(instance: Instance, count: int, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        raise DriverError("Nobody answers.")
        yield ""

    monkeypatch.setattr(logs, "follow", follow)
    assert 'event: problem\ndata: "Nobody answers."' in asyncio.run(read(user))[1]


def test_it_can_be_downloaded_as_text(
    instance: Instance, user: Any, client: Client, lines: list[str]
) -> None:
    client.force_login(user)
    answer = client.get(reverse("instance_log_download", args=["kitchen"]))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="kitchen.log"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.content == b"one\n<script>alert(1)</script>\n"


def test_it_says_on_the_page_that_the_log_cannot_be_downloaded(
    instance: Instance, user: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tail(instance: Instance, count: int) -> list[str]:
        raise DriverError("Nobody answers.")

    monkeypatch.setattr(logs, "tail", tail)
    client.force_login(user)
    answer = client.get(reverse("instance_log_download", args=["kitchen"]), follow=True)
    assert "Nobody answers." in answer.content.decode()
