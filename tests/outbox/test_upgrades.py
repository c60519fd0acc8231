"""A store that any version of ours has written opens with today's code, wherever that version, or we, were stopped.

The stores in `corpus/` were written by the versions themselves; see `corpus/make.py`.
"""

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import opening, schema
from cio_buffer.outbox.archive import Letters
from cio_buffer.outbox.backup import backup_of
from cio_buffer.outbox.beside import lock_of, wal_of
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import Delivered, Entry, Settled, hash_lane
from cio_buffer.outbox.opening import open_store
from cio_buffer.outbox.quarantine import folders
from cio_buffer.outbox.sqlite import SqliteLease, SqliteOutbox
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, entry
from tests.outbox.corpus.make import ENDINGS, archive_of
from tests.support.clock import FakeClock

OLD = range(1, schema.VERSION)
EVERY = range(1, schema.VERSION + 1)
KILLS = 12
"""So many children are killed in the middle of an upgrade, each 0.4 s."""

ACCEPTED_AT_MS = NOW_MS - 5_000
WAITING = [*(f"waiting {n}" for n in range(20)), "waiting too", "waiting call", "letter 4"]
PARKED = {"letter 3", "held", "behind held", "held call", "held merge", "behind merge"}
HOLDS = {"letter 3": 2, "held": 2, "held call": 2, "held merge": 2, "behind held": 0, "behind merge": 0}
NO_HOLDS = dict.fromkeys(HOLDS, 0)
ATTEMPTS = {"letter 3": 2, "held": 4, "held call": 1, "held merge": 1, "behind held": 0, "behind merge": 0}
LETTERS = {"letter 1": 0, "letter 2": 1}
"""How often each was replayed."""

OUTLASTS_BAD_DAYS, ACCOUNTS = 3, 4
"""The versions since which there are holds, and a log."""


class Told(Struct, frozen=True, kw_only=True):
    """What a store's own version said of it."""

    format: int
    ledger: dict[str, int]
    accepted: dict[str, int]
    receipts: dict[str, str]
    learnt: str
    unanswered: list[str]


@pytest.fixture(params=[(version, ending) for version in EVERY for ending in ENDINGS], ids=lambda one: f"{one}")
def told(request: pytest.FixtureRequest, path: Path) -> Told:
    return unpack(path, *request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "outbox.db"


def unpack(path: Path, version: int, ending: str = "killed") -> Told:
    """Have such a store at `path`."""
    with tarfile.open(archive_of(version, ending)) as tar:
        tar.extractall(path.parent, filter="data")
    told = path.with_name("told.json")
    try:
        return msgspec.json.decode(told.read_bytes(), type=Told)
    finally:
        told.unlink()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteOutbox]:
    outbox = SqliteOutbox(path, clock=FakeClock(), bytes_max=2**30, disk_free_min_bytes=0)
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


def open_and_close(path: Path) -> None:
    """As the writer's thread does it, and no more."""
    with closing(open_store(path)[0]):
        pass


async def lease_on(outbox: SqliteOutbox) -> SqliteLease:
    return await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)


async def drain(lease: SqliteLease) -> dict[str, Entry]:
    """Deliver all there is, what was parked first, in its order; returns it."""
    gone: dict[str, Entry] = {}
    met: list[Entry] = []
    while True:
        claim = await lease.claim(PLENTY, now_ms=NOW_MS + WAIT_MAX_MS)
        met += [one.entry for one in claim.main]
        if not claim.parked:
            break
        gone |= await deliver(lease, claim.parked)
    return gone | await deliver(lease, met)


async def deliver(lease: SqliteLease, entries: Sequence[Entry]) -> dict[str, Entry]:
    settled = [Settled(one, Delivered(), one.attempts + 1) for one in entries]
    await lease.settle(settled, now_ms=NOW_MS)
    return {name_in(one.body): one for one in entries}


def name_in(body: bytes) -> str:
    said: dict[str, str] = json.loads(body)
    return said["name"]


def contents(path: Path) -> list[str]:
    """All that is in a store, apart from what chance and the hour have put there."""
    with closing(sqlite3.connect(path)) as db:
        if schema.format_of(db) == schema.VERSION:
            db.execute("UPDATE ledger SET store_id = x''")
            db.execute("UPDATE _sqlite_migrations SET applied_at = ''")
        version = db.execute("PRAGMA user_version").fetchone()
        return [str(version), *db.iterdump()]


