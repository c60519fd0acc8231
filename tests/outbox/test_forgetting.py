"""Somebody is forgotten: erased wherever they are, but for what the drain has in hand."""

import pytest

from cio_buffer.outbox.archive import Forgotten, Letters, Replayed
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import Delivered, Parked, Released
from tests.outbox.backends import NOW_MS, REFUSED, Hand, entry, hashed, name_of, operation, seqs_in, these, v1
from tests.outbox.requests import AGAIN

SOON_MS = NOW_MS + 5_000


async def forget(hand: Hand, *lanes: str) -> Forgotten:
    return await hand.outbox.archive.forget(hashed(*lanes))


async def traced(hand: Hand, *lanes: str) -> list[int]:
    return seqs_in(await hand.outbox.archive.trace_lane(hashed(*lanes), limit=1_000))


async def test_nobody_is_forgotten_who_is_not_there(hand: Hand) -> None:
    await hand.append(operation("a", "ann"))
    lines = hand.outbox.sizes().log_lines
    assert await forget(hand, "bob") == Forgotten(0, 0, 0)
    assert await forget(hand) == Forgotten(0, 0, 0)
    assert (await hand.main(), hand.outbox.sizes().log_lines) == (["a"], lines)


async def test_what_waits_is_erased_and_counted(hand: Hand) -> None:
    await hand.append(operation("a", "ann"), operation("b", "bob"), operation("c", "cat", "ann"), entry("d"))
    assert await forget(hand, "ann") == Forgotten(2, 0, 0)
    assert hand.outbox.ledger() == Ledger(accepted=4, purged=2)
    assert await traced(hand, "ann", "cat") == []
    await hand.crash()
    assert await hand.main() == ["b", "d"]


async def test_what_is_held_is_erased_and_lets_others_pass(hand: Hand) -> None:
    await hand.append(operation("a", "ann"), operation("b", "ann", "bob"), v1("c", "bob"), operation("d", "dan"))
    await hand.take()
    held = {"a": Parked(SOON_MS, holds=1), "b": Parked(), "c": Parked(), "d": Parked(SOON_MS)}
    await hand.settle_each(held)
    assert await forget(hand, "ann") == Forgotten(2, 0, 0)
    assert hand.outbox.ledger() == Ledger(accepted=4, parked=2, purged=2)
    assert await hand.parked() == ["c"]
    await hand.append(operation("e", "ann"))
    claim = await hand.take()
    assert [(name_of(met.entry), met.is_behind) for met in claim.main] == [("e", False)]


async def test_who_stood_behind_somebody_forgotten_is_told_of(hand: Hand) -> None:
    """The drain sleeps until something is due, and that has changed."""
    await hand.append(operation("a", "ann", "bob"), operation("b", "bob"))
    await hand.take()
    await hand.settle_each({"a": Parked(SOON_MS), "b": Parked()})
    calls: list[int] = []
    hand.outbox.watch(lambda: calls.append(1))
    await forget(hand, "ann")
    assert calls
    assert await hand.parked() == ["b"]


async def test_dead_letters_are_erased_and_count_as_purged(hand: Hand) -> None:
    await hand.bury(operation("a", "ann", size=70), operation("b", "bob", size=30), operation("c", "cat", "ann"))
    assert await forget(hand, "ann") == Forgotten(0, 2, 0)
    assert hand.outbox.ledger() == Ledger(accepted=3, dead_lettered=3, dead_purged=2, dead=1)
    assert (await hand.letters(), hand.outbox.sizes().dead_bytes) == (["b"], await hand.dead_bytes())
    assert await hand.letters(Letters(lane=hashed("cat")[0])) == []


