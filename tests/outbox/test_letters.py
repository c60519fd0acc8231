"""Dead letters: found, counted, thrown away and changed."""

from collections.abc import Sequence

import pytest
from msgspec import structs

from cio_buffer.outbox.archive import Letters
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import DeadLetter, Delivered, NewEntry, Parked, pack_lanes
from cio_buffer.outbox.trail import mark_of, pack_trail
from tests.outbox.backends import NOW_MS, REFUSED, Hand, hashed, name_of, operation, seqs_in, these
from tests.outbox.requests import AGAIN

EXPIRED = DeadLetter(reason="expired")


async def five(hand: Hand) -> Sequence[int]:
    """Ann's a and b and Bob's c are refused, d and e expire two seconds later; d is Ann's and Bob's."""
    seqs = await hand.append(
        operation("a", "ann"),
        operation("b", "ann", kind="event"),
        operation("c", "bob"),
        operation("d", "ann", "bob"),
        operation("e", "cat", kind="event"),
    )
    await hand.take()
    await hand.request({"a": REFUSED, "b": REFUSED, "c": REFUSED})
    hand.clock.advance(2)
    hand.now_ms += 2_000
    await hand.request({"d": EXPIRED, "e": EXPIRED})
    return seqs


ANN, BOB, DAN = hashed("ann", "bob", "dan")

FILTERS = {
    "all": (Letters(), "abcde"),
    "a reason": (Letters(reason="expired"), "de"),
    "a kind": (Letters(kind="identify"), "acd"),
    "a lane": (Letters(lane=ANN), "abd"),
    "another lane": (Letters(lane=BOB), "cd"),
    "a lane of nobody": (Letters(lane=DAN), ""),
    "a time": (Letters(since_ms=NOW_MS + 2_000), "de"),
    "a time that is just over": (Letters(since_ms=NOW_MS + 2_001), ""),
    "a time before all": (Letters(since_ms=NOW_MS), "abcde"),
    "a lane and a kind": (Letters(lane=ANN, kind="identify"), "ad"),
    "a reason and a kind": (Letters(reason="refused", kind="event"), "b"),
    "everything at once": (Letters(reason="expired", kind="identify", lane=BOB, since_ms=NOW_MS + 1), "d"),
    "what nobody has": (Letters(reason="refused", since_ms=NOW_MS + 1), ""),
}
filters = pytest.mark.parametrize(("wanted", "names"), FILTERS.values(), ids=FILTERS)


# Looking


@filters
async def test_letters_are_found_by_what_is_said_of_them(hand: Hand, wanted: Letters, names: str) -> None:
    await five(hand)
    assert await hand.letters(wanted) == list(names)
    assert await hand.outbox.archive.count_letters(wanted) == len(names)
    assert await hand.outbox.archive.count_letters(wanted, limit=2) == min(len(names), 2)


async def test_letters_are_found_by_number(hand: Hand) -> None:
    a, _, c, d, e = await five(hand)
    assert await hand.letters(these(e, a, c, 999_999)) == ["a", "c", "e"]
    assert await hand.letters(these()) == []
    wanted = Letters(seqs=frozenset({a, d, e}), kind="identify")
    assert await hand.letters(wanted) == ["a", "d"]
    assert await hand.outbox.archive.count_letters(wanted) == 2


@filters
async def test_letters_are_turned_over_page_by_page(hand: Hand, wanted: Letters, names: str) -> None:
    await five(hand)
    pages, after = [], 0
    for _ in range(4):
        page = await hand.outbox.archive.letters(wanted, after=after, limit=2)
        pages.append("".join(map(name_of, page)))
        after = page[-1].seq if page else after
    assert pages == [names[start : start + 2] for start in range(0, 8, 2)]


async def test_letters_are_in_the_order_of_their_acceptance(hand: Hand) -> None:
    """Whatever the order in which they died, and though one of them died again, of a higher number, since."""
    seqs = await hand.append(*(operation(name, name) for name in "abcd"))
    await hand.take()
    await hand.request({"d": REFUSED, "b": REFUSED})
    await hand.request({"a": REFUSED, "c": Delivered()})
    await hand.replay(seqs[1])
    await hand.take()
    await hand.request({"b": REFUSED})
    letters = await hand.outbox.archive.letters()
    assert [(name_of(one), one.seq) for one in letters] == [("a", seqs[0]), ("b", seqs[1]), ("d", seqs[3])]


