"""What the store does when its disk is full, fails, or gives back what makes no sense."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cio_buffer.errors import OutboxFull, OutboxUnavailable
from cio_buffer.outbox import file
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import Delivered, Settled
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS, entry, name_of
from tests.outbox.disk import Disk
from tests.support.clock import FakeClock

MIB = 1_048_576
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "outbox.db"


@pytest.fixture
async def disk() -> Disk:
    return Disk()


@pytest.fixture
async def outbox(path: Path, clock: FakeClock, disk: Disk) -> AsyncIterator[SqliteOutbox]:
    outbox = SqliteOutbox(
        path, clock=clock, bytes_max=2**30, disk_free_min_bytes=0, ballast_bytes=MIB, connect=disk.connect
    )
    await outbox.open()
    yield outbox
    disk.mend()
    audit = await outbox.audit()
    await outbox.close()
    assert audit.is_balanced


def ballast(path: Path) -> Path:
    return path.with_name("outbox.db.ballast")


async def refused(outbox: SqliteOutbox, name: str = "refused") -> None:
    with pytest.raises((OutboxUnavailable, OutboxFull)):
        await outbox.append([entry(name)])


async def recovered(outbox: SqliteOutbox) -> None:
    """Wait until a probe has gone through."""
    await outbox.run(lambda _: None)


async def looked_again(outbox: SqliteOutbox, clock: FakeClock) -> None:
    """Wait until the writer has seen how things are: it does so after a group, once a second at most."""
    for _ in range(2):
        clock.advance(2)
        await recovered(outbox)
    await recovered(outbox)


# A full disk


async def test_on_a_full_disk_the_ballast_goes_and_the_drain_goes_on(
    outbox: SqliteOutbox, path: Path, disk: Disk
) -> None:
    await outbox.append([entry("waits")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    (met,) = (await lease.claim(PLENTY, now_ms=NOW_MS)).main
    assert ballast(path).exists()
    disk.is_full()
    await refused(outbox)
    assert not ballast(path).exists()
    disk.mend()  # that is what giving it up does
    await lease.settle([Settled(met.entry, Delivered(), 1)], now_ms=NOW_MS)
    assert outbox.condition().refusing == "disk_low"
    assert outbox.condition().errors["commit"] >= 1
    await refused(outbox)


async def test_a_disk_without_room_for_a_longer_wal_is_drained_by_beginning_it_anew(
    outbox: SqliteOutbox, disk: Disk
) -> None:
    """The ballast may be smaller than the WAL gets: once it is used up, only a checkpoint makes room for commits."""
    is_emptied = False

    def has_no_room(sql: str) -> bool:
        nonlocal is_emptied
        is_emptied |= sql == CHECKPOINT
        return sql == "COMMIT" and not is_emptied

    disk.breaks_as = (13, "SQLITE_FULL")
    disk.breaks_at = has_no_room
    await refused(outbox)
    await recovered(outbox)
    assert is_emptied


async def test_intake_reopens_by_itself_once_the_ballast_is_back(
    outbox: SqliteOutbox, path: Path, disk: Disk, clock: FakeClock
) -> None:
    disk.is_full()
    await refused(outbox)
    disk.mend()
    await looked_again(outbox, clock)
    assert (outbox.condition().refusing, ballast(path).exists()) == ("", True)
    await outbox.append([entry("taken")])
    assert outbox.ledger() == Ledger(accepted=1)


# A disk that fails


async def test_after_a_failure_a_checkpoint_comes_before_anybody_is_told_yes(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: sql == "COMMIT"
    await refused(outbox)
    disk.mend()
    seen = len(disk.statements)
    await recovered(outbox)
    since = disk.statements[seen:]
    assert since.index("COMMIT") < since.index(CHECKPOINT)
    assert outbox.condition().refusing == ""


async def test_while_that_checkpoint_fails_intake_stays_closed(outbox: SqliteOutbox, disk: Disk) -> None:
    disk.breaks_at = lambda sql: sql == "COMMIT"
    await refused(outbox)
    disk.breaks_at = lambda sql: sql == CHECKPOINT
    commits = disk.commits
    await disk.commits_beyond(commits)
    assert outbox.condition().refusing == "store_unwritable"
    await refused(outbox)
    disk.mend()
    await recovered(outbox)
    assert outbox.condition().refusing == ""
    await outbox.append([entry("taken")])


async def test_a_checkpoint_that_fails_is_counted_and_tried_again(
    outbox: SqliteOutbox, disk: Disk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits go on meanwhile; with a WAL that is too long nothing more is taken in."""
    monkeypatch.setattr(file, "CHECKPOINT_BYTES", 1)
    outbox._store.file._checkpoint_at = 1
    disk.breaks_at = lambda sql: sql == CHECKPOINT
    await outbox.append([entry("a")])
    assert (outbox.condition().errors, outbox.condition().refusing) == ({"checkpoint": 1}, "")
    monkeypatch.setattr(file, "WAL_BYTES_MAX", 1)
    assert outbox.condition().refusing == "store_unwritable"
    await refused(outbox)
    disk.mend()
    await looked_again(outbox, clock)
    assert outbox.condition().refusing == ""


# Damage


async def test_damage_that_is_not_there_at_a_second_look_was_none(outbox: SqliteOutbox, disk: Disk) -> None:
    await outbox.append([entry("a")])
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    disk.is_damaged("FROM event WHERE seq >")
    reader = disk.breaks_at

    def once(sql: str) -> bool:
        if is_hit := reader(sql):
            disk.mend()
        return is_hit

    disk.breaks_at = once
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    assert [name_of(met.entry) for met in claim.main] == ["a"]
    assert outbox.set_aside() == []
    await outbox.append([entry("b")])
    assert outbox.ledger() == Ledger(accepted=2)


async def test_a_disk_that_damages_whatever_is_written_is_waited_for(
    outbox: SqliteOutbox, disk: Disk, clock: FakeClock
) -> None:
    """One store is set aside, and not one after the other; what is asked for meanwhile is refused."""
    disk.is_damaged("INSERT INTO event")
    await refused(outbox)
    assert len(outbox.set_aside()) == 1
    await refused(outbox)
    assert (len(outbox.set_aside()), outbox.condition().refusing) == (1, "store_unwritable")
    disk.mend()
    await recovered(outbox)
    await outbox.append([entry("taken")])
    assert outbox.ledger().accepted == 1
    while outbox.condition().is_salvaging:
        await asyncio.sleep(0.01)
