"""What every storage backend promises, sentence by sentence."""

import asyncio

import pytest

from cio_buffer.errors import LeaseLost, OutboxUnavailable
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import (
    ANSWER_KEPT_S,
    AppCall,
    DeadLetter,
    Delivered,
    NewEntry,
    Parked,
    Released,
    pack_lanes,
)
from tests.outbox.backends import NOW_MS, REFUSED, WAIT_MAX_MS, Hand, entry, name_of, v1

SOON_MS = NOW_MS + 5_000
HOUR_MS = 3_600_000


# Appending


async def test_entries_are_numbered_in_the_order_in_which_they_were_appended(hand: Hand) -> None:
    first = await hand.append(entry("a", "ann"), entry("b", "bob"))
    second = await hand.append(entry("c", "ann"))
    assert [*first, *second] == sorted({*first, *second})
    assert [met.entry.seq for met in (await hand.take()).main] == [*first, *second]


async def test_appends_are_numbered_in_the_order_of_the_calls_though_none_was_awaited(hand: Hand) -> None:
    waiting = [hand.outbox.append([entry(str(n)), entry(f"{n}+")]) for n in range(50)]
    numbers = [seq for seqs in await asyncio.gather(*waiting) for seq in seqs]
    assert numbers == sorted(set(numbers))
    assert await hand.main() == [name for n in range(50) for name in (str(n), f"{n}+")]


async def test_of_an_append_all_is_stored_or_nothing(hand: Hand) -> None:
    unstorable = NewEntry(kind=None, lanes=b"", body=b"", accepted_at_ms=NOW_MS)  # type: ignore[arg-type]
    with pytest.raises(OutboxUnavailable):
        await hand.append(*(entry(str(n)) for n in range(600)), unstorable)
    await hand.append(entry("after"))
    assert await hand.main() == ["after"]
    assert hand.outbox.ledger() == Ledger(accepted=1)


async def test_an_append_of_nothing_stores_nothing(hand: Hand) -> None:
    assert list(await hand.append()) == []
    assert hand.outbox.ledger() == Ledger()


async def test_what_was_stored_comes_back_as_it_was(hand: Hand) -> None:
    given = NewEntry(
        kind="merge", lanes=pack_lanes(["ann", "bob"]), body=b'{"\xc3\xa9":"\\u0000"}', accepted_at_ms=NOW_MS - 7,
        call="POST /api/v1/merge_customers", route="/v1", traceparent="00-a-b-01",
    )  # fmt: skip
    (seq,) = await hand.append(given)
    (met,) = (await hand.take()).main
    got = met.entry
    assert (got.seq, got.kind, got.body, got.accepted_at_ms) == (seq, given.kind, given.body, given.accepted_at_ms)
    assert (got.call, got.traceparent, got.attempts, got.replays) == (given.call, given.traceparent, 0, 0)
    assert len(got.lanes) == 2


async def test_a_watcher_is_called_once_what_was_appended_can_be_claimed(hand: Hand) -> None:
    calls: list[int] = []
    hand.outbox.watch(lambda: calls.append(hand.outbox.ledger().accepted))
    await hand.append(entry("a"), entry("b"))
    assert calls[-1] == 2


async def test_numbers_are_never_used_again(hand: Hand) -> None:
    """Not even those of entries that are gone, in a store that is empty."""
    used = list(await hand.append(entry("a"), entry("b")))
    await hand.take()
    await hand.settle(Delivered(), "a", "b")
    await hand.reopen()
    used += await hand.append(entry("c"))
    await hand.crash()
    used += await hand.append(entry("d"))
    assert used == sorted(set(used))


# Claiming from the main lane


async def test_the_main_lane_comes_in_order_each_entry_once(hand: Hand) -> None:
    await hand.append(*(entry(str(n), "ann") for n in range(5)))
    assert [await hand.main(main_entries=2) for _ in range(4)] == [["0", "1"], ["2", "3"], ["4"], []]
    await hand.append(entry("5", "ann"))
    assert await hand.main() == ["5"]


async def test_a_claim_says_whether_the_main_lane_was_read_to_its_end(hand: Hand) -> None:
    await hand.append(entry("a"), entry("b"), entry("c"))
    assert [(await hand.take(main_entries=2)).is_at_end for _ in range(2)] == [False, True]


async def test_a_budget_of_nothing_brings_nothing(hand: Hand) -> None:
    await hand.append(entry("a"))
    assert await hand.main(main_entries=0) == []
    assert await hand.main(main_bytes=-1) == []
    assert not (await hand.take(main_entries=0)).is_at_end
    assert await hand.main() == ["a"]