async def test_a_letter_keeps_what_the_entry_was(hand: Hand) -> None:
    given = NewEntry(
        kind="merge", lanes=pack_lanes(["ann", "bob"]), body=b'{"a":1}', accepted_at_ms=NOW_MS - 7,
        call="POST /api/v1/merge_customers", route="v1", traceparent="00-a-b-01",
    )  # fmt: skip
    await hand.bury(given)
    (letter,) = await hand.outbox.archive.letters()
    assert (letter.kind, letter.body, letter.accepted_at_ms) == (given.kind, given.body, given.accepted_at_ms)
    assert (letter.call, letter.route, letter.traceparent) == (given.call, given.route, given.traceparent)


async def test_reasons_are_counted(hand: Hand) -> None:
    assert await hand.outbox.archive.reasons() == {}
    a, *_ = await five(hand)
    assert await hand.outbox.archive.reasons() == {"refused": 3, "expired": 2}
    await hand.outbox.archive.purge(Letters(reason="expired"))
    await hand.replay(a)
    assert await hand.outbox.archive.reasons() == {"refused": 2}


# Purging


@filters
async def test_a_purge_throws_away_what_is_meant_and_nothing_else(hand: Hand, wanted: Letters, names: str) -> None:
    await five(hand)
    before = hand.outbox.ledger()
    assert await hand.outbox.archive.purge(wanted, is_dry=True) == len(names)
    assert (await hand.letters(), hand.outbox.ledger()) == (list("abcde"), before)
    assert await hand.outbox.archive.purge(wanted) == len(names)
    assert await hand.letters() == [name for name in "abcde" if name not in names]
    assert hand.outbox.ledger() == Ledger(accepted=5, dead_lettered=5, dead_purged=len(names), dead=5 - len(names))


async def test_a_purge_of_so_many_begins_with_the_oldest(hand: Hand) -> None:
    await five(hand)
    assert await hand.outbox.archive.purge(Letters(kind="identify"), limit=2, is_dry=True) == 2
    assert await hand.outbox.archive.purge(Letters(kind="identify"), limit=2) == 2
    assert await hand.letters() == ["b", "d", "e"]
    assert await hand.outbox.archive.purge(Letters(), limit=0) == 0
    assert await hand.outbox.archive.purge(Letters(), limit=99) == 3


async def test_what_waits_is_not_purged(hand: Hand) -> None:
    seqs = await hand.append(operation("a", "ann"), operation("b", "bob"), operation("c", "cat"))
    await hand.take()
    await hand.request({"a": Parked(NOW_MS + 1), "b": REFUSED})
    await hand.replay(seqs[1])
    assert await hand.outbox.archive.purge(these(*seqs)) == 0
    assert await hand.outbox.archive.purge(Letters()) == 0
    assert hand.outbox.ledger() == Ledger(accepted=3, dead_lettered=1, replayed=1, parked=1)


async def test_a_purge_is_durable_and_is_told(hand: Hand) -> None:
    a, b, *_ = await five(hand)
    hand.clock.advance(5)
    await hand.outbox.archive.purge(these(a))
    await hand.crash()
    assert await hand.letters() == ["b", "c", "d", "e"]
    assert ((await hand.known(a)).place, await hand.story(a)) == ("gone", ["dead", "purged"])
    assert [one.at_ms for one in (await hand.known(a)).happenings if one.what == "purged"] == [NOW_MS + 7_000]
    assert await hand.story(b) == ["dead"]


# Editing


def anew(name: str, *lanes: str, kind: str = "identify", call: str | None = None, event_id: str = "") -> NewEntry:
    """What is put in the place of a letter, which keeps its time and route."""
    return operation(name, *lanes, kind=kind, call=call, event_id=event_id)


async def test_an_edit_changes_the_body_and_what_follows_from_it(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind="event"))
    (before,) = await hand.outbox.archive.letters()
    assert await hand.outbox.archive.edit(seq, anew("longer", "bob", "cat", call="PUT /api/v1/customers/bob"))
    await hand.crash()
    (after,) = await hand.outbox.archive.letters()
    assert (after.body, after.kind, after.call) == (b"longer", "identify", "PUT /api/v1/customers/bob")
    kept = ("seq", "accepted_at_ms", "route", "traceparent", "died_at_ms", "reason", "vendor_reason", "field",
            "message", "status", "attempts", "replays", "history")  # fmt: skip
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert before.history


async def test_an_edited_letter_is_found_in_its_new_lanes_and_not_in_its_old_ones(hand: Hand) -> None:
    a, _ = await hand.bury(operation("a", "ann"), operation("b", "ann"))
    await hand.outbox.archive.edit(a, anew("a", "bob"))
    assert await hand.letters(Letters(lane=ANN)) == ["b"]
    assert await hand.letters(Letters(lane=BOB)) == ["a"]
    assert await hand.outbox.archive.purge(Letters(lane=ANN)) == 1
    assert await hand.letters() == ["a"]


