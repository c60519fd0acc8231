"""What the model says of the archive: which letters are meant, which stay, what goes, and every entry's story."""

from collections.abc import Iterable, Sequence

from cio_buffer.outbox.archive import LETTER_BYTES, Forgotten, Keeping, Known, Letters, Replayed, Tidied, What
from cio_buffer.outbox.entry import Fate
from tests.outbox.backends import hashed, letter_bytes
from tests.outbox.logbook import Line, Mention
from tests.outbox.model import Model, Place, Stored

PLACES = {Place.MAIN: "main", Place.PARKED: "parked", Place.DEAD: "dead"}
LINE_BYTES = 150


def mention(one: Stored, fate: Fate | None = None) -> Mention:
    return Mention(
        number=one.number,
        lanes=one.lanes,
        kind=one.kind,
        route=one.route,
        event_id=one.event_id,
        accepted_at_ms=one.accepted_at_ms,
        fate=fate,
    )


def note(model: Model, what: What, at_ms: int, befell: Iterable[Stored]) -> None:
    """Write what befell some, if any."""
    if mentions := [mention(one) for one in befell]:
        model.log.write(Line(at_ms=at_ms, what=what, mentions=mentions))


# Dead letters


def meant(model: Model, wanted: Letters, limit: int | None = None) -> list[Stored]:
    """Which letters, in the order of their acceptance."""
    found = [
        one for one in model.at(Place.DEAD)
        if (wanted.seqs is None or one.number in wanted.seqs)
        and wanted.reason in (None, one.reason)
        and wanted.kind in (None, one.kind)
        and (wanted.lane is None or wanted.lane in hashed(*one.lanes))
        and (wanted.since_ms is None or one.died_at_ms >= wanted.since_ms)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.number)[:limit]


def is_overtaken(model: Model, one: Stored) -> bool:
    """Whether something newer waits in its lanes or was delivered, or nobody can tell."""
    if one.kind == "event":
        return False
    if model.log.is_whole_since_ms is None or model.log.is_whole_since_ms > (one.passable_since_ms or 0):
        return True
    delivered = [mention for line, mention in model.log.mentions() if line.what == "sent" and not mention.fate]
    newer = [*delivered, *model.at(Place.MAIN), *model.at(Place.PARKED)]
    return any(other.number > one.number and other.lanes & one.lanes for other in newer)


def is_overtaken_in_truth(model: Model, one: Stored) -> bool:
    """The same for whoever has seen everything, and needs no log."""
    newer = [*model.delivered, *model.at(Place.MAIN), *model.at(Place.PARKED)]
    return one.kind != "event" and any(other.number > one.number and other.lanes & one.lanes for other in newer)


def replay(
    model: Model, wanted: Letters, *, limit: int | None = None, after_newer: bool = False, is_dry: bool, at_ms: int
) -> Replayed:
    letters = meant(model, wanted, limit)
    go = [one for one in letters if after_newer or not is_overtaken(model, one)]
    if model.is_time_honest and not after_newer:
        assert not any(is_overtaken_in_truth(model, one) for one in go), "an older one would overwrite a newer one"
    if not is_dry:
        note(model, "replayed", at_ms, go)
        model.revive(go, at_ms)
    return Replayed(len(go), len(letters) - len(go))


def purge(model: Model, wanted: Letters, *, limit: int | None, at_ms: int) -> int:
    gone = meant(model, wanted, limit)
    note(model, "purged", at_ms, gone)
    model.drop(gone)
    model.count(dead=-len(gone), dead_purged=len(gone))
    return len(gone)


# What need not be kept


