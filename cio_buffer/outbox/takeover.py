"""Takes rows of a damaged store over into a new one: within a transaction of the writer's."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

from cio_buffer.outbox import log
from cio_buffer.outbox.letters import BYTES, Leftover
from cio_buffer.outbox.salvage import DEAD_COLUMNS, EVENT_COLUMNS, Rescued
from cio_buffer.outbox.store import Store
from cio_buffer.outbox.tables import json_list

COLUMNS = {"event": EVENT_COLUMNS, "dead": DEAD_COLUMNS}
ROWS_MAX = 100
"""To a statement: few, big ones, as in `tables.insert`."""

SEQ, ORIGIN = EVENT_COLUMNS.index("seq"), EVENT_COLUMNS.index("origin")
NUMBER = "coalesce(origin, seq)"  # under which it was accepted, by which the log knows it
PLACES = (
    "seq FROM event WHERE seq",
    "origin FROM event WHERE origin",
    "seq FROM parked WHERE seq",
    "origin FROM parked WHERE origin",
    "seq FROM dead WHERE seq",
)
"""Each by an index, or by its rows' own order."""


def bring(store: Store, db: sqlite3.Connection, name: str, chunk: Sequence[Rescued]) -> int:
    """Put those back that are not there yet; returns how many that were. `name`: of the folder they come from."""
    brought = {table: bring_rows(store, db, table, [row for row in chunk if row.table == table]) for table in COLUMNS}
    db.execute(
        """INSERT INTO salvage VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
           SET saved = saved + excluded.saved, dead_saved = dead_saved + excluded.dead_saved""",
        (name, brought["event"], brought["dead"]),
    )
    return sum(brought.values())


def bring_rows(store: Store, db: sqlite3.Connection, table: str, rows: Sequence[Rescued]) -> int:
    """The same for rows of one table."""
    found = {number_of(row): row for row in rows if isinstance(row.values[SEQ], int)}
    known = there(db, [*found])
    new = [row for number, row in found.items() if number not in known]
    for start in range(0, len(new), ROWS_MAX):
        insert(db, table, new[start : start + ROWS_MAX])
    return count(store, db, table, [row.values[SEQ] for row in new])


def number_of(row: Rescued) -> int:
    """The number under which it was accepted: a replay has another."""
    origin = row.values[ORIGIN]
    return int(row.values[SEQ] if origin is None else origin)  # type: ignore[call-overload,no-any-return]


def there(db: sqlite3.Connection, numbers: Sequence[int]) -> set[int]:
    """Those of `numbers` that are in the store, wherever: what is both waiting and dead in what was read, waits or is
    dead, and is not both."""
    wanted = json_list(numbers)
    return {
        number
        for place in PLACES
        for (number,) in db.execute(f"SELECT {place} IN (SELECT value FROM json_each(?))", (wanted,))
    }


def insert(db: sqlite3.Connection, table: str, rows: Sequence[Rescued]) -> None:
    """All of them together; where one does not fit the table, whatever was read, the others alone."""
    try:
        insert_together(db, table, rows)
    except sqlite3.IntegrityError:
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                insert_together(db, table, [row])


def insert_together(db: sqlite3.Connection, table: str, rows: Sequence[Rescued]) -> None:
    columns = COLUMNS[table]
    row = f"({', '.join('?' * len(columns))})"
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * len(rows))}"
    db.execute(statement, list(chain.from_iterable(one.values for one in rows)))


def count(store: Store, db: sqlite3.Connection, table: str, seqs: Sequence[object]) -> int:
    """In the ledger, as what came in; and in the log, so that the story of each tells of it. Returns how many."""
    size = BYTES if table == "dead" else "0"
    rows = db.execute(
        f"""SELECT {"seq" if table == "dead" else NUMBER}, lanes, trail, kind, accepted_at_ms, 0, 0, {size} FROM {table}
            WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY 1""",
        (json_list(seqs),),
    ).fetchall()
    found = [Leftover(*row) for row in rows]
    store.counts["salvaged"] += len(found)
    if table == "dead":
        store.counts["dead_lettered"] += len(found)
        store.counts["dead"] += len(found)
        store.counts["dead_bytes"] += sum(letter.bytes for letter in found)
    for some in log.in_lines(found):
        store.note(db, *log.line_about("salvaged", store.now_ms(), some))
    return len(found)


def saved(db: sqlite3.Connection, *, name: str) -> tuple[int, int]:
    """How many entries that waited, and dead letters, have been put back from that folder."""
    row = db.execute("SELECT saved, dead_saved FROM salvage WHERE name = ?", (name,)).fetchone()
    return row or (0, 0)
