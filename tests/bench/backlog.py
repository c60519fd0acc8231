"""Stores with much in them, written by the store's own code."""

import sqlite3
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from cio_buffer.clock import SystemClock
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.outbox.opening import connect
from cio_buffer.outbox.store import Store

PEOPLE = 20_000
FILL_ENTRIES = 20_000
BODY = (
    b'{"type":"person","identifiers":{"id":"bench-%05d"},"action":"event","name":"order_completed",'
    b'"id":"%b","timestamp":1700000000,"attributes":{"order_id":'
    b'"b7f1c2d4-5e6f-4a8b-9c0d-1e2f3a4b5c6d","total":129.95,"currency":"EUR","items":3,"coupon":"SPRING-SALE",'
    b'"channel":"web"}}'
)
"""About 300 bytes."""

EVENT_ID = "01JDB3V9Q4Z6R8T0W2Y4A6%04d"
BODY_BYTES = len(BODY % (0, (EVENT_ID % 0).encode()))
IN_EACH = b'"action":"event"'
"""What each body has once, so that whoever gets a batch can count."""


def entries() -> list[NewEntry]:
    """One event for each of some people, as the v1 door makes them."""
    acceptance = Acceptance(at_ms=int(time.time() * 1000), new_id=str, route="v1")
    return [event(acceptance, person) for person in range(PEOPLE)]


def event(acceptance: Acceptance, person: int) -> NewEntry:
    event_id = EVENT_ID % (person % 10_000)
    body = BODY % (person, event_id.encode())
    return acceptance.entry("event", {f"id:bench-{person:05d}"}, body, event_id=event_id)


def open_store(path: Path) -> tuple[Store, sqlite3.Connection]:
    """A store of its own, without a quota."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(path, clock=SystemClock(), bytes_max=2**42, disk_free_min_bytes=0, connect=connect)
    return store, store.open()


def fill(store: Store, db: sqlite3.Connection, pool: Sequence[NewEntry], count: int) -> None:
    """Append `count` entries in large transactions."""
    endless = cycle(pool)
    for start in range(0, count, FILL_ENTRIES):
        db.execute("BEGIN IMMEDIATE")
        store.insert(db, [list(islice(endless, min(FILL_ENTRIES, count - start)))])
        store.before_commit(db)
        db.execute("COMMIT")
        store.after_commit(db)


def write(folder: Path, count: int) -> Path:
    """Make `folder` for a daemon whose store has `count` entries pending; returns the folder."""
    store, db = open_store(folder / "store" / "outbox.db")
    try:
        fill(store, db, entries(), count)
    finally:
        store.close()
    return folder
