"""Track calls over real sockets, with a store that only remembers."""

import asyncio
import json

import pytest
import uvloop

from cio_buffer.callers import Callers
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.repeats import Repeats
from cio_buffer.ingest.routes import TrackRoutes
from cio_buffer.ingest.track_v1 import Mapping
from cio_buffer.server import Server
from tests.server.wire import ask, request
from tests.support.clock import FakeClock

from .rooms import STAMP, StubLogger, StubOutbox, StubRegion


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item):
    """What happens to connections is looked at on the loop that the daemon runs on, and on Python's own."""
    loops = {"asyncio": asyncio.new_event_loop}
    if item.module.__name__.endswith(("test_tolerance", "test_repeats")) and "server" in item.fixturenames:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
def outbox():
    return StubOutbox()


@pytest.fixture
def logger():
    return StubLogger()


@pytest.fixture
def clock():
    return FakeClock(STAMP + 0.5)


@pytest.fixture
def region():
    return StubRegion()


@pytest.fixture
def callers():
    return Callers(site_id="site", keys=("key", ""), needed="none")


@pytest.fixture
def repeats(outbox, clock):
    return Repeats(outbox, clock)


@pytest.fixture
def intake(outbox, clock):
    return Intake(outbox, clock=clock, new_id=lambda now: f"id at {now}")


@pytest.fixture
def routes(intake, logger, callers, repeats, region):
    return TrackRoutes(intake, Mapping(), callers=callers, repeats=repeats, ask_region=region.forward, logger=logger)


@pytest.fixture
async def server(routes, outbox):
    server = Server(routes.answer, body_max_bytes=4_000_000, connections_max=100)
    yield server
    outbox.may_store.set()
    await server.close(0.05)


@pytest.fixture(params=["tcp", "unix"])
async def address(request, server, tmp_path):
    if request.param == "tcp":
        return await server.listen_tcp("127.0.0.1", 0)
    await server.listen_unix(tmp_path / "api.sock", mode=0o600)
    return str(tmp_path / "api.sock")


@pytest.fixture
def call(address):
    async def call(method, path, body=b"", *headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await ask(address, request(method, path, body, *headers), has_body=method != "HEAD")

    return call
