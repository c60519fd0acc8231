"""Busy lanes and reasons of death: fresh when asked for, and never waited for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cio_buffer.admin.lane_names import number_of
from cio_buffer.admin.status import Status
from cio_buffer.admin.survey import LATELY_S, LOOK_EVERY_S, WAIT_S
from cio_buffer.outbox.archive import LETTER_BYTES, BusyLane
from cio_buffer.outbox.contract import Ledger, Sizes
from tests.admin.rooms import Rooms

ANN, BOB = number_of("id:ann"), number_of("email:bob@x.example")
ANNS_EVENT = b'{"type":"person","action":"event","identifiers":{"id":"ann"},"name":"did"}'


class Watched(Rooms):
    """The rooms, with the survey running; time passes only as a test says."""

    def __init__(self, *, show_payloads: bool = False) -> None:
        super().__init__(show_payloads=show_payloads)
        self.waits: list[tuple[asyncio.Event, float]] = []
        self.clock.wait = self.wait  # type: ignore[method-assign,assignment]
        self.running = asyncio.ensure_future(self.observer.watch_store())

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """As the clock does: until the event, or until that time has come."""
        until = self.clock.monotonic() + seconds
        self.waits.append((event, seconds))
        while not event.is_set() and self.clock.monotonic() < until:
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let everything go on that can without time."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def after(self, seconds: float) -> Status:
        """The status as of then. If it waits, as long as it may pass."""
        self.clock.advance(seconds)
        asking = asyncio.ensure_future(self.observer.status())
        await self.settle()
        if not asking.done():
            self.clock.advance(WAIT_S)
        return await asking


@pytest.fixture
async def rooms() -> AsyncIterator[Watched]:
    rooms = Watched()
    yield rooms
    rooms.running.cancel()
    await asyncio.gather(rooms.running, return_exceptions=True)


def dead(rooms: Rooms, accepted: int = 9, **reasons: int) -> None:
    rooms.outbox.archive.dead = reasons
    count = sum(reasons.values())
    rooms.outbox.counts = Ledger(accepted=accepted, dead_lettered=count, dead=count)


async def test_at_the_start_nothing_is_there_and_the_store_is_not_even_asked(rooms: Watched) -> None:
    seen = await rooms.after(0.0)
    assert (seen.lanes, seen.dead_letters.count, seen.dead_letters.by_reason) == ([], 0, {})
    assert rooms.outbox.archive.asked == 0


async def test_reasons_are_those_of_the_moment_when_they_are_asked_for(rooms: Watched) -> None:
    dead(rooms, refused=2)
    assert (await rooms.after(1.0)).dead_letters.by_reason == {"refused": 2}
    dead(rooms, refused=2, expired=1)
    assert (await rooms.after(1.0)).dead_letters.by_reason == {"refused": 2, "expired": 1}
    dead(rooms)
    assert (await rooms.after(0.0)).dead_letters.by_reason == {}


async def test_whoever_asks_all_the_time_has_the_store_asked_once_a_second(rooms: Watched) -> None:
    for asked in range(40):
        rooms.outbox.counts = Ledger(accepted=asked + 1)
        await rooms.after(0.25)
    assert rooms.outbox.archive.asked == pytest.approx(10, abs=1)


async def test_while_nothing_changes_nothing_is_looked_up(rooms: Watched) -> None:
    rooms.outbox.counts = Ledger(accepted=5)
    for _ in range(10):
        await rooms.after(LOOK_EVERY_S + 1)
        await rooms.settle()
    assert rooms.outbox.archive.asked == 1


async def test_it_looks_also_when_nobody_asks(rooms: Watched) -> None:
    for accepted in range(1, 6):
        rooms.outbox.counts = Ledger(accepted=accepted)
        rooms.clock.advance(LOOK_EVERY_S)
        await rooms.settle()
    assert rooms.outbox.archive.asked == 5


async def test_a_slow_store_holds_nobody_up_and_is_asked_less(rooms: Watched) -> None:
    rooms.outbox.archive.busy = [BusyLane(ANN, 5, is_estimate=False)]
    rooms.outbox.counts = Ledger(accepted=5)
    await rooms.settle()
    rooms.outbox.archive.may_answer.clear()
    began = rooms.clock.monotonic()
    assert (await rooms.after(1.0)).lanes == []
    assert rooms.clock.monotonic() - began == pytest.approx(1.0 + WAIT_S)
    rooms.clock.advance(2.0 - WAIT_S)  # the look takes two seconds
    rooms.outbox.archive.may_answer.set()
    await rooms.settle()
    rooms.outbox.counts = Ledger(accepted=6)
    seen = await rooms.after(30.0)
    assert (len(seen.lanes), rooms.outbox.archive.asked) == (1, 1)
    await rooms.after(15.0)
    assert rooms.outbox.archive.asked == 2


async def test_a_store_that_cannot_be_read_ends_nothing_and_what_was_seen_stays(rooms: Watched) -> None:
    dead(rooms, refused=2)
    await rooms.after(1.0)
    rooms.outbox.archive.is_readable = False
    dead(rooms, refused=5)
    assert (await rooms.after(2.0)).dead_letters.by_reason == {"refused": 2}
    rooms.outbox.archive.is_readable = True
    assert (await rooms.after(2.0)).dead_letters.by_reason == {"refused": 5}


async def test_without_the_watch_nobody_waits() -> None:
    """As in a daemon that is starting or stopping."""
    rooms = Rooms()
    dead(rooms, refused=2)
    began = rooms.clock.monotonic()
    seen = await rooms.observer.status()
    assert (seen.dead_letters.count, seen.dead_letters.by_reason) == (2, {})
    assert rooms.clock.monotonic() == began


async def test_a_lane_is_told_by_a_name_that_leads_to_nobody(rooms: Watched) -> None:
    rooms.outbox.archive.busy = [BusyLane(ANN, 750, is_estimate=True), BusyLane(BOB, 250, is_estimate=True)]
    rooms.outbox.archive.samples[ANN] = (ANNS_EVENT, None)
    rooms.outbox.counts = Ledger(accepted=1_000)
    first, second = (await rooms.after(1.0)).lanes
    assert (first.lane, len(first.lane)) == (rooms.outbox.names.lane(ANN), 10)
    assert (first.name, first.entries, first.share, first.is_estimate) == (None, 750, 0.75, True)
    assert second.share == 0.25
    assert rooms.outbox.archive.asked_for == []
    rooms.outbox.counts = Ledger(accepted=1_000, delivered=1_000)
    assert (await rooms.after(0.0)).lanes == []


async def test_a_share_is_never_more_than_all(rooms: Watched) -> None:
    """The ledger that it is held against is a moment older, or an estimate is high."""
    rooms.outbox.archive.busy = [BusyLane(ANN, 1_003, is_estimate=True)]
    rooms.outbox.counts = Ledger(accepted=1_000)
    assert (await rooms.after(1.0)).lanes[0].share == 1.0


async def test_names_are_told_where_the_operator_wants_it_and_looked_up_once() -> None:
    rooms = Watched(show_payloads=True)
    archive = rooms.outbox.archive
    archive.samples = {ANN: (ANNS_EVENT, None), BOB: (b"something else", None)}
    archive.busy = [BusyLane(lane, 5, is_estimate=False) for lane in (ANN, BOB, 77)]
    for accepted in (20, 21, 22):
        rooms.outbox.counts = Ledger(accepted=accepted)
        assert [one.name for one in (await rooms.after(1.0)).lanes] == ["id:ann", None, None]
    assert archive.asked_for == [ANN, BOB, 77]
    archive.busy = [BusyLane(BOB, 5, is_estimate=False)]  # who is not busy any more is forgotten
    rooms.outbox.counts = Ledger(accepted=23)
    await rooms.after(1.0)
    archive.busy = [BusyLane(ANN, 5, is_estimate=False)]
    rooms.outbox.counts = Ledger(accepted=24)
    assert [one.name for one in (await rooms.after(1.0)).lanes] == ["id:ann"]
    assert archive.asked_for == [ANN, BOB, 77, ANN]
    rooms.running.cancel()
    await asyncio.gather(rooms.running, return_exceptions=True)


# Dead letters, and their quota


async def test_dead_letters_are_counted_as_their_quota_counts_them() -> None:
    rooms = Rooms()
    rooms.outbox.counts = Ledger(accepted=9, dead_lettered=9, dead=2, dead_purged=3, dead_evicted=4)
    rooms.outbox.kept = Sizes(dead_bytes=500, log_lines=7, log_bytes=900)
    seen = await rooms.observer.status()
    told = seen.dead_letters
    assert (told.count, told.bytes, told.bytes_max) == (2, 500 + 2 * LETTER_BYTES, 100 << 20)
    assert (told.purged, told.evicted) == (3, 4)
    assert (seen.outbox.log_lines, seen.outbox.log_bytes) == (7, 900)


async def test_what_was_evicted_lately_is_forgotten_after_a_day() -> None:
    """What was evicted before this daemon began is not lately: it knows no time of it."""
    rooms = Rooms(evicted_before=40)
    for evicted in (40, 42, 45):
        rooms.outbox.counts = Ledger(accepted=50, dead_lettered=50, dead_evicted=evicted)
        seen = await rooms.observer.status()
        assert (seen.dead_letters.evicted, seen.dead_letters.evicted_lately) == (evicted, evicted - 40)
        rooms.clock.advance(LATELY_S / 4)
    rooms.clock.advance(LATELY_S)
    assert (await rooms.observer.status()).dead_letters.evicted_lately == 0


async def test_a_new_store_begins_to_evict_from_zero() -> None:
    """A damaged one made room for it. What was evicted lately stays so; what the new one evicts is counted anew."""
    rooms = Rooms(evicted_before=40)
    for evicted in (45, 0, 2):
        rooms.outbox.counts = Ledger(accepted=evicted, dead_lettered=evicted, dead_evicted=evicted)
        seen = (await rooms.observer.status()).dead_letters
    assert (seen.evicted, seen.evicted_lately) == (2, 7)