async def test_an_entry_larger_than_the_room_left_is_given_and_is_the_last(hand: Hand) -> None:
    await hand.append(*(entry(name, size=100) for name in "abcd"))
    assert await hand.main(main_bytes=101) == ["a", "b"]
    assert await hand.main(main_bytes=1) == ["c"]
    assert not (await hand.take(main_bytes=1)).is_at_end


async def test_what_was_not_settled_is_claimed_again_after_a_crash(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"), entry("c", "ann"))
    await hand.take()
    await hand.settle(Delivered(), "b")
    await hand.crash()
    assert await hand.main() == ["a", "c"]


async def test_what_was_appended_or_settled_survives_a_crash_and_so_does_the_ledger(hand: Hand) -> None:
    await hand.append(*(entry(name, name) for name in "abcd"))
    await hand.take()
    await hand.settle_each({"a": Delivered(), "b": REFUSED, "c": Parked(SOON_MS)})
    before = hand.outbox.ledger()
    await hand.crash()
    assert before == hand.outbox.ledger() == Ledger(accepted=4, delivered=1, dead_lettered=1, parked=1, dead=1)
    assert await hand.main() == ["d"]


# Parked entries


async def test_a_parked_entry_comes_back_when_it_is_due_and_not_before(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    early = await hand.take(now_ms=SOON_MS - 1)
    assert (list(early.parked), early.next_due_at_ms) == ([], SOON_MS)
    late = await hand.take(now_ms=SOON_MS)
    assert ([name_of(one) for one in late.parked], late.next_due_at_ms) == (["a"], None)
    assert await hand.parked(now_ms=SOON_MS) == []


async def test_parking_remembers_attempts(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a", attempts=3)
    await hand.take()
    assert hand.held["a"].attempts == 3
    await hand.settle(Parked(NOW_MS), "a", attempts=4)
    await hand.crash()
    await hand.take()
    assert hand.held["a"].attempts == 4


async def test_parking_remembers_how_often_an_entry_was_held(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take()
    assert [hand.held[name].holds for name in "ab"] == [0, 0]
    await hand.settle_each({"a": Parked(NOW_MS, holds=2, held_for="timeout"), "b": Parked()})
    await hand.crash()
    assert await hand.parked() == ["a"]  # who was held comes alone, else its whole lane would be read at each try
    assert (hand.held["a"].holds, hand.held["a"].held_for) == (2, "timeout")
    await hand.settle(Delivered(), "a")
    assert await hand.parked() == ["b"]
    assert (hand.held["b"].holds, hand.held["b"].held_for) == (0, "")


@pytest.mark.parametrize("holds", [0, 3])
async def test_what_is_parked_again_has_been_held_as_often_as_is_said_then(hand: Hand, holds: int) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS, holds=2), "a")
    await hand.take()
    await hand.settle(Parked(NOW_MS, holds=holds), "a")
    await hand.crash()
    await hand.take()
    assert hand.held["a"].holds == holds


async def test_others_pass_what_is_parked(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"))
    await hand.take(main_entries=1)
    await hand.settle(Parked(SOON_MS), "a")
    claim = await hand.take()
    assert [(name_of(met.entry), met.is_behind) for met in claim.main] == [("b", False)]


async def test_a_later_entry_of_a_parked_lane_is_said_to_be_behind(hand: Hand) -> None:
    await hand.append(entry("a", "ann", "pat"), entry("b", "bob"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    await hand.append(entry("c", "pat"), entry("d", "bob"), entry("e", "bob", "ann"))
    claim = await hand.take()
    assert [(name_of(met.entry), met.is_behind) for met in claim.main] == [("c", True), ("d", False), ("e", True)]


async def test_nothing_is_behind_a_parked_entry_that_has_been_claimed(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a")
    assert await hand.parked() == ["a"]
    await hand.append(entry("b", "ann"))
    assert [met.is_behind for met in (await hand.take()).main] == [False]


async def test_what_is_parked_again_is_in_the_way_again(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a")
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    await hand.append(entry("b", "ann"))
    claim = await hand.take(now_ms=SOON_MS - 1)
    assert ([met.is_behind for met in claim.main], claim.next_due_at_ms) == ([True], SOON_MS)
    assert await hand.parked(now_ms=SOON_MS) == ["a"]


async def test_followers_come_with_the_one_that_they_wait_for(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann", "bob"), entry("c", "bob"), entry("d", "dan"))
    await hand.take()
    await hand.settle_each({"a": Parked(SOON_MS), "b": Parked(), "c": Parked(), "d": Parked(SOON_MS + 1)})
    assert await hand.parked(now_ms=SOON_MS - 1) == []
    assert await hand.parked(now_ms=SOON_MS) == ["a", "b", "c"]


async def test_a_follower_waits_for_those_before_it_in_each_of_its_lanes(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"), entry("both", "ann", "bob"))
    await hand.take()
    await hand.settle_each({"a": Parked(SOON_MS), "b": Parked(SOON_MS + 1), "both": Parked()})
    assert await hand.parked(now_ms=SOON_MS) == ["a"]
    assert await hand.parked(now_ms=SOON_MS + 1) == ["b", "both"]


async def test_a_follower_for_which_there_was_no_room_comes_once_its_leader_is_settled(hand: Hand) -> None:
    await hand.append(*(entry(name, "ann") for name in "abc"))
    await hand.take()
    await hand.settle(Parked(), "a", "b", "c")
    for name in "abc":
        assert await hand.parked(parked_entries=1) == [name]
        await hand.settle(Delivered(), name)


@pytest.mark.parametrize("end", [Delivered(), REFUSED])
async def test_who_becomes_first_when_another_leaves_comes_after_it(hand: Hand, end: Delivered | DeadLetter) -> None:
    await hand.append(v1("a", "ann"), v1("b", "ann"), v1("c", "bob", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b", "c")
    for name in "abc":
        assert await hand.parked() == [name]
        await hand.settle(end, name)
    assert hand.outbox.ledger().entries == 0


async def test_an_earlier_entry_that_is_parked_later_takes_the_time_of_a_later_one_away(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann", "bob"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "b")
    await hand.settle(Parked(SOON_MS), "a")
    assert await hand.parked(parked_entries=1) == []
    claim = await hand.take(now_ms=SOON_MS, parked_entries=1)
    assert [name_of(one) for one in claim.parked] == ["a"]
    await hand.settle(Delivered(), "a")
    assert await hand.parked() == ["b"]


async def test_parked_entries_come_in_the_order_of_their_time_where_room_is_short(hand: Hand) -> None:
    await hand.append(entry("a", "ann", at_ms=30), entry("b", "bob", at_ms=20), entry("c", "cat", at_ms=10))
    await hand.take()
    await hand.settle(Parked(), "a", "b", "c")
    assert [await hand.parked(parked_entries=1) for _ in range(3)] == [["c"], ["b"], ["a"]]


async def test_a_claim_lists_the_parked_by_number(hand: Hand) -> None:
    await hand.append(entry("a", "ann", at_ms=30), entry("b", "bob", at_ms=20))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    assert await hand.parked() == ["a", "b"]


async def test_the_parked_have_budgets_of_their_own(hand: Hand) -> None:
    await hand.append(*(entry(name, name, size=100) for name in "abcde"))
    await hand.take(main_entries=4)
    await hand.settle(Parked(NOW_MS), "a", "b", "c", "d")
    assert await hand.parked(main_entries=0, parked_bytes=101) == ["a", "b"]
    assert await hand.parked(main_entries=0, parked_bytes=1) == ["c"]
    assert await hand.parked(main_entries=0, parked_entries=0) == []
    assert await hand.parked(main_entries=0, parked_bytes=0) == []
    assert await hand.main(parked_entries=0, parked_bytes=-1) == ["e"]
    assert await hand.parked() == ["d"]


async def test_what_leaves_alone_has_a_budget_of_its_own(hand: Hand) -> None:
    await hand.append(v1("a"), v1("b"), entry("c"), entry("d"))
    await hand.take()
    await hand.settle(Parked(), "a", "b", "c", "d")
    first = await hand.take(parked_v1_entries=1, parked_entries=1)
    assert ([name_of(one) for one in first.parked], first.is_v1_due) == (["a", "c"], True)
    second = await hand.take(parked_v1_entries=0)
    assert ([name_of(one) for one in second.parked], second.is_v1_due) == (["d"], True)
    third = await hand.take(parked_v1_entries=1)
    assert ([name_of(one) for one in third.parked], third.is_v1_due) == (["b"], False)


async def test_what_leaves_alone_does_not_come_as_a_follower(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), v1("b", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    assert await hand.parked(parked_v1_entries=0) == ["a"]
    await hand.settle(Delivered(), "a")
    assert await hand.parked() == ["b"]


async def test_calls_that_are_not_due_are_not_said_to_be(hand: Hand) -> None:
    await hand.append(v1("a", "ann"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    claim = await hand.take(parked_v1_entries=0)
    assert (claim.is_v1_due, claim.next_due_at_ms) == (False, SOON_MS)


async def test_what_was_released_comes_again_as_it_was(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b", attempts=2)
    assert await hand.parked() == ["a", "b"]
    await hand.settle(Released(), "a", "b")
    assert await hand.parked() == ["a", "b"]
    assert [(hand.held[name].attempts, hand.held[name].holds) for name in "ab"] == [(2, 0), (2, 0)]
    await hand.settle(Parked(holds=1), "a", "b", attempts=3)
    assert await hand.parked() == ["a"]
    await hand.settle(Released(), "a")
    assert await hand.parked() == ["a"]
    assert (hand.held["a"].attempts, hand.held["a"].holds) == (3, 1)


async def test_a_follower_that_was_released_is_not_forgotten(hand: Hand) -> None:
    """Its leader is delivered, so it has to come by itself."""
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    await hand.take()
    await hand.settle_each({"a": Delivered(), "b": Released()})
    assert await hand.parked() == ["b"]


async def test_what_was_parked_before_a_crash_is_claimed_though_the_main_lane_is_empty(hand: Hand) -> None:
    """The cursor has nothing to stop at, and still has to pass it, at once: nothing would ask again."""
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    await hand.crash()
    assert await hand.parked(now_ms=SOON_MS) == ["a"]


async def test_a_parked_entry_waits_until_the_main_lane_was_claimed_past_it(hand: Hand) -> None:
    """After a crash the earlier ones of its lanes may still be there."""
    await hand.append(entry("a", "ann"), entry("b", "bob"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "b")
    await hand.crash()
    assert await hand.parked(main_entries=0) == []
    assert await hand.parked(main_entries=1) == []
    assert await hand.parked(main_entries=1) == ["b"]


async def test_a_follower_too_waits_until_the_main_lane_was_claimed_past_it(hand: Hand) -> None:
    """Its leader may leave, and somebody in between whom it waits for as well has not been met yet."""
    await hand.append(entry("a", "ann"), entry("other"), entry("b", "bob"), entry("c", "ann", "bob"))
    await hand.take()
    await hand.settle_each({"a": Parked(NOW_MS), "c": Parked()})
    await hand.crash()
    assert await hand.parked(main_entries=1) == ["a"]
    await hand.settle(Delivered(), "a")
    claim = await hand.take()
    assert ([name_of(met.entry) for met in claim.main], [name_of(one) for one in claim.parked]) == (["b"], ["c"])


async def test_lanes_are_closed_by_a_crash_as_they_were(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take(main_entries=1)
    await hand.settle(Parked(SOON_MS), "a")
    await hand.crash()
    claim = await hand.take()
    assert [(name_of(met.entry), met.is_behind) for met in claim.main] == [("b", True)]


async def test_the_same_lane_twice_is_one_lane(hand: Hand) -> None:
    await hand.append(entry("a", "ann", "ann"))
    await hand.take()
    assert len(hand.held["a"].lanes) == 1
    await hand.settle(Parked(), "a")
    assert await hand.parked() == ["a"]


async def test_an_entry_without_lanes_can_be_parked_and_nothing_is_behind_it(hand: Hand) -> None:
    await hand.append(entry("a"), entry("b"))
    await hand.take(main_entries=1)
    await hand.settle(Parked(SOON_MS), "a")
    assert [met.is_behind for met in (await hand.take()).main] == [False]
    assert await hand.parked(now_ms=SOON_MS) == ["a"]


# Settling


async def test_a_claim_sees_settlements_that_were_asked_for_before_it(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take(main_entries=1)
    settling = asyncio.ensure_future(hand.settle(Parked(SOON_MS), "a"))
    await asyncio.sleep(0)  # asked for, not yet done
    assert [met.is_behind for met in (await hand.take()).main] == [True]
    await settling


async def test_a_settlement_that_is_repeated_changes_nothing(hand: Hand) -> None:
    await hand.append(*(entry(name, name) for name in "abc"))
    await hand.take()
    for _ in range(2):
        await hand.settle_each({"a": Delivered(), "b": REFUSED, "c": Parked(NOW_MS)})
    assert hand.outbox.ledger() == Ledger(accepted=3, delivered=1, dead_lettered=1, dead=1, parked=1)
    await hand.take()
    for _ in range(2):
        await hand.settle(Delivered(), "c")
    assert hand.outbox.ledger() == Ledger(accepted=3, delivered=2, dead_lettered=1, dead=1)


async def test_parking_that_is_repeated_late_takes_no_time_away(hand: Hand) -> None:
    """The answer was lost; meanwhile the entry has left, and the one behind it became due."""
    await hand.append(entry("a", "ann"), entry("b", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    await hand.take(parked_entries=1)
    await hand.settle(Delivered(), "a")
    await hand.take(parked_entries=0)
    await hand.settle(Parked(SOON_MS), "a")
    assert await hand.parked() == ["b"]


async def test_a_parked_entry_can_die_and_be_delivered(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    await hand.take()
    await hand.settle_each({"a": REFUSED, "b": Delivered()}, attempts=5)
    assert hand.outbox.ledger() == Ledger(accepted=2, delivered=1, dead_lettered=1, dead=1)
    assert [letter.attempts for letter in await hand.outbox.archive.letters()] == [5]


# Whose clock: the drain's may differ from the store's, and neither is to be trusted over the years


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS])
async def test_a_parked_entry_waits_for_its_time_on_the_drains_clock(hand: Hand, off_ms: int) -> None:
    hand.now_ms = NOW_MS + off_ms
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(hand.now_ms + 5_000), "a")
    assert await hand.parked(now_ms=hand.now_ms + 4_999) == []
    assert await hand.parked(now_ms=hand.now_ms + 5_000) == ["a"]


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS])
async def test_what_is_parked_without_a_time_may_leave_now_on_the_drains_clock(hand: Hand, off_ms: int) -> None:
    """Though it was accepted an hour later than the drain's clock shows."""
    hand.now_ms = NOW_MS + off_ms
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a")
    assert await hand.parked() == ["a"]


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS])
async def test_who_becomes_first_may_leave_now_on_the_drains_clock(hand: Hand, off_ms: int) -> None:
    hand.now_ms = NOW_MS + off_ms
    await hand.append(v1("a", "ann"), v1("b", "ann"))
    await hand.take()
    await hand.settle(Parked(), "a", "b")
    assert await hand.parked() == ["a"]
    await hand.settle(Delivered(), "a")
    assert await hand.parked() == ["b"]


async def test_a_clock_that_goes_back_delays_and_loses_nothing(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    claim = await hand.take(now_ms=NOW_MS - HOUR_MS)
    assert (list(claim.parked), claim.next_due_at_ms) == ([], SOON_MS)
    assert await hand.parked(now_ms=SOON_MS + HOUR_MS) == ["a"]


async def test_a_clock_that_was_set_back_while_we_were_away_holds_nobody_for_long(hand: Hand) -> None:
    await hand.append(v1("a", "ann"), entry("b", "bob"), entry("c", "cat"), entry("d", "bob"))
    await hand.take()
    times = {"a": Parked(SOON_MS), "b": Parked(SOON_MS + 1), "c": Parked(NOW_MS - HOUR_MS + 1), "d": Parked()}
    await hand.settle_each(times)
    hand.now_ms = NOW_MS - HOUR_MS
    await hand.crash()
    claim = await hand.take()
    assert (list(claim.parked), claim.next_due_at_ms) == ([], hand.now_ms + 1)
    hand.now_ms += WAIT_MAX_MS
    assert await hand.parked(now_ms=hand.now_ms - 1) == ["c"]  # what was due in good time still is
    assert await hand.parked() == ["a", "b", "d"]


async def test_a_new_lease_changes_no_time_that_is_near(hand: Hand) -> None:
    await hand.append(v1("a", "ann"), entry("b", "bob"))
    await hand.take()
    last_ms = NOW_MS + WAIT_MAX_MS
    await hand.settle_each({"a": Parked(last_ms), "b": Parked(last_ms - 1)})
    hand.lease = await hand.acquire()
    assert (await hand.take()).next_due_at_ms == last_ms - 1
    assert await hand.parked(now_ms=last_ms - 1) == ["b"]
    assert await hand.parked(now_ms=last_ms) == ["a"]


async def test_what_is_parked_can_be_brought_forward(hand: Hand) -> None:
    """The drain found out that what everybody waits for is over."""
    await hand.append(v1("a", "ann"), entry("b", "bob"), entry("c", "cat"), v1("d", "bob"))
    await hand.take()
    times = {"a": Parked(SOON_MS), "b": Parked(SOON_MS + 1, holds=1), "c": Parked(NOW_MS + 1), "d": Parked()}
    await hand.settle_each(times)
    await hand.lease.bring_forward(latest_ms=NOW_MS + 2)
    assert await hand.parked(now_ms=NOW_MS + 1) == ["c"]
    assert await hand.parked(now_ms=NOW_MS + 2) == ["a", "b"]
    assert hand.held["b"].holds == 1
    await hand.settle(Delivered(), "b")
    assert await hand.parked() == ["d"]  # it waited for its turn


async def test_what_was_brought_forward_stays_so_after_a_crash(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    await hand.lease.bring_forward(latest_ms=NOW_MS)
    await hand.crash()
    assert await hand.parked() == ["a"]


# The lease


async def test_whoever_acquires_the_lease_takes_it_away(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"))
    await hand.take()
    old, hand.lease = hand.lease, await hand.acquire()
    new, hand.lease = hand.lease, old
    with pytest.raises(LeaseLost):
        await hand.take()
    with pytest.raises(LeaseLost):
        await hand.settle_each({"a": Delivered(), "b": REFUSED})
    assert hand.outbox.ledger() == Ledger(accepted=2)
    assert list(await hand.outbox.archive.letters()) == []
    with pytest.raises(LeaseLost):
        await hand.lease.bring_forward(latest_ms=NOW_MS)
    hand.lease = new
    assert await hand.main() == ["a", "b"]


async def test_nothing_parked_counts_as_claimed_in_a_new_lease(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a")
    await hand.take()
    hand.lease = await hand.acquire()
    assert await hand.parked() == ["a"]


async def test_a_lost_lease_harms_nobody_who_asked_at_the_same_time(hand: Hand) -> None:
    await hand.append(entry("a", "ann"))
    await hand.take()
    old = hand.lease
    hand.lease = await hand.acquire()
    asked = [hand.outbox.append([entry("b")]), old.settle([], now_ms=NOW_MS), hand.outbox.append([entry("c")])]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[1], LeaseLost)
    assert await hand.main() == ["a", "b", "c"]


# Dead letters


async def test_a_dead_letter_keeps_why_and_when(hand: Hand) -> None:
    (seq,) = await hand.append(entry("a", "ann"))
    await hand.take()
    hand.clock.advance(60)
    hand.now_ms -= HOUR_MS  # the drain's clock is not for people to read
    await hand.settle(REFUSED, "a", attempts=2)
    (letter,) = await hand.outbox.archive.letters()
    assert (letter.seq, letter.kind, letter.body, letter.attempts) == (seq, "event", b"a", 2)
    assert (letter.reason, letter.status, letter.vendor_reason) == ("refused", 422, "required")
    assert (letter.field, letter.message) == ("name", "was missing")
    assert (letter.accepted_at_ms, letter.died_at_ms) == (NOW_MS - 1_000, NOW_MS + 60_000)


async def test_a_parked_entry_that_dies_keeps_why_as_well(hand: Hand) -> None:
    await hand.append(entry("a", "ann"), entry("b", "bob"))
    await hand.take()
    await hand.settle(Parked(NOW_MS, holds=4), "a", "b")
    await hand.take()
    await hand.settle_each({"a": REFUSED, "b": DeadLetter(reason="expired")})
    await hand.crash()
    letters = await hand.outbox.archive.letters()
    assert [(letter.reason, letter.vendor_reason) for letter in letters] == [("refused", "required"), ("expired", "")]


async def test_a_replay_begins_without_holds(hand: Hand) -> None:
    (seq,) = await hand.append(entry("a", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS, holds=4), "a")
    await hand.take()
    await hand.settle(REFUSED, "a")
    await hand.replay(seq)
    assert await hand.main() == ["a"]
    assert hand.held["a"].holds == 0


async def test_dead_letters_are_listed_in_pages(hand: Hand) -> None:
    await hand.append(*(entry(name, name) for name in "abcd"))
    await hand.take()
    await hand.settle(REFUSED, "d", "b", "a", "c")
    page = await hand.outbox.archive.letters(limit=3)
    rest = await hand.outbox.archive.letters(after=page[-1].seq)
    assert [[letter.body for letter in letters] for letters in (page, rest)] == [[b"a", b"b", b"c"], [b"d"]]


async def test_a_replay_puts_dead_letters_at_the_tail_in_their_order(hand: Hand) -> None:
    seqs = await hand.append(*(entry(name, "ann", at_ms=7) for name in "abc"))
    await hand.take()
    await hand.settle(REFUSED, "a", "b", attempts=4)
    assert await hand.replay(seqs[1], seqs[0], 999_999) == 2
    claim = await hand.take()
    back = [met.entry for met in claim.main]
    assert [name_of(one) for one in back] == ["a", "b"]
    assert [(one.attempts, one.replays, one.accepted_at_ms) for one in back] == [(4, 1, 7)] * 2
    assert min(one.seq for one in back) > seqs[2]
    assert list(await hand.outbox.archive.letters()) == []
    assert hand.outbox.ledger() == Ledger(accepted=3, replayed=2, dead_lettered=2)


async def test_a_dead_letter_is_replayed_once_however_often_it_is_asked_for(hand: Hand) -> None:
    (seq,) = await hand.append(entry("a"))
    await hand.take()
    await hand.settle(REFUSED, "a")
    assert [await hand.replay(seq, seq), await hand.replay(seq)] == [1, 0]
    assert await hand.main() == ["a"]


async def test_replays_are_counted_on(hand: Hand) -> None:
    await hand.append(entry("a"))
    for replays in range(3):
        await hand.take()
        assert hand.held["a"].replays == replays
        await hand.settle(REFUSED, "a")
        (letter,) = await hand.outbox.archive.letters()
        assert letter.replays == replays
        await hand.replay(letter.seq)


async def test_a_watcher_is_called_after_a_replay(hand: Hand) -> None:
    (seq,) = await hand.append(entry("a"))
    await hand.take()
    await hand.settle(REFUSED, "a")
    calls: list[int] = []
    hand.outbox.watch(lambda: calls.append(1))
    await hand.replay(seq)
    assert calls


# What is known from outside


async def test_the_oldest_is_found_wherever_it_waits(hand: Hand) -> None:
    assert await hand.outbox.oldest_at_ms() is None
    await hand.append(entry("a", "ann", at_ms=5), entry("b", "bob", at_ms=6))
    assert await hand.outbox.oldest_at_ms() == 5
    await hand.take()
    await hand.settle(Parked(SOON_MS), "a")
    assert await hand.outbox.oldest_at_ms() == 5
    await hand.settle_each({"b": Delivered()})
    assert await hand.outbox.oldest_at_ms() == 5


async def test_an_audit_counts_what_is_there(hand: Hand) -> None:
    await hand.append(*(entry(name, name) for name in "abcd"))
    await hand.take()
    await hand.settle_each({"a": REFUSED, "b": Parked(SOON_MS)})
    audit = await hand.outbox.audit()
    assert (audit.waiting, audit.parked, audit.dead, audit.is_balanced) == (2, 1, 1, True)


async def test_a_healthy_outbox_takes_and_answers(hand: Hand) -> None:
    assert hand.outbox.condition().refusing == ""
    assert await hand.outbox.is_answering()


async def test_closing_finishes_what_was_asked_for(hand: Hand) -> None:
    asked = [asyncio.ensure_future(hand.outbox.append([entry(str(n))])) for n in range(20)]
    await hand.reopen()
    assert all(one.done() for one in asked)
    assert await hand.main() == [str(n) for n in range(20)]


# Calls whose answers may be lost


def a_call(hand: Hand, name: str) -> AppCall:
    return AppCall(fingerprint=name.encode().ljust(8), at_s=int(hand.clock.now()))


def doubtful(hand: Hand) -> list[str]:
    return [call.fingerprint.decode().rstrip() for call in hand.outbox.unanswered()]


async def test_after_a_crash_the_calls_are_known_that_may_not_have_been_answered(hand: Hand) -> None:
    answered, lost = a_call(hand, "answered"), a_call(hand, "lost")
    await hand.outbox.append([entry("a")], answered)
    await hand.outbox.append([entry("b")], lost)
    assert doubtful(hand) == []  # they are news only to the next process
    answered.is_answered = True
    await hand.append(entry("c"))
    await hand.crash()
    assert doubtful(hand) == ["lost"]
    assert hand.outbox.unanswered()[0].at_s == lost.at_s


async def test_a_call_is_remembered_from_the_commit_of_its_entries_on(hand: Hand) -> None:
    await hand.outbox.append([entry("a")], a_call(hand, "a"))
    await hand.crash()
    assert doubtful(hand) == ["a"]
    await hand.append(entry("b"))
    await hand.crash()
    assert doubtful(hand) == ["a"]  # a second crash changes nothing


async def test_a_call_that_could_not_be_stored_is_not_remembered(hand: Hand) -> None:
    unstorable = NewEntry(kind=None, lanes=b"", body=b"", accepted_at_ms=NOW_MS)  # type: ignore[arg-type]
    with pytest.raises(OutboxUnavailable):
        await hand.outbox.append([unstorable], a_call(hand, "a"))
    await hand.append(entry("b"))
    await hand.crash()
    assert doubtful(hand) == []


async def test_answers_can_be_noted_without_anything_to_store(hand: Hand) -> None:
    call = a_call(hand, "a")
    await hand.outbox.append([entry("a")], call)
    call.is_answered = True
    hand.outbox.note_answers()
    hand.outbox.note_answers()
    await hand.take()  # comes after what was asked for before it
    await hand.crash()
    assert doubtful(hand) == []


async def test_calls_are_forgotten_after_a_minute(hand: Hand) -> None:
    await hand.outbox.append([entry("a")], a_call(hand, "a"))
    hand.clock.advance(ANSWER_KEPT_S - 1)
    await hand.outbox.append([entry("b")], a_call(hand, "b"))
    await hand.crash()
    assert doubtful(hand) == ["a", "b"]
    hand.clock.advance(2)
    await hand.crash()
    assert doubtful(hand) == ["b"]


async def test_a_call_that_turns_out_to_be_a_repeat_is_no_longer_doubtful(hand: Hand) -> None:
    await hand.outbox.append([entry("a")], a_call(hand, "a"))
    await hand.crash()
    hand.outbox.unanswered()[0].is_answered = True
    await hand.append(entry("b"))
    await hand.crash()
    assert doubtful(hand) == []


async def test_a_call_that_counted_as_answered_can_turn_out_not_to_have_been(hand: Hand) -> None:
    call = a_call(hand, "a")
    await hand.outbox.append([entry("a")], call)
    call.is_answered = True
    await hand.append(entry("b"))
    call.is_answered = False
    hand.outbox.note_loss(call)
    hand.outbox.note_loss(call)
    await hand.take()
    await hand.crash()
    assert doubtful(hand) == ["a"]


# What was learnt of Customer.io


async def test_at_first_nothing_was_learnt(hand: Hand) -> None:
    assert hand.outbox.learnt() == b""
    await hand.reopen()
    assert hand.outbox.learnt() == b""


async def test_what_was_noted_last_is_what_was_learnt(hand: Hand) -> None:
    hand.outbox.note_learnt(b"10/s")
    hand.outbox.note_learnt(b"20/s\x00\xff")
    assert hand.outbox.learnt() == b"20/s\x00\xff"


async def test_what_was_learnt_is_written_with_the_next_commit(hand: Hand) -> None:
    hand.outbox.note_learnt(b"10/s")
    await hand.append(entry("a"))
    await hand.crash()
    assert hand.outbox.learnt() == b"10/s"
    await hand.take()
    hand.outbox.note_learnt(b"20/s")
    await hand.settle(Delivered(), "a")
    hand.outbox.note_learnt(b"30/s")  # nothing commits it
    await hand.crash()
    assert hand.outbox.learnt() == b"20/s"


async def test_what_was_learnt_stays_though_nothing_more_is(hand: Hand) -> None:
    hand.outbox.note_learnt(b"10/s")
    await hand.append(entry("a"))
    for _ in range(2):
        await hand.crash()
        await hand.append(entry("b"))
    assert hand.outbox.learnt() == b"10/s"


async def test_closing_writes_what_was_learnt_since_the_last_commit(hand: Hand) -> None:
    for learnt in (b"10/s", b"20/s", b""):
        hand.outbox.note_learnt(learnt)
        await hand.reopen()
        assert hand.outbox.learnt() == learnt


async def test_an_append_that_could_not_be_stored_takes_nothing_of_what_was_learnt_away(hand: Hand) -> None:
    unstorable = NewEntry(kind=None, lanes=b"", body=b"", accepted_at_ms=NOW_MS)  # type: ignore[arg-type]
    hand.outbox.note_learnt(b"10/s")
    with pytest.raises(OutboxUnavailable):
        await hand.append(unstorable)
    assert hand.outbox.learnt() == b"10/s"
    await hand.append(entry("a"))
    await hand.crash()
    assert hand.outbox.learnt() == b"10/s"
