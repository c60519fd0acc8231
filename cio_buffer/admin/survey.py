"""Looks up what the store needs a while to say, so that whoever asks for the status does not wait for it: which lanes
are the busiest, and why dead letters died."""

import asyncio
import math
from contextlib import suppress

from cio_buffer.admin.lane_names import name_of_lane
from cio_buffer.admin.status import DeadLettersStatus, LaneStatus
from cio_buffer.clock import Clock
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import LETTER_BYTES, BusyLane
from cio_buffer.outbox.contract import Ledger, Outbox
from cio_buffer.telemetry.recent import Recent

LANES_TOLD = 10
LOOK_EVERY_S, LOOK_WHEN_ASKED_S = 10.0, 1.0
REST_SHARE = 20
"""Between two looks, at least so many times as long as the first of them took."""

WAIT_S = 0.25
"""For which whoever asks is made to wait at most. A look takes 20 to 60 ms, unless the disk is slow or busy."""

LATELY_S = 86_400.0


class Survey:
    """Says what was seen last."""

    def __init__(self, outbox: Outbox, *, clock: Clock, dead_bytes_max: int, show_names: bool) -> None:
        self._outbox, self._clock = outbox, clock
        self._dead_bytes_max, self._show_names = dead_bytes_max, show_names
        self._asked, self._looked = asyncio.Event(), asyncio.Event()
        self._is_running = False
        self._seen: Ledger | None = None
        self._ended_at, self._took_s = -math.inf, 0.0
        self._names: dict[int, str | None] = {}
        self._by_reason: dict[str, int] = {}
        self._evicted, self._evicted_lately = outbox.ledger().dead_evicted, Recent(LATELY_S)
        self._lanes: list[LaneStatus] = []

    async def run(self) -> None:
        """Look again and again; what cannot be read stays as it was seen."""
        self._is_running = True
        try:
            while True:
                with suppress(OutboxUnavailable):
                    await self.look()
                self._looked.set()
                await self._clock.wait(self._asked, max(LOOK_EVERY_S, REST_SHARE * self._took_s))
        finally:
            self._is_running = False

    async def look(self) -> None:
        """Look, if anything has changed since. Raises OutboxUnavailable."""
        self._asked.clear()
        self._note_evicted()
        ledger, began = self._outbox.ledger(), self._clock.monotonic()
        try:
            if ledger != self._seen:
                self._by_reason = await self._outbox.archive.reasons() if ledger.dead else {}
                self._lanes = await self._busiest(ledger.entries) if ledger.entries else []
                self._seen = ledger
        finally:
            self._ended_at = self._clock.monotonic()
            self._took_s = self._ended_at - began

    async def freshen(self) -> None:
        """Have it looked anew if something has changed and the last look is a while ago; waits WAIT_S for it."""
        rest_s = max(LOOK_WHEN_ASKED_S, REST_SHARE * self._took_s)
        is_due = self._clock.monotonic() - self._ended_at >= rest_s and self._outbox.ledger() != self._seen
        if self._is_running and is_due:
            self._looked.clear()
            self._asked.set()
            await self._clock.wait(self._looked, WAIT_S)

    def lanes(self) -> list[LaneStatus]:
        """The busiest first."""
        return self._lanes if self._outbox.ledger().entries else []

    def dead_letters(self) -> DeadLettersStatus:
        """All but the reasons as of now."""
        self._note_evicted()
        ledger = self._outbox.ledger()
        return DeadLettersStatus(
            count=ledger.dead,
            bytes=self._outbox.sizes().dead_bytes + LETTER_BYTES * ledger.dead,
            bytes_max=self._dead_bytes_max,
            purged=ledger.dead_purged,
            evicted=ledger.dead_evicted,
            evicted_lately=sum(self._evicted_lately.counts(self._clock.monotonic()).values()),
            by_reason=self._by_reason if ledger.dead else {},
        )

    def _note_evicted(self) -> None:
        before, self._evicted = self._evicted, self._outbox.ledger().dead_evicted
        if self._evicted > before:  # a new store in the place of a damaged one begins to count from zero
            self._evicted_lately.add("", self._clock.monotonic(), self._evicted - before)

    async def _busiest(self, waiting: int) -> list[LaneStatus]:
        lanes = await self._outbox.archive.busiest_lanes(LANES_TOLD)
        if self._show_names:
            self._names = {
                one.lane: self._names[one.lane] if one.lane in self._names else await self._name(one.lane)
                for one in lanes
            }
        return [self._told(one, waiting) for one in lanes]

    async def _name(self, lane: int) -> str | None:
        sample = await self._outbox.archive.lane_sample(lane)
        return None if sample is None else name_of_lane(lane, *sample)

    def _told(self, busy: BusyLane, waiting: int) -> LaneStatus:
        return LaneStatus(
            lane=self._outbox.names.lane(busy.lane),
            name=self._names.get(busy.lane),
            entries=busy.entries,
            share=round(min(busy.entries / waiting, 1.0), 4),
            is_estimate=busy.is_estimate,
        )
