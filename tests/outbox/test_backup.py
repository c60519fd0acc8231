"""The copy that an upgrade makes of a store first: when, of what, and for how long."""

import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import backup, schema
from cio_buffer.outbox.backup import KEPT_S, Upgrade, backup_of, copy_to, expired_backups, throw_away_expired
from cio_buffer.outbox.damaged import Damaged
from cio_buffer.outbox.opening import connect, open_store
from tests.outbox.corpus.make import ENDINGS
from tests.outbox.test_upgrades import EVERY, OLD, contents, format_in, unpack, version_in

KILLS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "outbox.db"


def upgrade(path: Path, *, connect: Callable[[str], sqlite3.Connection] = connect, keep_free_bytes: int = 0) -> Upgrade:
    """Open it, and close it again; returns what was told of that."""
    told: list[Upgrade] = []
    opened = open_store(path, connect, keep_free_bytes=keep_free_bytes, on_upgrade=told.append)
    with closing(opened[0]):
        (one,) = told
        return one


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if ".backup" in file.name}


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_upgrade_leaves_the_store_as_it_was_beside_it(version: int, ending: str, path: Path, tmp_path: Path) -> None:
    before = tmp_path / "before" / "outbox.db"
    unpack(before, version, ending)
    unpack(path, version, ending)
    copy = backup_of(path, version)
    assert upgrade(path) == Upgrade(format_before=version, backup=copy)
    assert copy.name == f"outbox.db.format-{version}.backup"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (version_in(copy), format_in(copy), format_in(path)) == (version, version, schema.VERSION)
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert contents(copy) == contents(before)


def test_a_backup_put_in_the_stores_place_is_that_store(path: Path) -> None:
    unpack(path, 3)
    copy = upgrade(path).backup
    assert copy
    upgraded = contents(path)
    copy.replace(path)
    assert format_in(path) == 3
    assert upgrade(path).backup == copy  # which is made anew
    assert contents(path) == upgraded


def test_a_store_with_nothing_in_it_is_not_copied(path: Path) -> None:
    path.parent.mkdir()
    assert upgrade(path) == Upgrade(format_before=0)
    with closing(connect(str(path))) as db:
        db.execute("DROP TABLE salvage")
        db.execute("ALTER TABLE ledger DROP COLUMN salvaged")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'outlast_damage'")
    assert upgrade(path) == Upgrade(format_before=4)
    assert names(path.parent) == set()


def test_a_store_that_is_up_to_date_is_not_copied(path: Path) -> None:
    unpack(path, EVERY[-1])
    told: list[Upgrade] = []
    open_store(path, on_upgrade=told.append)[0].close()
    assert (told, names(path.parent)) == ([], set())


