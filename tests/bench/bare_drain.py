"""The least that draining a store can be: read, join, send, delete, one request after the other, until nothing is left.

`python -m tests.bench.bare_drain STORE URL`. The store's settings are the daemon's; nothing else is: no lanes, no
window, no ledger, no thread. Prints how many entries left, and how many a second from the first request's beginning to
the last commit's end.
"""

import sqlite3
import sys
import time
from collections.abc import Sequence

import uvloop
from aiohttp import ClientSession

from cio_buffer.outbox.opening import WAL_BYTES_KEPT, apply_settings, connect

ENTRIES_MAX, BYTES_MAX = 1_000, 500_000
HEAD, TAIL = b'{"batch":[', b"]}"
CHECKPOINT_PAGES = WAL_BYTES_KEPT // 4096
"""This loop leaves checkpoints to SQLite, as often as ours come: to let the WAL grow without end would be cheaper."""

Row = tuple[int, bytes]


def open_store(path: str) -> sqlite3.Connection:
    db = connect(path)
    apply_settings(db)
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}").fetchall()
    return db


def what_fits(rows: Sequence[Row]) -> Sequence[Row]:
    """As many of the first as one request holds."""
    size = len(HEAD) + len(TAIL) - 1
    for count, (_, body) in enumerate(rows):
        size += len(body) + 1
        if size > BYTES_MAX:
            return rows[: max(count, 1)]
    return rows


async def drain(db: sqlite3.Connection, session: ClientSession, url: str) -> int:
    """Send all of it; returns how many there were."""
    drained = 0
    while found := db.execute("SELECT seq, body FROM event ORDER BY seq LIMIT ?", (ENTRIES_MAX,)).fetchall():
        rows = what_fits(found)
        body = HEAD + b",".join([body for _, body in rows]) + TAIL
        async with session.post(url, data=body) as answer:
            answer.raise_for_status()
            await answer.read()
        db.execute("DELETE FROM event WHERE seq BETWEEN ? AND ?", (rows[0][0], rows[-1][0]))  # a transaction by itself
        drained += len(rows)
    return drained


async def run(path: str, url: str) -> None:
    db = open_store(path)
    async with ClientSession(headers={"Content-Type": "application/json"}) as session:
        began_s = time.perf_counter()
        drained = await drain(db, session, url)
        took_s = time.perf_counter() - began_s
    db.close()
    print(f"{drained} entries, {drained / took_s:.0f} a second", flush=True)


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
