"""A call on its way out: which headers go on, and how far its body has come."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from types import SimpleNamespace

import aiohttp
from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict

from cio_buffer.errors import Problem, Refused
from cio_buffer.http.body import Body
from cio_buffer.http.relay import HOP_BY_HOP

NOT_FORWARDED = {name.decode() for name in HOP_BY_HOP} | {"host", "expect"}


class Upload(Struct, eq=False):
    """A call on its way. `has_begun`: a connection was open, so that some of it may have arrived.

    `waits_for_app`: the next part of the body has yet to come. `is_bare`: it has no body, and does not say so.
    `refused`: what is wrong with the body that the app sends.
    """

    body: Body
    is_bare: bool
    has_begun: bool = False
    waits_for_app: bool = False
    is_being_answered: bool = False
    refused: Refused | None = None

    async def once(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Keeps aiohttp from sending it again: it repeats a GET, PUT or DELETE when an idle connection breaks."""
        if self.has_begun:
            raise aiohttp.ClientConnectionError("it was sent, and is not sent again")
        if self.is_bare:
            request.headers.popall("Content-Length", None)  # aiohttp adds one where a method may have a body
        return await send(request)

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        parts = self.body.parts()
        try:
            self.waits_for_app = True
            async for part in parts:
                self.waits_for_app = False
                yield part
                self.waits_for_app = True
            self.waits_for_app = False
        except Refused as refused:
            self.refused = refused
            raise


def is_bare(request: web.BaseRequest) -> bool:
    return not request.body_exists and "Content-Length" not in request.headers


def forwarded(request: web.BaseRequest, authorization: str | None) -> CIMultiDict[str]:
    """The headers to go on, in their order and spelling. Raises Refused (400) for what cannot go on unchanged."""
    try:
        f"{request.method} {request.raw_path}".encode("ascii")
        given = [(name.decode(), value.decode()) for name, value in request.raw_headers]
    except UnicodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, invalid("The path or a header has bytes that HTTP has not")) from None
    nominated = ",".join(request.headers.getall("Connection", ())).split(",")
    dropped = NOT_FORWARDED | {name.strip().lower() for name in nominated}
    spelled: dict[str, str] = {}  # as at first: aiohttp would take one name in two spellings for two, and keep one
    headers = CIMultiDict(
        (spelled.setdefault(name.lower(), name), value) for name, value in given if name.lower() not in dropped
    )
    if authorization is None:
        headers.popall("Authorization", None)
    else:
        headers["Authorization"] = authorization  # in its place, if it had one
    return headers


def tell_when_begun() -> aiohttp.TraceConfig:
    """Marks an upload as begun as soon as a connection is open for it."""

    async def mark(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.has_begun = True

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(mark)
    return trace


def invalid(sentence: str) -> Problem:
    return Problem(reason="invalid", field="", message=sentence)
