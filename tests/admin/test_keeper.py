"""What is over goes in small steps, at its limits, and dead letters never go unsaid."""

import asyncio
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec import structs
from structlog.testing import LogCapture

from cio_buffer.admin.keeper import PAUSE_S, REST_S, TOLD_EVERY_S, Keeper, keeping
from cio_buffer.config import Config
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import Keeping, Tidied
from cio_buffer.outbox.entry import DeadLetter, Settled
from cio_buffer.outbox.sqlite import SqliteOutbox
from cio_buffer.telemetry import log
from tests.outbox.backends import NOW_MS, PLENTY, entry
from tests.support.clock import FakeClock

GIB, MIB = 1 << 30, 1 << 20
KEEPING = Keeping(log_for_s=60.0, log_bytes=1_000, dead_for_s=600.0, dead_bytes=1_000)
DONE = Tidied(0, 0, 0, is_done=True)


class Archive:
    """Throws away as a test says: what each step tells, or raises; then nothing is left."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.steps: list[Tidied | Exception] = []
        self.took_s = 0.0
        self.asked_ms: list[int] = []

    async def tidy(self, keeping: Keeping, *, now_ms: int) -> Tidied:
        assert keeping == KEEPING
        self.asked_ms.append(now_ms)
        self.clock.advance(self.took_s)
        step = self.steps.pop(0) if self.steps else DONE
        if isinstance(step, Exception):
            raise step
        return step


class Room:
    """A keeper, what it keeps, and what it said."""

    def __init__(self) -> None:
        self.clock, said = FakeClock(), LogCapture()
        self.archive = Archive(self.clock)
        self.said: list[MutableMapping[str, Any]] = said.entries
        folded = [structlog.processors.add_log_level, log.FoldRepeats(self.clock), said]  # as the daemon does
        logger = structlog.wrap_logger(structlog.PrintLogger(), processors=folded)
        self.keeper = Keeper(self.archive, KEEPING, clock=self.clock, logger=logger)  # type: ignore[arg-type]

    async def run(self, steps: Sequence[Tidied | Exception], rounds: int | None = None) -> list[float]:
        """Take these steps, each after the rest that was asked for before; returns the rests."""
        self.archive.steps += steps
        rests = []
        for _ in range(rounds or len(steps)):
            rests.append(await self.keeper.step())
            self.clock.advance(rests[-1])
        return rests

    def told(self) -> list[tuple[int, int, int]]:
        counts = [(line["count"], line["by_age"], line["by_bytes"]) for line in self.said]
        self.said.clear()
        return counts


@pytest.fixture
def room() -> Room:
    return Room()


def evicted(by_age: int, by_bytes: int = 0) -> Tidied:
    return Tidied(0, by_age, by_bytes, is_done=False)


async def test_while_something_is_left_it_goes_on_and_then_it_rests(room: Room) -> None:
    assert await room.run([Tidied(64, 0, 0, is_done=False)] * 3 + [DONE]) == [PAUSE_S] * 3 + [REST_S]
    assert room.told() == []  # of the log nobody has to hear


async def test_after_a_slow_step_apps_have_the_store_for_longer(room: Room) -> None:
    room.archive.took_s = 0.5
    assert await room.run([evicted(1)]) == [pytest.approx(2.0)]


async def test_a_round_is_told_once_with_counts_by_cause(room: Room) -> None:
    await room.run([evicted(200), evicted(200, 0), evicted(13, 87), evicted(0, 5), DONE])
    [line] = room.said
    assert (line["event"], line["level"]) == ("dead.evicted", "warning")
    assert "cio-buffer dead list" in line["hint"]
    assert room.told() == [(505, 413, 92)]


async def test_where_it_never_ends_it_is_told_once_a_minute_and_nothing_is_left_out(room: Room) -> None:
    """A thousand letters die in each second, and as many are thrown away."""
    room.archive.took_s = 0.25
    rounds = 500
    await room.run([evicted(0, 250)] * rounds)
    told = room.told()
    minutes = rounds * 1.25 / TOLD_EVERY_S
    assert minutes - 2 < len(told) <= minutes
    room.clock.advance(TOLD_EVERY_S)
    await room.run([DONE])
    assert sum(count for count, _, _ in told + room.told()) == 250 * rounds


async def test_what_goes_soon_after_a_line_is_in_the_next_one(room: Room) -> None:
    await room.run([evicted(1), DONE, evicted(2), DONE])
    assert room.told() == [(1, 1, 0)]
    await room.run([], rounds=int(TOLD_EVERY_S / REST_S))
    assert room.told() == [(2, 2, 0)]
    await room.run([], rounds=100)
    assert room.told() == []


async def test_a_store_that_cannot_be_read_is_asked_again_and_no_count_is_lost(room: Room) -> None:
    rests = await room.run([evicted(7), OutboxUnavailable("closing"), OutboxUnavailable("closing"), DONE])
    assert rests == [PAUSE_S, REST_S, REST_S, REST_S]
    assert room.told() == [(7, 7, 0)]


async def test_a_clock_that_was_set_wrong_throws_nothing_away(room: Room) -> None:
    """Forwards: it is not believed. Back: things seem younger, which harms nobody."""
    for jump_s in (0.0, 400 * 86_400.0, -800 * 86_400.0):
        room.clock.jump(jump_s)
        await room.keeper.step()
    start_ms = 1_700_000_000_000
    assert room.archive.asked_ms == [start_ms, start_ms, start_ms - 400 * 86_400_000]


async def test_it_runs_until_it_is_stopped(room: Room) -> None:
    room.archive.steps += [evicted(1), OutboxUnavailable("for a while"), DONE]
    running = asyncio.ensure_future(room.keeper.run())
    while len(room.archive.asked_ms) < 5 and not running.done():
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert room.told() == [(1, 1, 0)]


# How much is kept


def test_the_defaults_are_kept_as_they_are() -> None:
    kept = keeping(Config().outbox)
    assert kept == Keeping(log_for_s=86_400.0, log_bytes=256 * MIB, dead_for_s=2_592_000.0, dead_bytes=256 * MIB)


@pytest.mark.parametrize("bytes_max", [64 * MIB, 256 * MIB, GIB, 4 * GIB, 1 << 50])
@pytest.mark.parametrize("asked", [1 * MIB, 40 * MIB, 256 * MIB, 1 << 60])
def test_what_is_over_leaves_five_eighths_to_what_waits(bytes_max: int, asked: int) -> None:
    wanted = structs.replace(Config().outbox, bytes_max=bytes_max, keep_log_bytes=asked, keep_dead_bytes=asked)
    kept = keeping(wanted)
    assert (kept.log_bytes, kept.dead_bytes) == (min(asked, bytes_max // 8), min(asked, bytes_max // 4))
    assert kept.log_bytes + kept.dead_bytes <= bytes_max * 3 // 8


@pytest.mark.parametrize("none", [{"keep_log_for_s": 0.0}, {"keep_log_bytes": 0}])
def test_a_log_without_time_or_room_is_none(none: dict[str, float]) -> None:
    assert keeping(structs.replace(Config().outbox, **none)).log_for_s == 0.0


# With the store itself


async def test_a_store_is_kept_within_its_quota(tmp_path: Path) -> None:
    """The oldest go; what waits stays, and the books come out."""
    room = Room()
    outbox = SqliteOutbox(tmp_path / "outbox.db", clock=room.clock, bytes_max=GIB, disk_free_min_bytes=0)
    await outbox.open()
    await outbox.append([entry(f"dead {number}", "ann", size=1_000) for number in range(900)])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=0)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    died = [Settled(met.entry, DeadLetter(reason="refused"), 1) for met in claim.main]
    await lease.settle(died, now_ms=NOW_MS)
    await outbox.append([entry("waits", "bob")])

    kept = structs.replace(KEEPING, dead_bytes=130_000)
    keeper = Keeper(outbox.archive, kept, clock=room.clock, logger=room.keeper._logger)
    while await keeper.step() != REST_S:
        pass
    left = [letter.body.decode().rstrip() for letter in await outbox.archive.letters()]
    assert left == [f"dead {number}" for number in range(900 - len(left), 900)]
    assert len(left) == 100
    assert room.told() == [(800, 0, 800)]

    room.clock.advance(KEEPING.dead_for_s + TOLD_EVERY_S)
    while await keeper.step() != REST_S:
        pass
    assert room.told() == [(100, 100, 0)]
    audit = await outbox.audit()
    assert (audit.is_balanced, audit.ledger.dead_evicted, audit.ledger.entries) == (True, 900, 1)
    await outbox.close()
