"""Reading an instance's log: text lines from its driver, for those who may see the instance."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from functools import lru_cache

from django.conf import settings

from tenants.drivers import configured_driver
from tenants.log_streams import Stream
from tenants.models import Instance
from tenants.provisioning.driver import Driver, DriverError

MAX_TAIL = 5000

_readers = ThreadPoolExecutor(settings.LOG_STREAMS, thread_name_prefix="log")


@lru_cache(maxsize=1)
def _driver() -> Driver:
    return configured_driver()


def tail(instance: Instance, lines: int) -> list[str]:
    """Return the last lines, oldest first. Raises ``DriverError``."""
    count = max(0, min(lines, MAX_TAIL))
    return list(_driver().logs(str(instance.pk), tail=count, follow=False, stop=threading.Event()))


async def follow(stream: Stream, lines: int) -> AsyncGenerator[str, None]:
    """Yield the last lines, then new ones, for as long as the stream's reader may read.

    An empty text means that nothing new was logged: passing it on shows whether the client is still there.

    Raises ``DriverError``.
    """
    source = _lines(stream, lines)
    reading: Future[str | None] = Future()
    reading.set_result(None)
    try:
        while stream.may_go_on:
            reading = _readers.submit(next, source, None)
            line = await asyncio.wrap_future(reading)
            if line is None or not stream.may_go_on:
                return
            yield line
    finally:
        stream.stop.set()
        # A client that leaves keeps its place until the thread that reads for it is free.
        reading.add_done_callback(lambda _: stream.leave())


def _lines(stream: Stream, lines: int) -> Iterator[str]:
    count = max(0, min(lines, MAX_TAIL))
    yield from _driver().logs(str(stream.instance_id), tail=count, follow=True, stop=stream.stop)


async def server_sent_events(stream: Stream, lines: int) -> AsyncIterator[str]:
    """Yield the followed log as server-sent events.

    Each line is a JSON text, so that no character of it can end its event. The last event is ``ended``, or
    ``problem`` with a sentence.
    """
    yield ": the log\n\n"
    try:
        async with aclosing(follow(stream, lines)) as followed:
            async for line in followed:
                yield f"data: {json.dumps(line)}\n\n" if line else ": still here\n\n"
        yield "event: ended\ndata: {}\n\n"
    except DriverError as error:
        yield f"event: problem\ndata: {json.dumps(str(error))}\n\n"