def check_tidied(model: Model, keeping: Keeping, done: Tidied, *, now_ms: int, log_bytes: int, is_last: bool) -> None:
    """Hold a step against what may go and what must. `log_bytes`: of what is left, as the outbox has it."""
    gone = model.log.prune(done.requests)
    before_ms = now_ms - int(keeping.log_for_s * 1_000)
    old = next((n for n, line in enumerate([*gone, *model.log.lines]) if line.at_ms >= before_ms), len(gone))
    assert len(gone) >= old, "an old line was left"
    evict(model, keeping, done, now_ms=now_ms)
    if is_last:
        assert log_bytes + LINE_BYTES * len(model.log.lines) <= keeping.log_bytes or not model.log.lines


def evict(model: Model, keeping: Keeping, done: Tidied, *, now_ms: int) -> None:
    """Those that have been dead for longest."""
    dead = sorted(model.at(Place.DEAD), key=lambda one: (one.died_at_ms, one.number))
    excess = sum(map(bytes_of, dead)) + LETTER_BYTES * len(dead) - keeping.dead_bytes
    before_ms = now_ms - int(keeping.dead_for_s * 1_000)
    old, surplus = [], []
    for one in dead:
        if one.died_at_ms < before_ms:
            old.append(one)
        elif excess > 0:
            surplus.append(one)
        excess -= bytes_of(one) + LETTER_BYTES
    assert (done.letters_by_age, done.letters_by_bytes) == (len(old), len(surplus))
    note(model, "evicted", now_ms, [*old, *surplus])
    model.drop([*old, *surplus])
    model.count(dead=-len(old) - len(surplus), dead_evicted=len(old) + len(surplus))


def bytes_of(one: Stored) -> int:
    return letter_bytes(one.size, one.history, *one.words)


def forget(model: Model, lanes: Sequence[str], *, at_ms: int) -> Forgotten:
    touching = [one for one in model.stored.values() if not one.lanes.isdisjoint(lanes)]
    dead = [one for one in touching if one.place is Place.DEAD]
    in_hand = [one for one in touching if one.is_claimed]
    waiting = [one for one in touching if one not in dead and one not in in_hand]
    parked = sum(one.place is Place.PARKED for one in waiting)
    model.drop([*dead, *waiting])
    model.has_forgotten |= any(not mention.lanes.isdisjoint(lanes) for _, mention in model.log.mentions())
    model.log.blank(lanes)
    model.promote(at_ms)
    model.count(dead=-len(dead), dead_purged=len(dead), purged=len(waiting), parked=-parked)
    return Forgotten(len(waiting), len(dead), len(in_hand))


# Stories


def story(model: Model, number: int) -> Known | None:
    """All that is known of one entry, but for the letter itself."""
    stored = next((one for one in model.stored.values() if one.number == number), None)
    if stored is None:
        last = model.log.last_of(number)
        return last and Known(
            seq=number,
            kind=last.kind,
            route=last.route,
            accepted_at_ms=last.accepted_at_ms,
            place="gone",
            happenings=model.log.story(number, last.accepted_at_ms, is_gone=True),
            replays=sum(line.what == "replayed" and bool(line.of(number)) for line in model.log.lines),
        )
    return Known(
        seq=number,
        kind=stored.kind,
        route=stored.route,
        accepted_at_ms=stored.accepted_at_ms,
        place=PLACES[stored.place],
        happenings=model.log.story(number, stored.accepted_at_ms, is_gone=False),
        attempts=stored.attempts,
        replays=stored.replays,
        holds=stored.holds,
        held_for=stored.held_for,
        due_at_ms=stored.due_ms,
        history=stored.history,
    )


def touching(model: Model, lanes: Iterable[str]) -> set[int]:
    """Who touches one of these, or did when it was mentioned."""
    mentions = [mention for _, mention in model.log.mentions()]
    return {one.number for one in (*model.stored.values(), *mentions) if not one.lanes.isdisjoint(lanes)}


def with_id(model: Model, event_id: str) -> set[int]:
    mentions = [mention for _, mention in model.log.mentions()]
    return {one.number for one in (*model.stored.values(), *mentions) if one.event_id == event_id}