async def test_what_is_in_hand_stays_and_is_counted(hand: Hand) -> None:
    await hand.append(operation("held", "ann"), operation("a", "ann"), operation("b", "bob"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "held")
    await hand.append(operation("later", "ann"))
    await hand.take(main_entries=0)
    assert await forget(hand, "ann") == Forgotten(1, 0, 2)
    await hand.request({"held": Delivered()})
    await hand.request({"a": AGAIN})
    await hand.request({"a": Delivered(), "b": Delivered()})
    assert await hand.main() == []
    assert hand.outbox.ledger() == Ledger(accepted=4, delivered=3, purged=1)
    assert len(await traced(hand, "ann")) == 2
    assert await forget(hand, "ann") == Forgotten(0, 0, 0)
    assert await traced(hand, "ann") == []


async def test_what_is_in_hand_is_counted_once_though_it_touches_two_of_the_lanes(hand: Hand) -> None:
    """A person has more than one name."""
    await hand.append(operation("a", "ann", "mail:ann"), operation("b", "mail:ann"))
    await hand.take()
    await hand.settle_each({"a": Parked(NOW_MS), "b": Parked()})
    await hand.append(operation("c", "ann", "mail:ann"))
    await hand.take()
    assert await forget(hand, "ann", "mail:ann") == Forgotten(0, 0, 3)


async def test_what_was_given_back_is_not_in_hand(hand: Hand) -> None:
    await hand.append(operation("a", "ann"), operation("b", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a", "b")
    await hand.take()
    await hand.settle_each({"a": Released(), "b": Parked()})
    assert await forget(hand, "ann") == Forgotten(2, 0, 0)
    claim = await hand.take()
    assert (list(claim.main), list(claim.parked)) == ([], [])


async def test_after_a_crash_nothing_is_in_hand(hand: Hand) -> None:
    await hand.append(operation("a", "ann"), operation("b", "ann"))
    await hand.take()
    await hand.settle(Parked(NOW_MS), "a")
    await hand.take()
    await hand.crash()
    assert await forget(hand, "ann") == Forgotten(2, 0, 0)
    claim = await hand.take()
    assert (list(claim.main), list(claim.parked)) == ([], [])


async def test_a_replay_that_waits_is_erased(hand: Hand) -> None:
    seqs = await hand.bury(operation("a", "ann"), operation("b", "ann"), operation("c", "cat"))
    await hand.replay(*seqs[:2])
    await hand.take(main_entries=1)
    await hand.request({"a": Parked(SOON_MS)})
    assert await forget(hand, "ann") == Forgotten(2, 0, 0)
    assert hand.outbox.ledger() == Ledger(accepted=3, dead_lettered=3, replayed=2, purged=2, dead=1)
    assert [list((await hand.outbox.archive.trace(seq)).known) for seq in seqs[:2]] == [[], []]


async def test_the_log_forgets_them_and_keeps_the_others(hand: Hand) -> None:
    names = {"a": ["x"], "b": ["ann"], "c": ["y", "z"], "d": ["ann", "v"], "e": [], "f": ["w", "ann"], "g": ["y"]}
    seqs = dict(zip(names, await hand.append(*(operation(n, *lanes) for n, lanes in names.items())), strict=True))
    await hand.take()
    await hand.request({name: REFUSED if name in "bcd" else AGAIN if name in "fg" else Delivered() for name in names})
    await hand.request(dict.fromkeys("fg", Delivered()))
    before = {name: await hand.known(seqs[name]) for name in "aceg"}
    size = hand.outbox.sizes()
    assert await forget(hand, "ann") == Forgotten(0, 2, 0)
    assert await traced(hand, "ann", "v", "w") == []
    assert [list((await hand.outbox.archive.trace(seqs[name])).known) for name in "bdf"] == [[], [], []]
    after = {name: await hand.known(seqs[name]) for name in "aceg"}
    for name in "aceg":
        told = [(one.what, one.request, one.fate) for one in after[name].happenings]
        assert told == [(one.what, one.request, one.fate) for one in before[name].happenings]
        assert (after[name].kind, after[name].accepted_at_ms) == (before[name].kind, before[name].accepted_at_ms)
    assert await traced(hand, "x") == [seqs["a"]]
    assert await traced(hand, "y") == [seqs["c"], seqs["g"]]
    assert await traced(hand, "z") == [seqs["c"]]
    assert hand.outbox.sizes().log_lines == size.log_lines
    assert hand.outbox.sizes().log_bytes < size.log_bytes


async def test_a_line_that_was_all_theirs_is_gone(hand: Hand) -> None:
    await hand.deliver(operation("a", "ann"), operation("b", "ann", "bob"))
    await hand.deliver(operation("c", *(f"{n}" for n in range(999)), "ann", call="POST /x"))
    await hand.deliver(operation("d", "dan"))
    before = hand.outbox.sizes().log_lines
    await forget(hand, "ann")
    assert hand.outbox.sizes().log_lines == before - 2
    assert await traced(hand, "bob", "7") == []
    assert await traced(hand, "dan") != []


async def test_what_befell_their_letters_is_forgotten_too(hand: Hand) -> None:
    a, b, c = await hand.bury(operation("a", "ann"), operation("b", "bob"), operation("c", "ann"))
    await hand.outbox.archive.edit(b, operation("b!", "bob"))
    await hand.outbox.archive.purge(these(a, b))
    await hand.replay(c)
    await forget(hand, "ann")
    assert [list((await hand.outbox.archive.trace(seq)).known) for seq in (a, c)] == [[], []]
    assert await hand.story(b) == ["dead", "edited", "purged"]


async def test_an_event_of_theirs_is_not_found_by_its_id(hand: Hand) -> None:
    await hand.deliver(operation("a", "ann", kind="event", event_id="x"), operation("b", "bob", event_id="y"))
    await forget(hand, "ann")
    assert seqs_in(await hand.outbox.archive.trace_event("x", limit=9)) == []
    assert len(seqs_in(await hand.outbox.archive.trace_event("y", limit=9))) == 1


async def test_what_was_forgotten_overtakes_nothing(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "cat"))
    await hand.append(operation("b", "ann", "cat"))
    assert (await forget(hand, "ann"), await hand.outbox.archive.replay(these(seq))) == (
        Forgotten(1, 0, 0),
        Replayed(1, 0),
    )


@pytest.mark.parametrize("count", [1, 450])
async def test_many_are_erased_piece_by_piece(hand: Hand, count: int) -> None:
    """And no commit has more than a few of them."""
    await hand.bury(*(operation(f"dead {n}", "ann") for n in range(count)))
    await hand.append(*(operation(f"held {n}", "ann") for n in range(count)), operation("other", "bob"))
    await hand.take()
    await hand.settle(Parked(SOON_MS), *(f"held {n}" for n in range(count)))
    await hand.append(*(operation(f"main {n}", "ann") for n in range(count)))
    assert await forget(hand, "ann") == Forgotten(2 * count, count, 0)
    assert await traced(hand, "ann") == []
    assert hand.outbox.ledger() == Ledger(
        accepted=3 * count + 1, dead_lettered=count, dead_purged=count, purged=2 * count
    )
