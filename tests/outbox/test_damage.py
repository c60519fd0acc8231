"""A store that is damaged in 200 ways: it is read as far as it can be, and the daemon goes on whatever there is."""

import asyncio
import hashlib
import re
import shutil
import time
from pathlib import Path

import pytest
from msgspec import Struct

from cio_buffer.errors import LeaseLost, OutboxUnavailable
from cio_buffer.outbox.beside import wal_of
from cio_buffer.outbox.entry import Delivered, Settled
from cio_buffer.outbox.salvage import EVENT_COLUMNS, Rescued, remains, rescue
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import NOW_MS, PLENTY, WAIT_MAX_MS
from tests.outbox.damage import (
    ANOTHERS,
    FRAME,
    PAGE,
    SEEDS,
    WAL_HEADER,
    Seqs,
    damage,
    held,
    killed_store,
    new,
    outbox_at,
)
from tests.support.clock import FakeClock

BODY = EVENT_COLUMNS.index("body")
TOGETHER = 25
GROUPS = [SEEDS[start : start + TOGETHER] for start in range(0, len(SEEDS), TOGETHER)]


class Whole(Struct):
    """A store before it is damaged, and what it held."""

    store: Path
    waiting: Seqs
    dead: Seqs
    first: dict[int, bytes]  # every body that was ever accepted

    def copied(self, to: Path) -> Path:
        shutil.copytree(self.store.parent, to)
        return to / self.store.name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    store = tmp_path_factory.mktemp("whole") / "outbox.db"
    asyncio.run(killed_store(store, FakeClock()))
    waiting, dead = held(store)
    return Whole(store, waiting, dead, {**waiting, **dead})


def read(store: Path) -> list[Rescued]:
    return [row for chunk in rescue(store) for row in chunk]


def bodies(rows: list[Rescued], table: str) -> Seqs:
    """The first of each number: what comes later is not brought in any more."""
    return {row.values[0]: row.values[BODY] for row in reversed(rows) if row.table == table}  # type: ignore[misc]


def hashes(folder: Path) -> dict[str, bytes]:
    return {file.name: hashlib.sha256(file.read_bytes()).digest() for file in folder.iterdir()}


