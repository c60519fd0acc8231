"""What goes wrong while a damaged store is being set aside costs nothing that was acknowledged."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import beside, file, opening, quarantine, takeover
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.damaged import Damaged
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.test_quarantine import NAMES, drained_whatever_comes, filled, hit, opened, said
from tests.support.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "outbox.db"


async def met(outbox: SqliteOutbox) -> None:
    """Have the writer meet damage, twice: the store is set aside, or that has been tried."""
    generation = outbox._store.generation

    def damage(_: sqlite3.Connection) -> None:
        if outbox._store.generation == generation:
            raise Damaged("as told by a test")

    await asyncio.wait_for(outbox.run(damage, kind="claim"), 10)


class Once:
    """Fails once, and then does what it stands for."""

    def __init__(self, real: Any, problem: Exception, at: int = 1) -> None:
        self.real, self.problem, self.at = real, problem, at

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.at -= 1
        if self.at == 0:
            raise self.problem
        return self.real(*arguments, **named)


@pytest.mark.parametrize("problem", [StoreUnusable("no room for another"), OSError(5, "Input/output error")])
async def test_where_the_new_store_cannot_be_begun_at_once_salvage_begins_when_it_is(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    outbox = await opened(path, clock)
    for name in NAMES:
        await outbox.append([said(name)])
    monkeypatch.setattr(file, "open_store", Once(opening.open_store, problem, at=2))  # the first is the second look
    await met(outbox)
    await outbox.append([said("new")])
    assert await asyncio.wait_for(drained_whatever_comes(outbox), 10) == [*NAMES, "new"]
    assert outbox.ledger() == Ledger(accepted=1, salvaged=3, delivered=4)
    await outbox.close()


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_folder_that_cannot_be_synced_while_a_store_is_set_aside_costs_nothing(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    outbox = await opened(path, clock)
    for name in NAMES:
        await outbox.append([said(name)])
    monkeypatch.setattr(file, "open_store", Once(opening.open_store, Damaged("as told by a test")))  # its WAL is full
    monkeypatch.setattr(quarantine, "sync_folder", Once(beside.sync_folder, OSError(5, "EIO"), at=at))
    await met(outbox)
    await outbox.append([said("new")])
    assert await asyncio.wait_for(drained_whatever_comes(outbox), 10) == [*NAMES, "new"]
    await outbox.close()


async def test_setting_aside_that_fails_leaves_no_folder(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = await opened(path, clock)
    await outbox.append([said("one")])
    monkeypatch.setattr(quarantine, "write_json", Once(None, OSError(28, "ENOSPC")))
    with pytest.raises(OSError, match="ENOSPC"):
        quarantine.set_aside(path, quarantine.Before(why="a test"), 1.0)
    assert list(quarantine.folders(path)) == []
    await outbox.close()


async def test_what_else_lies_in_the_quarantine_is_let_alone(path: Path, clock: FakeClock) -> None:
    """A disk of its own has a folder that is root's; an operator may keep what she looks at there."""
    await filled(path, clock, "one")
    folder = path.parent / "quarantine"
    for name in ("lost+found", "mine"):
        (folder / name).mkdir(parents=True)
    (folder / "mine" / "notes").write_text("notes")
    outbox = await opened(path, clock)
    assert outbox.set_aside() == []
    assert await asyncio.wait_for(drained_whatever_comes(outbox), 5) == ["one"]
    assert (folder / "mine" / "notes").exists()
    await outbox.close()


async def test_what_an_operator_put_beside_what_was_set_aside_is_not_deleted(path: Path, clock: FakeClock) -> None:
    await filled(path, clock, "one")
    folder = quarantine.make_folder(path, 1.0)
    (folder / "outbox.db.copy").write_bytes(b"hers")
    outbox = await opened(path, clock)
    await outbox.close()
    assert (folder / "outbox.db.copy").exists()


@pytest.mark.parametrize("change", ["unanswered = x'0102'", "store_id = x'01'"])
async def test_what_makes_no_sense_in_the_ledger_does_not_keep_a_store_from_opening(
    path: Path, clock: FakeClock, change: str
) -> None:
    await filled(path, clock, *NAMES)
    db = sqlite3.connect(path)
    db.execute(f"UPDATE ledger SET {change}")
    db.commit()
    db.close()
    outbox = await opened(path, clock)
    assert await asyncio.wait_for(drained_whatever_comes(outbox), 10) == [*NAMES]
    await outbox.close()


@pytest.mark.parametrize(
    "before",
    [
        b'{"why":"x","store_id":"zz"}',
        b'{"why":"x","store_id":"00"}',
        b'{"why":"x","highest_seq":18446744073709551615}',
        b"\xff",
    ],
)
async def test_what_was_known_may_be_damaged_too(path: Path, clock: FakeClock, before: bytes) -> None:
    await filled(path, clock, *NAMES)
    folder = quarantine.set_aside(path, quarantine.Before(why="a test"), 1.0)
    (folder / "before.json").write_bytes(before)
    outbox = await opened(path, clock)
    await outbox.append([said("new")])
    assert await asyncio.wait_for(drained_whatever_comes(outbox), 10) == [*NAMES, "new"]
    await outbox.close()


async def test_one_chunk_that_cannot_be_brought_costs_the_others_nothing(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}" for number in range(1_200)]
    outbox = await opened(path, clock)
    await outbox.append([said(name) for name in names])
    await outbox.close()
    hit(path, "parked")
    monkeypatch.setattr(takeover, "bring", Once(takeover.bring, ValueError("nobody foresaw this")))
    outbox = await opened(path, clock)
    assert len(await asyncio.wait_for(drained_whatever_comes(outbox), 20)) == 1_200
    (told,) = outbox.set_aside()
    assert (told.state, told.why, told.lost) == ("failed", "ValueError", 0)
    await outbox.close()


async def test_a_start_on_a_full_disk_has_the_ballast(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash left in the WAL has no room in the file: the queue that filled the disk could never empty itself."""

    def outbox() -> SqliteOutbox:
        return SqliteOutbox(path, clock=clock, bytes_max=2**30, disk_free_min_bytes=0, ballast_bytes=2**20)

    first = outbox()
    await first.open()
    await first.append([said("one")])
    await first.close()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    monkeypatch.setattr(opening, "empty_wal", Once(opening.empty_wal, full))
    second = outbox()
    await second.open()
    assert await asyncio.wait_for(drained_whatever_comes(second), 5) == ["one"]
    await second.close()
