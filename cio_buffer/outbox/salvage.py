"""INTERIM, by the lead, so that the tree can be imported: to be overwritten by whoever writes salvage."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

DEAD = "died_at_ms, reason, vendor_reason, field, message, status"
COMMON = (
    "seq, origin, lanes, kind, accepted_at_ms, route, call, traceparent, attempts, replays, trail, history, body, "
    "replayed_at_ms, passable_since_ms"
)
EVENT_COLUMNS = tuple(COMMON.split(", "))
DEAD_COLUMNS = (*EVENT_COLUMNS, *DEAD.split(", "))


class Rescued(Struct, frozen=True, gc=False):
    table: Literal["event", "dead"]
    values: tuple[object, ...]


class Remains(Struct, frozen=True, kw_only=True):
    counts: dict[str, int] | None
    store_id: bytes
    highest_seq: int


def remains(db: Path) -> Remains:
    return Remains(counts=None, store_id=b"", highest_seq=0)


def rescue(db: Path) -> Iterator[Sequence[Rescued]]:
    connection = sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)
    try:
        for table, columns in (("event", EVENT_COLUMNS), ("parked", EVENT_COLUMNS), ("dead", DEAD_COLUMNS)):
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY seq").fetchall()
            for start in range(0, len(rows), 500):
                yield [Rescued("dead" if table == "dead" else "event", tuple(row)) for row in rows[start : start + 500]]
    finally:
        connection.close()
