"""Finds all that is known of entries: where they are, and what the log has of them. Functions of a connection."""

import heapq
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from cio_buffer.outbox import letters, log
from cio_buffer.outbox.archive import Found, Happening, Known, Letters, Place
from cio_buffer.outbox.entry import Fate, pack_hash
from cio_buffer.outbox.history import read_history
from cio_buffer.outbox.log import Line
from cio_buffer.outbox.trail import TRAIL_BYTES, mark_of

LIVES_MAX = 50
"""How many starts and stops are told of at most, the latest: a daemon may have been restarted all night."""

WAITING = "kind, coalesce(route, ''), accepted_at_ms, attempts, replays, traceparent, history"


def by_number(db: sqlite3.Connection, seq: int) -> Found:
    """The story of one entry, by the number under which it was accepted."""
    return found(db, [seq], is_more=False)


def by_lanes(db: sqlite3.Connection, lanes: Iterable[int], *, limit: int) -> Found:
    """The stories of the latest entries that touch one of `lanes`."""
    seqs: set[int] = set()
    for lane in lanes:
        seqs |= in_lane(db, lane, limit + 1)
    return latest(db, seqs, limit)


def by_event(db: sqlite3.Connection, event_id: str, *, limit: int) -> Found:
    """The stories of the latest events with that id."""
    mark = mark_of(event_id)

    def marked(line: Line) -> set[int]:
        numbers = line.numbers()
        return {numbers[place] for place in log.places(line.trails, mark, TRAIL_BYTES)}

    seqs = {
        *latest_stored(db, "event", "instr(trail, ?) = 1", mark, limit + 1),
        *latest_stored(db, "parked", "instr(trail, ?) = 1", mark, limit + 1),
        *latest_stored(db, "dead", "instr(trail, ?) = 1", mark, limit + 1),
        *latest_logged(log.lines_marked(db, mark), lambda line_id: marked(log.line(db, line_id)), limit + 1),
    }
    return latest(db, seqs, limit)


def in_lane(db: sqlite3.Connection, lane: int, limit: int) -> set[int]:
    """Numbers of the latest entries that touch a lane, at least `limit` of them if there are so many."""
    packed = pack_hash(lane)
    is_parked_there = "seq IN (SELECT seq FROM parked_lane WHERE lane = ?)"
    lines = log.lines_that_touch(db, packed)
    return {
        *latest_stored(db, "event", "instr(lanes, ?)", packed, limit),
        *latest_stored(db, "parked", is_parked_there, lane, limit),
        *latest_stored(db, "dead", "instr(lanes, ?)", packed, limit),
        *latest_logged(
            lines, lambda line_id: touching(log.line(db, line_id), log.lanes_of_line(db, line_id), packed), limit
        ),
    }


def latest_stored(db: sqlite3.Connection, table: str, where: str, value: object, limit: int) -> set[int]:
    """The highest numbers of acceptance of what is in a table. Replays apart: in order they stand at the tail."""
    rows = [
        *db.execute(
            f"SELECT seq FROM {table} WHERE origin IS NULL AND {where} ORDER BY seq DESC LIMIT ?", (value, limit)
        ),
        *db.execute(
            f"SELECT origin FROM {table} WHERE origin IS NOT NULL AND {where} ORDER BY origin DESC LIMIT ?",
            (value, limit),
        ),
    ]
    return {seq for (seq,) in rows}


def latest_logged(lines: Iterable[tuple[int, int]], numbers_in: Callable[[int], set[int]], limit: int) -> set[int]:
    """The highest numbers in lines, given by ids and the highest in each, in that order; `limit` of them at least.

    Not the latest lines': what was replayed or held for long stands late in the log.
    """
    found: set[int] = set()
    for line_id, highest in lines:
        if len(found) >= limit and highest <= heapq.nlargest(limit, found)[-1]:
            break
        found |= numbers_in(line_id)
    return found


def touching(line: Line, lanes: bytes, packed: bytes) -> set[int]:
    """Numbers of the entries in a line that touch a lane."""
    numbers, ends = line.numbers(), line.lane_ends()
    return {numbers[bisect_right(ends, place)] for place in log.places(lanes, packed, len(packed))}


def latest(db: sqlite3.Connection, seqs: set[int], limit: int) -> Found:
    chosen = sorted(seqs)[-limit:]
    return found(db, chosen, is_more=len(seqs) > limit)


