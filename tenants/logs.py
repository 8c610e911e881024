"""Reading an instance's log: text lines from its driver, for those who may see the instance."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from asgiref.sync import sync_to_async

from tenants.drivers import configured_driver
from tenants.models import Instance
from tenants.provisioning.driver import Driver, DriverError

MAX_TAIL = 5000
FOLLOWERS = 64
ASK_AGAIN_SECONDS = 10

_readers = ThreadPoolExecutor(FOLLOWERS, thread_name_prefix="log")
_following: set[int] = set()
_end = object()


@lru_cache(maxsize=1)
def _driver() -> Driver:
    return configured_driver()


def tail(instance: Instance, lines: int) -> list[str]:
    """The last lines, oldest first. Raises ``DriverError``."""
    count = max(0, min(lines, MAX_TAIL))
    return list(_driver().logs(str(instance.pk), tail=count, follow=False, stop=threading.Event()))


async def follow(instance: Instance, lines: int, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
    """The last lines, then those that come, for as long as ``still_allowed`` says so. An empty text
    is a heartbeat: nothing has come, and whoever sends this on notices whether anybody listens.

    Raises ``DriverError``, also where this process already has ``FOLLOWERS`` readers.
    """
    if len(_following) >= FOLLOWERS:
        raise DriverError(
            "Too many logs are being followed here. Try again later.", reason="too_many_readers"
        )
    stop = threading.Event()
    _following.add(id(stop))
    try:
        driver = await sync_to_async(_driver)()
        source = driver.logs(str(instance.pk), tail=max(0, min(lines, MAX_TAIL)), follow=True, stop=stop)
        async for line in _while_allowed(source, still_allowed):
            yield line
    finally:
        stop.set()
        _following.discard(id(stop))


async def _while_allowed(source: Iterator[str], still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    asked = loop.time()
    while (line := await loop.run_in_executor(_readers, _next, source)) is not _end:
        yield str(line)
        if loop.time() - asked > ASK_AGAIN_SECONDS:
            asked = loop.time()
            if not await sync_to_async(still_allowed)():
                return


async def server_sent_events(
    instance: Instance, lines: int, still_allowed: Callable[[], bool]
) -> AsyncIterator[str]:
    """The followed log as server-sent events, a JSON text each: no character of a line can end its
    event. The last one is ``ended``, or ``problem`` with a sentence."""
    yield ": the log\n\n"
    try:
        async for line in follow(instance, lines, still_allowed):
            yield f"data: {json.dumps(line)}\n\n" if line else ": still here\n\n"
        yield "event: ended\ndata: {}\n\n"
    except DriverError as error:
        yield f"event: problem\ndata: {json.dumps(str(error))}\n\n"


def _next(source: Iterator[str]) -> object:
    return next(source, _end)
