"""Replays: which dead letters go back, in which order, and which stay because their lane has moved on."""

from collections.abc import Sequence

import pytest

from cio_buffer.outbox.archive import EVERY_LETTER, Letters, Replayed
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import DeadLetter, Delivered, NewEntry, Parked
from cio_buffer.outbox.trail import KINDS
from tests.outbox.backends import NOW_MS, REFUSED, Hand, entry, hashed, name_of, operation, these
from tests.outbox.requests import AGAIN

TELLS_ONLY_WHAT_HAPPENED = {
    "event", "page", "screen", "object_event", "delivery_event", "invite", "metric", "push_metric", "in_app_metric",
    "form",
}  # fmt: skip


async def replay(hand: Hand, wanted: Letters = EVERY_LETTER, **how: bool | int) -> Replayed:
    return await hand.outbox.archive.replay(wanted, **how)  # type: ignore[arg-type]


async def main_in_order(hand: Hand) -> list[str]:
    return [name_of(met.entry) for met in (await hand.take()).main]


# In which order, and how many


async def test_all_go_back_in_the_order_of_their_acceptance(hand: Hand) -> None:
    """Also one that died twice, whose number in the main lane was higher than the others'."""
    seqs = await hand.append(*(operation(name, "ann") for name in "abcd"))
    await hand.take()
    await hand.request({"b": REFUSED})
    await hand.replay(seqs[1])
    await hand.take()
    await hand.request(dict.fromkeys("dcba", REFUSED))
    assert await replay(hand) == Replayed(4, 0)
    assert await main_in_order(hand) == ["a", "b", "c", "d"]
    assert [hand.held[name].first_seq for name in "abcd"] == list(seqs)
    assert [hand.held[name].replays for name in "abcd"] == [1, 2, 1, 1]


async def test_two_letters_of_one_lane_go_back_together_in_order(hand: Hand) -> None:
    seqs = await hand.bury(operation("a", "ann"), operation("b", "ann"))
    assert await replay(hand, these(*reversed(seqs))) == Replayed(2, 0)
    assert await main_in_order(hand) == ["a", "b"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Letters(reason="expired"), "cd"),
        (Letters(kind="event"), "bd"),
        (Letters(lane=hashed("ann")[0]), "ad"),
        (Letters(since_ms=NOW_MS + 1), "cd"),
        (Letters(lane=hashed("dan")[0]), ""),
    ],
)
async def test_those_go_back_that_are_meant(hand: Hand, wanted: Letters, names: str) -> None:
    await hand.append(
        operation("a", "ann"), operation("b", "bob", kind="event"), operation("c", "cat"),
        operation("d", "ann", "bob", kind="event"),
    )  # fmt: skip
    await hand.take()
    await hand.request(dict.fromkeys("ab", REFUSED))
    hand.clock.advance(1)
    await hand.request(dict.fromkeys("cd", DeadLetter(reason="expired")))
    before = hand.outbox.ledger()
    assert await replay(hand, wanted, is_dry=True) == Replayed(len(names), 0)
    assert (await hand.letters(), hand.outbox.ledger()) == (list("abcd"), before)
    assert await replay(hand, wanted) == Replayed(len(names), 0)
    assert await hand.letters() == [name for name in "abcd" if name not in names]
    assert await main_in_order(hand) == list(names)
    assert hand.outbox.ledger() == Ledger(accepted=4, dead_lettered=4, replayed=len(names), dead=4 - len(names))


async def test_so_many_go_back_as_are_asked_for_the_oldest_first(hand: Hand) -> None:
    await hand.bury(*(operation(name, name) for name in "abcde"))
    assert await replay(hand, limit=0) == Replayed(0, 0)
    assert await replay(hand, limit=2, is_dry=True) == Replayed(2, 0)
    assert await replay(hand, limit=2) == Replayed(2, 0)
    assert await replay(hand, Letters(kind="identify"), limit=1, after_newer=True) == Replayed(1, 0)
    assert await main_in_order(hand) == ["a", "b", "c"]
    assert await replay(hand, limit=99) == Replayed(2, 0)
    assert await main_in_order(hand) == ["d", "e"]


