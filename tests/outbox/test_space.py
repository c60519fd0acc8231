"""Room: what is counted, what is refused, and the ballast."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from cio_buffer.outbox.ballast import Ballast
from cio_buffer.outbox.quarantine import Before, set_aside
from cio_buffer.outbox.space import Space, refusing

MIB = 1_048_576


@pytest.mark.parametrize(
    ("bytes_used", "disk_free", "expected"),
    [
        (0, 100, ""),
        (99, 50, ""),
        (100, 50, "outbox_full"),
        (0, 49, "disk_low"),
        (100, 49, "disk_low"),
    ],
)
def test_what_is_refused_and_why(bytes_used: int, disk_free: int, expected: str) -> None:
    assert refusing(bytes_used=bytes_used, bytes_max=100, disk_free=disk_free, disk_needed=50) == expected


@pytest.mark.parametrize(
    ("disk_free", "reusable", "wal_growth", "expected"),
    [
        (10, 40, 0, ""),  # filled by a backlog that is gone: the file never shrinks, and has the room
        (10, 39, 0, "disk_low"),
        (0, 50, 0, ""),
        (0, 50, 1, "disk_low"),  # nothing can be written at all before the WAL has grown
        (16, 40, 16, ""),
        (15, 40, 16, "disk_low"),
        (50, 0, 60, ""),
    ],
)
def test_free_pages_are_room(disk_free: int, reusable: int, wal_growth: int, expected: str) -> None:
    found = refusing(
        bytes_used=0, bytes_max=100, disk_free=disk_free, disk_needed=50, reusable=reusable, wal_growth=wal_growth
    )
    assert found == expected


def test_a_ballast_is_of_real_blocks(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", MIB)
    assert ballast.missing_bytes == MIB
    assert ballast.make()
    made = (tmp_path / "ballast").stat()
    assert (ballast.missing_bytes, made.st_size, made.st_mode & 0o777) == (0, MIB, 0o600)
    assert made.st_blocks * 512 >= MIB


def test_it_is_given_up_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", MIB)
    ballast.make()
    assert [ballast.give_up(), ballast.give_up(), ballast.missing_bytes] == [True, False, MIB]


def test_half_a_ballast_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        os.write(fd, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    ballast = Ballast(tmp_path / "ballast", MIB)
    assert not ballast.make()
    assert (ballast.missing_bytes, [*tmp_path.iterdir()]) == (MIB, [])


def test_where_no_blocks_can_be_set_aside_none_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    ballast = Ballast(tmp_path / "ballast", MIB)
    assert (ballast.make(), ballast.missing_bytes, [*tmp_path.iterdir()]) == (True, 0, [])


def test_one_that_is_too_large_is_dropped(tmp_path: Path) -> None:
    Ballast(tmp_path / "ballast", 2 * MIB).make()
    smaller = Ballast(tmp_path / "ballast", MIB)
    smaller.fit()
    assert smaller.missing_bytes == MIB
    smaller.make()
    smaller.fit()
    assert smaller.missing_bytes == 0


def space_at(store: Path, *, disk_free_min_bytes: int = 0, bytes_max: int = 2**40, ballast_bytes: int = MIB) -> Space:
    return Space(store, bytes_max=bytes_max, disk_free_min_bytes=disk_free_min_bytes, ballast_bytes=ballast_bytes)


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(tmp_path / "outbox.db")
    db.execute("CREATE TABLE t (x)")
    return db


def has(disk: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_buffer.outbox.space.free_bytes", lambda folder: disk["free"])


def test_intake_reopens_only_once_there_is_ballast_again(
    tmp_path: Path, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = {"free": 10 * MIB}
    has(disk, monkeypatch)
    space = space_at(tmp_path / "outbox.db", disk_free_min_bytes=5 * MIB)
    seen = []
    for free_mib in (10, 5, 4, 5, 6):
        disk["free"] = free_mib * MIB
        if free_mib == 4:
            space.give_up_ballast()
        space.look(db)
        seen.append((free_mib, space.refusing, (tmp_path / "outbox.db.ballast").exists()))
    assert seen == [(10, "", True), (5, "", True), (4, "disk_low", False), (5, "disk_low", False), (6, "", True)]


def test_a_ballast_that_cannot_be_made_keeps_intake_closed(
    tmp_path: Path, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ballast, "make", lambda self: False)
    space = space_at(tmp_path / "outbox.db")
    space.look(db)
    assert space.refusing == "disk_low"


def test_where_a_ballast_has_no_disk_free_pages_stand_for_it(
    tmp_path: Path, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that filled the disk and was emptied; and only for as long as there are enough of them."""
    has({"free": 16 * MIB}, monkeypatch)
    space = space_at(tmp_path / "outbox.db", ballast_bytes=20 * MIB)
    seen = []
    for size in (8 * MIB, 0):
        db.execute("INSERT INTO t VALUES (zeroblob(?))", (size,))
        db.commit()
        space.look(db)
        seen.append(space.refusing)
        db.execute("DELETE FROM t")
        db.commit()
        space.look(db)
        seen.append(space.refusing)
    assert seen == ["disk_low", "", "", ""]
    assert not (tmp_path / "outbox.db.ballast").exists()


def test_giving_it_up_closes_intake_at_once(tmp_path: Path, db: sqlite3.Connection) -> None:
    space = space_at(tmp_path / "outbox.db")
    space.look(db)
    assert (space.refusing, space.give_up_ballast(), space.refusing) == ("", True, "disk_low")


def test_what_was_set_aside_counts(tmp_path: Path, db: sqlite3.Connection) -> None:
    space = space_at(tmp_path / "outbox.db", bytes_max=MIB, ballast_bytes=0)
    space.look(db)
    before = space.bytes_used
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "outbox.db"
    other.write_bytes(b"x" * MIB)
    folder = set_aside(other, Before(why="test"), 1_700_000_000.0)
    folder.parent.rename(tmp_path / "quarantine")
    space.look(db)
    assert MIB <= space.bytes_used - before < MIB + 4096
    assert space.refusing == "outbox_full"


def test_copies_of_older_stores_go_before_anybody_is_refused(
    tmp_path: Path, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "outbox.db.format-3.backup"
    copy.touch()
    monkeypatch.setattr("cio_buffer.outbox.space.free_bytes", lambda folder: 0 if copy.exists() else 10 * MIB)
    space = space_at(tmp_path / "outbox.db", disk_free_min_bytes=MIB, ballast_bytes=0)
    space.look(db)
    assert (space.refusing, copy.exists()) == ("", False)