def found(db: sqlite3.Connection, seqs: Sequence[int], *, is_more: bool) -> Found:
    lives, ids = log.lives(db), log.ids_with(db, seqs)
    known = [one for seq in seqs if (one := known_of(db, seq, ids[seq], lives))]
    return Found(known=known, is_more=is_more, log_since_ms=log.begins_at_ms(db))


def known_of(db: sqlite3.Connection, seq: int, ids: Sequence[int], lives: Sequence[tuple[int, Line]]) -> Known | None:
    """All that is known of one entry, which is in the lines of those ids; None if that is nothing."""
    lines = [(line_id, log.line(db, line_id)) for line_id in ids]
    for place in ("event", "parked"):
        if waiting := waiting_in(db, place, seq):
            return told(waiting, lines, lives)
    (dead,) = letters.read(db, Letters(seqs=frozenset({seq})), after=0, limit=1) or (None,)
    if dead:
        letter = Known(
            seq=seq,
            kind=dead.kind,
            route=dead.route or "",
            accepted_at_ms=dead.accepted_at_ms,
            place="dead",
            happenings=(),
            attempts=dead.attempts,
            replays=dead.replays,
            traceparent=dead.traceparent,
            history=dead.history,
            dead=dead,
        )
        return told(letter, lines, lives)
    if not lines:
        return None
    trail = lines[-1][1].trail(place_of(lines[-1][1], seq))
    gone = Known(
        seq=seq,
        kind=trail.kind,
        route=trail.route,
        accepted_at_ms=trail.accepted_at_ms,
        place="gone",
        happenings=(),
        replays=sum(line.what == "replayed" for _, line in lines),
    )
    return told(gone, lines, [life for life in lives if life[0] < lines[-1][0]])


def waiting_in(db: sqlite3.Connection, table: str, seq: int) -> Known | None:
    """An entry that waits, found by the number of its acceptance."""
    held = "due_at_ms, holds, held_for" if table == "parked" else "NULL, 0, ''"
    row = db.execute(
        f"""SELECT {WAITING}, {held} FROM {table} WHERE seq = ? AND origin IS NULL
            UNION ALL SELECT {WAITING}, {held} FROM {table} WHERE origin = ?""",
        (seq, seq),
    ).fetchone()
    if row is None:
        return None
    kind, route, accepted_at_ms, attempts, replays, traceparent, history, due_at_ms, holds, held_for = row
    place: Place = "parked" if table == "parked" else "main"
    return Known(
        seq=seq,
        kind=kind,
        route=route,
        accepted_at_ms=accepted_at_ms,
        place=place,
        happenings=(),
        attempts=attempts,
        replays=replays,
        holds=holds,
        held_for=held_for,
        due_at_ms=due_at_ms,
        traceparent=traceparent,
        history=read_history(history),
    )


def told(known: Known, lines: Sequence[tuple[int, Line]], lives: Sequence[tuple[int, Line]]) -> Known:
    """With what the log has of it, in the order in which it was written.

    Of starts and stops also the last before its acceptance: it tells whether the next one follows a clean end.
    """
    first = next((n for n, (_, life) in enumerate(lives) if life.at_ms >= known.accepted_at_ms), len(lives))
    since = lives[max(first - 1, 0) :][-LIVES_MAX - 1 :]
    if (
        since
        and since[0][1].what == "started"
        and since[0] is not lives[0]
        and since[0][1].at_ms >= known.accepted_at_ms
    ):
        since = since[1:]  # what was before it is cut off, so nobody can tell whether it followed a clean end
    in_order = sorted([*lines, *since], key=lambda line: line[0])
    return structs.replace(known, happenings=[happening(line, known.seq) for _, line in in_order])


def happening(line: Line, seq: int) -> Happening:
    """A line as it concerns one entry."""
    return Happening(
        at_ms=line.at_ms,
        what=line.what,
        request=line.request,
        took_ms=line.took_ms,
        status=line.status,
        trouble=line.trouble,
        is_v1=bool(line.is_v1),
        entries=line.entries,
        fate=fate_of(line, place_of(line, seq)) if line.fates else None,
    )


def place_of(line: Line, seq: int) -> int:
    """At which place of a line the entry is that it holds."""
    return line.numbers().index(seq) if line.entries else 0


def fate_of(line: Line, place: int) -> Fate | None:
    """What became of the entry at that place; None if it was delivered."""
    return next((fate for fate, places in line.unpacked_fates() if places is None or place in places), None)
