"""Two roads to a simulated Customer.io: one through the real daemon, one straight. What an SDK says goes by both."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cio_buffer.clock import SystemClock
from cio_buffer.sandbox import Faults, Ledger, Sandbox
from tests.support.process import SITE_ID, TRACK_KEY, Daemon

APP_KEY = "app-key"
NO_WAIT = {"CIO_BUFFER__DRAIN__BATCH_LINGER_S": "0"}
LOG_SHOWN_CHARACTERS = 3_000


@dataclass
class Roads:
    """`beyond` is the sandbox that the daemon sends to, `straight` the one that is told the same without it.

    The URLs are of their doors, without a slash at the end.
    """

    daemon: Daemon
    beyond: Sandbox
    straight: Sandbox
    url: str
    straight_url: str

    async def door(self, scheme: str) -> str:
        """The URL of the daemon's door of that scheme."""
        listening: list[str] = (await self.daemon.status())["listening"]
        return next(place for place in listening if place.startswith(f"{scheme}:"))


def sandbox(*, site_id: str = SITE_ID, track_key: str = TRACK_KEY, app_key: str = APP_KEY) -> Sandbox:
    """A Customer.io that wants its keys."""
    clock = SystemClock()
    return Sandbox(clock, Faults(clock), Ledger(), site_id=site_id, track_api_key=track_key, app_api_key=app_key)


@asynccontextmanager
async def daemon_before(upstream_url: str, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Daemon]:
    """The daemon, sending both APIs' calls to `upstream_url`. What it logged is printed, for a test that fails."""
    app = {"CIO_BUFFER__UPSTREAM__APP_URL": upstream_url}
    daemon = Daemon(folder, upstream_url, environ={**app, **NO_WAIT, **environ})
    try:
        async with daemon:
            yield daemon
    finally:
        if daemon.log.exists():
            print("the daemon said:", daemon.log.read_text()[-LOG_SHOWN_CHARACTERS:])


@asynccontextmanager
async def two_roads(folder: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Roads]:
    """Both, from two sandboxes that know nothing yet."""
    beyond, straight = sandbox(), sandbox()
    try:
        beyond_url, straight_url = await beyond.start(), await straight.start()
        async with daemon_before(beyond_url, folder, environ or {}) as daemon:
            yield Roads(daemon, beyond, straight, await daemon.http_url(), straight_url)
    finally:
        await beyond.stop()
        await straight.stop()
