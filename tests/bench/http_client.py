"""As little of an HTTP client as possible, so that it is not what is measured."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ETAG = re.compile(rb'\r\netag: *"(\d+)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """``revision`` is that of the ETag, ``length`` the number of bytes of the body, which is not kept."""

    status: int
    revision: int
    length: int


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time, answers with a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._head = b""
        self._length: int | None = None
        self._missing = 0

    @classmethod
    async def to(cls, port: int) -> "Connection":
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, "127.0.0.1", port))[1]

    async def request(self, *parts: bytes) -> Answer:
        assert self._transport is not None
        self._head, self._length = b"", None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(parts)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._length is None:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = head
            length = _LENGTH.search(head)
            assert length, f"an answer without a length: {head!r}"
            self._length = int(length[1])
            self._missing = self._length - len(body)
        else:
            self._missing -= len(data)
        if not self._missing and self._answer is not None:
            self._answer.set_result(self._finished(self._length))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    def _finished(self, length: int) -> Answer:
        etag = _ETAG.search(self._head)
        return Answer(int(self._head[9:12]), int(etag[1]) if etag else 0, length)
