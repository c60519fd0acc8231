"""An answer of somebody else's, given back as it came: status, headers and body to the byte, as far as HTTP lets us."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Headers that are about one connection and not about the call (RFC 9110, 7.6.1)."""

WRITE_TIMEOUT_S = 30.0
"""How long an app may take to read what is ready for it, each time anew."""

BODILESS = frozenset({204, 304})
Headers = Sequence[tuple[bytes, bytes]]


class Rest(Protocol):
    """What is still to come of a body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Part by part. Raises ConnectionError where it breaks off."""
        ...

    def close(self) -> None:
        """No more of it is wanted."""
        ...


class Answer(Struct, frozen=True, kw_only=True):
    """What somebody answered. `beginning` is all of the body if there is no `rest`."""

    status: int
    reason: str
    headers: Headers
    beginning: bytes
    rest: Rest | None = None


class Relayed(web.StreamResponse):
    """`answer`, for whoever asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status=answer.status)
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it. Raises ConnectionError where it breaks off: then its reader is to notice, and does."""
        try:
            await self._write(request)
        finally:
            if self._answer.rest:
                self._answer.rest.close()
        return None

    async def _write(self, request: web.BaseRequest) -> None:
        answer, writer = self._answer, request.writer
        has_body = request.method != "HEAD" and answer.status not in BODILESS
        has_length = not has_body or any(name.lower() == b"content-length" for name, _ in answer.headers)
        is_chunked = not has_length and answer.rest is not None and request.version >= HttpVersion11
        is_last = not request.keep_alive or (not has_length and answer.rest is not None and not is_chunked)
        self._keep_alive = not is_last
        added = [
            *([(b"Content-Length", b"%d" % len(answer.beginning))] if not has_length and not answer.rest else []),
            *([(b"Transfer-Encoding", b"chunked")] if is_chunked else []),
            *([(b"Connection", b"close")] if is_last else []),
        ]
        await writer.write(head(answer, added))
        if is_chunked:
            writer.enable_chunking()
        if has_body:
            await write_body(answer, writer)

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written."""


async def write_body(answer: Answer, writer: AbstractStreamWriter) -> None:
    await writer.write(answer.beginning)
    if answer.rest:
        async for part in answer.rest:
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await writer.write(part)
            except TimeoutError:
                raise ConnectionResetError("nobody reads the answer") from None
    await writer.write_eof()


def head(answer: Answer, added: Headers) -> bytes:
    """Status line and headers, each as it was written, and what has to be added for this connection."""
    nominated = b",".join(value for name, value in answer.headers if name.lower() == b"connection").split(b",")
    dropped = HOP_BY_HOP | {name.strip().lower() for name in nominated}
    kept = [(name, value) for name, value in answer.headers if name.lower() not in dropped]
    status_line = f"HTTP/1.1 {answer.status} {answer.reason}".encode("utf-8", "surrogateescape")
    return b"\r\n".join([status_line, *(b"%b: %b" % header for header in (*kept, *added)), b"", b""])
