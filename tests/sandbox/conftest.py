"""A started sandbox, and what a test needs to talk to it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from cio_buffer.sandbox import Faults, Ledger, Sandbox

NOW = 1_800_000_000.0


class HandClock:
    """Time moves when the test says so; sleeping returns at once and is remembered."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.passed += seconds


class Caller:
    """Sends requests to the sandbox, each on a connection of its own so that a dropped one is not silently retried."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self.base = base

    async def send(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and body: parsed when it is JSON, text otherwise. The path goes out exactly as it is."""
        url = URL(self.base + path, encoded=True)
        async with self._session.request(method, url, **more) as reply:
            text = await reply.text()
            is_json = reply.content_type == "application/json"
            return reply.status, await reply.json() if is_json else text

    async def entity(self, **operation: Any) -> tuple[int, Any]:
        return await self.send("POST", "/api/v2/entity", json=operation)

    async def batch(self, *operations: Any) -> tuple[int, Any]:
        return await self.send("POST", "/api/v2/batch", json={"batch": list(operations)})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def faults(clock: HandClock) -> Faults:
    return Faults(clock)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def sandbox(clock: HandClock, faults: Faults, ledger: Ledger) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(clock, faults, ledger, manual_segments=frozenset({7}))
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


@pytest.fixture
async def call(sandbox: Sandbox, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, await sandbox.start())


def event(who: str, name: str, **more: Any) -> dict[str, Any]:
    """A v2 event of the person with the id `who`."""
    return {"type": "person", "action": "event", "identifiers": {"id": who}, "name": name, **more}


def identify(who: str, attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A v2 identify of the person with the id `who`."""
    return {"type": "person", "action": "identify", "identifiers": {"id": who}, "attributes": attributes, **more}
