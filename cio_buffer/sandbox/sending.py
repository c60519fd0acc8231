"""Sends an answer as it asks to be sent: late, in pieces, not to its end, or not at all."""

from collections.abc import Iterator
from contextlib import suppress

from aiohttp import web

from cio_buffer.clock import Clock
from cio_buffer.sandbox.answers import Answer

_BODILESS = frozenset({204, 304})


async def send(answer: Answer, request: web.Request, clock: Clock) -> web.StreamResponse:
    """Wait out the answer's delay and send it, or return it for the server to send when it goes out at once."""
    if answer.delay_s > 0:
        await clock.sleep(answer.delay_s)
    if answer.status is None:
        _drop_connection(request)
        return web.Response()
    if answer.trickle is None and answer.break_off is None:
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    with suppress(ConnectionError):  # the one who asked has gone, as anyone may
        await _stream(answer, response, request, clock)
    return response


async def _stream(answer: Answer, response: web.StreamResponse, request: web.Request, clock: Clock) -> None:
    promised, sent = _body(answer)
    if answer.trickle is None:
        response.content_length = len(promised)
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method != "HEAD" and answer.status not in _BODILESS:
        for number, piece in enumerate(_pieces(answer, sent)):
            if number > 0 and answer.trickle is not None:
                await clock.sleep(answer.trickle.pause_s)
            await response.write(piece)
    if answer.break_off is not None and request.transport is not None:
        request.transport.close()  # not abort: what was written is still to arrive


def _body(answer: Answer) -> tuple[bytes, bytes]:
    """What the head promises, and what of it is sent."""
    if answer.break_off is None:
        return answer.body, answer.body
    promised = answer.body.ljust(answer.break_off.after_bytes + 1)
    return promised, promised[: answer.break_off.after_bytes]


def _pieces(answer: Answer, body: bytes) -> Iterator[bytes]:
    size = len(body) if answer.trickle is None else answer.trickle.chunk_bytes
    return (body[start : start + size] for start in range(0, len(body), size or 1))


def _drop_connection(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
