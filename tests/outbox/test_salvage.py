"""What is read of a store that was set aside: newest first, in bounded chunks, and without touching it."""

import asyncio
import shutil
from pathlib import Path

import pytest

from cio_buffer.outbox import opening, salvage, schema, tables
from cio_buffer.outbox.beside import wal_of
from cio_buffer.outbox.carving import TABLE_LEAF
from cio_buffer.outbox.pages import Pages
from cio_buffer.outbox.salvage import EVENT_COLUMNS, Remains, Rescued, remains, rescue
from tests.outbox.damage import FRAME, PAGE, WAL_HEADER, Seqs, held, killed_store, new, write
from tests.support.clock import FakeClock

SEQ, BODY = EVENT_COLUMNS.index("seq"), EVENT_COLUMNS.index("body")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "outbox.db"
    path.parent.mkdir()
    asyncio.run(killed_store(path, FakeClock()))
    return path


def read(store: Path) -> list[Rescued]:
    return [row for chunk in rescue(store) for row in chunk]


def bodies(rows: list[Rescued], table: str) -> Seqs:
    """The first of each number: what comes later is not brought in any more."""
    return {row.values[SEQ]: row.values[BODY] for row in reversed(rows) if row.table == table}  # type: ignore[misc]


def test_of_a_store_that_is_whole_all_is_read_once(store: Path) -> None:
    """With what is in the WAL alone, without what was delivered, and what was parked among what waits."""
    waiting, dead = held(store)
    rows = read(store)
    assert (bodies(rows, "event"), bodies(rows, "dead")) == (waiting, dead)
    assert len(rows) == len(waiting) + len(dead)


def test_the_ledger_is_the_newest(store: Path) -> None:
    found = remains(store)
    assert found.counts is not None
    assert set(found.counts) == set(tables.COUNTED)
    assert (found.counts["accepted"], found.counts["dead"]) == (240, len(held(store)[1]))
    assert found.highest_seq == found.counts["seq_reserved"] > 1_000_000
    assert len(found.store_id) == 16


def test_where_there_is_no_wal_the_ledger_is_older(store: Path) -> None:
    wal_of(store).unlink()
    counts = remains(store).counts
    assert counts is not None
    assert counts["accepted"] == 120


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\x0d" * 3 * PAGE, b"\xff" * 3 * PAGE])
def test_where_nothing_is_found_nothing_is_said(tmp_path: Path, content: bytes) -> None:
    store = tmp_path / "outbox.db"
    assert (remains(store), read(store)) == (Remains(counts=None, store_id=b"", highest_seq=0), [])
    store.write_bytes(content)
    wal_of(store).write_bytes(content)
    assert (remains(store), read(store)) == (Remains(counts=None, store_id=b"", highest_seq=0), [])


def test_numbers_that_were_never_given_out_stay_out(store: Path) -> None:
    assert {row.values[SEQ] for chunk in rescue(store, seq_max=50) for row in chunk} <= set(range(1, 51))


def test_chunks_are_small(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(read(store))
    monkeypatch.setattr(salvage, "ROWS_MAX", 7)
    assert {len(chunk) for chunk in rescue(store)} <= set(range(1, 8))
    monkeypatch.setattr(salvage, "BYTES_MAX", 20_000)
    sizes = [sum(len(row.values[BODY]) for row in chunk) for chunk in rescue(store)]  # type: ignore[arg-type]
    assert max(sizes) < 20_000 + 9_500
    assert sum(map(len, rescue(store))) == whole


def test_behind_a_frame_that_is_damaged_the_wal_is_read_on(store: Path) -> None:
    """SQLite would end there, and forget what was acknowledged later."""
    waiting, _ = held(store)
    write(wal_of(store), WAL_HEADER + 24 + 2_000, bytes(10))
    assert set(waiting) <= set(bodies(read(store), "event"))


def test_where_a_frame_is_damaged_what_stood_there_before_is_read_too(store: Path) -> None:
    """And comes after all that is newer."""
    at, number = damaged_frame(store)
    before = bodies(read(store), "event")
    pages = Pages(store)
    older = list(salvage.rows_of(pages, number, list(pages.places(number))[1]))
    pages.close()
    write(wal_of(store), WAL_HEADER + at * FRAME + 24, b"\0" * PAGE)
    rows = read(store)
    numbers = {row.values[SEQ] for row in older}
    assert numbers & set(before)
    assert numbers <= {row.values[SEQ] for row in rows}


def damaged_frame(store: Path) -> tuple[int, int]:
    """The newest frame of a page whose version before that has rows; and the page."""
    pages = Pages(store)
    for number, at in pages._latest.items():
        versions = list(pages.places(number))
        if len(versions) > 1 and all(list(salvage.rows_of(pages, number, place)) for place in versions[:2]):
            pages.close()
            return at, number
    raise AssertionError("there is none")


@pytest.mark.parametrize("hit", [slice(0, 24), slice(24, FRAME)], ids=["header", "content"])
def test_no_row_goes_on_with_the_end_of_another(tmp_path: Path, hit: slice) -> None:
    """Ann's was delivered, and Bert's has the page where hers went on: the frame that says so is damaged."""
    store, damaged = tmp_path / "outbox.db", tmp_path / "damaged" / "outbox.db"
    damaged.parent.mkdir()
    db = opening.connect(str(store))
    opening.apply_settings(db)
    schema.migrate(db)
    tables.insert(db, [new("keep", 5_000), new("anna", 5_000)], 1)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event'").fetchone()
    db.execute("BEGIN")
    db.execute("DELETE FROM event WHERE seq = 2")
    tables.insert(db, [new("bert", 5_000)], 3)
    db.execute("COMMIT")
    shutil.copy(store, damaged)
    wal = bytearray(wal_of(store).read_bytes())
    db.close()
    at = next(at for at in range(WAL_HEADER, len(wal), FRAME) if wal[at : at + 4] == root.to_bytes(4, "big"))
    frame = bytearray(wal[at : at + FRAME])
    assert frame[24] == TABLE_LEAF
    frame[hit] = bytes(len(frame[hit]))
    wal[at : at + FRAME] = frame
    wal_of(damaged).write_bytes(wal)
    stored = {1: new("keep", 5_000).body, 2: new("anna", 5_000).body, 3: new("bert", 5_000).body}
    rows = read(damaged)
    assert 1 in {row.values[SEQ] for row in rows}
    assert [row.values[SEQ] for row in rows if row.values[BODY] != stored[row.values[SEQ]]] == []  # type: ignore[index]


def test_what_was_not_committed_is_not_read(store: Path) -> None:
    """The last commit's frames, without the mark that ends it."""
    wal = wal_of(store).read_bytes()
    used = [at for at in range(WAL_HEADER, len(wal) - FRAME + 1, FRAME) if wal[at + 8 : at + 16] == wal[16:24]]
    whole = set(bodies(read(store), "event"))
    write(wal_of(store), used[-1] + 4, bytes(4))
    assert len(whole) - 10 == len(set(bodies(read(store), "event")))


def test_frames_of_an_older_wal_are_not_read(store: Path) -> None:
    """It is overwritten from its beginning: what is left of it behind that has other salts."""
    wal = wal_of(store).read_bytes()
    rows, found = read(store), remains(store)
    older = bytearray(wal[WAL_HEADER : WAL_HEADER + 60 * FRAME])
    for at in range(0, len(older), FRAME):
        older[at + 8 : at + 16] = bytes(8)
    with wal_of(store).open("ab") as file:
        file.write(older)
    assert (read(store), remains(store)) == (rows, found)
