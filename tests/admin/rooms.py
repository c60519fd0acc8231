"""An observer, and rooms that are as a test says."""

import asyncio
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import structlog
from structlog.testing import LogCapture

from cio_buffer.admin.observer import Observer
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import BusyLane, Keeping
from cio_buffer.outbox.contract import Condition, Ledger, SetAside, Sizes
from cio_buffer.outbox.names import Names
from cio_buffer.telemetry.recent import Recent
from tests.support.clock import FakeClock


def damaged(**fields: Any) -> SetAside:
    """A store that was set aside, and is salvaged unless `fields` say otherwise."""
    given: dict[str, Any] = {
        "name": "20261125T070501.123Z",
        "path": "/var/lib/cio-buffer/quarantine/20261125T070501.123Z",
        "bytes": 13_000_000,
        "state": "over",
        "why": "database disk image is malformed (SQLITE_CORRUPT)",
        "saved": 99_740,
        "dead_saved": 3,
        "lost": 260,
        "dead_lost": 0,
    }
    return SetAside(**given | fields)


class Archive:
    """Of the outbox: what it says is set by the test, and `asked` counts how often it was asked for lanes.

    While `may_answer` is cleared it is as slow as a slow disk.
    """

    def __init__(self) -> None:
        self.dead: dict[str, int] = {}
        self.busy: list[BusyLane] = []
        self.samples: dict[int, tuple[bytes, str | None]] = {}
        self.asked, self.asked_for = 0, list[int]()
        self.is_readable = True
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def reasons(self) -> dict[str, int]:
        await self.may_answer.wait()
        if not self.is_readable:
            raise OutboxUnavailable("it cannot be read")
        return dict(self.dead)

    async def busiest_lanes(self, count: int) -> list[BusyLane]:
        self.asked += 1
        await self.may_answer.wait()
        if not self.is_readable:
            raise OutboxUnavailable("it cannot be read")
        return self.busy[:count]

    async def lane_sample(self, lane: int) -> tuple[bytes, str | None] | None:
        self.asked_for.append(lane)
        return self.samples.get(lane)


class Outbox:
    """What it says is set by the test."""

    def __init__(self) -> None:
        self.archive, self.names = Archive(), Names(b"a store")
        self.counts, self.kept = Ledger(), Sizes()
        self.refusing = ""
        self.bytes_used, self.bytes_max = 1 << 20, 4 << 30
        self.oldest: int | None = None
        self.is_readable = True
        self.damaged: list[SetAside] = []
        self.errors: dict[str, int] = {}
        self.is_salvaging = False

    def ledger(self) -> Ledger:
        return self.counts

    def sizes(self) -> Sizes:
        return self.kept

    def condition(self) -> Condition:
        return Condition(
            refusing=self.refusing,
            bytes_used=self.bytes_used,
            bytes_max=self.bytes_max,
            errors=dict(self.errors),
            is_salvaging=self.is_salvaging,
        )

    def set_aside(self) -> list[SetAside]:
        return list(self.damaged)

    async def oldest_at_ms(self) -> int | None:
        if not self.is_readable:
            raise OutboxUnavailable("it cannot be read")
        return self.oldest


class Pacing:
    """Of the drain: all is well until the test says otherwise."""

    def __init__(self) -> None:
        self.hold: str | None = None
        self.trouble: str | None = None
        self.breaker = "closed"
        self.in_flight, self.in_flight_limit = 0, 16
        self.next_try: float | None = None

    def state(self, now: float) -> str:
        return self.breaker

    def rate_limit_per_s(self, now: float) -> float:
        return 100.0

    def next_try_in_s(self, now: float) -> float | None:
        return self.next_try


class Rooms:
    """The observer, and what it looks at."""

    def __init__(self, *, show_payloads: bool = False, evicted_before: int = 0) -> None:
        self.clock, self.outbox, self.pacing = FakeClock(), Outbox(), Pacing()
        self.outbox.counts = Ledger(dead_lettered=evicted_before, accepted=evicted_before, dead_evicted=evicted_before)
        self.drain = SimpleNamespace(
            pacing=self.pacing,
            order=SimpleNamespace(violations=0),
            record=SimpleNamespace(answers=Recent(300.0), delivered=Recent(10.0), ambiguous=0),
            in_flight_entries=0,
            in_flight_parked=0,
            v1_behind_s=0.0,
        )
        said = LogCapture()
        self.said: list[MutableMapping[str, Any]] = said.entries
        self.observer = Observer(
            self.outbox,  # type: ignore[arg-type]
            self.drain,  # type: ignore[arg-type]
            SimpleNamespace(requests=0, failed=0),  # type: ignore[arg-type]
            track_url="https://track.example",
            clock=self.clock,
            logger=structlog.wrap_logger(structlog.PrintLogger(), processors=[said]),
            keeping=Keeping(log_for_s=60.0, log_bytes=1 << 20, dead_for_s=600.0, dead_bytes=100 << 20),
            show_payloads=show_payloads,
        )

    def wait_since(self, age_s: float) -> None:
        """Something waits, accepted so long ago."""
        self.outbox.oldest = int((self.clock.now() - age_s) * 1000)

    async def lines(self) -> list[tuple[str, str]]:
        """(level, event) of what was logged since it was last asked."""
        told = [(line["log_level"], line["event"]) for line in self.said]
        self.said.clear()
        return told
