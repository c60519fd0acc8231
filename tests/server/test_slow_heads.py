"""A request's head has its time: else a few who never finish one would keep everybody else out."""

import asyncio

import pytest
from aiohttp import web

from cio_buffer.http import connection as module
from cio_buffer.server import Server

from .wire import connect, is_closed, read_reply, request


@pytest.fixture
async def port(monkeypatch):
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.1)

    async def answer(given, body):
        return web.Response(body=await body.read())

    server = Server(answer, body_max_bytes=1_000, connections_max=3)
    yield await server.listen_tcp("127.0.0.1", 0)
    await server.close(0.02)


async def test_half_a_head_is_given_up(port):
    async with connect(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: local")
        reply = await read_reply(reader)
        assert (reply.status, reply.json) == (408, {"meta": {"error": "The request was not whole in time"}})
        assert await is_closed(reader)


async def test_so_is_one_that_comes_byte_by_byte(port):
    async with connect(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nX: ")
        replying = asyncio.ensure_future(read_reply(reader))
        while not replying.done():
            writer.write(b"x")
            await asyncio.sleep(0.005)
        assert (await replying).status == 408


async def test_so_is_the_second_one(port):
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"first"))
        assert (await read_reply(reader)).body == b"first"
        writer.write(b"POST / HTT")
        assert (await read_reply(reader)).status == 408
        assert await is_closed(reader)


async def test_one_who_says_nothing_is_let_go_without_a_word(port):
    async with connect(port) as (reader, _):
        assert await is_closed(reader)


async def test_one_who_has_asked_may_rest_as_long_as_it_likes(port):
    """SDKs keep connections for later."""
    async with connect(port) as (reader, writer):
        for _ in range(2):
            writer.write(request("POST", "/", b"body"))
            assert (await read_reply(reader)).body == b"body"
            await asyncio.sleep(0.2)
