"""Where one rule of the archive meets another: replays that die again, edits, holes in the log, a replay given up."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from cio_buffer.admin.chronicle import tell
from cio_buffer.outbox.archive import Keeping, Replayed
from cio_buffer.outbox.entry import Delivered, Fate, Parked, Released, Settled
from tests.outbox.backends import NOW_MS, REFUSED, Hand, operation, these

AGAIN = Fate(what="again", reason="unavailable")
NO_LOG = Keeping(log_for_s=0.0, log_bytes=2**40, dead_for_s=1e9, dead_bytes=2**40)


def pass_time(hand: Hand, seconds: float = 100.0) -> None:
    hand.clock.advance(seconds)
    hand.now_ms += int(seconds * 1000)


async def prune(hand: Hand) -> None:
    """Throw away all of the log so far; and begin it anew with somebody else's request."""
    while not (await hand.outbox.archive.tidy(NO_LOG, now_ms=int(hand.clock.now() * 1000))).is_done:
        pass
    await hand.deliver(operation("somebody else's", "zoe"))
    pass_time(hand)


async def test_one_that_died_twice_was_overtaken_after_its_first_death(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("old", "ann"))
    pass_time(hand)
    await hand.deliver(operation("newer", "ann"))
    pass_time(hand)
    assert await hand.replay(seq) == 1
    pass_time(hand)
    await prune(hand)
    await hand.take()
    await hand.request({"old": REFUSED})
    assert await hand.outbox.archive.replay(these(seq)) == Replayed(0, 1)


async def test_one_that_was_edited_held_nothing_back_in_its_new_lane(hand: Hand) -> None:
    (seq,) = await hand.append(operation("old", "ann"))
    await hand.take()
    await hand.request({"old": AGAIN}, status=500)
    pass_time(hand)
    await hand.deliver(operation("newer", "bob"))
    pass_time(hand)
    await prune(hand)
    await hand.request({"old": REFUSED})
    assert await hand.outbox.archive.edit(seq, operation("mended", "bob"))
    assert await hand.outbox.archive.replay(these(seq)) == Replayed(0, 1)


async def test_a_log_with_a_hole_is_not_believed(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("old", "ann"))
    pass_time(hand)
    hand.backend.keeps_log = False
    await hand.crash()
    await hand.deliver(operation("newer", "ann"))
    pass_time(hand)
    hand.backend.keeps_log = True
    await hand.crash()
    assert await hand.outbox.archive.replay(these(seq)) == Replayed(0, 1)
    found = await hand.outbox.archive.trace(seq)
    assert found.log_since_ms == int(hand.clock.now() * 1000)


async def test_one_that_is_given_back_keeps_its_tries(hand: Hand) -> None:
    """It rode behind another, in a request that failed; the other is held, and it waits again."""
    await hand.append(operation("first", "ann"), operation("second", "ann"))
    await hand.take()
    await hand.settle_each({"first": Parked(NOW_MS), "second": Parked()})
    await hand.take()
    await hand.request({"first": AGAIN, "second": AGAIN}, status=500)
    settled = [
        Settled(hand.held["first"], Parked(NOW_MS + 10, holds=1), 2, hand.tries["first"]),
        Settled(hand.held["second"], Released(), 2, hand.tries["second"]),
    ]
    await hand.lease.settle(settled, now_ms=hand.now_ms)
    await hand.take(now_ms=NOW_MS + 20)
    await hand.settle(Delivered(), "first")
    await hand.take(now_ms=NOW_MS + 20)
    assert hand.held["second"].attempts == 2
    await hand.request({"second": REFUSED})
    (letter,) = await hand.outbox.archive.letters()
    assert [attempt.fate.what for attempt in letter.history] == ["again", "dead"]


async def test_a_replay_that_is_given_up_undoes_nothing_newer(hand: Hand) -> None:
    """Its last step is in the writer's queue, behind a newer operation, when whoever asked for it goes away."""
    (seq,) = await hand.bury(operation("old", "ann"))
    archive: Any = hand.outbox.archive
    revive, is_free, is_queued = archive._revive, threading.Event(), asyncio.Event()

    async def slowly(page: Sequence[object], newcomers: set[int]) -> int:
        await hand.append(operation("newer", "ann"))
        blocker = asyncio.ensure_future(archive._run(lambda _: is_free.wait(5)))
        is_queued.set()
        revived: int = await revive(page, newcomers)
        await blocker
        return revived

    archive._revive = slowly
    replay = asyncio.ensure_future(archive.replay(these(seq)))
    await is_queued.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    replay.cancel()
    await asyncio.gather(replay, return_exceptions=True)
    is_free.set()
    await archive._run(lambda _: None)
    assert hand.outbox.ledger().replayed == 0


async def test_many_clean_restarts_are_not_told_as_a_crash(hand: Hand) -> None:
    (seq,) = await hand.append(operation("waits", "ann"))
    for _ in range(30):
        pass_time(hand, 60)
        await hand.reopen()
    found = await hand.outbox.archive.trace(seq)
    now_ms = int(hand.clock.now() * 1000)
    story = tell(found.known[0], found, None, names=hand.outbox.names, now_ms=now_ms)
    assert "restarted" not in {step.what for step in story.steps}
    assert not story.is_ambiguous


async def test_the_words_of_customer_io_count_for_the_quota_too(hand: Hand) -> None:
    """Else a thousand letters with long messages would take the room of what waits."""
    await hand.append(operation("bad", "ann"))
    await hand.take()
    await hand.request({"bad": structs.replace(REFUSED, message="m" * 1_000)})
    assert hand.outbox.sizes().dead_bytes > 1_000
