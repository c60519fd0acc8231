"""An observer, and rooms that are as a test says."""

from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import structlog
from structlog.testing import LogCapture

from cio_buffer.admin.observer import Observer
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.contract import Condition, Ledger
from cio_buffer.telemetry.recent import Recent
from tests.support.clock import FakeClock


class Outbox:
    """What it says is set by the test."""

    def __init__(self) -> None:
        self.counts = Ledger()
        self.refusing = ""
        self.bytes_used, self.bytes_max = 1 << 20, 4 << 30
        self.oldest: int | None = None
        self.is_readable = True

    def ledger(self) -> Ledger:
        return self.counts

    def condition(self) -> Condition:
        return Condition(refusing=self.refusing, bytes_used=self.bytes_used, bytes_max=self.bytes_max)

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

    def __init__(self) -> None:
        self.clock, self.outbox, self.pacing = FakeClock(), Outbox(), Pacing()
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
        )

    def wait_since(self, age_s: float) -> None:
        """Something waits, accepted so long ago."""
        self.outbox.oldest = int((self.clock.now() - age_s) * 1000)

    async def lines(self) -> list[tuple[str, str]]:
        """(level, event) of what was logged since it was last asked."""
        told = [(line["log_level"], line["event"]) for line in self.said]
        self.said.clear()
        return told
