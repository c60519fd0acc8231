"""Whether a store's file is whole and adds up: what a check finds, and that it changes nothing."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import msgspec
import pytest

from cio_buffer.clock import SystemClock
from cio_buffer.doctor.books import imbalances
from cio_buffer.doctor.integrity import PERMISSION_FIX, cannot, check, plain
from cio_buffer.outbox import schema
from cio_buffer.outbox.contract import Audit, Ledger, Room, Sizes
from cio_buffer.outbox.entry import NewEntry, Parked, Settled, pack_lanes
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.test_upgrades import unpack

ENTRIES, PARKED = 3_000, 3
PAGE = 4096
SECRET = "ann@example.com"
ROOM = Room(main_entries=PARKED, main_bytes=1 << 20, parked_entries=100, parked_bytes=1 << 20, parked_v1_entries=100)


def outbox_at(path):
    return SqliteOutbox(path, clock=SystemClock(), bytes_max=1 << 30, disk_free_min_bytes=0)


def entry(number):
    body = b'{"to":"%s","padding":"%s"}' % (SECRET.encode(), b"x" * 200)
    return NewEntry(kind="event", lanes=pack_lanes([f"id:{number}", "id:all"]), body=body, accepted_at_ms=1)


async def filled(path):
    """An outbox that is open, its first three entries parked, one lane in common."""
    outbox = outbox_at(path)
    await outbox.open()
    await outbox.append([entry(number) for number in range(ENTRIES)])
    lease = await outbox.acquire(now_ms=1, wait_max_ms=1)
    claim = await lease.claim(ROOM, now_ms=1)
    await lease.settle([Settled(met.entry, Parked(1 << 50), 1) for met in claim.main], now_ms=1)
    return outbox


@pytest.fixture
async def store(tmp_path):
    """A store that nobody has open any more."""
    path = tmp_path / "store" / "outbox.db"
    await (await filled(path)).close()
    return path


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def overwrite(path, page, content=b"\x55" * PAGE):
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


def seen(path, **options):
    return check(path, **{"is_quick": False, "clock": SystemClock()} | options)


def files(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


@pytest.mark.parametrize("is_quick", [False, True])
async def test_a_whole_store_is_ok_and_counted_and_not_changed(store, is_quick):
    before = files(store)
    checked = seen(store, is_quick=is_quick)
    assert (checked.verdict, checked.problems, checked.fix) == ("ok", [], "")
    assert (checked.entries.waiting, checked.entries.parked, checked.entries.dead) == (ENTRIES - PARKED, PARKED, 0)
    assert (checked.format, checked.is_quick) == (schema.VERSION, is_quick)
    after = files(store)
    assert {name: after[name] for name in before} == before
    assert {name: after[name] for name in after.keys() - before.keys() if not name.endswith("-shm")} in (
        {},
        {"outbox.db-wal": b""},
    )


async def test_a_store_in_use_is_checked_as_of_one_commit(tmp_path):
    """And whoever uses it goes on."""
    path = tmp_path / "store" / "outbox.db"
    outbox = await filled(path)
    try:
        assert seen(path).entries.waiting == ENTRIES - PARKED
        await outbox.append([entry(ENTRIES)])
        checked = seen(path)
        assert (checked.verdict, checked.entries.waiting) == ("ok", ENTRIES - PARKED + 1)
        assert outbox.condition().errors == {}
    finally:
        await outbox.close()


async def test_after_a_kill_what_is_in_the_wal_is_counted_too(tmp_path):
    unpack(tmp_path / "outbox.db", schema.VERSION, "killed")
    before = files(tmp_path / "outbox.db")
    checked = seen(tmp_path / "outbox.db")
    assert (checked.verdict, checked.problems) == ("ok", [])
    assert checked.entries.waiting + checked.entries.parked > 0
    after = files(tmp_path / "outbox.db")
    assert before["outbox.db-wal"]
    assert {name: after[name] for name in ("outbox.db", "outbox.db-wal")} == {
        name: before[name] for name in ("outbox.db", "outbox.db-wal")
    }


@pytest.mark.parametrize("version", range(1, schema.VERSION))
@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_an_older_format_is_ok_and_not_counted(tmp_path, version, ending):
    unpack(tmp_path / "outbox.db", version, ending)
    checked = seen(tmp_path / "outbox.db")
    assert (checked.verdict, checked.problems, checked.format) == ("ok", [], version)
    assert checked.entries is None


@pytest.mark.parametrize("page", [1, 100, 150])
async def test_a_damaged_page_is_found_without_a_word_of_what_was_on_it(store, page):
    overwrite(store, page, SECRET.encode() * 300)
    checked = seen(store)
    assert (checked.verdict, checked.entries) == ("damaged", None)
    assert checked.problems
    assert "sets the file aside" in checked.fix
    assert SECRET not in " ".join(checked.problems)


async def test_a_halved_file_is_damaged(store):
    os.truncate(store, store.stat().st_size // 2)
    assert seen(store).verdict == "damaged"


@pytest.mark.parametrize("has_lock", [True, False])
async def test_an_empty_file_is_damaged_where_ours_was_written(store, has_lock):
    os.truncate(store, 0)
    if not has_lock:
        store.with_name("outbox.db.lock").unlink()
    assert seen(store).verdict == ("damaged" if has_lock else "unusable")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE ledger SET accepted = accepted + 1", "the ledger says 3,001 entries wait, and 3,000 are there"),
        ("UPDATE ledger SET parked = 7", "the ledger says 7 of them are parked, and 3 are there"),
        ("UPDATE ledger SET dead = 2", "the ledger says 2 dead letters are kept, and 0 are there"),
        ("UPDATE ledger SET log_lines = 9", "the ledger says 9 lines of log are kept"),
        ("DELETE FROM event WHERE seq % 1000 = 0", "3,000 entries wait"),
        (
            "DELETE FROM parked_lane WHERE seq = (SELECT min(seq) FROM parked)",
            "2 lanes of parked entries are not kept closed",
        ),
        ("INSERT INTO parked_lane VALUES (5, 5)", "1 lanes are kept closed by entries that are not parked"),
        ("UPDATE parked SET lanes = x'00' WHERE seq = (SELECT min(seq) FROM parked)", "make no sense"),
        ("DROP INDEX parked_due", "its tables are not as they were made"),
    ],
)
async def test_what_does_not_add_up_is_told(store, statement, told):
    change(store, statement)
    checked = seen(store)
    assert checked.verdict == "damaged"
    assert any(told in problem for problem in checked.problems), checked.problems


async def test_an_index_that_disagrees_is_found(store):
    """SQLite lets nobody do that: it is done to the file."""
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'is_v1, due_at_ms', 'due_at_ms, is_v1')"
            " WHERE name = 'parked_due'"
        )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert seen(store).verdict == "damaged"
    assert any("parked_due" in problem for problem in seen(store).problems)


def test_no_file_is_unusable(tmp_path):
    checked = seen(tmp_path / "outbox.db")
    assert (checked.verdict, checked.problems) == ("unusable", [f"there is no file {tmp_path}/outbox.db"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (("CREATE TABLE t (a)",), "not one of ours"),
        (("CREATE TABLE t (a)", "PRAGMA application_id = 7"), "not one of ours"),
        (
            ("CREATE TABLE t (a)", f"PRAGMA application_id = {schema.APPLICATION_ID}", "PRAGMA user_version = 99"),
            "newer cio_buffer (format 99",
        ),
    ],
)
def test_a_foreign_or_newer_file_is_unusable(tmp_path, statements, told):
    change(tmp_path / "outbox.db", *statements)
    before = files(tmp_path / "outbox.db")
    checked = seen(tmp_path / "outbox.db")
    assert checked.verdict == "unusable"
    assert told in checked.problems[0]
    assert files(tmp_path / "outbox.db") == before


def test_a_file_that_is_no_database_is_unusable(tmp_path):
    (tmp_path / "outbox.db").write_text("hello " * 1_000)
    checked = seen(tmp_path / "outbox.db")
    assert checked.verdict == "unusable"
    assert "SQLITE_NOTADB" in checked.problems[0]


def test_a_folder_is_no_store(tmp_path):
    (tmp_path / "outbox.db").mkdir()
    assert seen(tmp_path / "outbox.db").verdict == "unusable"


@pytest.mark.parametrize(
    ("name", "has_to_do_with_permission"),
    [("SQLITE_CANTOPEN", True), ("SQLITE_READONLY", True), ("SQLITE_BUSY", False), ("SQLITE_IOERR", False)],
)
def test_what_sqlite_cannot_do_says_what_to_do(tmp_path, name, has_to_do_with_permission):
    problem = sqlite3.OperationalError("words that may quote anything")
    problem.sqlite_errorcode, problem.sqlite_errorname = getattr(sqlite3, name), name
    why = cannot(tmp_path, problem)
    assert (why.fix == PERMISSION_FIX) is has_to_do_with_permission
    assert why.fix
    assert name in str(why)
    assert "words" not in str(why)


def run(script, store):
    """In a process of its own."""
    return subprocess.run([sys.executable, "-c", script, store], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("mode", [0o755, 0o700])
async def test_whoever_may_not_read_it_is_told_what_to_do(store, mode):
    """Neither the file, nor what is in its folder."""
    for place in store.parents:
        if place.stat().st_uid == os.geteuid() and "pytest" in str(place):
            place.chmod(0o755)
    store.parent.chmod(mode)
    script = (
        "import os, sys; from pathlib import Path; from cio_buffer.doctor.integrity import check; "
        "from cio_buffer.clock import SystemClock\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "c = check(Path(sys.argv[1]), is_quick=True, clock=SystemClock()); print(c.verdict, c.fix)"
    )
    ended = await asyncio.to_thread(run, script, store)
    assert ended.stdout.startswith("unusable run it as the user that the daemon runs as"), ended.stderr


async def test_ctrl_c_ends_it(store):
    """SQLite's own loop would not hear of it."""
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("CREATE TABLE big (a)")
        db.execute(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2e6)"
            " INSERT INTO big SELECT x FROM c"
        )
    script = (
        "import signal, sys; from pathlib import Path; from cio_buffer.doctor import integrity\n"
        "from cio_buffer.clock import SystemClock\n"
        "signal.signal(signal.SIGPROF, signal.default_int_handler); look = integrity.check_ours\n"
        "integrity.check_ours = lambda *said: (look(*said), signal.setitimer(signal.ITIMER_PROF, 0.02))\n"
        "try: integrity.check(Path(sys.argv[1]), is_quick=False, clock=SystemClock())\n"
        "except KeyboardInterrupt as asked: print(asked.__context__)"
    )
    ended = await asyncio.to_thread(run, script, store)
    assert ended.stdout == "interrupted\n", ended.stderr


