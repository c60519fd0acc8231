"""Opens what a power cut may have left, by the store's own code and by plain `sqlite3`, and says what is wrong."""

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import quarantine
from cio_buffer.outbox.backup import files
from cio_buffer.outbox.entry import Delivered, Settled
from cio_buffer.outbox.opening import StoreLock, connect
from cio_buffer.outbox.sqlite import SqliteOutbox, count
from cio_buffer.outbox.store import Store
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, name_of
from tests.powercut.disk import Image
from tests.powercut.recorder import write_image
from tests.powercut.told import Expected, Place
from tests.support.clock import FakeClock

STORE = "outbox.db"
BYTES_MAX = 2**30

PLACES = """SELECT 'main', coalesce(origin, seq), body FROM event UNION ALL
            SELECT 'parked', coalesce(origin, seq), body FROM parked UNION ALL
            SELECT 'dead', seq, body FROM dead"""
"""Each under the number with which it was accepted."""

Row = tuple[Place, int, bytes]


class Judge:
    """Has one folder, which it fills anew for each image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / STORE

    def problems(self, image: Image, expected: Expected, *, is_thorough: bool = False) -> list[str]:
        """What is wrong; nothing, if all is well. `is_thorough`: also by plain `sqlite3` first, and by draining it."""
        write_image(self._folder, image)
        try:
            if expected.is_damaged:
                return asyncio.run(self._wholly(expected))
            if is_thorough:
                found = self._plainly(expected)
                if found:
                    return found
                write_image(self._folder, image)
                return asyncio.run(self._wholly(expected))
            return self._quickly(expected)
        except (sqlite3.Error, StoreUnusable) as problem:
            return [f"it cannot be read: {type(problem).__name__}: {problem}"]

    def _plainly(self, expected: Expected) -> list[str]:
        """By plain `sqlite3` alone, without our recovery. A store that was just being made may not have its tables."""
        if not self._path.exists():
            return misplaced([], expected)
        with closing(connect(str(self._path))) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
            rows = db.execute(PLACES.replace("coalesce(origin, seq)", "seq")).fetchall() if "event" in tables else []
            return [*unsound(db), *misplaced(rows, expected, has_seqs=False)]

    def _quickly(self, expected: Expected) -> list[str]:
        """By what the writer's thread does at the start; and then what it left, by plain `sqlite3`."""
        lock = StoreLock(self._path)
        store = Store(self._path, clock=FakeClock(), bytes_max=BYTES_MAX, disk_free_min_bytes=0, connect=connect)
        try:
            db = store.open(lock.format)
            found = [*unbalanced(db), *misplaced(db.execute(PLACES).fetchall(), expected)]
            if store.next_seq <= expected.highest_seq:
                found.append(f"number {store.next_seq} would be given out again")
            if store.generation:
                found.append("it was taken for damaged")
        finally:
            store.close()
            lock.release()
        with closing(connect(str(self._path))) as db:
            found += unsound(db)
        return [*found, *self._copies(expected)]

    async def _wholly(self, expected: Expected) -> list[str]:
        """By the outbox as a daemon has it: salvage, if there is any, and a drain that delivers all there is."""
        outbox = SqliteOutbox(self._path, clock=FakeClock(), bytes_max=BYTES_MAX, disk_free_min_bytes=0)
        await outbox.open()
        try:
            while outbox.condition().is_salvaging:
                await asyncio.sleep(0.0005)
            with closing(connect(str(self._path))) as db:
                rows: list[Row] = db.execute(PLACES).fetchall()
                found = [*unsound(db), *misplaced(rows, expected)]
            if not (await outbox.audit()).is_balanced:
                found.append("its ledger does not come out")
            waiting = {name_in(body) for place, _, body in rows if place != "dead"}
            delivered = await drained(outbox)
            if delivered != waiting:
                found.append(f"of {len(waiting)} that waited a drain delivered {len(delivered)}")
            if not expected.is_damaged and any(quarantine.folders(self._path)):
                found.append("it was taken for damaged")
        finally:
            await outbox.close()
        return [*found, *self._copies(expected)]

    def _copies(self, expected: Expected) -> list[str]:
        """Backups are whole, or not there."""
        found = []
        for copy in files(self._path):
            with closing(connect(str(copy))) as db:
                names = {name_in(body) for _, _, body in db.execute(PLACES).fetchall()}
                found += unsound(db)
            if expected.copied is not None and names != expected.copied:
                found.append(f"{copy.name} has {len(names)} entries of {len(expected.copied)}")
        return found


async def drained(outbox: SqliteOutbox) -> set[str]:
    """Deliver all that waits; returns the names."""
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    names: set[str] = set()
    now_ms = NOW_MS + WAIT_MAX_MS
    while True:
        claim = await lease.claim(PLENTY, now_ms=now_ms)
        entries = [*claim.parked, *(met.entry for met in claim.main)]
        if not entries:
            return names
        names.update(name_of(one) for one in entries)
        await lease.settle([Settled(one, Delivered(), 1) for one in entries], now_ms=now_ms)


def unsound(db: sqlite3.Connection) -> list[str]:
    answer = [row[0] for row in db.execute("PRAGMA integrity_check").fetchall()]
    return [] if answer == ["ok"] else [f"integrity_check: {answer[0]}"]


def unbalanced(db: sqlite3.Connection) -> list[str]:
    return [] if count(db).is_balanced else ["its ledger does not come out"]


def misplaced(rows: Iterable[Row], expected: Expected, *, has_seqs: bool = True) -> list[str]:
    """Entries that are not where they may be, or twice, or under another number; and calls of which a part is there."""
    there: dict[str, Place] = {}
    found = []
    for place, seq, body in rows:
        name = name_in(body)
        if name in there:
            found.append(f"{name} is {there[name]} and {place}")
        there[name] = place
        if has_seqs and expected.seqs.get(name, seq) != seq:
            found.append(f"{name} was told number {expected.seqs[name]} and has {seq}")
    for name, places in expected.places.items():
        if there.get(name, "nowhere") not in places:
            found.append(f"{name} is {there.get(name, 'nowhere')}, not {' or '.join(sorted(places))}")
    found += [f"{name} was never asked for" for name in there if name not in expected.places]
    for names in expected.together:
        if len({name in there for name in names}) > 1:
            found.append(f"of a call of {len(names)} entries there are some")
    return found


def name_in(body: bytes) -> str:
    return body.decode().rstrip()
