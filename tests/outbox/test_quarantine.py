"""What becomes of a store whose file is damaged: it is set aside, and what can be read of it returns."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cio_buffer.errors import LeaseLost, OutboxUnavailable
from cio_buffer.outbox import opening, quarantine, salvager, tables
from cio_buffer.outbox.archive import Letters, Replayed
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.damaged import Damaged
from cio_buffer.outbox.entry import DeadLetter, Delivered, NewEntry, Parked, Settled
from cio_buffer.outbox.salvage import EVENT_COLUMNS
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, operation
from tests.support.clock import FakeClock

PAGE = 4096


def outbox_at(path: Path, clock: FakeClock, connect: opening.Connect = opening.connect) -> SqliteOutbox:
    return SqliteOutbox(path, clock=clock, bytes_max=2**30, disk_free_min_bytes=0, connect=connect)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "outbox.db"


async def opened(path: Path, clock: FakeClock) -> SqliteOutbox:
    outbox = outbox_at(path, clock)
    await outbox.open()
    return outbox


def said(name: str) -> NewEntry:
    """One of ann's. What is salvaged has to be JSON, as all bodies are."""
    return operation(json.dumps(name), "ann")


async def salvaged(outbox: SqliteOutbox) -> None:
    """Wait until nothing is left to be brought back."""
    while outbox.condition().is_salvaging:
        await asyncio.sleep(0.01)


async def drained(outbox: SqliteOutbox) -> list[str]:
    """Deliver all there is; the names, in order."""
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    names = []
    while True:
        claim = await lease.claim(PLENTY, now_ms=NOW_MS)
        entries = sorted([*claim.parked, *(met.entry for met in claim.main)], key=lambda one: one.seq)
        if not entries:
            return names
        names += [json.loads(one.body) for one in entries]
        await lease.settle([Settled(one, Delivered(), 1) for one in entries], now_ms=NOW_MS)


async def filled(path: Path, clock: FakeClock, *names: str) -> bytes:
    """A store with these in it, closed; returns its id."""
    outbox = await opened(path, clock)
    for name in names:
        await outbox.append([said(name)])
    store_id = outbox._store.store_id
    await outbox.close()
    return store_id


def hit(path: Path, table: str) -> None:
    """Overwrite the root page of a table."""
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    db.close()
    overwrite(path, (root - 1) * PAGE, b"\xa5" * PAGE)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


NAMES = ("one", "two", "three")


async def drained_whatever_comes(outbox: SqliteOutbox) -> list[str]:
    """As a drain does it: it begins anew with another store, once that has what could be salvaged."""
    while True:
        try:
            return await drained(outbox)
        except (LeaseLost, OutboxUnavailable):
            await salvaged(outbox)


@pytest.mark.parametrize("table", ["ledger", "parked", "dead"])
async def test_a_store_that_is_damaged_when_it_is_opened_is_set_aside(path: Path, clock: FakeClock, table: str) -> None:
    """It takes in at once, and all that waited returns, before what is newer."""
    store_id = await filled(path, clock, *NAMES)
    hit(path, table)
    outbox = await opened(path, clock)
    await outbox.append([said("new")])
    assert outbox.ledger().accepted == 1
    assert await drained_whatever_comes(outbox) == [*NAMES, "new"]
    (told,) = outbox.set_aside()
    lost = None if table == "ledger" else 0  # then nobody knows how many there were
    assert (told.state, told.saved, told.dead_saved, told.lost, told.dead_lost) == ("over", 3, 0, lost, lost)
    assert outbox.ledger() == Ledger(accepted=1, salvaged=3, delivered=4)
    assert table == "ledger" or outbox._store.store_id == store_id
    assert (await outbox.audit()).is_balanced
    await outbox.close()


@pytest.mark.parametrize("table", ["log", "parked_lane"])
async def test_damage_that_is_met_later_sets_the_store_aside_then(path: Path, clock: FakeClock, table: str) -> None:
    """By whoever meets it: here a reader counts, and the drain parks."""
    await filled(path, clock, *NAMES)
    hit(path, table)
    outbox = await opened(path, clock)
    await outbox.append([said("new")])

    async def count_and_park() -> None:
        lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
        while True:
            await outbox.audit()
            claim = await lease.claim(PLENTY, now_ms=NOW_MS)
            await lease.settle([Settled(met.entry, Parked(NOW_MS), 1) for met in claim.main], now_ms=NOW_MS)

    with pytest.raises((LeaseLost, OutboxUnavailable)):
        await count_and_park()
    await outbox.append([said("newer")])
    assert await drained_whatever_comes(outbox) == [*NAMES, "new", "newer"]
    (told,) = outbox.set_aside()
    assert (told.state, told.saved, told.lost) == ("over", 4, 0)
    assert (await outbox.audit()).is_balanced
    await outbox.close()