BALANCED = Audit(
    waiting=5,
    parked=2,
    dead=1,
    measured=Sizes(dead_bytes=10, log_lines=3, log_bytes=30),
    ledger=Ledger(accepted=9, salvaged=1, delivered=2, dead_lettered=1, parked=2, dead=1),
    sizes=Sizes(dead_bytes=10, log_lines=3, log_bytes=30),
)


def test_a_balanced_ledger_has_no_imbalance():
    assert BALANCED.is_balanced
    assert list(imbalances(BALANCED)) == []


@pytest.mark.parametrize("field", Ledger.__struct_fields__)
def test_whatever_unbalances_the_ledger_is_told(field):
    off = msgspec.structs.replace(BALANCED.ledger, **{field: getattr(BALANCED.ledger, field) + 1})
    audit = msgspec.structs.replace(BALANCED, ledger=off)
    assert not audit.is_balanced
    assert list(imbalances(audit))


@pytest.mark.parametrize("field", Sizes.__struct_fields__)
def test_whatever_is_not_as_long_as_it_is_said_to_be_is_told(field):
    off = msgspec.structs.replace(BALANCED.sizes, **{field: 99})
    assert len(list(imbalances(msgspec.structs.replace(BALANCED, sizes=off)))) == 1


def test_a_terminal_is_told_nothing_that_it_would_obey():
    assert plain("\x1b[31mred\n" + "é" * 500) == ("?[31mred?" + "?" * 500)[:160]
