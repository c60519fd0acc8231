"""The outbox in one SQLite file. One process owns it, one thread writes it and commits in groups."""

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cio_buffer.clock import Clock
from cio_buffer.errors import LeaseLost, OutboxFull, OutboxUnavailable
from cio_buffer.outbox import tables
from cio_buffer.outbox.claims import Claims
from cio_buffer.outbox.contract import Audit, Claim, Condition, Dead, Ledger, Room
from cio_buffer.outbox.entry import AppCall, NewEntry, Settled
from cio_buffer.outbox.opening import Connect, StoreLock, connect, prepare_folder
from cio_buffer.outbox.store import Store, ledger_of
from cio_buffer.outbox.writer import Job, Writer

QUEUE_BYTES_MAX = 67_108_864
"""Accepted but not yet committed; beyond it apps wait."""

STUCK_AFTER_S = 60.0
RETRY_AFTER_S = 10


class SqliteOutbox:
    """Keeps `contract.Outbox`."""

    def __init__(
        self, path: Path, *, clock: Clock, bytes_max: int, disk_free_min_bytes: int, connect: Connect = connect
    ) -> None:
        self._store = Store(
            path, clock=clock, bytes_max=bytes_max, disk_free_min_bytes=disk_free_min_bytes, connect=connect
        )
        self._clock = clock
        self._bytes_max = bytes_max
        self._fence = 0
        self._watchers: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Take the file. Raises StoreHeld, or StoreUnusable where it cannot be ours."""
        prepare_folder(self._store.path)
        self._lock = StoreLock(self._store.path)
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._store, clock=self._clock, on_news=self._notify)
        try:
            await self._writer.start()
        except BaseException:
            self._lock.release()
            raise

    async def close(self) -> None:
        await self._writer.close()
        self._lock.release()

    @property
    def was_migrated(self) -> bool:
        """Whether opening brought an older file, or an empty one, up to date."""
        return self._store.was_migrated

    def append(self, entries: Sequence[NewEntry], call: AppCall | None = None) -> Awaitable[Sequence[int]]:
        if refusing := self._refusing():
            if refusing == "store_unwritable":
                raise OutboxUnavailable("the store cannot be written at present")
            raise OutboxFull(refusing, retry_after_s=RETRY_AFTER_S)
        size = sum([len(entry.body) for entry in entries])
        if self._writer.queued_bytes + size > QUEUE_BYTES_MAX:
            raise OutboxFull("outbox_full", retry_after_s=1)
        future = self._loop.create_future()
        return self._submit(Job(kind="append", future=future, entries=entries, call=call, bytes=size, is_news=True))

    def unanswered(self) -> Sequence[AppCall]:
        return self._store.calls_before

    def note_loss(self, call: AppCall) -> None:
        job = Job(kind="write", future=self._loop.create_future(), run=lambda _: self._store.remember(call))
        self._submit(job).add_done_callback(look_at)

    def note_answers(self) -> None:
        """Each commit does it; one of its own is made where none has come since."""
        if any(call.is_answered for call in self._store.committed_calls):
            self._submit(Job(kind="write", future=self._loop.create_future())).add_done_callback(look_at)

    def learnt(self) -> bytes:
        return self._store.learnt

    def note_learnt(self, learnt: bytes) -> None:
        self._store.learnt = learnt

    async def acquire(self, *, now_ms: int, wait_max_ms: int) -> "SqliteLease":
        """There is nobody to wait for but the writer: the process that owns the file drains it."""
        self._fence += 1
        lease = SqliteLease(self, self._fence, Claims(self._store), self._clock)
        await self.run(lambda db: tables.bring_forward(db, now_ms + wait_max_ms))
        return lease

    def watch(self, callback: Callable[[], None]) -> None:
        self._watchers.append(callback)

    def ledger(self) -> Ledger:
        return ledger_of(self._store.committed)

    def condition(self) -> Condition:
        return Condition(refusing=self._refusing(), bytes_used=self._store.bytes_used, bytes_max=self._bytes_max)

    async def oldest_at_ms(self) -> int | None:
        oldest: int | None = await self.run(tables.oldest_at_ms, kind="look")
        return oldest

    async def replay(self, seqs: Sequence[int]) -> int:
        revived: int = await self.run(lambda db: self._store.revive(db, seqs), is_news=True)
        return revived

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> Sequence[Dead]:
        names = Dead.__struct_fields__

        def read(db: sqlite3.Connection) -> list[Dead]:
            rows = db.execute(f"SELECT {', '.join(names)} FROM dead WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            return [Dead(**dict(zip(names, row, strict=True))) for row in rows]

        letters: list[Dead] = await self.run(read, kind="look")
        return letters

    async def audit(self) -> Audit:
        """On a connection and in a thread of its own: a count takes 0.1 s per million entries."""
        try:
            return await asyncio.to_thread(count, self._store.path)
        except sqlite3.Error as problem:
            raise OutboxUnavailable(f"the store cannot be counted ({problem})") from None

    async def is_answering(self) -> bool:
        return self._writer.busy_s < STUCK_AFTER_S

    def check_fence(self, number: int) -> None:
        """Raise LeaseLost unless `number` is the latest lease."""
        if number != self._fence:
            raise LeaseLost("somebody else has the lease")

    def run(
        self,
        function: Callable[[sqlite3.Connection], Any],
        *,
        kind: Literal["write", "claim", "look"] = "write",
        is_news: bool = False,
    ) -> Awaitable[Any]:
        """Have `function` done by the writer's thread; see `Job` for the kinds."""
        return self._submit(Job(kind=kind, future=self._loop.create_future(), run=function, is_news=is_news))

    def _refusing(self) -> str:
        return self._store.no_room if self._writer.is_writable else "store_unwritable"

    def _submit(self, job: Job) -> asyncio.Future[Any]:
        self._writer.submit(job)
        return job.future

    def _notify(self) -> None:
        for callback in self._watchers:
            callback()


class SqliteLease:
    """Keeps `contract.Lease`."""

    good_until = math.inf

    def __init__(self, outbox: SqliteOutbox, number: int, claims: Claims, clock: Clock) -> None:
        self._outbox, self._number, self._claims, self._clock = outbox, number, claims, clock

    def claim(self, room: Room, *, now_ms: int) -> Awaitable[Claim]:
        def claim(db: sqlite3.Connection) -> Claim:
            self._outbox.check_fence(self._number)
            return self._claims.claim(db, room, now_ms)

        return self._outbox.run(claim, kind="claim")

    def settle(self, settled: Sequence[Settled], *, now_ms: int) -> Awaitable[None]:
        died_at_ms = int(self._clock.now() * 1000)

        def settle(db: sqlite3.Connection) -> None:
            self._outbox.check_fence(self._number)
            self._claims.settle(db, settled, now_ms=now_ms, died_at_ms=died_at_ms)

        return self._outbox.run(settle)

    def bring_forward(self, *, latest_ms: int) -> Awaitable[None]:
        def bring_forward(db: sqlite3.Connection) -> None:
            self._outbox.check_fence(self._number)
            tables.bring_forward(db, latest_ms)

        return self._outbox.run(bring_forward)


def look_at(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it, so nobody is to hear that it failed: at closing time it may."""
    future.exception()


def count(path: Path) -> Audit:
    """Count a store's entries and read its ledger in one snapshot. Opens the file by SQLite, read-only."""
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("BEGIN")
        ledger = ledger_of(tables.load_counts(reader))
        waiting, parked, dead = (
            reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("event", "parked", "dead")
        )
        return Audit(waiting=waiting, parked=parked, dead=dead, ledger=ledger)
    finally:
        reader.close()
