"""What the snapshot says, and what is logged when it changes."""

import msgspec
import pytest

from cio_buffer.outbox.contract import Ledger
from cio_buffer.upstream.limits import CAMPAIGN_AGE_MAX_S
from cio_buffer.upstream.troubles import TROUBLES
from tests.admin.rooms import Rooms, damaged

HOUR_S = 3_600.0


@pytest.fixture
def rooms():
    return Rooms()


async def test_an_entry_of_three_days_is_told_once_and_its_end_once(rooms):
    rooms.wait_since(CAMPAIGN_AGE_MAX_S - 1)
    await rooms.observer.look_at_age()
    assert await rooms.lines() == []
    rooms.clock.advance(2)
    for _ in range(3):
        await rooms.observer.look_at_age()
    [line] = rooms.said
    assert (line["oldest_age_s"], line["hint"][:11]) == (CAMPAIGN_AGE_MAX_S + 1, "no campaign")
    assert await rooms.lines() == [("warning", "outbox.stale")]
    rooms.wait_since(5)
    for _ in range(3):
        await rooms.observer.look_at_age()
    assert await rooms.lines() == [("info", "outbox.fresh")]


async def test_an_outbox_that_empties_is_fresh(rooms):
    rooms.wait_since(100 * HOUR_S)
    await rooms.observer.look_at_age()
    rooms.outbox.oldest = None
    await rooms.observer.look_at_age()
    assert await rooms.lines() == [("warning", "outbox.stale"), ("info", "outbox.fresh")]


@pytest.mark.parametrize("age_s", [None, 0.0, -10 * 365 * 24 * HOUR_S, CAMPAIGN_AGE_MAX_S])
async def test_what_is_not_too_old_is_not_stale(rooms, age_s):
    """Also what was accepted in a future that a clock had and took back."""
    if age_s is not None:
        rooms.wait_since(age_s)
    seen = (await rooms.observer.status()).outbox
    assert not seen.is_stale
    assert seen.oldest_age_s == (None if age_s is None else max(age_s, 0.0))
    await rooms.observer.look_at_age()
    assert await rooms.lines() == []


async def test_a_clock_that_jumps_tells_no_nonsense(rooms):
    rooms.wait_since(10)
    for jump_s, age_s in ((-5 * HOUR_S, 0.0), (5 * HOUR_S, 10.0), (100 * HOUR_S, 100 * HOUR_S + 10)):
        rooms.clock.jump(jump_s)
        assert (await rooms.observer.status()).outbox.oldest_age_s == pytest.approx(age_s, abs=0.01)


async def test_a_store_that_cannot_be_read_ends_no_watch(rooms):
    """The same is asked again; what was known stays."""
    rooms.wait_since(100 * HOUR_S)
    rooms.outbox.is_readable = False
    rounds = 0

    async def sleep(seconds):
        nonlocal rounds
        rooms.outbox.is_readable, rounds = True, rounds + 1
        if rounds == 3:
            raise TimeoutError

    rooms.clock.sleep = sleep
    with pytest.raises(TimeoutError):
        await rooms.observer.watch_age()
    assert await rooms.lines() == [("warning", "outbox.stale")]


async def test_room_is_told_when_it_goes_and_when_it_comes_back(rooms):
    for refusing in ("", "outbox_full", "outbox_full", "disk_low", "", ""):
        rooms.outbox.refusing = refusing
        rooms.observer.look_at_room()
    assert await rooms.lines() == [
        ("error", "outbox.full"),
        ("info", "outbox.has_room"),
        ("error", "disk.low"),
        ("info", "disk.recovered"),
    ]


async def minute(rooms, accepted_per_s, delivered_per_s):
    for second in range(61):
        rooms.outbox.counts = Ledger(
            accepted=50_000 + accepted_per_s * second, delivered=delivered_per_s * second, dead_lettered=0
        )
        rooms.observer.look_at_room()
        rooms.clock.advance(1.0)
    return (await rooms.observer.status()).outbox


async def test_what_the_looks_saw_is_foreseen(rooms):
    seen = await minute(rooms, accepted_per_s=10, delivered_per_s=60)
    assert seen.accepted_per_s == pytest.approx(10, rel=0.05)
    assert seen.empty_in_s == pytest.approx((50_000 - 60 * 50) / 50, rel=0.2)
    assert seen.full_in_s is None


async def test_what_left_before_a_hold_is_not_foreseen(rooms):
    rooms.pacing.hold = "outage"
    seen = await minute(rooms, accepted_per_s=10, delivered_per_s=60)
    assert seen.empty_in_s is None
    assert seen.full_in_s == pytest.approx((4 << 30) / (10 * 600), rel=0.15)


