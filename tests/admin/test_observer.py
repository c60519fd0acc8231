"""What the snapshot says, and what is logged when it changes."""

import pytest

from cio_buffer.outbox.contract import Ledger
from cio_buffer.upstream.limits import CAMPAIGN_AGE_MAX_S
from cio_buffer.upstream.troubles import TROUBLES
from tests.admin.rooms import Rooms

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