async def test_a_replay_of_an_edited_letter_keeps_the_order_of_its_new_lanes(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    await hand.append(operation("b", "bob"), operation("c", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS + 5_000), "b", "c")
    await hand.outbox.archive.edit(seq, anew("a", "bob"))
    await hand.replay(seq)
    claim = await hand.take()
    assert [(name_of(met.entry), met.is_behind) for met in claim.main] == [("a", True)]
    assert sorted(hand.held["a"].lanes) == hashed("bob")
    assert hand.held["a"].packed_lanes == pack_lanes(["bob"])
    await hand.settle(Parked(), "a")
    assert await hand.parked(now_ms=NOW_MS + 5_000) == ["b", "c", "a"]


async def test_what_is_sent_after_an_edit_is_what_was_put_in_its_place(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind="event", event_id="first"))
    given = anew("a!", "ann", kind="page", call="POST /api/v1/events", event_id="second")
    await hand.outbox.archive.edit(seq, given)
    await hand.replay(seq)
    await hand.take()
    got = hand.held["a!"]
    assert (got.first_seq, got.kind, got.call, got.body) == (seq, "page", "POST /api/v1/events", b"a!")
    assert (
        got.trail
        == given.trail
        == pack_trail(mark=mark_of("second"), accepted_at_ms=got.accepted_at_ms, kind="page", route="v1", lanes=1)
    )
    assert (got.accepted_at_ms, got.attempts, got.replays) == (NOW_MS - 1_000, 1, 1)


@pytest.mark.parametrize("size", [0, 1, 5_000])
async def test_the_bytes_of_dead_letters_are_counted_through_edits(hand: Hand, size: int) -> None:
    a, b = await hand.bury(operation("a", "ann", size=100), operation("b", "bob", size=50))
    before = hand.outbox.sizes().dead_bytes
    assert before == await hand.dead_bytes() > 150
    await hand.outbox.archive.edit(a, operation("a", "ann", size=size))
    assert hand.outbox.sizes().dead_bytes == await hand.dead_bytes() == before - 100 + max(size, 1)
    await hand.crash()
    await hand.replay(b)
    assert hand.outbox.sizes().dead_bytes == await hand.dead_bytes() < before - 50 + size
    await hand.outbox.archive.purge(these(a))
    assert hand.outbox.sizes().dead_bytes == 0


async def test_of_a_letter_all_is_counted_that_can_be_long(hand: Hand) -> None:
    """Also what came back each time, in Customer.io's words."""
    why = structs.replace(REFUSED, message="é" * 400)
    await hand.append(operation("a", "ann", size=70))
    await hand.take()
    for _ in range(9):
        await hand.request({"a": AGAIN})
    await hand.request({"a": why})
    assert hand.outbox.sizes().dead_bytes == await hand.dead_bytes() > 70 + 400 + 9 * 50


async def test_only_a_dead_letter_is_edited(hand: Hand) -> None:
    waiting, parked, gone, dead = await hand.append(*(operation(name, name) for name in "abcd"))
    await hand.take()
    await hand.request({"b": Parked(NOW_MS), "c": Delivered(), "d": REFUSED})
    lines = hand.outbox.sizes().log_lines
    for seq in (waiting, parked, gone, 999_999):
        assert not await hand.outbox.archive.edit(seq, anew("x", "x"))
    assert hand.outbox.sizes().log_lines == lines
    assert await hand.outbox.archive.edit(dead, anew("d!", "d"))
    await hand.replay(dead)
    assert not await hand.outbox.archive.edit(dead, anew("d?", "d"))
    claim = await hand.take()
    assert [name_of(one) for one in (*claim.parked, *(met.entry for met in claim.main))] == ["b", "d!"]


async def test_an_edit_is_told(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    hand.clock.advance(60)
    await hand.outbox.archive.edit(seq, anew("b", "bob"))
    known = await hand.known(seq)
    assert (known.place, await hand.story(seq)) == ("dead", ["dead", "edited"])
    assert known.happenings[-1].at_ms == NOW_MS + 60_000
    assert seqs_in(await hand.outbox.archive.trace_lane(hashed("bob"), limit=9)) == [seq]
    assert seqs_in(await hand.outbox.archive.trace_lane(hashed("ann"), limit=9)) == [seq]  # it was, once


async def test_an_edited_event_is_found_by_its_new_id(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind="event", event_id="old"))
    await hand.outbox.archive.edit(seq, anew("a", "ann", kind="event", event_id="new"))
    assert seqs_in(await hand.outbox.archive.trace_event("new", limit=9)) == [seq]
