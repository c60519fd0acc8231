"""The delivery log: each request once, and no longer than it is to be kept."""

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from cio_buffer.outbox import log, schema
from cio_buffer.outbox.archive import LETTER_BYTES, Tidied
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import DeadLetter, Delivered, Entry, Settled, pack_lanes, unpack_lanes
from cio_buffer.outbox.trail import TRAIL_BYTES
from tests.outbox.backends import FOREVER, NOW_MS, REFUSED, Hand, operation, these
from tests.outbox.requests import AGAIN, Request, report_of

LINE_BYTES = 150
"""What a line counts for beside what it holds, by which its quota is to be kept."""


async def pass_time(hand: Hand, seconds: float) -> None:
    hand.clock.advance(seconds)
    hand.now_ms += round(seconds * 1_000)


# Each request once


async def test_a_report_that_is_repeated_is_logged_once(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    report = await hand.request({"a": Delivered()})
    before = hand.outbox.sizes()
    settled = [Settled(hand.held["a"], Delivered(), 1)]
    await hand.lease.settle(settled, now_ms=hand.now_ms, report=report)
    await hand.lease.settle([], now_ms=hand.now_ms, report=report)
    assert (hand.outbox.sizes(), await hand.story(seq)) == (before, ["sent"])
    assert hand.outbox.ledger() == Ledger(accepted=1, delivered=1)


async def test_a_request_that_settled_nobody_is_logged(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": AGAIN}, status=500)
    await hand.crash()
    assert await hand.story(seq) == ["again"]
    assert await hand.main() == ["a"]


async def test_a_request_that_was_not_settled_before_a_crash_is_not_there(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.crash()
    assert [one.what for one in (await hand.known(seq)).happenings] == ["started", "started"]


async def test_what_is_settled_without_a_request_is_not_logged(hand: Hand) -> None:
    await hand.append(operation("a", "ann"))
    await hand.take()
    before = hand.outbox.sizes()
    await hand.settle(Delivered(), "a")
    assert hand.outbox.sizes() == before


async def test_requests_are_numbered_on_in_each_lease(hand: Hand) -> None:
    """Also when all that was logged of those before has been thrown away."""
    assert hand.lease.first_request == 1
    await hand.append(operation("a", "ann"))
    await hand.take()
    for _ in range(3):
        await hand.request({"a": AGAIN})
    hand.lease = await hand.acquire()
    assert hand.lease.first_request == 4
    await pass_time(hand, 1)
    await hand.tidy(log_for_s=0)
    await hand.crash()
    assert hand.lease.first_request == 4
    await hand.take()
    await hand.request({"a": Delivered()})
    await hand.reopen()
    assert hand.lease.first_request == 5


async def test_a_request_with_a_lower_number_may_be_over_later(hand: Hand) -> None:
    a, b = await hand.append(operation("a", "ann"), operation("b", "bob"))
    await hand.take()
    for number, name in ((7, "b"), (3, "a")):
        report = report_of(Request(number=number, sent_at_ms=NOW_MS), [hand.held[name]], [None])
        await hand.lease.settle([Settled(hand.held[name], Delivered(), 1)], now_ms=NOW_MS, report=report)
    assert [(await hand.story(seq)) for seq in (a, b)] == [["sent"], ["sent"]]
    hand.lease = await hand.acquire()
    assert hand.lease.first_request == 8


async def test_the_bytes_of_a_line_are_those_of_what_it_holds(hand: Hand) -> None:
    await hand.append(operation("a", "ann", "bob"), operation("b", "cat"), operation("c"), operation("d", "dan"))
    await hand.take()
    before = hand.outbox.sizes().log_bytes
    await hand.request(dict.fromkeys("abc", Delivered()))
    assert hand.outbox.sizes().log_bytes - before == 3 * TRAIL_BYTES + 3 * 8
    before = hand.outbox.sizes().log_bytes
    await hand.request({"d": REFUSED})
    assert hand.outbox.sizes().log_bytes - before > TRAIL_BYTES + 8 + len("was missing")


# Tidying: the log


async def five_requests(hand: Hand) -> Sequence[int]:
    """One each 10 seconds, with an entry each."""
    seqs = await hand.append(*(operation(f"{n}", f"{n}") for n in range(5)))
    await hand.take()
    for n in range(5):
        await pass_time(hand, 10)
        await hand.request({f"{n}": Delivered()})
    return seqs


async def known_of(hand: Hand, seqs: Sequence[int]) -> list[int]:
    """Which of them, counted from 0, the log still knows."""
    return [n for n, seq in enumerate(seqs) if (await hand.outbox.archive.trace(seq)).known]


async def test_where_all_is_to_be_kept_nothing_is_thrown_away(hand: Hand) -> None:
    await five_requests(hand)
    await hand.bury(operation("a", "ann"))
    before = (hand.outbox.ledger(), hand.outbox.sizes())
    assert await hand.outbox.archive.tidy(FOREVER, now_ms=NOW_MS + 99_000) == Tidied(0, 0, 0, is_done=True)
    assert (hand.outbox.ledger(), hand.outbox.sizes()) == before


@pytest.mark.parametrize(
    ("log_for_s", "left"), [(50.1, [0, 1, 2, 3, 4]), (39.9, [1, 2, 3, 4]), (15, [3, 4]), (0.01, []), (0, [])]
)
async def test_the_log_is_kept_for_so_long(hand: Hand, log_for_s: float, left: list[int]) -> None:
    seqs = await five_requests(hand)
    done = await hand.tidy(log_for_s=log_for_s)
    assert await known_of(hand, seqs) == left
    assert hand.outbox.sizes().log_lines == len(left) + (log_for_s > 50)
    assert done.requests == 6 - hand.outbox.sizes().log_lines
    assert hand.outbox.ledger() == Ledger(accepted=5, delivered=5)


async def test_what_is_just_as_old_as_may_be_is_kept(hand: Hand) -> None:
    await five_requests(hand)
    await hand.tidy(log_for_s=10.04)  # sent 40 ms before it was over
    assert hand.outbox.sizes().log_lines == 2
    await hand.tidy(log_for_s=10.039)
    assert hand.outbox.sizes().log_lines == 1


@pytest.mark.parametrize(("log_bytes", "left"), [(525, 3), (524, 2), (350, 2), (175, 1), (174, 0), (0, 0)])
async def test_the_log_has_at_most_so_many_bytes(hand: Hand, log_bytes: int, left: int) -> None:
    """What a line takes beside what it holds is counted too."""
    seqs = await five_requests(hand)
    assert LINE_BYTES + TRAIL_BYTES + 8 == 175
    done = await hand.tidy(log_bytes=log_bytes)
    assert (await known_of(hand, seqs), done.requests) == (list(range(5 - left, 5)), 6 - left)
    sizes = hand.outbox.sizes()
    assert (sizes.log_lines, sizes.log_bytes) == (left, left * 25)


async def test_what_was_thrown_away_stays_away_after_a_crash(hand: Hand) -> None:
    seqs = await five_requests(hand)
    await hand.tidy(log_for_s=15)
    sizes = hand.outbox.sizes()
    await hand.crash()
    assert await known_of(hand, seqs) == [3, 4]
    assert hand.outbox.sizes().log_lines == sizes.log_lines + 1  # the start


# Tidying: dead letters


async def five_letters(hand: Hand) -> Sequence[int]:
    """One dies each 10 seconds, the last accepted first, of 100 bytes each."""
    seqs = await hand.append(*(operation(f"{n}", f"{n}", size=100) for n in range(5)))
    await hand.take()
    for n in (4, 3, 2, 1, 0):
        await pass_time(hand, 10)
        await hand.request({f"{n}": DeadLetter(reason="expired")})
    return seqs


@pytest.mark.parametrize(("dead_for_s", "left"), [(40, 5), (39.999, 4), (15, 2), (0.1, 1), (0, 1)])
async def test_dead_letters_are_kept_for_so_long(hand: Hand, dead_for_s: float, left: int) -> None:
    """From their death on, however late they were accepted."""
    seqs = await five_letters(hand)
    assert await hand.tidy(dead_for_s=dead_for_s) == Tidied(0, 5 - left, 0, is_done=True)
    assert await hand.letters() == ["0", "1", "2", "3", "4"][:left]
    assert hand.outbox.ledger() == Ledger(accepted=5, dead_lettered=5, dead_evicted=5 - left, dead=left)
    assert hand.outbox.sizes().dead_bytes == await hand.dead_bytes()
    assert [(await hand.story(seq))[1:] for seq in seqs] == [[]] * left + [["evicted"]] * (5 - left)


@pytest.mark.parametrize(("room_for", "bytes_less", "left"), [(5, 0, 5), (5, 1, 4), (4, 0, 4), (1, 0, 1), (1, 1, 0)])
async def test_dead_letters_have_at_most_so_many_bytes(hand: Hand, room_for: int, bytes_less: int, left: int) -> None:
    await five_letters(hand)
    each = await hand.dead_bytes() // 5 + LETTER_BYTES
    assert await hand.tidy(dead_bytes=room_for * each - bytes_less) == Tidied(0, 0, 5 - left, is_done=True)
    assert await hand.letters() == ["0", "1", "2", "3", "4"][:left]
    assert hand.outbox.ledger() == Ledger(accepted=5, dead_lettered=5, dead_evicted=5 - left, dead=left)


async def test_who_is_evicted_for_its_age_and_who_for_room_is_told_apart(hand: Hand) -> None:
    await five_letters(hand)
    each = await hand.dead_bytes() // 5 + LETTER_BYTES
    assert await hand.tidy(dead_for_s=25, dead_bytes=2 * each) == Tidied(0, 2, 1, is_done=True)
    assert await hand.letters() == ["0", "1"]


async def test_age_alone_may_make_room_enough(hand: Hand) -> None:
    await five_letters(hand)
    each = await hand.dead_bytes() // 5 + LETTER_BYTES
    assert await hand.tidy(dead_for_s=25, dead_bytes=3 * each) == Tidied(0, 2, 0, is_done=True)
    assert await hand.letters() == ["0", "1", "2"]


async def test_many_letters_are_evicted_step_by_step(hand: Hand) -> None:
    await hand.bury(*(operation(f"{n}", f"{n}") for n in range(120)))
    await pass_time(hand, 1)
    steps = [
        await hand.outbox.archive.tidy(structs.replace(FOREVER, dead_for_s=0), now_ms=hand.now_ms) for _ in range(4)
    ]
    assert [(step.letters_by_age, step.is_done) for step in steps] == [(50, False), (50, False), (20, False), (0, True)]
    assert hand.outbox.ledger() == Ledger(accepted=120, dead_lettered=120, dead_evicted=120)


async def test_a_letter_that_was_replayed_and_died_again_is_young(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    await hand.bury(operation("b", "bob"))
    await pass_time(hand, 10)
    await hand.replay(seq)
    await hand.take()
    await hand.request({"a": REFUSED})
    await hand.tidy(dead_for_s=5)
    assert await hand.letters() == ["a"]


async def test_a_purge_is_no_eviction_and_neither_is_a_replay(hand: Hand) -> None:
    a, b, _ = await hand.bury(operation("a", "ann"), operation("b", "bob"), operation("c", "cat"))
    await hand.outbox.archive.purge(these(a))
    await hand.replay(b)
    await pass_time(hand, 1)
    await hand.tidy(dead_for_s=0)
    assert hand.outbox.ledger() == Ledger(accepted=3, dead_lettered=3, dead_purged=1, dead_evicted=1, replayed=1)


# Parts


def stored(seq: int, *lanes: str) -> Entry:
    return Entry(
        seq=seq,
        lanes=unpack_lanes(pack_lanes(lanes)),
        kind="event",
        accepted_at_ms=seq,
        tried_since_ms=seq,
        call=None,
        attempts=0,
        replays=0,
        traceparent=None,
        body=b"",
        first_seq=seq,
        packed_lanes=pack_lanes(lanes),
        trail=b"",
    )


def logged(seqs: Sequence[int], number: int = 1) -> tuple[log.Line, bytes]:
    """A request of entries with these numbers, all delivered."""
    return log.line_of(
        report_of(Request(number=number, sent_at_ms=0), [stored(seq) for seq in seqs], [None] * len(seqs))
    )


numbers = st.lists(st.integers(1, 40), min_size=1, max_size=20, unique=True)
spread = st.sampled_from([1, 1, 500, 70_000, 10**10])
"""How far apart numbers lie: each start leaves a million unused, and a night may have many."""


@given(numbers, spread)
def test_numbers_come_back_in_their_order(seqs: list[int], apart: int) -> None:
    given = [seq * apart for seq in seqs]
    line, _ = logged(given)
    assert list(line.numbers()) == given
    assert (line.first_seq, line.last_seq) == (min(given), max(given))
    assert [line.trail(place).accepted_at_ms for place in range(len(seqs))] == given


@given(st.lists(st.tuples(numbers, spread), max_size=12), st.sets(st.integers(1, 40), max_size=40), spread)
def test_each_line_of_a_number_is_found(lines: list[tuple[list[int], int]], asked: set[int], apart: int) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db)
    held: dict[int, list[int]] = {}
    for line_id, (seqs, between) in enumerate(lines, 1):
        held[line_id] = [seq * between for seq in seqs]
        log.write(db, *logged(held[line_id], number=line_id))
    seqs = [seq * apart for seq in asked]
    found = log.ids_with(db, seqs)
    assert found == {seq: [line_id for line_id in held if seq in held[line_id]] for seq in seqs}
    db.close()


def test_numbers_that_follow_one_upon_the_other_take_no_room() -> None:
    assert log.pack_numbers([7, 8, 9], 7, 9) == b""
    assert log.pack_numbers([7], 7, 7) == b""
    assert len(log.pack_numbers([7, 9, 8], 7, 9)) == 12
    assert len(log.pack_numbers([7, 9], 7, 9)) == 8


@given(st.lists(st.sets(st.sampled_from("abcdef"), max_size=4), min_size=1, max_size=12), st.sampled_from("abcdef"))
def test_the_places_of_a_lane_lead_to_those_who_touch_it(lanes: list[set[str]], lane: str) -> None:
    entries = [stored(10 + n, *among) for n, among in enumerate(lanes)]
    line, packed = log.line_of(report_of(Request(number=1, sent_at_ms=0), entries, [None] * len(entries)))
    found = log.places(packed, pack_lanes([lane]), 8)
    ends = line.lane_ends()
    touching = {next(n for n, end in enumerate(ends) if place < end) for place in found}
    assert touching == {n for n, among in enumerate(lanes) if lane in among}


def test_places_are_whole_steps() -> None:
    assert log.places(b"abababab", b"ab", 2) == [0, 1, 2, 3]
    assert log.places(b"xababx__ab", b"ab", 2) == [4]
    assert log.places(b"", b"ab", 2) == []


def test_of_searches_for_a_number_none_reads_the_whole_log() -> None:
    """The statements go by an index, however long the log is."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db)
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    log.ids_with(db, [7])
    db.set_trace_callback(None)
    plans = [row[3] for sql in seen for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    db.close()
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
