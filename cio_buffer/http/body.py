"""A request's body as a room may want it: whole, or in parts as they come."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cio_buffer.errors import Problem, Refused

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """To be read once. Both ways raise Refused: 413 for a body over the limit, 408 for one that does not end, 400 for
    one that breaks off."""

    def __init__(self, request: web.BaseRequest, *, max_bytes: int, timeout_s: float) -> None:
        self._request = request
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self._request.content.is_eof()

    async def read(self, max_bytes: int | None = None) -> bytes:
        """All of it. `max_bytes`: where a room takes less than the server does."""
        limit = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        content = self._request.content
        if content.is_eof() and content.total_bytes <= limit:
            return content.read_nowait()  # it came in one piece with its head, as most do: no timer, no waiting, 5 µs
        return b"".join([part async for part in self._parts(limit)])

    def parts(self) -> AsyncIterator[bytes]:
        """Part by part, as they come: memory holds no more than one part and what the socket has ready."""
        return self._parts(self._max_bytes)

    async def _parts(self, limit: int) -> AsyncIterator[bytes]:
        declared = self._request.content_length or 0
        if declared > limit:
            raise too_large(limit)
        self._ask_for_it()
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        left = limit
        while part := await self._part(deadline):
            left -= len(part)
            if left < 0:
                raise too_large(limit)
            yield part

    async def _part(self, deadline: float) -> bytes:
        """What has come meanwhile, b"" at the end."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._request.content.readany()
        except TimeoutError:
            raise refused(HTTPStatus.REQUEST_TIMEOUT, f"The body was not whole within {self._timeout_s:g} s") from None
        except (HttpProcessingError, web.RequestPayloadError, ConnectionError):
            raise refused(HTTPStatus.BAD_REQUEST, "The body broke off, or its chunks are damaged") from None

    def _ask_for_it(self) -> None:
        transport = self._request.transport
        if self._request.headers.get("Expect", "").lower() == "100-continue" and transport is not None:
            transport.write(CONTINUE)


def too_large(limit: int) -> Refused:
    return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has at most {limit} bytes")


def refused(status: int, sentence: str) -> Refused:
    """What ends the connection too: nobody knows where the next request would begin."""
    return Refused(status, Problem(reason="invalid", field="", message=sentence), closes=True)