async def test_what_was_acknowledged_before_damage_was_met_keeps_its_receipt(path: Path, clock: FakeClock) -> None:
    outbox = await opened(path, clock)
    (seq,) = await outbox.append([said("one")])
    receipt = outbox.names.receipt(seq, NOW_MS)
    await outbox.close()
    hit(path, "parked")
    outbox = await opened(path, clock)
    await salvaged(outbox)
    assert outbox.names.read_receipt(receipt).seq == seq
    (known,) = (await outbox.archive.trace(seq)).known
    assert (known.place, [one.what for one in known.happenings]) == ("main", ["salvaged"])
    await outbox.close()


async def test_numbers_of_a_new_store_are_above_those_of_the_damaged_one(path: Path, clock: FakeClock) -> None:
    outbox = await opened(path, clock)
    (seq,) = await outbox.append([said("one")])
    await outbox.close()
    hit(path, "ledger")
    outbox = await opened(path, clock)
    (next_seq,) = await outbox.append([said("two")])
    await outbox.close()
    assert next_seq > max(seq, int(clock.now() * 1_000_000))


async def test_a_crash_during_salvage_is_made_good(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of it has been brought back: that is not brought again, and counted once."""
    await filled(path, clock, *NAMES)
    hit(path, "parked")
    end = quarantine.end
    monkeypatch.setattr(quarantine, "end", lambda folder, ended: (_ for _ in ()).throw(OSError(5, "no")))
    outbox = await opened(path, clock)
    while outbox.ledger().salvaged < 3:
        await asyncio.sleep(0.01)
    assert outbox.condition().is_salvaging
    await outbox.close()
    monkeypatch.setattr(quarantine, "end", end)
    outbox = await opened(path, clock)
    await salvaged(outbox)
    (told,) = outbox.set_aside()
    assert (told.saved, told.lost, outbox.ledger()) == (3, 0, Ledger(salvaged=3))
    assert await drained(outbox) == [*NAMES]
    await outbox.close()


@pytest.mark.parametrize("offset", [0, 18, 100])
async def test_what_is_found_damaged_is_set_aside_with_its_wal(path: Path, clock: FakeClock, offset: int) -> None:
    """SQLite would empty the WAL into a file that it closes, and delete it: another damage there would then be lost."""
    await killed_with_its_wal(path, clock, *NAMES)
    wal = path.with_name("outbox.db-wal").read_bytes()
    overwrite(path, offset, b"\xa5" * 200)
    outbox = await opened(path, clock)
    await salvaged(outbox)
    (told,) = outbox.set_aside()
    assert (Path(told.path) / "outbox.db-wal").read_bytes() == wal
    await outbox.close()


WAL_HEADER, FRAME = 32, 24 + PAGE


@pytest.mark.parametrize(
    "offset",
    [0, 8, 16, WAL_HEADER + 20, WAL_HEADER + 24 + 100, WAL_HEADER + 4 * FRAME + 24 + 50],
    ids=["magic", "page size", "salt", "checksum", "first frame", "fifth frame"],
)
async def test_a_wal_that_was_hit_after_it_was_synced_is_not_cut_short_in_silence(
    path: Path, clock: FakeClock, offset: int
) -> None:
    """SQLite drops what stands behind a frame that is not as it was written, and calls that a recovery."""
    outbox = await opened(path, clock)
    for name in NAMES:
        await outbox.append([said(name)])
    copy = path.parent.parent / "copy" / "outbox.db"
    copy.parent.mkdir()
    for name in ("outbox.db", "outbox.db-wal", "outbox.db.lock"):
        (copy.parent / name).write_bytes((path.parent / name).read_bytes())
    await outbox.close()
    wal = copy.with_name("outbox.db-wal")
    overwrite(wal, offset, bytes([wal.read_bytes()[offset] ^ 0x10]))
    outbox = await opened(copy, clock)
    await salvaged(outbox)
    assert await drained_whatever_comes(outbox) == [*NAMES]
    (told,) = outbox.set_aside()
    assert (told.saved, told.lost) == (3, 0)
    await outbox.close()


async def test_a_crash_at_any_point_of_setting_aside_loses_nothing(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file-system call that it makes the process may end; the next start goes on."""
    at, was_cut = 0, True
    while was_cut:
        at += 1
        folder = path.parent.parent / str(at)
        store = folder / "outbox.db"
        await killed_with_its_wal(store, clock, *NAMES)
        was_cut = await cut_while_setting_aside(store, clock, at, monkeypatch)
        outbox = await opened(store, clock)
        await salvaged(outbox)
        await outbox.append([said("new")])
        assert (at, await drained_whatever_comes(outbox)) == (at, [*NAMES, "new"])
        await outbox.close()
    assert at > 10


async def killed_with_its_wal(store: Path, clock: FakeClock, *names: str) -> None:
    """A store with these in it, all of them in the WAL alone, and with a database that is damaged."""
    outbox = await opened(store.with_name("before.db"), clock)
    await outbox.append([said("delivered")])
    await drained(outbox)
    await outbox.close()
    outbox = await opened(store.with_name("before.db"), clock)
    for name in names:
        await outbox.append([said(name)])
    for file in store.parent.glob("before.db*"):
        file.with_name(file.name.replace("before", "outbox")).write_bytes(file.read_bytes())
    await outbox.close()
    for file in store.parent.glob("before.db*"):
        file.unlink()
    store.with_name("outbox.db-shm").unlink()
    overwrite(store, 100, b"\xa5" * 200)  # its header can be read: else SQLite copies the WAL into it when it closes


async def cut_while_setting_aside(store: Path, clock: FakeClock, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Open it, and end at the so manieth call; False if it did not come to that."""
    calls = 0

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= at:
                raise Cut
            return function(*arguments, **more)

        return call

    outbox = outbox_at(store, clock)
    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (quarantine, "sync_folder")):
            patch.setattr(owner, name, counting(getattr(owner, name)))
        patch.setattr("cio_buffer.outbox.sqlite.prepare_folder", lambda _: None)
        try:
            await outbox.open()
        except Cut:
            return True
        while outbox.condition().is_salvaging and calls < at:
            await asyncio.sleep(0.001)
        await outbox.close()
    return calls >= at


class Cut(Exception):
    """The process ends here."""


async def test_nothing_is_handed_out_before_salvage_is_over(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path, clock, *NAMES)
    hit(path, "ledger")
    gate = asyncio.Event()
    bring = salvager.Salvager._bring

    async def slow(self: salvager.Salvager, *arguments: object) -> None:
        await gate.wait()
        await bring(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(salvager.Salvager, "_bring", slow)
    outbox = await opened(path, clock)
    await outbox.append([said("new")])
    assert [one.state for one in outbox.set_aside()] in (["waiting"], ["salvaging"])
    with pytest.raises(OutboxUnavailable, match="salvaged"):
        await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    with pytest.raises(OutboxUnavailable, match="might come back"):
        await outbox.archive.purge(Letters())
    gate.set()
    await salvaged(outbox)
    assert await drained(outbox) == [*NAMES, "new"]
    await outbox.close()


async def test_of_a_damaged_log_nothing_is_concluded(path: Path, clock: FakeClock) -> None:
    """What overtook a dead letter may have stood in it: the letter is not sent again without being told to."""
    outbox = await opened(path, clock)
    await outbox.append([said("old")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    (met,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).main
    await lease.settle([Settled(met.entry, DeadLetter(reason="refused"), 1)], now_ms=NOW_MS)
    clock.advance(1)
    await outbox.append([said("new")])
    assert await drained(outbox) == ["new"]
    await outbox.close()
    hit(path, "parked")
    clock.advance(1)
    outbox = await opened(path, clock)
    await salvaged(outbox)
    assert await outbox.archive.replay(Letters()) == Replayed(0, 1)
    assert await outbox.archive.replay(Letters(), after_newer=True) == Replayed(1, 0)
    await outbox.close()


@pytest.mark.parametrize(
    ("column", "value"), [("body", "text"), ("lanes", "text"), ("lanes", b"seven b"), ("accepted_at_ms", b"when")]
)
def test_a_row_that_is_not_as_it_was_written_is_damage(column: str, value: object) -> None:
    """A flipped bit makes another type of a value, and everything that follows takes it at its word."""
    db = sqlite3.connect(":memory:")
    written = {
        "seq": 1,
        "lanes": b"",
        "kind": "event",
        "accepted_at_ms": NOW_MS,
        "attempts": 0,
        "replays": 0,
        "body": b"1",
    }
    db.execute(f"CREATE TABLE event ({', '.join(dict.fromkeys([*EVENT_COLUMNS, *written]))})")  # not STRICT
    row = written | {column: value}
    db.execute(f"INSERT INTO event ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    with pytest.raises(Damaged):
        tables.read_main(db, after=0, limit=1, max_bytes=1)