def everything_in(folder: Path) -> dict[str, str]:
    """Each file in it, but for SQLite's map of the WAL, and what it is made of."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(("-shm", ".lock"))
    }


def test_each_version_is_in_the_corpus() -> None:
    missing = [archive_of(version, ending).name for version in EVERY for ending in ENDINGS]
    missing = [name for name in missing if not archive_of(1, "closed").with_name(name).exists()]
    assert not missing, (
        "schema.VERSION was raised: enter the last commit of the version before in tests/outbox/corpus/make.py, "
        "run `uv run python -m tests.outbox.corpus.make`, and commit what it makes"
    )


async def test_what_a_version_has_written_can_be_claimed_and_settled(told: Told, path: Path) -> None:
    async with opened(path) as outbox:
        assert list(folders(path)) == []  # it was not taken for damaged
        assert outbox.was_migrated is (told.format < schema.VERSION)
        assert outbox.ledger() == Ledger(**told.ledger)
        assert (await outbox.audit()).is_balanced
        found = await drain(await lease_on(outbox))
        assert list(found)[len(PARKED) :] == WAITING
        assert set(found) == {*PARKED, *WAITING}
        first = list(found).index
        assert first("held") < first("behind held") < first("waiting too")
        assert first("held merge") < first("behind merge")
        assert {name: found[name].attempts for name in PARKED} == ATTEMPTS
        assert {name: found[name].holds for name in PARKED} == (HOLDS if told.format >= OUTLASTS_BAD_DAYS else NO_HOLDS)
        assert {name: one.first_seq for name, one in found.items()} == {name: told.accepted[name] for name in found}
        assert len(found["waiting too"].body) > 20_000
        assert (outbox.ledger().entries, outbox.ledger().parked) == (0, 0)
        assert (await outbox.audit()).is_balanced


async def test_what_was_parked_waits_for_its_time(told: Told, path: Path) -> None:
    async with opened(path) as outbox:
        lease = await lease_on(outbox)
        due = [await lease.claim(PLENTY, now_ms=NOW_MS + after_ms) for after_ms in (0, 1_000, 5_000, 30_000, 60_000)]
        first = [name_in(claim.parked[0].body) if claim.parked else "" for claim in due]
        assert first == ["", "held call", "letter 3", "held merge", "held"]


async def test_dead_letters_of_each_version_are_shown_and_replayed(told: Told, path: Path) -> None:
    async with opened(path) as outbox:
        letters = await outbox.archive.letters()
        assert {name_in(one.body): one.replays for one in letters} == LETTERS
        assert {(one.reason, one.field, one.message, one.status) for one in letters} == {
            ("refused", "name", "was missing", 422)
        }
        assert {one.vendor_reason for one in letters} == {"required" if told.format >= OUTLASTS_BAD_DAYS else ""}
        assert {name_in(one.body): one.seq for one in letters} == {name: told.accepted[name] for name in LETTERS}
        replayed = await outbox.archive.replay(Letters(), after_newer=True)
        assert replayed.replayed == len(LETTERS)
        found = await drain(await lease_on(outbox))
        assert list(found)[-2:] == list(LETTERS)
        assert (await outbox.audit()).is_balanced


async def test_receipts_tell_what_became_of_what_a_version_took(told: Told, path: Path) -> None:
    """Also those that it gave. Before the log, what was delivered left nothing."""
    places = dict.fromkeys(PARKED, "parked") | dict.fromkeys(WAITING, "main") | dict.fromkeys(LETTERS, "dead")
    places |= {f"delivered {n}": "gone" for n in range(6)} if told.format >= ACCOUNTS else {}
    async with opened(path) as outbox:
        receipts = {name: outbox.names.receipt(seq, ACCEPTED_AT_MS) for name, seq in told.accepted.items()}
        assert told.receipts in ({}, receipts)
        for name, place in places.items():
            read = outbox.names.read_receipt(receipts[name])
            (known,) = (await outbox.archive.trace(read.seq)).known
            assert (name, known.seq, known.place) == (name, told.accepted[name], place)
        ann = int.from_bytes(hash_lane("id:ann"), "little", signed=True)
        found = {one.seq for one in (await outbox.archive.trace_lane([ann], limit=99)).known}
        assert found == {told.accepted[name] for name in ("letter 1", "letter 3")}


async def test_what_was_learnt_and_which_answers_were_lost_is_still_known(told: Told, path: Path) -> None:
    async with opened(path) as outbox:
        assert outbox.learnt().decode() == told.learnt
        assert [call.fingerprint.decode() for call in outbox.unanswered()] == told.unanswered


async def test_new_numbers_are_above_all_that_a_version_gave(told: Told, path: Path) -> None:
    async with opened(path) as outbox:
        (seq,) = await outbox.append([entry("new")])
        assert seq > max(told.accepted.values())


def test_to_open_twice_is_to_open_once(told: Told, path: Path) -> None:
    open_and_close(path)
    once = contents(path)
    open_and_close(path)
    assert contents(path) == once


# Stops in between


class Stopped(Exception):
    """Where a process would be gone."""


def connect_until(last: int, stop: type[BaseException] | None = Stopped) -> opening.Connect:
    """A `connect` whose connection does so many statements, and then nothing more: it raises, or the process dies."""
    done = 0

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            nonlocal done
            done += 1
            if done > last:
                if stop is None:
                    os.kill(os.getpid(), 9)
                raise stop
            return super().execute(sql, *parameters)

    return lambda path: sqlite3.connect(path, isolation_level=None, factory=Connection)


def stops_of(version: int, path: Path) -> Iterator[int]:
    """A store of that version, stopped after each of its statements in turn, until none is left."""
    last = 0
    while True:
        unpack(path, version)
        try:
            connection, _ = open_store(path, connect_until(last))
        except Stopped:
            yield last
        else:
            connection.close()
            return
        clear(path.parent)
        last += 1


def clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("version", OLD)
def test_a_stop_after_any_statement_of_an_upgrade_leaves_a_store_that_opens(version: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "outbox.db"
    unpack(whole, version)
    open_and_close(whole)
    expected = contents(whole)
    path = tmp_path / "stopped" / "outbox.db"
    count = 0
    for _ in stops_of(version, path):
        assert version_in(path) == format_in(path)
        open_and_close(path)
        assert contents(path) == expected
        assert backup_of(path, version).exists()
        count += 1
    assert count > 40  # else nothing was stopped where it matters


def version_in(path: Path) -> int:
    """What it says."""
    with closing(sqlite3.connect(path)) as db:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        return version


def format_in(path: Path) -> int:
    """What it is."""
    with closing(sqlite3.connect(path)) as db:
        return schema.format_of(db)


def test_kills_in_the_middle_of_upgrades_leave_a_store_that_opens(tmp_path: Path) -> None:
    """Real ones, of one process after the other on the same store."""
    seed = random.randrange(10_000)
    print("seed", seed)
    chance = random.Random(seed)
    for n, version in enumerate(chance.choices(OLD, k=KILLS // 2)):
        path = tmp_path / str(n) / "outbox.db"
        told = unpack(path, version)
        for last in (chance.randrange(40, 110), chance.randrange(30, 60)):
            subprocess.run([sys.executable, "-c", DIES, path, str(last)], check=False)
        open_and_close(path)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM event").fetchone() == (len(WAITING),)
            assert db.execute("SELECT accepted FROM ledger").fetchone() == (told.ledger["accepted"],)
        assert version_in(path) == schema.VERSION


DIES = """
import sys
from pathlib import Path
from cio_buffer.outbox.opening import open_store
from tests.outbox.test_upgrades import connect_until
open_store(Path(sys.argv[1]), connect_until(int(sys.argv[2]), None))
"""


# What is not ours to open


def newer(path: Path) -> None:
    """Written by a version that does not exist yet, and killed: its number is in its WAL alone."""
    unpack(path, schema.VERSION)
    lock_of(path).unlink()  # it would say that we wrote here last
    leave_unclosed(path, f"PRAGMA user_version = {schema.VERSION + 1}")


def foreign(path: Path) -> None:
    path.parent.mkdir()
    leave_unclosed(path, "PRAGMA journal_mode = wal; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")


def leave_unclosed(path: Path, script: str) -> None:
    """Do it in a process that is killed then."""
    dies = "import os, sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2]); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", dies, path, script], check=False)
    assert wal_of(path).stat().st_size


@pytest.mark.parametrize("write", [newer, foreign])
async def test_what_is_not_ours_to_open_is_refused_and_not_a_byte_of_it_changed(
    write: Callable[[Path], None], path: Path
) -> None:
    write(path)
    before = everything_in(path.parent)
    for _ in range(2):
        with pytest.raises(StoreUnusable, match=r"newer|not one of ours"):
            async with opened(path):
                pass
    assert everything_in(path.parent) == before
