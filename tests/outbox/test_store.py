"""What the SQLite store does that the contract leaves open: files, locks, commits, trouble with the disk."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from cio_buffer.errors import OutboxFull, OutboxUnavailable, StoreHeld, StoreUnusable
from cio_buffer.outbox import opening, schema, tables
from cio_buffer.outbox.archive import Letters, Replayed
from cio_buffer.outbox.beside import size_of
from cio_buffer.outbox.contract import Condition, Ledger
from cio_buffer.outbox.entry import DeadLetter, Delivered, Fate, NewEntry, Parked, Settled, pack_lanes, unpack_lanes
from cio_buffer.outbox.opening import filesystem_of, prepare_folder
from cio_buffer.outbox.sqlite import SqliteOutbox
from cio_buffer.outbox.tables import consecutive_runs
from cio_buffer.outbox.writer import Job, next_group
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, entry, name_of
from tests.outbox.disk import Disk
from tests.outbox.requests import Request, report_of
from tests.support.clock import FakeClock

MIB = 1_048_576


def store_at(path: Path, clock: FakeClock | None = None, disk: Disk | None = None, **more: int) -> SqliteOutbox:
    limits = {"bytes_max": 1_024 * MIB, "disk_free_min_bytes": 0, **more}
    connect = disk.connect if disk else opening.connect
    return SqliteOutbox(path, clock=clock or FakeClock(), connect=connect, **limits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made for it" / "outbox.db"


@pytest.fixture
async def disk() -> Disk:
    return Disk()


@pytest.fixture
async def outbox(path: Path, clock: FakeClock, disk: Disk) -> AsyncIterator[SqliteOutbox]:
    outbox = store_at(path, clock, disk)
    await outbox.open()
    yield outbox
    disk.mend()
    disk.release()
    audit = await outbox.audit()
    await outbox.close()
    assert audit.is_balanced
    assert (audit.ledger, audit.measured) == (outbox.ledger(), outbox.sizes())


async def open_and_close(path: Path) -> None:
    outbox = store_at(path)
    await outbox.open()
    await outbox.close()


async def one_in_hand(outbox: SqliteOutbox) -> tuple[Any, Settled]:
    """A lease, and the settlement of an entry that was appended and claimed with it."""
    await outbox.append([entry("in hand", "ann")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    return lease, Settled(claim.main[-1].entry, Delivered(), 1)


async def drain(outbox: SqliteOutbox) -> None:
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    while claim := (await lease.claim(PLENTY, now_ms=NOW_MS)).main:
        await lease.settle([Settled(met.entry, Delivered(), 1) for met in claim], now_ms=NOW_MS)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def contents(path: Path) -> bytes:
    return path.read_bytes()


def unstorable() -> NewEntry:
    return NewEntry(kind=None, lanes=b"", body=b"", accepted_at_ms=NOW_MS)  # type: ignore[arg-type]


# Opening: whose file it is


async def test_a_store_that_is_open_cannot_be_opened_again(outbox: SqliteOutbox, path: Path) -> None:
    with pytest.raises(StoreHeld):
        await open_and_close(path)
    await outbox.append([entry("a")])


async def test_nor_by_another_process(outbox: SqliteOutbox, path: Path) -> None:
    script = "import sys, pathlib; from cio_buffer.outbox.opening import *; StoreLock(pathlib.Path(sys.argv[1]))"
    ask = [sys.executable, "-c", script, str(path)]
    other = await asyncio.to_thread(subprocess.run, ask, capture_output=True, check=False)
    assert b"StoreHeld" in other.stderr


async def test_a_store_that_was_closed_can_be_opened_again(path: Path) -> None:
    await open_and_close(path)
    await open_and_close(path)


async def test_what_failed_to_open_holds_no_lock(path: Path) -> None:
    write(path, b"no database" * 1_000)
    for _ in range(2):
        with pytest.raises(StoreUnusable):
            await open_and_close(path)
    write(path, b"")
    await open_and_close(path)


async def test_a_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = contents(path)
    with pytest.raises(StoreUnusable, match="not one of ours"):
        await open_and_close(path)
    assert contents(path) == before


async def test_an_empty_database_of_somebody_else_is_refused_too(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("PRAGMA application_id = 42")
    foreign.close()
    before = contents(path)
    with pytest.raises(StoreUnusable, match="not one of ours"):
        await open_and_close(path)
    assert contents(path) == before


async def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    await open_and_close(path)
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    newer.close()
    path.with_name("outbox.db.lock").unlink()  # it says that we wrote here last
    before = contents(path)
    with pytest.raises(StoreUnusable, match="newer"):
        await open_and_close(path)
    assert contents(path) == before


def test_each_migration_raises_the_version() -> None:
    """Else an older version of ours would open the file, and write it as if nothing had changed."""
    assert len(schema.migrations.pending(Database(memory=True))) == schema.VERSION


async def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    write(path, b"no database" * 1_000)
    with pytest.raises(StoreUnusable, match="SQLITE_NOTADB"):
        await open_and_close(path)
    assert contents(path) == b"no database" * 1_000


async def test_a_crash_while_the_store_is_made_is_made_good(path: Path) -> None:
    """The tables are there, and the number of their version is not."""
    await open_and_close(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 0")
    db.close()
    outbox = store_at(path)
    await outbox.open()
    version = await outbox.run(lambda db: db.execute("PRAGMA user_version").fetchone()[0], kind="look")
    await outbox.close()
    assert (version, outbox.was_migrated) == (schema.VERSION, False)


async def test_only_a_new_store_is_migrated(path: Path) -> None:
    migrated = []
    for _ in range(2):
        outbox = store_at(path)
        await outbox.open()
        await outbox.close()
        migrated.append(outbox.was_migrated)
    assert migrated == [True, False]


async def test_a_store_that_version_1_wrote_is_brought_up_to_date(path: Path) -> None:
    """With what it holds: a call to deliver, and its place in the books."""
    write(path, b"")
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrations.apply(Database(old), stop_before="remember_calls")
    old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO event (seq, lanes, kind, accepted_at_ms, body) VALUES (7, x'', 'event', 1, x'7b7d')")
    old.execute("UPDATE ledger SET accepted = 1, seq_reserved = 1000")
    old.close()
    outbox = store_at(path)
    await outbox.open()
    assert (outbox.was_migrated, outbox.ledger(), outbox.unanswered()) == (True, Ledger(accepted=1), [])
    (seq,) = await outbox.append([entry("next")])
    assert seq > 1_000
    assert (await outbox.audit()).is_balanced
    await outbox.close()


async def test_a_store_that_version_2_wrote_is_brought_up_to_date(path: Path) -> None:
    """With what it holds: a parked entry, in its lane and on time, and a dead letter."""
    write(path, b"")
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrations.apply(Database(old), stop_before="outlast_bad_days")
    old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 2")
    lane = pack_lanes(["ann"])
    kept = "seq, lanes, kind, accepted_at_ms, attempts, body"
    old.execute(f"INSERT INTO parked ({kept}, due_at_ms) VALUES (7, ?, 'event', 1, 3, x'61', ?)", (lane, NOW_MS))
    old.execute("INSERT INTO parked_lane VALUES (?, 7)", unpack_lanes(lane))
    old.execute(
        f"""INSERT INTO dead ({kept}, died_at_ms, reason, field, message, status)
            VALUES (5, ?, 'event', 1, 2, x'62', 9, 'refused', 'name', 'was missing', 422)""",
        (lane,),
    )
    old.execute(
        "UPDATE ledger SET accepted = 2, parked = 1, dead_lettered = 1, dead = 1, seq_reserved = 9, unanswered = x''"
    )
    old.close()
    outbox = store_at(path)
    await outbox.open()
    assert (outbox.was_migrated, outbox.learnt()) == (True, b"")
    assert outbox.ledger() == Ledger(accepted=2, parked=1, dead_lettered=1, dead=1)
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    (parked,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).parked
    assert (parked.seq, parked.body, parked.attempts, parked.holds) == (7, b"a", 3, 0)
    (letter,) = await outbox.archive.letters()
    assert (letter.body, letter.reason, letter.vendor_reason, letter.message) == (b"b", "refused", "", "was missing")
    await lease.settle([Settled(parked, Parked(NOW_MS, holds=1), 4)], now_ms=NOW_MS)
    assert [one.holds for one in (await lease.claim(PLENTY, now_ms=NOW_MS)).parked] == [1]
    assert await outbox.archive.replay(Letters(seqs=frozenset({5}))) == Replayed(1, 0)
    assert (await outbox.audit()).is_balanced
    await outbox.close()


async def test_a_store_that_version_3_wrote_is_brought_up_to_date(path: Path) -> None:
    """It knew no log and no trails, and its dead letters had the numbers under which they died."""
    write(path, b"")
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrations.apply(Database(old), stop_before="account_for_every_entry")
    old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 3")
    ann, bob = pack_lanes(["ann"]), pack_lanes(["ann", "bob"])
    kept = "seq, origin, lanes, kind, accepted_at_ms, attempts, replays, body"
    fate = "died_at_ms, reason, vendor_reason, field, message, status"
    insert = (
        f"INSERT INTO dead ({kept}, {fate}) VALUES (?, ?, ?, 'identify', 1, 2, ?, ?, 9, 'refused', '', '', '', 422)"
    )
    old.execute(insert, (4, None, ann, 0, b"never replayed"))
    old.execute(insert, (12, 3, ann, 1, b"replayed"))
    old.execute(insert, (14, 1, bob, 2, b"replayed twice"))
    old.execute(f"INSERT INTO event ({kept}) VALUES (15, 2, ?, 'event', 7, 1, 1, x'61')", (bob,))
    old.execute(f"INSERT INTO event ({kept}) VALUES (16, NULL, ?, 'event', 8, 0, 0, x'62')", (bob,))
    old.execute(
        f"INSERT INTO parked ({kept}, due_at_ms) VALUES (13, 5, ?, 'merge', 6, 1, 1, x'63', ?)", (ann, NOW_MS + 1)
    )
    old.execute("INSERT INTO parked_lane VALUES (?, 13)", unpack_lanes(ann))
    old.execute(
        """UPDATE ledger SET accepted = 6, replayed = 5, dead_lettered = 8, dead = 3, parked = 1, seq_reserved = 99,
                             unanswered = x''"""
    )
    old.close()
    outbox = store_at(path)
    await outbox.open()
    assert (outbox.was_migrated, outbox.sizes().dead_bytes) == (True, len("never replayedreplayedreplayed twice"))
    letters = await outbox.archive.letters()
    assert [(one.seq, one.body, one.replays) for one in letters] == [
        (1, b"replayed twice", 2), (3, b"replayed", 1), (4, b"never replayed", 0),
    ]  # fmt: skip
    assert (await outbox.audit()).is_balanced
    assert [(one.seq, one.place) for n in (2, 5, 16) for one in (await outbox.archive.trace(n)).known] == [
        (2, "main"), (5, "parked"), (16, "main"),
    ]  # fmt: skip
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS + 1)
    entries = [*(met.entry for met in claim.main), *claim.parked]
    assert [(one.seq, one.first_seq, one.trail) for one in entries] == [(15, 2, b""), (16, 16, b""), (13, 5, b"")]
    fates = [None, Fate(what="dead", reason="refused"), None]
    report = report_of(Request(number=lease.first_request, sent_at_ms=NOW_MS), entries, fates)
    ends = (Delivered(), DeadLetter(reason="refused"), Delivered())
    settled = [Settled(one, end, one.attempts + 1) for one, end in zip(entries, ends, strict=True)]
    await lease.settle(settled, now_ms=NOW_MS + 1, report=report)
    stories = {n: (await outbox.archive.trace(n)).known[0] for n in (2, 5, 16)}
    assert [(one.place, one.kind, one.accepted_at_ms, one.route) for one in stories.values()] == [
        ("gone", "event", 7, ""), ("gone", "merge", 6, ""), ("dead", "event", 8, ""),
    ]  # fmt: skip
    found = await outbox.archive.trace_lane([unpack_lanes(ann)[0]], limit=9)
    assert [one.seq for one in found.known] == [1, 2, 3, 4, 5, 16]
    assert await outbox.archive.replay(Letters()) == Replayed(1, 3)  # the event; who knows what came after the others
    assert await outbox.archive.replay(Letters(), after_newer=True) == Replayed(3, 0)
    assert [one.entry.body for one in (await lease.claim(PLENTY, now_ms=NOW_MS)).main] == [
        b"b", b"replayed twice", b"replayed", b"never replayed",
    ]  # fmt: skip
    assert (await outbox.audit()).is_balanced
    await outbox.close()


async def test_each_store_has_names_of_its_own_which_it_keeps(path: Path, tmp_path: Path) -> None:
    receipts = []
    for where in (path, path, tmp_path / "other" / "outbox.db"):
        outbox = store_at(where)
        await outbox.open()
        receipts.append(outbox.names.receipt(7, NOW_MS))
        await outbox.close()
    assert receipts[0] == receipts[1] != receipts[2]


async def test_folder_and_files_are_for_us_alone(outbox: SqliteOutbox, path: Path) -> None:
    await outbox.append([entry("a")])
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert files == dict.fromkeys(["outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock"], 0o600)


async def test_a_closed_store_leaves_one_file_and_its_lock(path: Path) -> None:
    await open_and_close(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["outbox.db", "outbox.db.lock"]


async def test_a_folder_that_cannot_be_made_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="folder"):
        await open_and_close(tmp_path / "file" / "outbox.db")


async def test_a_lock_that_cannot_be_made_is_said_to_be(path: Path) -> None:
    path.with_name("outbox.db.lock").mkdir(parents=True)
    with pytest.raises(StoreUnusable, match="lock"):
        await open_and_close(path)


async def test_the_path_may_hold_what_means_something_in_an_address(tmp_path: Path) -> None:
    outbox = store_at(tmp_path / "50%20 off? #1" / "outbox.db")
    await outbox.open()
    await outbox.append([entry("a")])
    audit = await outbox.audit()
    await outbox.close()
    assert audit.waiting == 1


MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /srv/shared\\040files rw - nfs4 host:/export rw
41 22 0:36 / /srv rw,nosuid - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv/shared files/a/b", "nfs4"), ("/srv/shared files", "nfs4"), ("/srv/shared", "tmpfs"), ("/opt", "ext4")],
)
def test_the_filesystem_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path, folder: str, kind: str) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTINFO)
    assert filesystem_of(Path(folder), mountinfo) == kind


def test_where_mounts_cannot_be_read_the_filesystem_is_unknown(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, tmp_path / "missing") == ""


def test_a_network_filesystem_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "filesystem_of", lambda folder: "nfs4")
    with pytest.raises(StoreUnusable, match="nfs4"):
        prepare_folder(path)


# Settings


async def test_each_setting_is_really_set(outbox: SqliteOutbox) -> None:
    expected = {
        "page_size": 4096, "auto_vacuum": 0, "journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0,
        "journal_size_limit": 16 * MIB, "busy_timeout": 5_000, "cache_size": -16_384, "mmap_size": 0, "temp_store": 2,
        "trusted_schema": 0, "cell_size_check": 1, "secure_delete": 1, "application_id": 0x63696F62,
        "user_version": schema.VERSION, "max_page_count": 2_064 * MIB // 4_096,
    }  # fmt: skip
    found = await outbox.run(lambda db: {name: opening.pragma(db, name) for name in expected}, kind="look")
    assert found == expected


async def test_a_setting_that_sqlite_does_not_take_stops_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(opening.SETTINGS, "page_size", 5_000)
    with pytest.raises(StoreUnusable, match="page_size"):
        await open_and_close(path)


async def test_a_start_empties_the_wal_before_it_promises_anything(path: Path, disk: Disk) -> None:
    """Half of all power cuts after a start that did not, after a failed sync, lost what had been promised."""
    outbox = store_at(path, disk=disk)
    await outbox.open()
    await outbox.close()
    first_begin = next(n for n, sql in enumerate(disk.statements) if sql.upper().startswith(("BEGIN", "CREATE")))
    assert "PRAGMA wal_checkpoint(TRUNCATE)" in disk.statements[:first_begin]


async def test_a_wal_that_cannot_be_emptied_stops_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(opening.SETTINGS, "busy_timeout", 1)
    await open_and_close(path)
    reader, writer = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM event").fetchall()
    writer.execute("UPDATE ledger SET seq_reserved = 1")
    with pytest.raises(StoreUnusable, match="WAL"):
        await open_and_close(path)
    writer.close()
    reader.close()


# Commits


async def test_an_answer_comes_after_the_commit_has_returned(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.hold()
    answer = asyncio.ensure_future(outbox.append([entry("a")]))
    await disk.sees("COMMIT")
    await asyncio.sleep(0)
    assert not answer.done()
    assert outbox.ledger().accepted == 0
    disk.release()
    await answer
    assert (disk.commits, outbox.ledger().accepted) == (disk.statements.count("COMMIT"), 1)


async def test_what_is_asked_for_while_a_commit_syncs_shares_the_next_one(outbox: SqliteOutbox, disk: Disk) -> None:
    before = disk.commits
    disk.hold()
    first = outbox.append([entry("first")])
    await disk.sees("COMMIT")
    rest = [outbox.append([entry(str(n))]) for n in range(500)]
    disk.release()
    await asyncio.gather(first, *rest)
    assert disk.commits - before == 2


async def test_claims_see_what_was_settled_in_the_same_group(outbox: SqliteOutbox, disk: Disk) -> None:
    lease, settled = await one_in_hand(outbox)
    disk.hold()
    first = outbox.append([entry("first")])
    await disk.sees("COMMIT")
    claiming = lease.claim(PLENTY, now_ms=NOW_MS)
    parking = lease.settle([Settled(settled.entry, Parked(NOW_MS), 1)], now_ms=NOW_MS)
    claiming_again = lease.claim(PLENTY, now_ms=NOW_MS)
    disk.release()
    await asyncio.gather(first, parking)
    claims = [await claiming, await claiming_again]
    assert [[name_of(one) for one in claim.parked] for claim in claims] in ([["in hand"], []], [[], ["in hand"]])
    assert [name_of(met.entry) for met in claims[0].main] == ["first"]


async def test_one_bad_job_fails_alone(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.hold()
    first = outbox.append([entry("first")])
    await disk.sees("COMMIT")
    asked = [
        outbox.append([entry("a")]),
        outbox.append([entry("b"), unstorable()]),
        outbox.run(lambda db: db.execute("INSERT INTO ledger (id) VALUES (2)")),
        outbox.append([entry("c")]),
        outbox.run(lambda db: len(None), kind="look"),  # type: ignore[arg-type]
        outbox.oldest_at_ms(),
    ]
    disk.release()
    (seq,) = await first
    a, b, wrong, c, wrong_read, oldest = await asyncio.gather(*asked, return_exceptions=True)
    assert seq < a[0] < c[0]
    assert isinstance(b, OutboxUnavailable)
    assert isinstance(wrong, sqlite3.IntegrityError)
    assert isinstance(wrong_read, TypeError)
    assert oldest == NOW_MS - 1_000
    assert outbox.ledger() == Ledger(accepted=3)


async def test_a_caller_who_went_away_disturbs_nobody(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.hold()
    gone, stays = (asyncio.ensure_future(outbox.append([entry(name)])) for name in ("gone", "stays"))
    await disk.sees("COMMIT")
    gone.cancel()
    disk.release()
    await stays
    assert outbox.ledger().accepted == 2


async def test_a_closing_store_takes_nothing_more(path: Path) -> None:
    outbox = store_at(path)
    await outbox.open()
    closing = asyncio.ensure_future(outbox.close())
    await asyncio.sleep(0)
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("late")])
    await closing


async def test_what_was_learnt_is_noted_without_a_commit(outbox: SqliteOutbox, disk: Disk) -> None:
    commits = disk.commits
    outbox.note_learnt(b"10/s")
    await outbox.oldest_at_ms()
    assert disk.commits == commits


async def test_what_is_learnt_while_a_commit_syncs_is_left_to_the_next_one(
    outbox: SqliteOutbox, path: Path, disk: Disk
) -> None:
    outbox.note_learnt(b"10/s")
    disk.hold()
    answer = outbox.append([entry("a")])
    await disk.sees("COMMIT")
    outbox.note_learnt(b"20/s")
    disk.release()
    await answer
    assert (learnt_in(path), outbox.learnt()) == (b"10/s", b"20/s")
    await outbox.append([entry("b")])
    assert learnt_in(path) == b"20/s"


async def test_what_is_learnt_while_the_last_commit_syncs_is_written_at_the_close(path: Path, disk: Disk) -> None:
    outbox = store_at(path, disk=disk)
    await outbox.open()
    disk.hold()
    answer = outbox.append([entry("a")])
    await disk.sees("COMMIT")
    outbox.note_learnt(b"10/s")
    disk.release()
    await answer
    await outbox.close()
    assert learnt_in(path) == b"10/s"


def learnt_in(path: Path) -> bytes:
    """What a start would find that came now."""
    reader = sqlite3.connect(path)
    try:
        return tables.load_learnt(reader)
    finally:
        reader.close()


@pytest.mark.parametrize(("noted", "commits"), [([], 0), ([b"10/s"], 0), ([b"20/s", b"10/s"], 0), ([b"20/s"], 1)])
async def test_a_store_that_closes_makes_a_commit_only_for_news(
    path: Path, disk: Disk, noted: list[bytes], commits: int
) -> None:
    """Nothing new was learnt; the same again; there and back; something new."""
    outbox = store_at(path, disk=disk)
    await outbox.open()
    outbox.note_learnt(b"10/s")
    await outbox.append([entry("a")])
    before = disk.commits
    for learnt in noted:
        outbox.note_learnt(learnt)
    await outbox.close()
    assert disk.commits == before + commits
    assert learnt_in(path) == (noted or [b"10/s"])[-1]


async def test_what_is_brought_forward_is_what_is_due_too_late_and_no_more(outbox: SqliteOutbox) -> None:
    """The rest is not even written: it may be a million rows."""
    await outbox.append([entry(str(n), str(n), call="POST /" if n % 2 else None) for n in range(10)])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    parked = [Settled(met.entry, Parked(NOW_MS + n), 1) for n, met in enumerate(claim.main)]
    await lease.settle(parked, now_ms=NOW_MS)

    def bring_forward(db: sqlite3.Connection) -> int:
        before = db.total_changes
        tables.bring_forward(db, NOW_MS + 6)
        return db.total_changes - before

    assert await outbox.run(bring_forward) == 3
    assert await outbox.run(bring_forward) == 0


def test_a_group_is_bounded_in_jobs_and_in_bytes() -> None:
    class NoFuture:
        pass

    def job(size: int) -> Job:
        return Job(kind="append", future=NoFuture(), bytes=size)  # type: ignore[arg-type]

    assert len(next_group(deque([job(0)] * 6_000))) == 5_000
    assert len(next_group(deque([job(5 * MIB)] * 4))) == 2


async def test_numbers_are_not_used_again_once_a_reservation_has_run_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cio_buffer.outbox.store.SEQS_RESERVED", 3)
    used: list[int] = []
    for _ in range(2):
        outbox = store_at(path)
        await outbox.open()
        for n in range(10):
            used += await outbox.append([entry(str(n))])
        await drain(outbox)
        await outbox.close()
    assert used == sorted(set(used))


# Trouble with the disk


async def test_an_append_that_cannot_be_committed_is_refused(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: sql == "COMMIT"
    with pytest.raises(OutboxUnavailable, match="SQLITE_IOERR_FSYNC"):
        await outbox.append([entry("a")])
    assert outbox.condition().refusing == "store_unwritable"
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("b")])
    disk.mend()
    assert await outbox.oldest_at_ms() is None
    assert outbox.ledger() == Ledger()


async def test_the_store_finds_out_by_itself_that_it_can_be_written_again(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: sql == "COMMIT"
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("a")])
    await disk.sees("COMMIT")  # a probe, which fails as well
    commits = disk.commits
    disk.mend()
    await disk.commits_beyond(commits)
    await outbox.oldest_at_ms()
    assert (disk.commits, outbox.condition().refusing) == (commits + 1, "")
    await outbox.append([entry("b")])
    assert outbox.ledger() == Ledger(accepted=1)


async def test_a_probe_that_fails_in_an_unheard_of_way_is_a_failed_probe(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: sql == "COMMIT"
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("a")])
    disk.breaks_with = sqlite3.IntegrityError
    await disk.sees("COMMIT")
    await disk.sees("COMMIT")
    commits = disk.commits
    disk.mend()
    await disk.commits_beyond(commits)
    await outbox.oldest_at_ms()
    await outbox.append([entry("b")])


async def test_a_damaged_file_refuses_what_comes_and_keeps_what_was_to_be_settled(
    outbox: SqliteOutbox, disk: Disk
) -> None:
    await outbox.append([entry("a")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    (met,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).main
    disk.breaks_with, disk.breaks_at = sqlite3.DatabaseError, lambda sql: sql == "COMMIT"
    settling = asyncio.ensure_future(lease.settle([Settled(met.entry, Delivered(), 1)], now_ms=NOW_MS))
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("b")])
    disk.mend()
    await settling
    assert outbox.ledger() == Ledger(accepted=1, delivered=1)


async def test_who_looks_is_answered_while_nothing_can_be_written(outbox: SqliteOutbox, disk: Disk) -> None:
    await outbox.append([entry("a")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    (met,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).main
    disk.breaks_at = lambda sql: sql == "COMMIT"
    settling = asyncio.ensure_future(lease.settle([Settled(met.entry, Delivered(), 1)], now_ms=NOW_MS))
    await disk.sees("COMMIT")
    assert await outbox.oldest_at_ms() is not None
    assert not settling.done()
    disk.mend()
    await settling


async def test_what_is_committed_is_not_stored_again_for_what_befalls_the_housekeeping(
    outbox: SqliteOutbox, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cio_buffer.outbox.file.size_of", fail)
    disk.hold()
    appends = [asyncio.ensure_future(outbox.append([entry(name)])) for name in ("a", "b")]
    await asyncio.sleep(0)
    disk.release()
    await asyncio.gather(*appends)
    assert outbox.ledger() == Ledger(accepted=2)


async def test_a_probe_writes(outbox: SqliteOutbox, path: Path, disk: Disk) -> None:
    """A commit that changes nothing would not touch the disk, and prove nothing."""
    await outbox.append([entry("before")])
    disk.breaks_at = lambda sql: sql == "COMMIT"
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("a")])
    disk.mend()
    wal = path.with_name("outbox.db-wal")
    before, commits = size_of(wal), disk.commits
    await outbox.oldest_at_ms()
    assert disk.commits == commits + 1
    assert size_of(wal) > before


async def test_settlements_are_kept_until_they_can_be_written(outbox: SqliteOutbox, disk: Disk) -> None:
    lease, settled = await one_in_hand(outbox)
    disk.breaks_at = lambda sql: sql == "COMMIT"
    settling = asyncio.ensure_future(lease.settle([settled], now_ms=NOW_MS))
    claiming = asyncio.ensure_future(lease.claim(PLENTY, now_ms=NOW_MS))
    await disk.sees("COMMIT")
    await disk.sees("COMMIT")
    assert not settling.done()
    assert not claiming.done()  # it may only see what comes after the settlement
    disk.mend()
    await settling
    assert list((await claiming).main) == []
    assert outbox.ledger() == Ledger(accepted=1, delivered=1)


async def test_a_settlement_that_was_tried_again_is_counted_once(outbox: SqliteOutbox, disk: Disk) -> None:
    lease, settled = await one_in_hand(outbox)
    await lease.settle([Settled(settled.entry, Parked(NOW_MS), 1)], now_ms=NOW_MS)
    (parked,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).parked
    disk.breaks_at = lambda sql: sql == "COMMIT"
    settling = asyncio.ensure_future(lease.settle([Settled(parked, DeadLetter(reason="refused"), 1)], now_ms=NOW_MS))
    await disk.sees("COMMIT")
    disk.mend()
    await settling
    assert outbox.ledger() == Ledger(accepted=1, dead_lettered=1, dead=1)


async def test_a_store_that_closes_while_it_cannot_be_written_says_what_it_did_not_do(path: Path, disk: Disk) -> None:
    outbox = store_at(path, disk=disk)
    await outbox.open()
    lease, settled = await one_in_hand(outbox)
    disk.breaks_at = lambda sql: sql == "COMMIT"
    settling = asyncio.ensure_future(lease.settle([settled], now_ms=NOW_MS))
    await disk.sees("COMMIT")
    await outbox.close()
    with pytest.raises(OutboxUnavailable):
        await settling
    assert outbox.ledger() == Ledger(accepted=1)


async def test_what_was_learnt_before_a_commit_that_failed_goes_with_the_next_one(
    outbox: SqliteOutbox, path: Path, disk: Disk
) -> None:
    outbox.note_learnt(b"10/s")
    disk.breaks_at = lambda sql: sql == "COMMIT"
    with pytest.raises(OutboxUnavailable):
        await outbox.append([entry("a")])
    assert (learnt_in(path), outbox.learnt()) == (b"", b"10/s")
    disk.mend()
    await outbox.oldest_at_ms()  # after the probe that the writer makes
    assert learnt_in(path) == b"10/s"


@pytest.mark.parametrize("breaks_at", ["BEGIN IMMEDIATE", "COMMIT"])
async def test_a_store_closes_though_it_cannot_write_what_was_learnt(path: Path, disk: Disk, breaks_at: str) -> None:
    outbox = store_at(path, disk=disk)
    await outbox.open()
    outbox.note_learnt(b"10/s")
    disk.breaks_at = lambda sql: sql == breaks_at
    await outbox.close()
    disk.mend()
    assert learnt_in(path) == b""
    await open_and_close(path)


async def test_who_waits_for_the_lease_of_a_store_that_closes_unwritten_is_told(path: Path, disk: Disk) -> None:
    outbox = store_at(path, disk=disk)
    await outbox.open()
    disk.breaks_at = lambda sql: sql == "COMMIT"
    acquiring = asyncio.ensure_future(outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS))
    await disk.sees("COMMIT")
    await outbox.close()
    with pytest.raises(OutboxUnavailable):
        await acquiring


async def test_a_claim_that_cannot_be_read_claims_nothing(outbox: SqliteOutbox, disk: Disk) -> None:
    """It fails after the cursor has moved and a parked entry was taken; both have to come again."""
    lease, settled = await one_in_hand(outbox)
    await lease.settle([Settled(settled.entry, Parked(NOW_MS), 1)], now_ms=NOW_MS)
    await outbox.append([entry("second", "bob")])
    disk.breaks_at = lambda sql: "min(due_at_ms)" in sql
    with pytest.raises(OutboxUnavailable):
        await lease.claim(PLENTY, now_ms=NOW_MS)
    disk.mend()
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    assert [name_of(one) for one in claim.parked] == ["in hand"]
    assert [name_of(met.entry) for met in claim.main] == ["second"]


async def test_a_disk_that_takes_its_time_is_no_reason_to_restart(
    outbox: SqliteOutbox, disk: Disk, clock: FakeClock
) -> None:
    """Whoever starts anew has to wait for the same disk, and does not know what it was asked for."""
    disk.hold()
    answer = asyncio.ensure_future(outbox.append([entry("a")]))
    await disk.sees("COMMIT")
    clock.advance(600)
    assert await outbox.is_answering()
    disk.release()
    await answer


async def test_a_store_whose_thread_is_gone_is_not_answering(path: Path) -> None:
    outbox = store_at(path)
    await outbox.open()
    assert await outbox.is_answering()
    await outbox.close()
    assert not await outbox.is_answering()


# Room


async def test_a_full_outbox_refuses_and_takes_again_once_drained(path: Path, clock: FakeClock) -> None:
    outbox = store_at(path, clock, bytes_max=24 * MIB)
    await outbox.open()
    for _ in range(40):
        clock.advance(1)
        if (await condition_of(outbox)).refusing:
            break
        await outbox.append([entry("a", size=MIB)])
    assert await condition_of(outbox) == outbox.condition()
    assert outbox.condition().refusing == "outbox_full"
    assert 24 * MIB <= outbox.condition().bytes_used < 26 * MIB
    with pytest.raises(OutboxFull) as full:
        await outbox.append([entry("b")])
    assert full.value.retry_after_s > 0
    await drain(outbox)
    clock.advance(1)
    assert (await condition_of(outbox)).refusing == ""
    await outbox.append([entry("b")])
    await outbox.close()


async def condition_of(outbox: SqliteOutbox) -> Condition:
    """How it is once the writer has looked, which it does after whatever it does: after the first of these two."""
    await outbox.oldest_at_ms()
    await outbox.oldest_at_ms()
    return outbox.condition()


async def test_a_full_outbox_looks_for_room_by_itself(
    path: Path, clock: FakeClock, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody is refused and nothing is left to drain: nobody else would make it look."""
    monkeypatch.setattr("cio_buffer.outbox.writer.SECONDS_BETWEEN_LOOKS", 0.01)
    outbox = store_at(path, clock, disk, disk_free_min_bytes=2**62)
    await outbox.open()
    assert outbox.condition().refusing == "disk_low"
    with pytest.raises(OutboxFull, match="disk_low"):
        await outbox.append([entry("a")])
    clock.advance(1)
    await disk.sees("PRAGMA freelist_count")
    await outbox.close()


