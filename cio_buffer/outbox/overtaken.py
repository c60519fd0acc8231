"""Which dead letters' lanes have moved on: replayed now, they would overwrite what is newer.

While an entry lives, nothing behind it in its lanes leaves before it. So whatever is newer and was delivered left after
its first death, and stands in the log, if that goes back so far; or it waits. One that was edited has lanes in which it
held nothing back: of these the log has to go back to its acceptance.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain

from cio_buffer.outbox import log
from cio_buffer.outbox.courtesy import courteous
from cio_buffer.outbox.entry import pack_hash, unpack_lanes
from cio_buffer.outbox.letters import Leftover, lanes_of

HARMLESS = frozenset({"event", "page", "screen", "invite", "object_event", "delivery_event", "metric", "push_metric"})
HARMLESS_TOO = HARMLESS | {"in_app_metric", "form"}
"""What only says that something happened, each with its own time. All else sets what a later one may have set since."""

LINES_SLICE = 20  # a line of a full request takes 50 µs

FEW = 16
"""So many lanes are looked for one by one in a line's; more by taking the line's lanes apart, 40 µs a thousand."""


def changes_state(kind: str) -> bool:
    """Whether it would overwrite what a newer operation has set."""
    return kind not in HARMLESS_TOO


def overtaken(db: sqlite3.Connection, candidates: Sequence[Leftover]) -> set[int]:
    """Numbers of those dead letters for which that is so, or has to be assumed."""
    since_ms = log.is_whole_since_ms(db)
    setting = [letter for letter in candidates if changes_state(letter.kind)]
    known = [letter for letter in setting if since_ms is not None and since_ms <= letter.passable_since_ms]
    assumed = {letter.seq for letter in setting} - {letter.seq for letter in known}
    if not known:
        return assumed
    lanes = {lane for letter in courteous(known) for lane in lanes_of(letter)}
    newest = newest_in(db, lanes, above=min(letter.seq for letter in known))
    return assumed | {
        letter.seq for letter in courteous(known) if any(newest.get(lane, 0) > letter.seq for lane in lanes_of(letter))
    }


def newest_in(db: sqlite3.Connection, lanes: set[int], *, above: int) -> dict[int, int]:
    """For each of `lanes` the highest number above `above` that waits there, or was delivered since the log begins."""
    newest: dict[int, int] = {}
    for seq, touched in chain(waiting(db, lanes, above), delivered(db, lanes, above)):
        for lane in touched:
            newest[lane] = max(newest.get(lane, 0), seq)
    return newest


def waiting(db: sqlite3.Connection, lanes: set[int], above: int) -> Iterable[tuple[int, Iterable[int]]]:
    """What waits and may touch them: (number, its lanes). The rows are sifted by SQLite, outside of the GIL."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (packed BLOB PRIMARY KEY) WITHOUT ROWID")
    db.execute("DELETE FROM temp.wanted")
    db.executemany("INSERT INTO temp.wanted VALUES (?)", ((pack_hash(lane),) for lane in courteous(lanes)))
    for table in ("event", "parked"):
        rows = db.execute(
            f"""SELECT coalesce(origin, seq), lanes FROM {table}
                WHERE (length(lanes) > 8 OR lanes IN (SELECT packed FROM temp.wanted)) AND coalesce(origin, seq) > ?""",
            (above,),
        )
        for seq, packed in courteous(rows):
            yield seq, lanes.intersection(unpack_lanes(packed))


def delivered(db: sqlite3.Connection, lanes: set[int], above: int) -> Iterable[tuple[int, Iterable[int]]]:
    """What the log knows to be delivered and touches them."""
    packed = {lane: pack_hash(lane) for lane in lanes}
    rows = db.execute(
        """SELECT log_lanes.id, lanes FROM log CROSS JOIN log_lanes USING (id)
           WHERE what = 'sent' AND last_seq > ?""",
        (above,),
    )
    for line_id, blob in courteous(rows, LINES_SLICE):
        if len(lanes) <= FEW:
            touched = {lane for lane, needle in packed.items() if needle in blob}
        else:
            touched = lanes.intersection(unpack_lanes(blob))
        if touched:
            yield from delivered_in(log.line(db, line_id), blob, {lane: packed[lane] for lane in touched})


def delivered_in(line: log.Line, blob: bytes, touched: dict[int, bytes]) -> Iterable[tuple[int, Iterable[int]]]:
    numbers, ends, others = line.numbers(), line.lane_ends(), undelivered(line)
    for lane, needle in touched.items():
        for place in log.places(blob, needle, len(needle)):
            entry = bisect_right(ends, place)
            if entry not in others:
                yield numbers[entry], (lane,)


def undelivered(line: log.Line) -> set[int]:
    """The places of those whom a request did not deliver."""
    return {
        place for _, places in line.unpacked_fates() for place in (range(line.entries) if places is None else places)
    }
