"""Takes a request to the App API off the wire, changing nothing of it."""

from typing import Literal, TypeAlias

import msgspec
from aiohttp import web

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]
Extent: TypeAlias = Literal["whole", "torn", "too_large"]


class AppCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came off the wire: `path` is raw, with its query; `headers` have their order and spelling.

    `extent`: "whole" is all of it; of one that was "torn" by its sender, or is "too_large", `body` has the beginning.
    """

    method: str
    path: str
    headers: RawHeaders
    body: bytes
    extent: Extent = "whole"

    def header(self, name: str) -> str | None:
        """The first header of that name, in whichever case it was written."""
        wanted = name.lower().encode()
        found = (value for written, value in self.headers if written.lower() == wanted)
        value = next(found, None)
        return None if value is None else value.decode("latin-1")


async def read_call(request: web.Request, *, body_max_bytes: int) -> AppCall:
    """Read a request to its end, to where its sender left it, or until its body is larger than `body_max_bytes`."""
    body, extent = await _read_body(request, body_max_bytes)
    return AppCall(
        method=request.method,
        path=request.raw_path,
        headers=tuple(request.raw_headers),
        body=body,
        extent=extent,
    )


async def _read_body(request: web.Request, max_bytes: int) -> tuple[bytes, Extent]:
    body = bytearray()
    try:
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > max_bytes:
                return bytes(body), "too_large"
    except ConnectionError:
        return bytes(body), "torn"
    return bytes(body), "whole"
