"""A store as a kill leaves it, with something of everything in it; and seeded ways to damage one."""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from cio_buffer.outbox import opening, schema, tables
from cio_buffer.outbox.beside import shm_of, wal_of
from cio_buffer.outbox.entry import (
    DeadLetter,
    Delivered,
    Entry,
    NewEntry,
    Parked,
    Released,
    Report,
    Settled,
    Settlement,
)
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, operation
from tests.support.clock import FakeClock

PAGE, FRAME, WAL_HEADER = 4096, 4120, 32
ANOTHERS = b'"of another store"'
REFUSED = DeadLetter(reason="refused", vendor_reason="required", field="name", message="is naïve", status=422)

Seqs = dict[int, bytes]
"""Bodies by their numbers."""


def outbox_at(path: Path, clock: FakeClock) -> SqliteOutbox:
    return SqliteOutbox(path, clock=clock, bytes_max=2**30, disk_free_min_bytes=0)


def body(name: str, size: int) -> bytes:
    return f'{{"name": "{name}", "said": "{name * (size // len(name))}"}}'.encode()


def new(name: str, size: int = 150) -> NewEntry:
    """An operation with a body as ingest makes them; every ninth goes on in other pages than its row's."""
    made = operation(name, f"id:{name}", event_id=name)
    return NewEntry(
        kind=made.kind,
        lanes=made.lanes,
        body=body(name, size),
        accepted_at_ms=made.accepted_at_ms,
        route=made.route,
        trail=made.trail,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


async def killed_store(store: Path, clock: FakeClock) -> None:
    """Make it: entries that were delivered, parked, are dead, and wait, some of each in the WAL alone."""
    living = store.with_name("living.db")
    outbox = outbox_at(living, clock)
    await outbox.open()
    await worked(outbox, "a")
    await outbox.close()
    outbox = outbox_at(living, clock)
    await outbox.open()
    await worked(outbox, "b")
    for file in living.parent.glob("living.db*"):
        shutil.copy(file, file.with_name(file.name.replace("living", "outbox")))
    await outbox.close()
    for file in living.parent.glob("living.db*"):
        file.unlink()


async def worked(outbox: SqliteOutbox, name: str) -> None:
    """Take in 60, of which every fourth is delivered, every seventh parked, every eleventh dead; and 60 more."""
    for some in range(0, 60, 10):
        await outbox.append([new(f"{name}{at}", 9_000 if at % 9 == 0 else 150) for at in range(some, some + 10)])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    await lease.settle([Settled(one, Released(), 1) for one in claim.parked], now_ms=NOW_MS)
    fates = [Settled(one, fate, 1) for one in (met.entry for met in claim.main) if (fate := fate_of(one)) is not None]
    await lease.settle(fates, now_ms=NOW_MS, report=report_on([one.entry for one in fates], lease.first_request))
    for some in range(60, 120, 10):
        await outbox.append([new(f"{name}{at}", 9_000 if at % 9 == 0 else 150) for at in range(some, some + 10)])


def report_on(entries: list[Entry], number: int) -> Report:
    return Report(number=number, sent_at_ms=NOW_MS, took_ms=20, is_v1=False, status=207, trouble=None, entries=entries)


def fate_of(entry: Entry) -> Settlement | None:
    if entry.seq % 4 == 0:
        return Delivered()
    if entry.seq % 7 == 0:
        return Parked(NOW_MS)
    return REFUSED if entry.seq % 11 == 0 else None


def held(store: Path) -> tuple[Seqs, Seqs]:
    """What waits in a store that is whole, parked or not; and its dead letters. By SQLite, from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / store.name
        for file in (store, wal_of(store)):
            if file.exists():
                shutil.copy(file, copy.with_name(file.name))
        db = sqlite3.connect(copy)
        waiting, dead = (
            dict(db.execute(statement).fetchall())
            for statement in (
                "SELECT seq, body FROM event UNION ALL SELECT seq, body FROM parked",
                "SELECT seq, body FROM dead",
            )
        )
        db.close()
    return waiting, dead


def damage(store: Path, seed: int) -> str:
    """Damage it in one of WAYS; says how."""
    chance = random.Random(seed)
    way = WAYS[seed % len(WAYS)]
    return f"seed {seed}: {way(store, chance)}"


def flip_bits(store: Path, chance: random.Random) -> str:
    return f"{flipped(store, chance, chance.randint(1, 60))} of the database"


def flip_bits_of_the_first_page(store: Path, chance: random.Random) -> str:
    return f"{flipped(store, chance, chance.randint(1, 3), below=100)} of its header"


def flip_bits_of_the_wal(store: Path, chance: random.Random) -> str:
    return f"{flipped(wal_of(store), chance, chance.randint(1, 60))} of the WAL"


def flip_bits_of_the_wals_header(store: Path, chance: random.Random) -> str:
    return f"{flipped(wal_of(store), chance, 1, below=WAL_HEADER)} of the WAL's header"


def flipped(file: Path, chance: random.Random, bits: int, *, below: int | None = None) -> str:
    content = bytearray(file.read_bytes())
    places = [chance.randrange((below or len(content)) * 8) for _ in range(bits)]
    for place in places:
        content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)
    return f"bits {places}"


def zero_pages(store: Path, chance: random.Random) -> str:
    return f"zeros for {overwritten(store, chance, lambda _: bytes(PAGE))}"


def garble_pages(store: Path, chance: random.Random) -> str:
    return f"garbage for {overwritten(store, chance, chance.randbytes)}"


def overwritten(store: Path, chance: random.Random, content: Callable[[int], bytes]) -> str:
    pages = store.stat().st_size // PAGE
    numbers = chance.sample(range(pages), chance.randint(1, pages // 4))
    for number in numbers:
        write(store, number * PAGE, content(PAGE))
    return f"pages {numbers}"


def garble_a_range(store: Path, chance: random.Random) -> str:
    start, size = chance.randrange(store.stat().st_size), chance.randint(1, 10 * PAGE)
    write(store, start, chance.randbytes(min(size, store.stat().st_size - start)))
    return f"garbage from {start}, {size} bytes"


def garble_the_first_page(store: Path, chance: random.Random) -> str:
    write(store, 0, chance.randbytes(PAGE))
    return "garbage for the first page"


def garble_everything(store: Path, chance: random.Random) -> str:
    store.write_bytes(chance.randbytes(store.stat().st_size))
    return "garbage for all of the database"


def swap_pages(store: Path, chance: random.Random) -> str:
    content = store.read_bytes()
    one, other = chance.sample(range(len(content) // PAGE), 2)
    write(store, one * PAGE, content[other * PAGE :][:PAGE])
    write(store, other * PAGE, content[one * PAGE :][:PAGE])
    return f"swapped pages {one} and {other}"


def cut(store: Path, chance: random.Random) -> str:
    size = chance.randrange(store.stat().st_size)
    with store.open("r+b") as file:
        file.truncate(size)
    return f"cut to {size}"


def lose_the_wal(store: Path, _: random.Random) -> str:
    wal_of(store).unlink()
    return "lost the WAL"


def cut_the_wal(store: Path, chance: random.Random) -> str:
    return f"the WAL is {cut(wal_of(store), chance)}"


def garble_the_wal(store: Path, chance: random.Random) -> str:
    return f"the WAL has {garble_a_range(wal_of(store), chance)}"


def garble_both(store: Path, chance: random.Random) -> str:
    return f"{garble_pages(store, chance)}; {garble_the_wal(store, chance)}"


def garble_the_shm(store: Path, chance: random.Random) -> str:
    shm_of(store).write_bytes(chance.randbytes(32_768))
    return "garbage for the -shm"


def leave_the_wal_alone(store: Path, _: random.Random) -> str:
    store.write_bytes(b"")
    return "an empty database"


def lose_the_database(store: Path, _: random.Random) -> str:
    store.unlink()
    return "no database"


def put_in_anothers_page(store: Path, chance: random.Random) -> str:
    """A leaf of its main lane."""
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other.db"
        db = opening.connect(str(other))
        schema.migrate(db)
        tables.insert(db, [NewEntry(kind="event", lanes=bytes(8), body=ANOTHERS, accepted_at_ms=NOW_MS)] * 10, 1)
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event'").fetchone()
        db.close()
        page = other.read_bytes()[(root - 1) * PAGE :][:PAGE]
    number = chance.randrange(store.stat().st_size // PAGE)
    write(store, number * PAGE, page)
    return f"page {number} is of another store"


def write(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(content)


WAYS: tuple[Callable[[Path, random.Random], str], ...] = (
    flip_bits,
    flip_bits_of_the_first_page,
    flip_bits_of_the_wal,
    flip_bits_of_the_wals_header,
    zero_pages,
    garble_pages,
    garble_a_range,
    garble_the_first_page,
    garble_everything,
    swap_pages,
    cut,
    lose_the_wal,
    cut_the_wal,
    garble_the_wal,
    garble_both,
    garble_the_shm,
    leave_the_wal_alone,
    lose_the_database,
    put_in_anothers_page,
)
SEEDS = range(200)
