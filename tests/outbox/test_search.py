"""Stories: what is known of an entry, by its number, by whom it concerns, and by an event's id."""

from collections.abc import Sequence

import pytest
from msgspec import structs

from cio_buffer.outbox.archive import Found, Happening, Known
from cio_buffer.outbox.entry import Attempt, Delivered, Fate, NewEntry, Parked
from tests.outbox.backends import NOW_MS, REFUSED, Hand, entry, hashed, operation, seqs_in, these, v1
from tests.outbox.requests import AGAIN

DEAD = Fate(what="dead", reason="refused", vendor_reason="required", field="name", message="was missing")
UNTIL_MS = NOW_MS + 5_000


async def by_lane(hand: Hand, *lanes: str, limit: int = 100) -> Found:
    return await hand.outbox.archive.trace_lane(hashed(*lanes), limit=limit)


async def by_event(hand: Hand, event_id: str, limit: int = 100) -> Found:
    return await hand.outbox.archive.trace_event(event_id, limit=limit)


def without_lives(known: Known) -> list[Happening]:
    return [one for one in known.happenings if one.what not in ("started", "stopped")]


# By number, wherever it is


async def test_of_a_number_that_was_never_given_nothing_is_known(hand: Hand) -> None:
    found = await hand.outbox.archive.trace(7)
    assert (list(found.known), found.is_more, found.log_since_ms) == ([], False, NOW_MS)


async def test_a_search_says_how_far_numbers_and_log_go(hand: Hand) -> None:
    hand.clock.advance(60)
    (seq,) = await hand.append(operation("a", "ann"))
    for found in (await hand.outbox.archive.trace(1), await by_lane(hand, "ann"), await by_event(hand, "x")):
        assert (found.log_since_ms, found.highest_seq) == (NOW_MS, seq)
    await hand.tidy(log_for_s=1)
    assert (await hand.outbox.archive.trace(seq)).log_since_ms is None


async def test_an_entry_that_waits(hand: Hand) -> None:
    given = structs.replace(operation("a", "ann", kind="event", route="v2 batch"), traceparent="00-a-b-01")
    (seq,) = await hand.append(given)
    assert await hand.known(seq) == Known(
        seq=seq,
        kind="event",
        route="v2 batch",
        accepted_at_ms=given.accepted_at_ms,
        place="main",
        happenings=[Happening(at_ms=NOW_MS, what="started")],
        traceparent="00-a-b-01",
        history=[],
    )
    await hand.take()
    assert (await hand.known(seq)).place == "main"  # a claim writes nothing


