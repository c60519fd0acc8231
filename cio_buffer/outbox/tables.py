"""What the store's one thread does to its tables: plain functions of a connection, no transactions of their own.

The main lane (`event`) is strictly in order of acceptance and is read past a cursor. `parked` holds what was moved
aside, with a row in `parked_lane` for each lane that it keeps closed.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter

from msgspec import structs

from cio_buffer.outbox.contract import Ledger, Sizes
from cio_buffer.outbox.damaged import Damaged
from cio_buffer.outbox.entry import APP_CALL, Entry, NewEntry, Parked, unpack_lanes

INSERT_COLUMNS = ("seq", "lanes", "kind", "accepted_at_ms", "route", "call", "traceparent", "trail", "body")
ALWAYS_STORED = "lanes, kind, accepted_at_ms, route, call, traceparent, attempts, replays, trail, history, body"
STORED = f"{ALWAYS_STORED}, replayed_at_ms, passable_since_ms"  # all but the numbers
MOVED_COLUMNS = f"seq, origin, {STORED}"
ENTRY_COLUMNS = (
    "seq, origin, lanes, kind, accepted_at_ms, replayed_at_ms, call, attempts, replays, traceparent, trail, body"
)
INSERT_ROWS_MAX = 512
INSERT_ROWS_EXACT = 64
"""Few, big statements: each one has to win back the GIL from the event loop, which gives it up only every so often.
Beside a busy loop `executemany` made 2,300 rows/s where 500 rows to a statement make 71,000. Up to so many rows go in
one statement of just that length, as most groups do; SQLite keeps each length prepared."""

COUNTED = (*Ledger.__struct_fields__, *Sizes.__struct_fields__, "seq_reserved", "last_request", "log_since_ms")


def insert(db: sqlite3.Connection, entries: Iterable[NewEntry], first_seq: int) -> int:
    """Store `entries` from `first_seq` upwards; returns how many there were."""
    fields = attrgetter(*INSERT_COLUMNS[1:])
    rows = [(seq, *fields(entry)) for seq, entry in enumerate(entries, first_seq)]
    start = 0
    while left := len(rows) - start:
        size = left if left <= INSERT_ROWS_EXACT else min(1 << left.bit_length() - 1, INSERT_ROWS_MAX)
        db.execute(insert_statement(size), list(chain.from_iterable(rows[start : start + size])))
        start += size
    return len(rows)


@cache
def insert_statement(rows: int) -> str:
    """One statement for so many rows."""
    row = "(" + ", ".join("?" * len(INSERT_COLUMNS)) + ")"
    return f"INSERT INTO event ({', '.join(INSERT_COLUMNS)}) VALUES " + ", ".join([row] * rows)


def read_main(db: sqlite3.Connection, *, after: int, limit: int, max_bytes: int) -> list[Entry]:
    """The oldest entries with a `seq` above `after`. The one that uses up `max_bytes` is the last."""
    rows = db.execute(f"SELECT {ENTRY_COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    entries = []
    for row in rows:
        entries.append(read_entry(row))
        max_bytes -= len(row[-1])
        if max_bytes <= 0:
            rows.close()  # a statement that is left open would pin the WAL
            break
    return entries


def read_parked(db: sqlite3.Connection, seqs: Iterable[int]) -> list[Entry]:
    """Those of `seqs` that are parked, ascending."""
    rows = db.execute(
        f"""SELECT holds, held_for, {ENTRY_COLUMNS} FROM parked
            WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq""",
        (json_list(seqs),),
    )
    return [read_held(holds, held_for, row) for holds, held_for, *row in rows]


def read_held(holds: int, held_for: str, row: Sequence[object]) -> Entry:
    """One row of ENTRY_COLUMNS, and what only a parked entry has: the main lane's pays nothing for it."""
    entry = read_entry(row)
    return structs.replace(entry, holds=holds, held_for=held_for) if holds else entry


def read_entry(row: Sequence[object]) -> Entry:
    """One row of ENTRY_COLUMNS. Raises Damaged where that is not what was written: all else takes it at its word."""
    seq, origin, lanes, kind, accepted_at_ms, replayed_at_ms, call, attempts, replays, traceparent, trail, body = row
    if type(body) is not bytes or type(lanes) is not bytes or len(lanes) % 8 or type(accepted_at_ms) is not int:
        raise Damaged(f"entry {seq} is not as it was written")
    return Entry(
        seq=seq,  # type: ignore[arg-type]
        first_seq=seq if origin is None else origin,  # type: ignore[arg-type]
        packed_lanes=lanes,
        trail=trail,  # type: ignore[arg-type]
        lanes=unpack_lanes(lanes),
        kind=kind,  # type: ignore[arg-type]
        accepted_at_ms=accepted_at_ms,
        tried_since_ms=replayed_at_ms or accepted_at_ms,  # type: ignore[arg-type]
        call=call,  # type: ignore[arg-type]
        attempts=attempts,  # type: ignore[arg-type]
        replays=replays,  # type: ignore[arg-type]
        traceparent=traceparent,  # type: ignore[arg-type]
        body=body,
    )


