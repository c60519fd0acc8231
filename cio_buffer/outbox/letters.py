"""The dead letters' table: plain functions of a connection, no transactions of their own.

A dead letter has the number under which it was accepted, so that their order is the order of acceptance.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from msgspec import Struct

from cio_buffer.outbox.archive import Dead, Letters
from cio_buffer.outbox.courtesy import courteous
from cio_buffer.outbox.entry import Attempt, DeadLetter, NewEntry, Settled, pack_hash, unpack_lanes
from cio_buffer.outbox.history import lengthened, read_history
from cio_buffer.outbox.tables import ALWAYS_STORED, STORED, json_list

FATE = "died_at_ms, reason, vendor_reason, field, message, status"
READ = f"seq, kind, accepted_at_ms, route, traceparent, {FATE}, attempts, replays, call, history, body"  # as in Dead


class Leftover(Struct, frozen=True):
    """What the log keeps of a dead letter, and what the quota counts.

    `passable_since_ms`: since then what is newer may have been delivered before it; Unix milliseconds.
    """

    seq: int
    lanes: bytes
    trail: bytes
    kind: str
    accepted_at_ms: int
    passable_since_ms: int
    died_at_ms: int
    bytes: int


BYTES = "length(body) + length(history) + length(message) + length(vendor_reason) + length(field)"  # what can be long
LEFTOVER = f"seq, lanes, trail, kind, accepted_at_ms, coalesce(passable_since_ms, died_at_ms), died_at_ms, {BYTES}"


def bury(db: sqlite3.Connection, table: str, one: Settled, why: DeadLetter, *, died_at_ms: int) -> int | None:
    """Copy one entry of `table` among the dead letters, with why it died; returns its bytes, None if there is none."""
    fate = (died_at_ms, why.reason, why.vendor_reason, why.field, why.message, why.status)
    buried = db.execute(
        f"""INSERT INTO dead (seq, {ALWAYS_STORED}, replayed_at_ms, passable_since_ms, {FATE})
            SELECT coalesce(origin, seq), {ALWAYS_STORED}, replayed_at_ms, coalesce(passable_since_ms, ?),
                   ?, ?, ?, ?, ?, ? FROM {table} WHERE seq = ?""",
        (died_at_ms, *fate, one.entry.seq),
    ).rowcount
    if not buried:
        return None
    db.execute("UPDATE dead SET attempts = ? WHERE seq = ?", (one.attempts, one.entry.first_seq))
    remember(db, "dead", one.entry.first_seq, one.history)
    size: int = db.execute(f"SELECT {BYTES} FROM dead WHERE seq = ?", (one.entry.first_seq,)).fetchone()[0]
    return size


def remember(db: sqlite3.Connection, table: str, seq: int, history: Sequence[Attempt]) -> None:
    """Keep with an entry the requests that it has been in since."""
    if not history:
        return
    (text,) = db.execute(f"SELECT history FROM {table} WHERE seq = ?", (seq,)).fetchone() or ("",)
    db.execute(f"UPDATE {table} SET history = ? WHERE seq = ?", (lengthened(text, history), seq))


def revive(db: sqlite3.Connection, seqs: Sequence[int], first_new_seq: int, *, now_ms: int) -> int:
    """Put dead letters back at the tail of the main lane, in order; returns how many. Their log is up to the caller."""
    for new_seq, seq in enumerate(seqs, first_new_seq):
        db.execute(
            f"""INSERT INTO event (seq, origin, {STORED})
                SELECT ?, seq, lanes, kind, accepted_at_ms, route, call, traceparent, attempts, replays + 1,
                       trail, history, body, ?, passable_since_ms FROM dead WHERE seq = ?""",
            (new_seq, now_ms, seq),
        )
    return remove(db, seqs)


def remove(db: sqlite3.Connection, seqs: Iterable[int]) -> int:
    """Take dead letters out; returns how many there were."""
    return db.execute("DELETE FROM dead WHERE seq IN (SELECT value FROM json_each(?))", (json_list(seqs),)).rowcount


def replace(db: sqlite3.Connection, seq: int, anew: NewEntry) -> None:
    """Give a dead letter another body, and what follows from it: in other lanes it never kept anything back."""
    values = (anew.lanes, anew.kind, anew.call, anew.trail, anew.body, seq)
    db.execute(
        """UPDATE dead SET lanes = ?, kind = ?, call = ?, trail = ?, body = ?, passable_since_ms = accepted_at_ms
           WHERE seq = ?""",
        values,
    )


def read(db: sqlite3.Connection, wanted: Letters, *, after: int, limit: int) -> list[Dead]:
    """Dead letters above `after`, ascending."""
    where, values = condition(wanted)
    rows = db.execute(
        f"SELECT {READ} FROM dead WHERE seq > ? AND {where} ORDER BY seq LIMIT ?", (after, *values, limit)
    )
    return [read_dead(row) for row in rows.fetchall()]


def read_dead(row: Sequence[object]) -> Dead:
    """One row of READ."""
    fields = dict(zip(Dead.__struct_fields__, row, strict=True))
    return Dead(**fields | {"history": read_history(str(fields["history"]))})  # type: ignore[arg-type]


def only(seqs: Iterable[int]) -> Letters:
    """These, as far as they are there."""
    return Letters(seqs=frozenset(seqs))


def leftovers(db: sqlite3.Connection, wanted: Letters, *, after: int = 0, limit: int = -1) -> list[Leftover]:
    """The same, without their bodies."""
    where, values = condition(wanted)
    rows = db.execute(
        f"SELECT {LEFTOVER} FROM dead WHERE seq > ? AND {where} ORDER BY seq LIMIT ?", (after, *values, limit)
    )
    return [Leftover(*row) for row in rows.fetchall()]


def page(db: sqlite3.Connection, wanted: Letters, *, after: int, limit: int) -> list[Leftover]:
    """The same for a thread that only reads, and may be at it for long."""
    where, values = condition(wanted)
    rows = db.execute(
        f"SELECT {LEFTOVER} FROM dead WHERE seq > ? AND {where} ORDER BY seq LIMIT ?", (after, *values, limit)
    )
    return [Leftover(*row) for row in courteous(rows)]


def oldest(db: sqlite3.Connection, limit: int) -> list[Leftover]:
    """Those that have been dead for longest."""
    rows = db.execute(f"SELECT {LEFTOVER} FROM dead ORDER BY died_at_ms LIMIT ?", (limit,))
    return [Leftover(*row) for row in rows.fetchall()]


def count(db: sqlite3.Connection, wanted: Letters, *, limit: int | None) -> int:
    """How many there are, counted up to `limit`."""
    where, values = condition(wanted)
    at_most = -1 if limit is None else limit
    found: int = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM dead WHERE {where} LIMIT ?)", (*values, at_most)
    ).fetchone()[0]
    return found


def reasons(db: sqlite3.Connection) -> dict[str, int]:
    """How many for each reason; by the index."""
    return dict(db.execute("SELECT reason, count(*) FROM dead GROUP BY reason").fetchall())


def condition(wanted: Letters) -> tuple[str, list[object]]:
    """What is wanted, as SQL and its values."""
    said: list[tuple[str, object]] = []
    if wanted.seqs is not None:
        said.append(("seq IN (SELECT value FROM json_each(?))", json_list(sorted(wanted.seqs))))
    if wanted.reason is not None:
        said.append(("reason = ?", wanted.reason))
    if wanted.kind is not None:
        said.append(("kind = ?", wanted.kind))
    if wanted.lane is not None:
        said.append(("instr(lanes, ?) > 0", pack_hash(wanted.lane)))
    if wanted.since_ms is not None:
        said.append(("died_at_ms >= ?", wanted.since_ms))
    return " AND ".join(["1", *(sql for sql, _ in said)]), [value for _, value in said]


def lanes_of(leftover: Leftover) -> tuple[int, ...]:
    return unpack_lanes(leftover.lanes)