async def test_an_entry_that_is_held(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": Parked(UNTIL_MS, holds=2, held_for="http_503")}, status=503)
    known = await hand.known(seq)
    assert (known.place, known.due_at_ms, known.holds, known.held_for) == ("parked", UNTIL_MS, 2, "http_503")
    assert (known.kind, known.route, known.attempts, known.replays) == ("identify", "v1", 1, 0)
    held = Fate(what="held", reason="http_503", until_ms=UNTIL_MS)
    attempt = Attempt(request=1, sent_at_ms=NOW_MS - 40, took_ms=40, fate=held, status=503)
    assert list(known.history) == [attempt]
    assert without_lives(known) == [
        Happening(at_ms=NOW_MS - 40, what="sent", request=1, took_ms=40, status=503, entries=1, fate=held)
    ]


async def test_an_entry_that_is_parked_behind_another(hand: Hand) -> None:
    _, second = await hand.append(operation("a", "ann"), operation("b", "ann"))
    await hand.take()
    await hand.settle_each({"a": Parked(UNTIL_MS), "b": Parked()})
    known = await hand.known(second)
    assert (known.place, known.due_at_ms, without_lives(known)) == ("parked", None, [])


async def test_a_dead_letter(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    known = await hand.known(seq)
    (letter,) = await hand.outbox.archive.letters()
    assert (known.place, known.dead, known.history) == ("dead", letter, letter.history)
    assert (known.kind, known.route, known.accepted_at_ms) == (letter.kind, letter.route, letter.accepted_at_ms)
    assert (known.attempts, known.replays) == (1, 0)
    assert [(one.what, one.fate) for one in without_lives(known)] == [("sent", DEAD)]


async def test_an_entry_that_was_delivered(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann", kind="event", route="v2 entity", at_ms=NOW_MS - 9))
    await hand.take()
    await hand.request({"a": AGAIN}, took_ms=30_000, status=None, trouble="timeout")
    await hand.request({"a": Delivered()}, took_ms=71, status=200)
    known = await hand.known(seq)
    assert (known.place, known.kind, known.route, known.accepted_at_ms) == ("gone", "event", "v2 entity", NOW_MS - 9)
    sent = Happening(at_ms=NOW_MS - 71, what="sent", request=2, took_ms=71, status=200, entries=1)
    failed = Happening(
        at_ms=NOW_MS - 30_000, what="sent", request=1, took_ms=30_000, trouble="timeout", entries=1, fate=AGAIN
    )
    assert without_lives(known) == [failed, sent]


async def test_an_entry_that_was_thrown_away(hand: Hand) -> None:
    purged, evicted = await hand.bury(operation("a", "ann"), operation("b", "bob"))
    await hand.outbox.archive.purge(these(purged))
    hand.clock.advance(2)
    await hand.tidy(dead_for_s=1)
    assert [(await hand.known(seq)).place for seq in (purged, evicted)] == ["gone", "gone"]
    assert await hand.story(purged) == ["dead", "purged"]
    assert await hand.story(evicted) == ["dead", "evicted"]


async def test_an_entry_that_the_log_has_forgotten(hand: Hand) -> None:
    gone, dead = await hand.append(operation("a", "ann"), operation("b", "bob"))
    await hand.take()
    await hand.request({"a": Delivered(), "b": REFUSED})
    hand.clock.advance(10)
    await hand.tidy(log_for_s=1)
    assert list((await hand.outbox.archive.trace(gone)).known) == []
    known = await hand.known(dead)
    assert (list(known.happenings), [one.fate for one in known.history]) == ([], [DEAD])


async def test_an_entry_is_told_of_after_a_crash_as_before(hand: Hand) -> None:
    seqs = await hand.append(*(operation(name, name) for name in "abcd"))
    await hand.take()
    await hand.request({"a": Delivered(), "b": REFUSED, "c": Parked(UNTIL_MS)})
    before = [await hand.known(seq) for seq in seqs]
    await hand.crash()
    started = Happening(at_ms=NOW_MS, what="started")
    after = [await hand.known(seq) for seq in seqs]
    lived_on = [structs.replace(known, happenings=[*known.happenings, started]) for known in before[1:]]
    assert after == [before[0], *lived_on]


async def test_what_is_gone_is_told_of_as_it_was_last(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind="event"))
    await hand.outbox.archive.edit(seq, operation("a", "ann", kind="identify"))
    await hand.outbox.archive.purge(these(seq))
    assert ((await hand.known(seq)).kind, await hand.story(seq)) == ("identify", ["dead", "edited", "purged"])


# Requests


async def test_in_a_request_of_many_each_has_its_own_fate(hand: Hand) -> None:
    names = "abcdefgh"
    seqs = await hand.append(*(operation(name, name, "x") for name in names))
    await hand.take()
    ends = {"c": REFUSED, "e": AGAIN, "f": REFUSED, "h": Parked(UNTIL_MS)}
    await hand.request({name: ends.get(name, Delivered()) for name in names})
    what = {
        name: [one.fate for one in without_lives(await hand.known(seq))] for name, seq in zip(names, seqs, strict=True)
    }
    held = Fate(what="held", reason="timeout", until_ms=UNTIL_MS)
    assert what == {name: [None] for name in names} | {"c": [DEAD], "e": [AGAIN], "f": [DEAD], "h": [held]}
    assert {one.entries for seq in seqs for one in without_lives(await hand.known(seq))} == {8}


async def test_entries_need_not_be_in_the_order_of_their_numbers(hand: Hand) -> None:
    seqs = await hand.append(*(operation(name, name, kind=kind) for name, kind in KINDS_BY_NAME.items()))
    await hand.take()
    await hand.request({"c": REFUSED, "a": Delivered(), "d": Delivered(), "b": AGAIN})
    known = [await hand.known(seq) for seq in seqs]
    assert [one.kind for one in known] == list(KINDS_BY_NAME.values())
    assert [without_lives(one)[0].fate for one in known] == [None, AGAIN, DEAD, None]


KINDS_BY_NAME = {"a": "event", "b": "identify", "c": "page", "d": "delete"}


async def test_a_request_of_a_thousand_is_told_of_each(hand: Hand) -> None:
    names = [f"{n}" for n in range(999)]
    seqs = await hand.append(*(operation(name, name) for name in names))
    await hand.take()
    await hand.request({name: REFUSED if name in ("0", "500", "998") else Delivered() for name in names[::2]})
    await hand.request(dict.fromkeys(names[1::2], Delivered()))
    for n in (0, 1, 2, 499, 500, 501, 996, 997, 998):
        assert await hand.story(seqs[n]) == ["dead" if n in (0, 500, 998) else "sent"]
        assert seqs_in(await by_lane(hand, f"{n}")) == [seqs[n]]


async def test_a_request_that_went_wrong_for_all_is_told_of_each(hand: Hand) -> None:
    seqs = await hand.append(*(operation(name, name) for name in "abc"))
    await hand.take()
    await hand.request(dict.fromkeys("abc", AGAIN), status=500)
    await hand.request({"b": Delivered()})
    assert [await hand.story(seq) for seq in seqs] == [["again"], ["again", "sent"], ["again"]]


async def test_entries_far_apart_may_share_a_request(hand: Hand) -> None:
    """Each start leaves numbers unused, so a request may hold some from before it and some from after."""
    first = await hand.append(operation("a", "ann"), operation("b", "bob", kind="event"))
    await hand.reopen()
    second = await hand.append(operation("c", "cat"), operation("d", "dan", kind="page"))
    assert second[0] - first[0] > 65_536
    between = await hand.append(*(operation(str(n), "eve") for n in range(3)))
    await hand.take()
    await hand.request({"a": Delivered(), "b": AGAIN, "c": Delivered(), "d": REFUSED})
    await hand.request(dict.fromkeys("012", Delivered()))
    await hand.crash()
    assert [await hand.story(seq) for seq in (*first, *second)] == [["sent"], ["again"], ["sent"], ["dead"]]
    assert [await hand.story(seq) for seq in between] == [["sent"]] * 3
    assert list((await hand.outbox.archive.trace(first[0] + 65_536)).known) == []
    assert seqs_in(await by_lane(hand, "bob", "dan")) == [first[1], second[1]]


async def test_a_call_that_touches_a_thousand_lanes(hand: Hand) -> None:
    """More than a trail can count, but it leaves alone."""
    lanes = [f"id:{n}" for n in range(1_000)]
    call = operation("segment", *lanes, kind="segment_add", call="POST /api/v1/segments/7/add_customers")
    _, seq, _ = await hand.append(operation("a", "id:0"), call, operation("b", "id:999"))
    await hand.take()
    await hand.request({"a": Delivered()})
    await hand.request({"segment": AGAIN})
    await hand.request({"segment": Delivered()})
    await hand.request({"b": Delivered()})
    assert await hand.story(seq) == ["again", "sent"]
    assert {one.is_v1 for one in without_lives(await hand.known(seq))} == {True}
    for lane in ("id:1", "id:254", "id:255", "id:256", "id:998"):
        assert seqs_in(await by_lane(hand, lane)) == [seq]
    assert (await hand.known(seq)).kind == "segment_add"


@pytest.mark.parametrize("then", ["replayed", "purged", "evicted"])
async def test_dead_letters_with_a_thousand_lanes_are_told_from_each_other(hand: Hand, then: str) -> None:
    """What befalls many at once stands in one line, or so it did."""
    calls = [
        operation(name, *(f"{name}:{n}" for n in range(1_000)), kind="segment_add", call="POST /x") for name in "ab"
    ]
    seqs = await hand.append(operation("first", "ann", "bob"), *calls, operation("last", "cat", "dan"))
    await hand.take()
    for name in ("first", "a", "b", "last"):
        await hand.request({name: REFUSED})
    hand.clock.advance(2)
    match then:
        case "replayed":
            await hand.replay(*seqs)
        case "purged":
            assert await hand.outbox.archive.purge(these(*seqs)) == 4
        case _:
            await hand.tidy(dead_for_s=1)
    await hand.tidy(log_for_s=1.99)
    asked = ["bob", "a:0", "a:255", "a:999", "b:0", "b:256", "b:999", "dan"]
    found = [seqs_in(await by_lane(hand, lane)) for lane in asked]
    first, a, b, last = seqs
    assert found == [[first], [a], [a], [a], [b], [b], [b], [last]]
    assert [await hand.story(seq) for seq in seqs] == [[then]] * 4


async def test_what_a_letter_lived_through_twice_is_told_twice(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    for _ in range(2):
        await hand.replay(seq)
        await hand.take()
        await hand.request({"a": REFUSED})
    await hand.replay(seq)
    await hand.take()
    await hand.request({"a": Delivered()})
    known = await hand.known(seq)
    assert await hand.story(seq) == ["dead", "replayed"] * 3 + ["sent"]
    assert (known.seq, known.place, known.replays) == (seq, "gone", 3)
    assert [one.request for one in without_lives(known) if one.what == "sent"] == [1, 2, 3, 4]
    assert seqs_in(await by_lane(hand, "ann")) == [seq]


@pytest.mark.parametrize("place", ["main", "parked"])
async def test_a_replay_that_waits_is_found_by_the_number_of_its_acceptance(hand: Hand, place: str) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind="event", event_id="x"))
    await hand.replay(seq)
    if place == "parked":
        await hand.take()
        await hand.request({"a": Parked(UNTIL_MS)})
    (known,) = (await hand.outbox.archive.trace(seq)).known
    assert (known.seq, known.place, known.replays) == (seq, place, 1)
    assert seqs_in(await by_lane(hand, "ann")) == seqs_in(await by_event(hand, "x")) == [seq]
    new_seq = (await hand.take(now_ms=UNTIL_MS)) and hand.held["a"].seq
    assert new_seq != seq
    assert list((await hand.outbox.archive.trace(new_seq)).known) == []  # nobody was ever given that number


# Starts and stops


async def test_a_story_has_the_starts_and_stops_of_its_time(hand: Hand) -> None:
    """They say why nothing was sent at night."""
    (early,) = await hand.append(operation("a", "ann", at_ms=NOW_MS))
    hand.clock.advance(60)
    await hand.reopen()
    hand.clock.advance(1)
    (late,) = await hand.append(operation("b", "bob", at_ms=NOW_MS + 61_000))
    hand.clock.advance(60)
    await hand.crash()
    await hand.take()
    await hand.request({"a": Delivered(), "b": Delivered()})
    hand.clock.advance(60)
    await hand.reopen()
    told = await hand.known(early)
    assert [(one.what, (one.at_ms - NOW_MS) / 1_000) for one in told.happenings if one.what != "sent"] == [
        ("started", 0), ("stopped", 60), ("started", 60), ("started", 121),
    ]  # fmt: skip
    assert [one.what for one in told.happenings] == ["started", "stopped", "started", "started", "sent"]
    assert [one.what for one in (await hand.known(late)).happenings] == ["started", "started", "sent"]


async def test_of_many_starts_the_latest_are_told(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann", at_ms=NOW_MS))
    for _ in range(60):
        hand.clock.advance(1)
        hand.lease = await hand.acquire()
    happenings = (await hand.known(seq)).happenings
    assert [one.what for one in happenings] == ["started"] * 50
    assert happenings[-1].at_ms == NOW_MS + 60_000


# By lane


async def everywhere(hand: Hand, *lanes: str) -> dict[str, int]:
    """An entry of these lanes in each place; others beside them."""
    seqs = await hand.append(
        *(operation(name, *lanes, f"{name}'s", event_id="x", kind="event") for name in ("gone", "dead", "held")),
        operation("other", "other", event_id="y", kind="event"),
    )
    await hand.take()
    await hand.request({"gone": Delivered(), "dead": REFUSED, "held": Parked(UNTIL_MS), "other": Delivered()})
    (main,) = await hand.append(operation("main", *lanes, event_id="x", kind="event"))
    return {"gone": seqs[0], "dead": seqs[1], "parked": seqs[2], "main": main}


async def test_all_that_touches_a_lane_is_found_wherever_it_is(hand: Hand) -> None:
    at = await everywhere(hand, "ann", "x")
    found = await by_lane(hand, "ann")
    assert [(one.seq, one.place) for one in found.known] == [(seq, place) for place, seq in at.items()]
    assert not found.is_more
    assert seqs_in(await by_lane(hand, "dead's")) == [at["dead"]]
    assert seqs_in(await by_lane(hand, "nobody")) == []
    assert seqs_in(await by_lane(hand)) == []


async def test_of_several_lanes_each_entry_is_told_once(hand: Hand) -> None:
    at = await everywhere(hand, "ann", "bob")
    assert seqs_in(await by_lane(hand, "ann", "bob", "nobody", "dead's")) == list(at.values())


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_the_latest_are_found_where_there_are_too_many(hand: Hand, limit: int) -> None:
    at = await everywhere(hand, "ann")
    for found in (await by_lane(hand, "ann", limit=limit), await by_event(hand, "x", limit)):
        assert seqs_in(found) == list(at.values())[-limit:]
        assert found.is_more == (limit < 4)


@pytest.mark.parametrize("limit", range(1, 9))
async def test_the_latest_are_those_that_were_accepted_last_not_those_that_left_last(hand: Hand, limit: int) -> None:
    """Replays stand late in the log."""
    old = await hand.bury(*(operation(f"{n}", "ann", kind="event", event_id="x") for n in range(4)))
    new = await hand.deliver(*(operation(f"new {n}", "ann", kind="event", event_id="x") for n in range(4)))
    for seq in old:
        await hand.replay(seq)
        name = f"{old.index(seq)}"
        await hand.take()
        await hand.request({name: Delivered()})
    for found in (await by_lane(hand, "ann", limit=limit), await by_event(hand, "x", limit)):
        assert (seqs_in(found), found.is_more) == ([*old, *new][-limit:], limit < 8)


@pytest.mark.parametrize("place", ["main", "parked"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_of_replays_that_wait_the_latest_are_those_accepted_last(hand: Hand, limit: int, place: str) -> None:
    seqs = await hand.bury(*(operation(name, "ann", kind="event", event_id="x") for name in "abcd"))
    for seq in reversed(seqs):
        await hand.replay(seq)
    if place == "parked":
        await hand.take()
        await hand.settle(Parked(UNTIL_MS), *"abcd")
    hand.clock.advance(1)
    await hand.tidy(log_for_s=0)  # which knows of them too
    for found in (await by_lane(hand, "ann", limit=limit), await by_event(hand, "x", limit)):
        assert (seqs_in(found), found.is_more) == (list(seqs)[-limit:], limit < 4)


async def test_a_request_may_hold_what_is_old_beside_what_is_new(hand: Hand) -> None:
    """So that its highest number says nothing of who is looked for."""
    old = await hand.append(*(operation(name, "ann", kind="event", event_id="x") for name in "abc"))
    (new,) = await hand.append(operation("d", "ann", kind="event", event_id="x"))
    newest = await hand.append(*(operation(name, "bob") for name in "efg"))
    await hand.take()
    for one, other in zip("abc", "efg", strict=True):
        await hand.request({one: Delivered(), other: Delivered()})
    await hand.request({"d": Delivered()})
    assert max(newest) > max(old)
    for found in (await by_lane(hand, "ann", limit=1), await by_event(hand, "x", 1)):
        assert (seqs_in(found), found.is_more) == ([new], True)


async def test_who_touches_a_lane_is_told_from_its_neighbours_in_a_request(hand: Hand) -> None:
    given = [
        operation("a"), operation("b", "bob"), operation("c", "cat", "ann", "bob"), operation("d", "ann"),
        operation("e"), operation("f", "bob", "fay"),
    ]  # fmt: skip
    _, b, c, d, _, f = await hand.deliver(*given)
    assert seqs_in(await by_lane(hand, "ann")) == [c, d]
    assert seqs_in(await by_lane(hand, "bob")) == [b, c, f]
    assert seqs_in(await by_lane(hand, "cat")) == [c]
    assert seqs_in(await by_lane(hand, "fay")) == [f]


@pytest.mark.parametrize("given", [entry, v1])
async def test_entries_of_an_older_version_are_found_too(hand: Hand, given: type[NewEntry]) -> None:
    """They have no trail: of what is gone the door is not known any more."""
    (a,), (b,) = await hand.append(given("a", "ann", "x")), await hand.append(entry("b", "bob"))
    await hand.take()
    await hand.request({"a": Delivered()})
    await hand.request({"b": REFUSED})
    assert seqs_in(await by_lane(hand, "ann")) == [a]
    assert seqs_in(await by_lane(hand, "bob")) == [b]
    known = await hand.known(a)
    assert (known.kind, known.route, known.accepted_at_ms, known.place) == ("event", "", NOW_MS - 1_000, "gone")


# By an event's id


async def test_an_event_is_found_wherever_it_is(hand: Hand) -> None:
    at = await everywhere(hand, "ann")
    found = await by_event(hand, "x")
    assert [(one.seq, one.place) for one in found.known] == [(seq, place) for place, seq in at.items()]
    assert seqs_in(await by_event(hand, "z")) == []


async def test_an_id_that_came_twice_is_two_entries(hand: Hand) -> None:
    twice: Sequence[int] = await hand.deliver(
        operation("a", "ann", kind="event", event_id="x"),
        operation("b", "ann", kind="event", event_id="y"),
        operation("c", "ann", kind="event", event_id="x"),
    )
    assert seqs_in(await by_event(hand, "x")) == [twice[0], twice[2]]


async def test_what_has_no_id_is_not_found_by_one(hand: Hand) -> None:
    await hand.deliver(operation("a", "ann"), entry("b", "bob"))
    await hand.append(entry("c", "cat"))
    for event_id in ("", "a", "\x00"):
        assert seqs_in(await by_event(hand, event_id)) == []