async def test_a_limit_counts_what_stays_as_well(hand: Hand) -> None:
    """So it says how much is touched, whatever comes of it."""
    await hand.bury(operation("a", "ann"), operation("b", "bob"), operation("c", "cat"))
    await hand.append(operation("newer", "ann"))
    assert await replay(hand, limit=2, is_dry=True) == Replayed(1, 1)
    assert await replay(hand, limit=2) == Replayed(1, 1)
    assert await hand.letters() == ["a", "c"]


async def test_a_replay_is_durable_and_is_told(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    hand.clock.advance(5)
    await replay(hand)
    await hand.crash()
    known = await hand.known(seq)
    assert (known.place, known.replays, known.attempts) == ("main", 1, 1)
    assert await hand.story(seq) == ["dead", "replayed"]
    assert next(one.at_ms for one in known.happenings if one.what == "replayed") == NOW_MS + 5_000
    await hand.take()
    assert (hand.held["a"].accepted_at_ms, hand.held["a"].tried_since_ms) == (NOW_MS - 1_000, NOW_MS + 5_000)


async def test_a_dry_run_writes_nothing_to_the_log(hand: Hand) -> None:
    await hand.bury(operation("a", "ann"))
    before = hand.outbox.sizes()
    await replay(hand, is_dry=True)
    await replay(hand, is_dry=True, after_newer=True)
    assert hand.outbox.sizes() == before


# Which have been overtaken


async def meet_newer(hand: Hand, how: str, *newer: NewEntry) -> None:
    """Have operations be accepted, and be where `how` says."""
    await hand.append(*newer)
    names = [one.body.decode().rstrip() for one in newer]
    match how:
        case "delivered":
            await hand.take()
            await hand.request(dict.fromkeys(names, Delivered()))
        case "delivered beside one that failed":
            await hand.append(operation("other", "other"))
            await hand.take()
            await hand.request({"other": AGAIN} | dict.fromkeys(names, Delivered()))
        case "delivered at the second try":
            await hand.take()
            await hand.request(dict.fromkeys(names, AGAIN), status=None, trouble="timeout")
            await hand.request(dict.fromkeys(names, Delivered()))
        case "in hand":
            await hand.take()
        case "held":
            await hand.take()
            await hand.request(dict.fromkeys(names, Parked(NOW_MS + 9_000, holds=1)))
        case "replayed":
            await hand.take()
            await hand.request(dict.fromkeys(names, REFUSED))
            later = [letter.seq for letter in await hand.outbox.archive.letters() if name_of(letter) in names]
            await hand.replay(*later)
        case "dead":
            await hand.take()
            await hand.request(dict.fromkeys(names, REFUSED))
        case "purged":
            await hand.take()
            await hand.request(dict.fromkeys(names, REFUSED))
            later = [letter.seq for letter in await hand.outbox.archive.letters() if name_of(letter) in names]
            await hand.outbox.archive.purge(these(*later))
        case "being tried":
            await hand.take()
            await hand.request(dict.fromkeys(names, AGAIN))
        case _:
            assert how == "waiting"


OVERTAKES = [
    "delivered", "delivered beside one that failed", "delivered at the second try", "in hand", "held", "replayed",
    "being tried", "waiting",
]  # fmt: skip


@pytest.mark.parametrize("how", OVERTAKES)
async def test_what_is_newer_overtakes_wherever_it_is_and_unless_it_died(hand: Hand, how: str) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    await meet_newer(hand, how, operation("newer", "ann"))
    assert await replay(hand, these(seq), is_dry=True) == Replayed(0, 1)
    assert await replay(hand, these(seq)) == Replayed(0, 1)
    assert await hand.letters(these(seq)) == ["a"]
    await hand.crash()
    assert await replay(hand, these(seq)) == Replayed(0, 1)
    assert await replay(hand, these(seq), after_newer=True, is_dry=True) == Replayed(1, 0)
    assert await replay(hand, these(seq), after_newer=True) == Replayed(1, 0)


@pytest.mark.parametrize("how", ["dead", "purged"])
async def test_what_is_newer_and_died_overtakes_nothing(hand: Hand, how: str) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    await meet_newer(hand, how, operation("newer", "ann"))
    assert await replay(hand, these(seq)) == Replayed(1, 0)


@pytest.mark.parametrize("how", OVERTAKES)
async def test_what_is_newer_in_another_lane_overtakes_nothing(hand: Hand, how: str) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    await meet_newer(hand, how, operation("newer", "bob"), operation("nobody's"))
    assert await replay(hand, these(seq)) == Replayed(1, 0)


@pytest.mark.parametrize("how", OVERTAKES)
async def test_one_lane_of_several_is_enough(hand: Hand, how: str) -> None:
    seqs = await hand.bury(operation("a", "ann", "bob"), operation("c", "cat"), operation("d", "dan", "eve"))
    await meet_newer(hand, how, operation("1", "x", "bob", "y"), operation("2", "dan"))
    assert await replay(hand, these(*seqs)) == Replayed(1, 2)
    assert await hand.letters(these(*seqs)) == ["a", "d"]


async def test_what_was_accepted_before_overtakes_nothing_though_it_left_later(hand: Hand) -> None:
    await hand.append(operation("older", "ann"), operation("a", "ann"), operation("oldest in bob's", "bob"))
    await hand.take()
    await hand.request({"older": Parked(NOW_MS)})
    await hand.request({"a": REFUSED})
    await hand.take()
    await hand.request({"older": Delivered()})
    assert await replay(hand) == Replayed(1, 0)


async def test_a_younger_letter_that_was_replayed_overtakes_an_older_one(hand: Hand) -> None:
    older, younger = await hand.bury(operation("a", "ann"), operation("b", "ann"))
    assert await replay(hand, these(younger)) == Replayed(1, 0)
    assert await replay(hand, these(older)) == Replayed(0, 1)
    await hand.take()
    await hand.request({"b": Delivered()})
    assert await replay(hand, these(older)) == Replayed(0, 1)


async def test_an_older_letter_that_was_replayed_overtakes_nothing(hand: Hand) -> None:
    """Though its number in the main lane is the higher one."""
    older, younger = await hand.bury(operation("a", "ann"), operation("b", "ann"))
    assert await replay(hand, these(older)) == Replayed(1, 0)
    assert await replay(hand, these(younger), is_dry=True) == Replayed(1, 0)
    await hand.take()
    await hand.request({"a": Delivered()})
    assert await replay(hand, these(younger)) == Replayed(1, 0)


@pytest.mark.parametrize("place", ["main", "parked"])
async def test_one_between_two_that_was_replayed_overtakes_the_older_of_them(hand: Hand, place: str) -> None:
    a, b, c = await hand.bury(*(operation(name, "ann") for name in "abc"))
    await hand.replay(b)
    if place == "parked":
        await hand.take()
        await hand.request({"b": Parked(NOW_MS + 9_000)})
    assert await replay(hand, these(a, c)) == Replayed(1, 1)
    assert await hand.letters() == ["a"]


@pytest.mark.parametrize("how", ["waiting", "delivered"])
@pytest.mark.parametrize("kind", sorted({*KINDS, "what a newer version may know"}))
async def test_only_what_sets_something_can_be_overtaken(hand: Hand, kind: str, how: str) -> None:
    (seq,) = await hand.bury(operation("a", "ann", kind=kind))
    await meet_newer(hand, how, operation("newer", "ann", kind="event"))
    is_harmless = kind in TELLS_ONLY_WHAT_HAPPENED
    assert await replay(hand, these(seq)) == Replayed(int(is_harmless), int(not is_harmless))


async def test_a_letter_that_was_edited_is_judged_by_what_it_is_now(hand: Hand) -> None:
    whose = {"a": "ann", "b": "bob", "c": "ann", "d": "ann"}
    a, b, c, _ = await hand.bury(*(operation(name, lane, at_ms=NOW_MS) for name, lane in whose.items()))
    await meet_newer(hand, "delivered", operation("newer", "ann"))
    await hand.outbox.archive.edit(a, operation("a", "cat", at_ms=NOW_MS))
    await hand.outbox.archive.edit(b, operation("b", "ann", at_ms=NOW_MS))
    await hand.outbox.archive.edit(c, operation("c", "ann", kind="event", at_ms=NOW_MS))
    assert await replay(hand) == Replayed(2, 2)
    assert await hand.letters() == ["b", "d"]


@pytest.mark.parametrize("is_known", [True, False])
async def test_of_an_edited_letter_the_log_has_to_reach_back_to_its_acceptance(hand: Hand, is_known: bool) -> None:
    """While it waited in its old lane, what was newer left in its new one."""
    await hand.append(operation("a", "ann", at_ms=NOW_MS), operation("newer", "bob", at_ms=NOW_MS))
    (seq,) = await hand.append(operation("c", "cat", at_ms=NOW_MS))
    await hand.take()
    await hand.request({"newer": Delivered()})
    hand.clock.advance(60)
    hand.now_ms += 60_000
    await hand.request({"a": REFUSED, "c": REFUSED})
    if not is_known:
        await hand.tidy(log_for_s=30)
    letters = {name_of(letter): letter.seq for letter in await hand.outbox.archive.letters()}
    await hand.outbox.archive.edit(letters["a"], operation("a", "bob", at_ms=NOW_MS))
    await hand.outbox.archive.edit(seq, operation("c", "dan", at_ms=NOW_MS))
    assert await replay(hand) == (Replayed(1, 1) if is_known else Replayed(0, 2))


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_left_between_two_deaths_of_a_letter_overtakes(hand: Hand, is_known: bool) -> None:
    """It need not have been delivered after the second."""
    (seq,) = await hand.bury(operation("a", "ann"))
    await hand.deliver(operation("newer", "ann"))
    hand.clock.advance(60)
    hand.now_ms += 60_000
    await hand.replay(seq)
    await hand.take()
    await hand.request({"a": REFUSED})
    if not is_known:
        await hand.tidy(log_for_s=30)
    assert await replay(hand) == Replayed(0, 1)


@pytest.mark.parametrize("count", [1, 16, 17, 60])
@pytest.mark.parametrize("how", ["waiting", "held", "delivered"])
async def test_many_letters_are_judged_one_by_one(hand: Hand, count: int, how: str) -> None:
    seqs = await hand.bury(*(operation(f"{n}", f"lane {n}") for n in range(count)))
    newer = [operation(f"newer {n}", f"lane {n}", "common") for n in range(0, count, 3)]
    await meet_newer(hand, how, *newer)
    assert await replay(hand, these(*seqs)) == Replayed(count - len(newer), len(newer))
    assert await hand.letters(these(*seqs)) == [f"{n}" for n in range(0, count, 3)]


async def test_letters_that_share_a_lane_are_told_apart_by_when_they_were_accepted(hand: Hand) -> None:
    """One before and one after what was delivered: only the first has been overtaken."""
    await hand.append(operation("a", "ann"), operation("between", "ann"), operation("c", "ann"))
    await hand.take()
    await hand.request({"a": REFUSED, "between": Delivered(), "c": REFUSED})
    assert await replay(hand) == Replayed(1, 1)
    assert await main_in_order(hand) == ["c"]


async def test_in_a_request_of_many_it_is_found_who_was_delivered(hand: Hand) -> None:
    """By their places, among entries with several lanes, some of which died."""
    seqs = await hand.bury(*(operation(name, name) for name in ("ann", "bob", "cat", "dan")))
    await hand.append(
        operation("1", "x", "ann", "y"), operation("2", "bob", "z"), operation("3", "cat"), operation("4", "v", "dan"),
    )  # fmt: skip
    await hand.take()
    await hand.request({"1": REFUSED, "2": Delivered(), "3": REFUSED, "4": Delivered()})
    assert await replay(hand, these(*seqs)) == Replayed(2, 2)
    assert await hand.letters(these(*seqs)) == ["bob", "dan"]


async def test_entries_of_an_older_version_overtake_and_are_overtaken(hand: Hand) -> None:
    """They have no trail: the log makes one of what there is."""
    seqs = await hand.bury(operation("a", "ann"), operation("b", "bob"))
    await hand.append(entry("c", "cat", "ann"), entry("d", "dan"))
    await hand.take()
    await hand.request({"d": Delivered(), "c": Delivered()})
    assert await replay(hand, these(*seqs)) == Replayed(1, 1)
    assert await hand.letters() == ["a"]


# What the log does not know


async def test_where_the_log_does_not_reach_back_it_is_assumed(hand: Hand) -> None:
    seqs = await hand.bury(operation("a", "ann"), operation("b", "bob", kind="event"))
    hand.clock.advance(100)
    hand.now_ms += 100_000
    await hand.bury(operation("c", "cat"))
    await hand.tidy(log_for_s=50)
    assert await replay(hand, is_dry=True) == Replayed(2, 1)
    assert await replay(hand) == Replayed(2, 1)
    assert await hand.letters() == ["a"]
    assert await replay(hand, these(*seqs), after_newer=True) == Replayed(1, 0)


async def test_where_there_is_no_log_it_is_assumed(hand: Hand) -> None:
    await hand.bury(operation("a", "ann"), operation("b", "bob", kind="event"))
    hand.clock.advance(1)
    await hand.tidy(log_for_s=0)
    assert hand.outbox.sizes().log_lines == 0
    assert await replay(hand) == Replayed(1, 1)
    assert await hand.letters() == ["a"]


async def test_a_log_that_begins_with_its_death_is_enough(hand: Hand) -> None:
    hand.clock.advance(10)
    hand.now_ms += 10_000
    await hand.bury(operation("a", "ann"))
    await hand.tidy(log_for_s=5)
    assert hand.outbox.sizes().log_lines == 1
    assert await replay(hand) == Replayed(1, 0)


async def test_a_request_that_was_long_under_way_does_not_make_the_log_reach_back_further(hand: Hand) -> None:
    """It was sent before the letter died and was over after what overtook it: what stands before it is gone."""
    await hand.append(operation("a", "ann"), operation("slow", "bob"), operation("newer", "ann"))
    await hand.take()
    for name, outcome in (("a", REFUSED), ("newer", Delivered())):
        hand.clock.advance(1)
        hand.now_ms += 1_000
        await hand.request({name: outcome})
    hand.clock.advance(1)
    hand.now_ms += 1_000
    await hand.request({"slow": Delivered()}, took_ms=2_900)
    line_bytes = 150
    last = 8 + 17 + line_bytes
    await hand.tidy(log_bytes=last)
    assert hand.outbox.sizes().log_lines == 1
    assert await replay(hand) == Replayed(0, 1)


async def test_the_story_of_all_that_a_replay_can_do(hand: Hand) -> None:
    """A day of one lane."""
    seqs: Sequence[int] = await hand.bury(*(operation(name, "ann") for name in "abc"))
    assert await replay(hand, limit=1) == Replayed(1, 0)
    await hand.take()
    await hand.request({"a": Delivered()})
    assert await replay(hand, these(seqs[2])) == Replayed(1, 0)
    await hand.take()
    await hand.request({"c": REFUSED})
    assert await replay(hand) == Replayed(2, 0)
    await hand.take()
    await hand.request({"b": REFUSED, "c": Delivered()})
    assert await replay(hand) == Replayed(0, 1)
    assert [await hand.story(seq) for seq in seqs] == [
        ["dead", "replayed", "sent"],
        ["dead", "replayed", "dead"],
        ["dead", "replayed", "dead", "replayed", "sent"],
    ]