async def test_what_waits_to_be_committed_is_bounded(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.hold()
    large = [entry("a", size=33 * MIB)]
    first = outbox.append(large)
    await disk.sees("COMMIT")
    with pytest.raises(OutboxFull):
        await outbox.append(large)
    disk.release()
    await first
    await outbox.append([entry("b")])


async def test_a_store_past_its_quota_refuses_and_can_still_be_drained(path: Path, clock: FakeClock) -> None:
    """The second line: SQLite itself says that it is full."""
    outbox = store_at(path, clock, bytes_max=1 * MIB)
    await outbox.open()
    with pytest.raises(OutboxUnavailable, match="SQLITE_FULL"):
        await asyncio.gather(*(outbox.append([entry("a", size=7 * MIB)]) for _ in range(4)))
    await drain(outbox)
    audit = await outbox.audit()
    await outbox.close()
    assert audit.is_balanced
    assert audit.ledger.entries == 0


# The WAL


async def test_the_wal_is_emptied_as_it_grows(outbox: SqliteOutbox, path: Path, disk: Disk) -> None:
    for _ in range(60):
        await outbox.append([entry("a", size=MIB)])
    wal = path.with_name("outbox.db-wal")
    assert disk.statements.count("PRAGMA wal_checkpoint(PASSIVE)") >= 3
    assert wal.stat().st_size < 20 * MIB


async def test_draining_and_parking_empty_the_wal_too(outbox: SqliteOutbox, path: Path, disk: Disk) -> None:
    """What is deleted or moved is written as well: it is overwritten where it was."""
    for _ in range(40):
        await outbox.append([entry("a", size=MIB)])
    checkpoints = disk.statements.count("PRAGMA wal_checkpoint(PASSIVE)")
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    longest = 0
    while claim := (await lease.claim(PLENTY, now_ms=NOW_MS)).main:
        await lease.settle([Settled(met.entry, Parked(NOW_MS + 1), 1) for met in claim], now_ms=NOW_MS)
        longest = max(longest, size_of(path.with_name("outbox.db-wal")))
    assert disk.statements.count("PRAGMA wal_checkpoint(PASSIVE)") > checkpoints + 2
    assert longest < 20 * MIB


async def test_a_reader_that_keeps_the_wal_is_not_waited_for(outbox: SqliteOutbox, path: Path, disk: Disk) -> None:
    await outbox.append([entry("a")])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM event").fetchall()
    for _ in range(40):
        await outbox.append([entry("a", size=MIB)])
    reader.close()
    assert disk.statements.count("PRAGMA wal_checkpoint(PASSIVE)") < 6
    await outbox.append([entry("a", size=9 * MIB)])
    await outbox.append([entry("a")])
    assert size_of(path.with_name("outbox.db-wal")) < 20 * MIB


async def test_a_checkpoint_that_fails_stops_nobody_and_is_tried_again(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: "wal_checkpoint" in sql
    for _ in range(40):
        await outbox.append([entry("a", size=MIB)])
    assert outbox.condition().refusing == ""
    assert disk.statements.count("PRAGMA wal_checkpoint(PASSIVE)") > 2


# Parts


@pytest.mark.parametrize(
    ("seqs", "runs"),
    [
        ([], []),
        ([7], [(7, 7)]),
        ([1, 2, 3], [(1, 3)]),
        ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)]),
    ],
)
def test_consecutive_runs(seqs: list[int], runs: Iterable[tuple[int, int]]) -> None:
    assert list(consecutive_runs(seqs)) == runs


def test_packed_lanes_are_a_set_in_one_order() -> None:
    assert pack_lanes(["ann", "bob", "ann"]) == pack_lanes(["bob", "ann"])
    assert len(unpack_lanes(pack_lanes(["ann", "bob", "ann"]))) == 2
    assert unpack_lanes(pack_lanes([])) == ()


def test_packed_lanes_stay_what_they_are() -> None:
    """They are in files: another hash would forget who waits for whom."""
    assert pack_lanes(["id:ann"]).hex() == "bfee79cc6440a634"


def test_nothing_is_loaded_that_nobody_needs() -> None:
    """sqlite-utils would load numpy where there is one, as there is here: 10 MB, and 0.3 s at each start."""
    loads = "import sys, cio_buffer.daemon; print('numpy' in sys.modules)"
    assert find_spec("numpy"), "the tests' environment has it, for the picture of a day"
    assert subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True).stdout == "False\n"
