"""A simulated Customer.io and the real daemon before it; the test is the app."""

import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cio_buffer.clock import SystemClock
from cio_buffer.sandbox import Faults, Ledger, Sandbox
from tests.promises.apps import Apps
from tests.support.process import SITE_ID, TRACK_KEY, Daemon
from tests.support.stranger import Serve, Stranger

LOG_SHOWN_CHARACTERS = 3_000


class Upstream(Sandbox):
    """The sandbox at an address that it keeps while it is down."""

    def __init__(self) -> None:
        clock = SystemClock()
        super().__init__(clock, Faults(clock), Ledger(), site_id=SITE_ID, track_api_key=TRACK_KEY)
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))  # never listens: whoever connects while we are down is refused
        self.port = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def come_up(self) -> None:
        await self.start(port=self.port)

    async def go_down(self) -> None:
        await self.stop()

    @asynccontextmanager
    async def replaced_by(self, serve: Serve) -> AsyncIterator[Stranger]:
        """Somebody else answers at its address for as long as this lasts."""
        await self.go_down()
        try:
            async with Stranger(serve, port=self.port) as stranger:
                yield stranger
        finally:
            await self.come_up()

    def let_go(self) -> None:
        self._place.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    try:
        await upstream.come_up()
        yield upstream
        await upstream.go_down()
    finally:
        upstream.let_go()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's: a socket's path may have 107 characters at most, and nothing is to stay behind."""
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        yield Path(folder)


@pytest.fixture
async def daemon(folder: Path, upstream: Upstream) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, upstream.url)
    try:
        async with daemon:
            yield daemon
    finally:
        print("the daemon said:", daemon.log.read_text()[-LOG_SHOWN_CHARACTERS:])


@pytest.fixture
def chance() -> random.Random:
    """Another one each time; PROMISES_SEED=... repeats what can be repeated where real processes run."""
    seed = int(os.environ.get("PROMISES_SEED") or random.randrange(2**32))
    print(f"PROMISES_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def apps(daemon: Daemon, chance: random.Random) -> Apps:
    return Apps(daemon, chance)
