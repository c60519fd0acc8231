"""The passthrough behind a real server, before an upstream that a test scripts."""

import pytest

from cio_buffer.callers import Callers
from cio_buffer.passthrough import AppRoutes, Passthrough
from cio_buffer.server import Server
from tests.passthrough.upstream import Upstream
from tests.support.clock import FakeClock

BODY_MAX_BYTES = 200_000
CALLERS = Callers(site_id="site", keys=("key",), local_key="local", app_api_key="real")


class StubLogger:
    def __init__(self):
        self.told = []

    def warning(self, event, **fields):
        self.told.append((event, fields))

    debug = warning


@pytest.fixture
def logger():
    return StubLogger()


@pytest.fixture
async def upstream():
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def build(logger, tmp_path):
    """Makes a passthrough with a server before it; returns (passthrough, TCP address, UNIX socket's path)."""
    servers, passthroughs = [], []

    async def build(url, *, timeout_s=5.0, callers=CALLERS, clock=None, body_max_bytes=BODY_MAX_BYTES):
        passthrough = Passthrough(
            url, connect_timeout_s=5.0, timeout_s=timeout_s, clock=clock or FakeClock(), logger=logger
        )
        await passthrough.open()
        routes = AppRoutes(passthrough, callers, logger)
        server = Server(routes.answer, body_max_bytes=body_max_bytes, connections_max=100)
        servers.append(server)
        passthroughs.append(passthrough)
        path = tmp_path / f"{len(servers)}.sock"
        await server.listen_unix(path, mode=0o600)
        return passthrough, await server.listen_tcp("127.0.0.1", 0), str(path)

    yield build
    for server in servers:
        await server.close(0.05)
    for passthrough in passthroughs:
        await passthrough.close()


@pytest.fixture
async def address(build, upstream):
    _, address, _ = await build(upstream.url)
    return address
