"""A server with a room behind it, on both kinds of sockets."""

import asyncio

import pytest
import uvloop

from cio_buffer.server import Server

from .rooms import BODY_MAX_BYTES, Room


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories():
    """The loop that the daemon runs on, and Python's own: they do not tell the end of a connection alike."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def room():
    return Room()


@pytest.fixture
async def server(room):
    server = Server(room.answer, body_max_bytes=BODY_MAX_BYTES, connections_max=3)
    yield server
    room.may_answer.set()
    await server.close(0.02)


@pytest.fixture
async def port(server):
    return await server.listen_tcp("127.0.0.1", 0)


@pytest.fixture
async def path(server, tmp_path):
    await server.listen_unix(tmp_path / "api.sock", mode=0o660)
    return str(tmp_path / "api.sock")


@pytest.fixture
async def hasty_port(room):
    """Where nobody waits long for a body."""
    server = Server(room.answer, body_max_bytes=BODY_MAX_BYTES, connections_max=3, body_timeout_s=0.02)
    yield await server.listen_tcp("127.0.0.1", 0)
    await server.close(0.02)