def undamaged(whole: Whole, store: Path) -> set[int]:
    """The numbers of those that stand in one page that is as it was, and was the newest of its number."""
    file, wal = whole.store.read_bytes(), wal_of(whole.store).read_bytes()
    file_now, wal_now = (one.read_bytes() if one.exists() else b"" for one in (store, wal_of(store)))
    found = set()
    commits = [at for at in frames(wal) if wal[at + 4 : at + 8] != bytes(4)]
    newest = {wal[at : at + 4]: at for at in frames(wal)}
    is_legible = any(wal_now[at : at + 24] == wal[at : at + 24] for at in commits)
    for page in range(1, len(file) // PAGE + 1):
        at = (page - 1) * PAGE
        if page.to_bytes(4, "big") not in newest and file_now[at : at + PAGE] == file[at : at + PAGE]:
            found |= numbers_in(file[at : at + PAGE], whole)
    for at in newest.values():
        is_committed = any(
            commit >= at and wal_now[commit : commit + 24] == wal[commit : commit + 24] for commit in commits
        )
        if is_legible and is_committed and wal_now[at : at + FRAME] == wal[at : at + FRAME]:
            found |= numbers_in(wal[at + 24 : at + FRAME], whole)
    return found


def frames(wal: bytes) -> list[int]:
    """Where those begin that count."""
    return [at for at in range(WAL_HEADER, len(wal) - FRAME + 1, FRAME) if wal[at + 8 : at + 16] == wal[16:24]]


def numbers_in(page: bytes, whole: Whole) -> set[int]:
    if page[0] != 0x0D:
        return set()
    named = {bytes(name) for name in re.findall(rb'{"name": "([ab]\d+)", "said": "[^"]+"}', page)}
    return {number for number, body in whole.first.items() if re.findall(rb'"([ab]\d+)"', body)[0] in named}


@pytest.mark.parametrize("seeds", GROUPS, ids=str)
def test_what_undamaged_pages_hold_is_saved(whole: Whole, tmp_path: Path, seeds: range) -> None:
    """Nothing is made up, nothing raises, and the files stay as they are."""
    for seed in seeds:
        store = whole.copied(tmp_path / str(seed))
        how = damage(store, seed)
        before = hashes(store.parent)
        began = time.monotonic()
        rows, found = read(store), remains(store)
        assert time.monotonic() - began < 2, how
        assert hashes(store.parent) == before, how
        saved = {row.values[0] for row in rows}
        assert undamaged(whole, store) <= saved, how
        strange = [row for row in rows if is_strange(row, whole)]
        assert len(strange) <= (how.count(",") + 1 if "bits" in how else 0), (how, strange)
        assert found.highest_seq in {0, remains(whole.store).highest_seq} or "bits" in how or found.counts, how
        shutil.rmtree(store.parent)


def is_strange(row: Rescued, whole: Whole) -> bool:
    """Whether it never was in the store, nor in the one of which it has got a page."""
    body = row.values[BODY]
    return body != ANOTHERS and body != whole.first.get(row.values[0]) and not is_delivered(body)  # type: ignore[call-overload]


def is_delivered(body: object) -> bool:
    """Whether it is as all bodies are: of what was delivered there is nothing to be compared with."""
    assert isinstance(body, bytes)
    made = re.fullmatch(rb'{"name": "([ab]\d+)", "said": "([^"]+)"}', body)
    return made is not None and made[2] == made[1] * (len(made[2]) // len(made[1]))


@pytest.mark.parametrize("seeds", GROUPS, ids=str)
async def test_the_outbox_goes_on(whole: Whole, tmp_path: Path, seeds: range) -> None:
    """It opens at once and takes in at once; all that it says it has saved can be delivered; the ledger balances."""
    for seed in seeds:
        store = whole.copied(tmp_path / str(seed))
        how = damage(store, seed)
        try:
            await asyncio.wait_for(goes_on(store, whole, how), 10)
        except TimeoutError:
            pytest.fail(f"hangs: {how}")
        shutil.rmtree(store.parent)


async def goes_on(store: Path, whole: Whole, how: str) -> None:
    intact = undamaged(whole, store)
    outbox = outbox_at(store, FakeClock())
    began = time.monotonic()
    await outbox.open()
    (number,) = await outbox.append([new("last")])
    assert time.monotonic() - began < 2, how
    delivered = await drained_whatever_comes(outbox)
    assert number in delivered, how
    told = outbox.set_aside()
    assert [one.state for one in told] == ["over"] * len(told), how
    ledger = outbox.ledger()
    assert sum((one.saved or 0) + (one.dead_saved or 0) for one in told) == ledger.salvaged, how
    assert len(delivered) >= sum(one.saved or 0 for one in told), how
    if told or "another store" not in how:  # SQLite takes a page like that for one of its own, and ours is gone
        assert (ledger.entries, (await outbox.audit()).is_balanced) == (0, True), how
    if "WAL" not in how:  # what is behind damage in the WAL, SQLite forgets when it opens it
        assert intact & set(whole.waiting) <= set(delivered), how
    if "-shm" in how:
        assert set(whole.waiting) <= set(delivered), how
        assert ledger.dead == len(whole.dead), how
    await outbox.close()


async def drained_whatever_comes(outbox: SqliteOutbox) -> list[int]:
    """As a drain does it: it begins anew with another store, once that has what could be salvaged."""
    delivered: list[int] = []
    while True:
        try:
            await drain(outbox, delivered)
            await outbox.audit()
        except (LeaseLost, OutboxUnavailable):
            await asyncio.sleep(0.002)
        else:
            return delivered


async def drain(outbox: SqliteOutbox, delivered: list[int]) -> None:
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=WAIT_MAX_MS)
    while True:
        claim = await lease.claim(PLENTY, now_ms=NOW_MS)
        entries = sorted([*claim.parked, *(met.entry for met in claim.main)], key=lambda one: one.seq)
        if not entries:
            return
        await lease.settle([Settled(one, Delivered(), 1) for one in entries], now_ms=NOW_MS)
        delivered += [one.seq for one in entries]