def delete_main(db: sqlite3.Connection, seqs: Sequence[int]) -> int:
    """Take `seqs` out of the main lane; returns how many were there.

    By runs: a range costs 1.0 to 1.5 µs an entry, single deletes 5 to 6.
    """
    return sum(
        db.execute("DELETE FROM event WHERE seq BETWEEN ? AND ?", run).rowcount
        for run in consecutive_runs(sorted(seqs))
    )


def consecutive_runs(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Split ascending numbers into runs without a gap, as (first, last)."""
    start = 0
    for end in range(1, len(seqs) + 1):
        if end == len(seqs) or seqs[end] != seqs[end - 1] + 1:
            yield seqs[start], seqs[end - 1]
            start = end


def park(db: sqlite3.Connection, entry: Entry, attempts: int, wish: Parked) -> int:
    """Move one entry of the main lane aside, without a time; returns 1, or 0 if it was not there."""
    moved = db.execute(
        f"INSERT INTO parked ({MOVED_COLUMNS}) SELECT {MOVED_COLUMNS} FROM event WHERE seq = ?", (entry.seq,)
    ).rowcount
    if moved:
        remember_tries(db, entry.seq, attempts, wish)
        db.executemany("INSERT INTO parked_lane VALUES (?, ?)", [(lane, entry.seq) for lane in entry.lanes])
        db.execute("DELETE FROM event WHERE seq = ?", (entry.seq,))
    return moved


def remember_tries(db: sqlite3.Connection, seq: int, attempts: int, wish: Parked) -> None:
    """Write down how often a parked entry was in a request, how often it was held, and for what."""
    tries = (attempts, wish.holds, wish.held_for, seq)
    db.execute("UPDATE parked SET attempts = ?, holds = ?, held_for = ? WHERE seq = ?", tries)


def remember_attempts(db: sqlite3.Connection, seq: int, attempts: int) -> None:
    """The same of one that was given back: how often it was in a request."""
    db.execute("UPDATE parked SET attempts = ? WHERE seq = ?", (attempts, seq))


def delete_parked(db: sqlite3.Connection, entry: Entry) -> int:
    """Take one parked entry out; returns 1, or 0 if it was not there."""
    db.executemany("DELETE FROM parked_lane WHERE lane = ? AND seq = ?", [(lane, entry.seq) for lane in entry.lanes])
    return db.execute("DELETE FROM parked WHERE seq = ?", (entry.seq,)).rowcount


def is_first_in_its_lanes(db: sqlite3.Connection, seq: int, lanes: Iterable[int]) -> bool:
    """Whether nothing parked stands before it in any of its lanes."""
    return all(predecessor(db, lane, seq) is None for lane in lanes)


def lanes_with_parked(db: sqlite3.Connection, lanes: Iterable[int]) -> set[int]:
    """Those of `lanes` in which anything is parked."""
    rows = db.execute(
        "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM parked_lane WHERE lane = value)",
        (json_list(lanes),),
    )
    return {lane for (lane,) in rows}


def predecessor(db: sqlite3.Connection, lane: int, seq: int) -> int | None:
    """The parked entry next before `seq` in `lane`."""
    found: int | None = db.execute(
        "SELECT max(seq) FROM parked_lane WHERE lane = ? AND seq < ?", (lane, seq)
    ).fetchone()[0]
    return found


def successor(db: sqlite3.Connection, lane: int, seq: int) -> int | None:
    """The parked entry next after `seq` in `lane`."""
    found: int | None = db.execute(
        "SELECT min(seq) FROM parked_lane WHERE lane = ? AND seq > ?", (lane, seq)
    ).fetchone()[0]
    return found


def schedule(db: sqlite3.Connection, entry: Entry, due_at_ms: int | None, now_ms: int) -> None:
    """Say when a parked entry may leave. Only what is first in its lanes has a time, so those behind it lose theirs."""
    is_first = is_first_in_its_lanes(db, entry.seq, entry.lanes)
    due = (as_soon_as_its_turn(entry, now_ms) if due_at_ms is None else due_at_ms) if is_first else None
    db.execute("UPDATE parked SET due_at_ms = ? WHERE seq = ?", (due, entry.seq))
    behind = [after for lane in entry.lanes if (after := successor(db, lane, entry.seq)) is not None]
    db.executemany("UPDATE parked SET due_at_ms = NULL WHERE seq = ?", [(seq,) for seq in behind])


def as_soon_as_its_turn(entry: Entry, now_ms: int) -> int:
    """First accepted, first to leave; never in the future, where a clock that was set back may have put it."""
    return min(entry.accepted_at_ms, now_ms)


def promote(db: sqlite3.Connection, lanes: Iterable[int], now_ms: int) -> None:
    """Give a time to each entry that is now first in all its lanes, one of which is in `lanes`, and had none."""
    firsts = {first for lane in set(lanes) if (first := successor(db, lane, 0)) is not None}
    for entry in read_parked(db, firsts):
        if is_first_in_its_lanes(db, entry.seq, entry.lanes):
            db.execute(
                "UPDATE parked SET due_at_ms = ? WHERE seq = ? AND due_at_ms IS NULL",
                (as_soon_as_its_turn(entry, now_ms), entry.seq),
            )


def due(db: sqlite3.Connection, *, is_v1: bool, now_ms: int, limit: int) -> list[int]:
    """The `seq`s of parked entries whose time has come, longest due first."""
    rows = db.execute(
        "SELECT seq FROM parked WHERE is_v1 = ? AND due_at_ms <= ? ORDER BY due_at_ms LIMIT ?", (is_v1, now_ms, limit)
    )
    return [seq for (seq,) in rows]


def bring_forward(db: sqlite3.Connection, latest_ms: int) -> None:
    """Have nothing parked due later than that. By the index: what is due earlier is not even looked at."""
    for is_v1 in (0, 1):
        db.execute("UPDATE parked SET due_at_ms = ? WHERE is_v1 = ? AND due_at_ms > ?", (latest_ms, is_v1, latest_ms))


def next_due(db: sqlite3.Connection, now_ms: int) -> int | None:
    """The first time after `now_ms` at which a parked entry comes due."""
    times = [
        db.execute("SELECT min(due_at_ms) FROM parked WHERE is_v1 = ? AND due_at_ms > ?", (is_v1, now_ms)).fetchone()[0]
        for is_v1 in (0, 1)
    ]
    return min((time for time in times if time is not None), default=None)


def load_counts(db: sqlite3.Connection) -> dict[str, int]:
    """The ledger's row."""
    row = db.execute(f"SELECT {', '.join(COUNTED)} FROM ledger").fetchone()
    if row is None or not all(type(count) is int for count in row):
        raise Damaged("the ledger's row is not as it was written")
    return dict(zip(COUNTED, row, strict=True))


def load_store_id(db: sqlite3.Connection) -> bytes:
    """What tells this store from all others."""
    store_id: bytes = db.execute("SELECT store_id FROM ledger").fetchone()[0]
    return store_id


def load_unanswered(db: sqlite3.Connection) -> bytes:
    """The calls in the ledger's row, packed."""
    packed: bytes = db.execute("SELECT unanswered FROM ledger").fetchone()[0]
    if not isinstance(packed, bytes) or len(packed) % APP_CALL.size:
        raise Damaged("the ledger's calls are not as they were written")
    return packed


def load_learnt(db: sqlite3.Connection) -> bytes:
    """What was noted of Customer.io in the ledger's row."""
    learnt: bytes = db.execute("SELECT learnt FROM ledger").fetchone()[0]
    return learnt if isinstance(learnt, bytes) else b""


def save_counts(db: sqlite3.Connection, counts: dict[str, int], unanswered: bytes, learnt: bytes) -> None:
    """Write the ledger's row, in the transaction of what it counts and of the calls that brought it."""
    names = ", ".join(f"{name} = ?" for name in COUNTED)
    values = [*(counts[name] for name in COUNTED), unanswered, learnt]
    db.execute(f"UPDATE ledger SET {names}, unanswered = ?, learnt = ?", values)


def inherit(db: sqlite3.Connection, store_id: bytes, *, seq: int, request: int) -> None:
    """Begin an empty store where a damaged one ended. No `store_id`: it keeps its own."""
    db.execute(
        """UPDATE ledger SET store_id = CASE WHEN ? = x'' THEN store_id ELSE ? END,
                             seq_reserved = max(seq_reserved, ?), last_request = max(last_request, ?)""",
        (store_id, store_id, seq, request),
    )


def highest_seq(db: sqlite3.Connection) -> int:
    """The highest `seq` in any table, 0 if there is none."""
    found: int = db.execute(
        """SELECT max(coalesce((SELECT max(seq) FROM event), 0), coalesce((SELECT max(seq) FROM parked), 0),
                      coalesce((SELECT max(seq) FROM dead), 0))"""
    ).fetchone()[0]
    return found


def oldest_at_ms(db: sqlite3.Connection) -> int | None:
    """When the first entry in order was accepted: the head of each table, whichever is older."""
    heads = [
        db.execute(f"SELECT accepted_at_ms FROM {table} ORDER BY seq LIMIT 1").fetchone()
        for table in ("event", "parked")
    ]
    return min((head[0] for head in heads if head), default=None)


def json_list(seqs: Iterable[object]) -> str:
    """Numbers as SQLite's `json_each` reads them."""
    return "[" + ",".join(map(str, seqs)) + "]"
