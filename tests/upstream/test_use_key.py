"""A key that changes while requests are under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from cio_buffer.upstream.transport import Reply, Request, TrackTransport

ASKED = Request(method="POST", path="/api/v2/batch", body=b'{"batch":[]}')


class Upstream:
    """Knows one key. While `gate` is closed it judges a request, but does not answer."""

    def __init__(self) -> None:
        self.key, self.status = "good", 401
        self.shown: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        shown = aiohttp.BasicAuth.decode(request.headers["Authorization"])
        self.shown.append(shown.password)
        assert shown.login == "site"
        assert request.headers["Content-Type"] == "application/json"
        status = 200 if shown.password == self.key else self.status
        await self.gate.wait()
        return web.json_response({}, status=status)

    async def until_asked(self) -> None:
        while not self.shown:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def transport_to(upstream: Upstream, key: str) -> AsyncIterator[TrackTransport]:
    runner = web.ServerRunner(web.Server(upstream.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    transport = TrackTransport(
        f"http://{host}:{port}", site_id="site", api_key=key, connect_timeout_s=5, request_timeout_s=10
    )
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()
        await runner.cleanup()


async def change_during(upstream: Upstream, *, before: str, after: str) -> Reply:
    """Ask, and have the key changed before the answer comes."""
    upstream.gate.clear()
    async with transport_to(upstream, before) as transport:
        asking = asyncio.ensure_future(transport.send(ASKED))
        await upstream.until_asked()
        transport.use_key("site", after)
        upstream.gate.set()
        return await asking


async def test_the_next_request_shows_the_new_key() -> None:
    upstream = Upstream()
    async with transport_to(upstream, "old") as transport:
        assert (await transport.send(ASKED)).status == 401
        transport.use_key("site", "good")
        assert (await transport.send(ASKED)).status == 200
    assert upstream.shown == ["old", "good"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_after_it_was_replaced_is_not_held_against_the_new_one(status: int) -> None:
    upstream = Upstream()
    upstream.status = status
    assert (await change_during(upstream, before="old", after="good")).status == 200
    assert upstream.shown == ["old", "good"]


async def test_it_is_asked_once_more_and_not_for_ever() -> None:
    upstream = Upstream()
    assert (await change_during(upstream, before="old", after="bad as well")).status == 401
    assert upstream.shown == ["old", "bad as well"]


async def test_the_same_key_again_is_no_new_one() -> None:
    upstream = Upstream()
    assert (await change_during(upstream, before="old", after="old")).status == 401
    assert upstream.shown == ["old"]


@pytest.mark.parametrize("status", [400, 404, 429, 503])
async def test_an_answer_that_is_not_about_the_key_stands(status: int) -> None:
    upstream = Upstream()
    upstream.status = status
    assert (await change_during(upstream, before="old", after="good")).status == status
    assert upstream.shown == ["old"]


async def test_what_was_taken_in_with_the_old_key_is_not_sent_again() -> None:
    upstream = Upstream()
    assert (await change_during(upstream, before="good", after="new")).status == 200
    assert upstream.shown == ["good"]