@pytest.mark.parametrize("word", [None, *TROUBLES])
async def test_whose_fault_it_is(rooms, word):
    rooms.pacing.trouble, rooms.pacing.hold, rooms.pacing.breaker = word, "outage" if word else None, "probing"
    rooms.drain.record.ambiguous = 7
    seen = await rooms.observer.status()
    assert (seen.upstream.trouble, seen.upstream.ambiguous) == (word, 7)
    assert seen.upstream.hint == (TROUBLES[word].hint if word else None)
    assert (seen.drain.breaker, seen.drain.rate_limit_per_s) == ("probing", 100.0)


async def test_a_store_that_is_set_aside_salvaged_and_removed_is_told_once_each(rooms):
    for state in (None, "waiting", "salvaging", "salvaging", "over", "over", None, None):
        rooms.outbox.damaged = [damaged(state=state)] if state else []
        rooms.observer.look_at_room()
    aside, salvaged, removed = rooms.said
    assert (aside["name"], aside["reason"]) == (damaged().name, damaged().why)
    assert (salvaged["saved"], salvaged["lost"], salvaged["dead_saved"], salvaged["dead_lost"]) == (99_740, 260, 3, 0)
    assert "quarantine remove" in salvaged["hint"]
    assert removed["name"] == damaged().name
    assert await rooms.lines() == [
        ("error", "store.set_aside"),
        ("warning", "store.salvaged"),
        ("info", "store.quarantine_removed"),
    ]


@pytest.mark.parametrize("state", ["over", "failed"])
async def test_what_a_start_finds_set_aside_is_told_though_it_was_salvaged_before_the_first_look(rooms, state):
    rooms.outbox.damaged = [damaged(state=state)]
    rooms.observer.look_at_room()
    rooms.observer.look_at_room()
    assert await rooms.lines() == [("error", "store.set_aside"), ("warning", "store.salvaged")]


async def test_checkpoints_that_fail_are_told_once_and_their_end_once(rooms):
    """They are counted; one that goes through is seen by none being counted for a while."""
    told = []
    for second in range(60):
        rooms.outbox.errors = {"commit": second, "checkpoint": min(max(second - 10, 0), 20)}  # from 11 to 30
        rooms.observer.look_at_room()
        told += [(second, event) for _, event in await rooms.lines()]
        assert (await rooms.observer.status()).outbox.is_checkpoint_failing is (11 <= second < 40)
        rooms.clock.advance(1.0)
    assert told == [(11, "store.checkpoint_failed"), (40, "store.checkpoint_recovered")]


async def test_the_status_has_what_was_set_aside_and_the_errors(rooms):
    rooms.outbox.damaged, rooms.outbox.errors, rooms.outbox.is_salvaging = [damaged()], {"commit": 2}, True
    rooms.outbox.counts = Ledger(accepted=5, salvaged=7, delivered=4, dead_lettered=1, dead=1)
    seen = await rooms.observer.status()
    [one] = seen.outbox.quarantined
    assert (one.path, one.bytes, one.salvaged) == (damaged().path, 13_000_000, 99_743)
    assert (seen.outbox.errors, seen.outbox.is_salvaging, seen.ledger.salvaged) == ({"commit": 2}, True, 7)


async def test_a_ledger_that_begins_again_from_zero_adds_up_and_is_no_negative_rate(rooms):
    """While the drain still has in hand what was in the store that is damaged and gone."""
    rooms.drain.in_flight_entries, rooms.drain.in_flight_parked = 40, 3
    for second in range(120):
        old = Ledger(accepted=9_000 + second, delivered=8_000 + second, parked=50)
        new = Ledger(accepted=second - 60, salvaged=min(30, 3 * (second - 60)), parked=0 if second < 80 else 5)
        if second > 110:
            new = msgspec.structs.replace(new, parked=new.entries)  # what was in hand is not among these
        rooms.outbox.counts = old if second < 60 else new
        rooms.observer.look_at_room()
        seen = await rooms.observer.status()
        told = seen.ledger
        assert min(told.pending, told.held, told.in_flight) >= 0
        ended = told.delivered + told.dead_lettered + told.purged
        assert told.accepted + told.replayed + told.salvaged == ended + told.pending + told.held + told.in_flight
        assert seen.outbox.accepted_per_s >= 0
        assert (seen.outbox.empty_in_s or 0) >= 0
        rooms.clock.advance(1.0)
    assert seen.outbox.accepted_per_s == pytest.approx(1, rel=0.1)


async def test_while_a_store_is_salvaged_nothing_is_foreseen_to_leave(rooms):
    rooms.outbox.is_salvaging = True
    assert (await minute(rooms, accepted_per_s=10, delivered_per_s=60)).empty_in_s is None