@pytest.mark.parametrize("missing", [0, 1])
def test_a_copy_is_made_only_where_it_leaves_room(missing: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the upgrade goes on without."""
    unpack(path, 4, "closed")
    monkeypatch.setattr(backup, "free_bytes", lambda _: path.stat().st_size + 1_000 - missing)
    told = upgrade(path, keep_free_bytes=1_000)
    assert (bool(told.backup), told.no_backup) == (not missing, "disk_low" if missing else "")
    assert bool(names(path.parent)) is not bool(missing)
    assert format_in(path) == schema.VERSION


def test_a_copy_leaves_free_pages_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that has seen a bad day is full of them. Nor does it need room for them."""
    monkeypatch.setattr(backup, "free_bytes", lambda _: 1_000_000)
    unpack(path, 3)
    with closing(connect(str(path))) as db:
        for _ in range(40):
            db.execute("INSERT INTO dead (lanes, kind, accepted_at_ms, body, died_at_ms, reason, field, message)"
                       "VALUES (x'', 'event', 1, zeroblob(1000000), 1, '', '', '')")  # fmt: skip
        db.execute("DELETE FROM dead")
    copy = upgrade(path).backup
    assert copy
    assert path.stat().st_size > 40_000_000
    assert copy.stat().st_size < 1_000_000


def failing(name: str) -> Callable[[str], sqlite3.Connection]:
    """A `connect` by whose connection no copy can be made, for that reason."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if sql.startswith("VACUUM INTO"):
                problem = (sqlite3.DatabaseError if name == "SQLITE_CORRUPT" else sqlite3.OperationalError)(name)
                problem.sqlite_errorcode, problem.sqlite_errorname = getattr(sqlite3, name), name
                raise problem
            return super().execute(sql, *parameters)

    return lambda path: sqlite3.connect(path, isolation_level=None, factory=Connection)


def test_a_copy_that_cannot_be_written_keeps_nobody_from_starting(path: Path) -> None:
    unpack(path, 4)
    assert upgrade(path, connect=failing("SQLITE_FULL")) == Upgrade(format_before=4, no_backup="SQLITE_FULL")
    assert (names(path.parent), format_in(path)) == (set(), schema.VERSION)


def test_a_folder_that_takes_no_new_name_keeps_nobody_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(path, 4)

    def rename(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", rename)
    assert upgrade(path) == Upgrade(format_before=4, no_backup="No space left on device")
    assert (names(path.parent), format_in(path)) == (set(), schema.VERSION)


def test_damage_that_the_copy_meets_is_damage(path: Path) -> None:
    unpack(path, 4)
    with pytest.raises(Damaged):
        upgrade(path, connect=failing("SQLITE_CORRUPT"))
    assert (names(path.parent), format_in(path)) == (set(), 4)


def test_who_is_interrupted_while_copying_has_migrated_nothing(path: Path) -> None:
    unpack(path, 4)
    with pytest.raises(StoreUnusable, match="INTERRUPT"):
        upgrade(path, connect=failing("SQLITE_INTERRUPT"))
    assert (names(path.parent), format_in(path)) == (set(), 4)
    assert upgrade(path).backup


DIES = """
import os, sys
from pathlib import Path
from cio_buffer.outbox import backup, opening
def die():
    if any(".draft" in name for name in os.listdir(Path(sys.argv[1]).parent)):
        os.kill(os.getpid(), 9)
def connect(path):
    connection = opening.connect(path)
    connection.set_progress_handler(die, int(sys.argv[2]))
    return connection
opening.open_store(Path(sys.argv[1]), connect)
"""
"""Killed within the copy, after so many of SQLite's steps."""


def test_a_kill_while_copying_leaves_nothing_that_looks_like_a_copy(path: Path) -> None:
    seed = random.randrange(10_000)
    print("seed", seed)
    chance = random.Random(seed)
    unpack(path, 4)
    for _ in range(KILLS):
        subprocess.run([sys.executable, "-c", DIES, path, str(chance.randrange(1, 300))], check=False)
        assert "outbox.db.format-4.backup.draft" in names(path.parent)
        assert "outbox.db.format-4.backup" not in names(path.parent)
        assert format_in(path) == 4
    assert upgrade(path).backup
    assert names(path.parent) == {"outbox.db.format-4.backup"}


def test_what_is_left_of_a_copy_goes_with_the_next_start_and_nothing_else(path: Path) -> None:
    unpack(path, EVERY[-1])
    kept = {"outbox.db.format-4.backup", "other.db.format-4.backup.draft", "outbox.db.format-4.backup.mine"}
    for name in (*kept, "outbox.db.format-4.backup.draft", "outbox.db.format-3.backup.draft-journal"):
        (path.parent / name).touch()
    open_store(path)[0].close()
    assert names(path.parent) == kept


def test_a_copy_is_for_us_alone_whatever_the_umask(path: Path) -> None:
    unpack(path, 4)
    umask = os.umask(0)
    try:
        with closing(connect(str(path))) as db:
            assert copy_to(db, backup_of(path, 4)) == ""
    finally:
        os.umask(umask)
    assert stat.S_IMODE(backup_of(path, 4).stat().st_mode) == 0o600


def test_a_copy_is_on_disk_before_it_has_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(path, 4)
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_sync(fd: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    def note_rename(file: Path, target: Path) -> Path:
        done.append(f"rename {file.name}")
        return rename(file, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    upgrade(path)
    draft = "outbox.db.format-4.backup.draft"
    assert done == [f"sync {draft}", f"rename {draft}", "sync store"]


# For how long


def test_copies_are_kept_for_a_week() -> None:
    now = 2e9
    made = {"new": now, "from the future": now + 9e9, "on the last day": now - KEPT_S, "older": now - KEPT_S - 1}
    assert expired_backups([(Path(name), at) for name, at in made.items()], now) == [Path("older")]


def test_what_is_expired_is_thrown_away_and_nothing_else(path: Path) -> None:
    unpack(path, 4)
    copy = upgrade(path).backup
    assert copy
    made_at = copy.stat().st_mtime
    (path.parent / "outbox.db.format-4.backup.mine").touch()
    (path.parent / "outbox.db.format-2.backup").mkdir()  # it cannot be deleted so
    before = {file.name for file in path.parent.iterdir()}
    assert throw_away_expired(path, made_at + KEPT_S) == []
    assert throw_away_expired(path, made_at + KEPT_S + 60) == [copy]
    assert {file.name for file in path.parent.iterdir()} == before - {copy.name}
    assert throw_away_expired(path.parent / "nowhere" / "outbox.db", made_at) == []
