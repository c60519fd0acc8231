"""The outbox in one SQLite file. One process owns it, one thread writes it and commits in groups."""

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from cio_buffer.clock import Clock
from cio_buffer.errors import LeaseLost, OutboxFull, OutboxUnavailable
from cio_buffer.outbox import letters, quarantine, tables
from cio_buffer.outbox.backup import Upgrade
from cio_buffer.outbox.claims import Claims
from cio_buffer.outbox.contract import Audit, Claim, Condition, Ledger, Room, SetAside, Sizes
from cio_buffer.outbox.damaged import Damaged, is_damage, name_of
from cio_buffer.outbox.entry import AppCall, NewEntry, Report, Settled
from cio_buffer.outbox.heritage import ledger_of
from cio_buffer.outbox.names import Names
from cio_buffer.outbox.opening import Connect, StoreLock, connect, prepare_folder
from cio_buffer.outbox.salvager import Salvager
from cio_buffer.outbox.sqlite_archive import SqliteArchive
from cio_buffer.outbox.store import Store, sizes_of
from cio_buffer.outbox.writer import Job, Writer

QUEUE_BYTES_MAX = 67_108_864
"""Accepted but not yet committed; beyond it apps wait."""

READERS = 2
"""Threads for what may take its time. Not the loop's own ones: looking up Customer.io's address needs those."""

RETRY_AFTER_S = 10


class SqliteOutbox:
    """Keeps `contract.Outbox`."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        bytes_max: int,
        disk_free_min_bytes: int,
        ballast_bytes: int = 0,
        keeps_log: bool = True,
        connect: Connect = connect,
    ) -> None:
        """Without `keeps_log` nothing is remembered of what was delivered. `ballast_bytes`: see `ballast.py`."""
        self._store = Store(
            path,
            clock=clock,
            bytes_max=bytes_max,
            disk_free_min_bytes=disk_free_min_bytes,
            ballast_bytes=ballast_bytes,
            keeps_log=keeps_log,
            connect=connect,
        )
        self.archive = SqliteArchive(
            self._store,
            run=self.run,
            look=self.look,
            is_in_hand=self._is_in_hand,
            is_salvaging=lambda: not self._salvager.is_over,
            clock=clock,
        )
        self._clock = clock
        self._bytes_max = bytes_max
        self._fence = 0
        self._claims: Claims | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="outbox-reader")
        self._watchers: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Take the file. Raises StoreHeld, or StoreUnusable where it cannot be ours."""
        prepare_folder(self._store.path)
        self._lock = StoreLock(self._store.path)
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._store, clock=self._clock, on_news=self._notify, on_set_aside=self._salvage)
        try:
            await self._writer.start(self._lock.format)
            await asyncio.to_thread(self._lock.mark)
        except BaseException:
            await self._writer.abandon()
            self._lock.release()
            raise
        self.names = Names(self._store.store_id)
        self._salvager = Salvager(self._store, run=self.run, readers=self._readers, clock=self._clock)
        self._salvaging: asyncio.Future[None] = asyncio.ensure_future(self._salvager.run(self._notify))

    async def close(self) -> None:
        self._salvaging.cancel()
        self._readers.shutdown(wait=False, cancel_futures=True)
        await self._writer.close()
        await asyncio.gather(self._salvaging, return_exceptions=True)
        self._lock.release()

    @property
    def upgrade(self) -> Upgrade | None:
        """How opening brought an older file, or an empty one, up to date; None if there was nothing to do."""
        return self._store.file.upgrade

    @property
    def was_migrated(self) -> bool:
        return self.upgrade is not None

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
        """There is nobody to wait for but the writer, and salvage: the process that owns the file drains it."""
        self._fence += 1
        claims = self._claims = Claims(self._store)

        def begin(db: sqlite3.Connection) -> int:
            if not self._salvager.is_over:
                raise OutboxUnavailable("a damaged store is being salvaged: what was accepted first leaves first")
            tables.bring_forward(db, now_ms + wait_max_ms)
            self._store.begin(db)
            return self._store.counts["last_request"] + 1

        fence = (self._store.generation, self._fence)
        return SqliteLease(self, fence, claims, self._clock, first_request=await self.run(begin))

    def watch(self, callback: Callable[[], None]) -> None:
        self._watchers.append(callback)

    def ledger(self) -> Ledger:
        return ledger_of(self._store.committed)

    def sizes(self) -> Sizes:
        return sizes_of(self._store.committed)

    def condition(self) -> Condition:
        return Condition(
            refusing=self._refusing(),
            bytes_used=self._store.file.space.bytes_used,
            bytes_max=self._bytes_max,
            errors=dict(self._store.file.errors),
            is_salvaging=not self._salvager.is_over,
        )

    def set_aside(self) -> Sequence[SetAside]:
        return self._salvager.told()

    async def remove_set_aside(self, name: str) -> bool:
        try:
            return await asyncio.to_thread(quarantine.remove, self._store.path, name)
        except OSError as problem:
            raise OutboxUnavailable(f"it cannot be deleted ({problem.strerror})") from None

    async def oldest_at_ms(self) -> int | None:
        oldest: int | None = await self.run(tables.oldest_at_ms, kind="look")
        return oldest

    async def audit(self) -> Audit:
        """Takes 0.1 s per million entries."""
        audit: Audit = await self.look(count)
        return audit

    async def look(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """Have `function` done in one snapshot, by a connection in another thread, which may take its time.

        Raises OutboxUnavailable where the store cannot be read.
        """
        generation = self._store.generation
        for is_last_try in (False, True):
            try:
                return await self._loop.run_in_executor(self._readers, look, self._store.path, function)
            except RuntimeError:
                raise OutboxUnavailable("the store is closing") from None
            except (sqlite3.Error, Damaged) as problem:
                if is_last_try and is_damage(problem):
                    self._report_damage(problem, generation)
                if is_last_try or not is_damage(problem):
                    raise OutboxUnavailable(f"the store cannot be read ({name_of(problem)})") from None
        raise AssertionError("the last try returns or raises")

    def _report_damage(self, damage: Exception, generation: int) -> None:
        """A reader has met it, twice: the writer is to set the store aside, unless it has done so since."""

        def meet(_: sqlite3.Connection) -> None:
            if self._store.generation == generation:
                raise Damaged(name_of(damage))

        self._submit(Job(kind="claim", future=self._loop.create_future(), run=meet)).add_done_callback(look_at)

    async def is_answering(self) -> bool:
        return self._writer.is_alive

    def check_fence(self, fence: tuple[int, int]) -> None:
        """Raise LeaseLost unless it is the latest lease, and on the store that it was given for."""
        if fence != (self._store.generation, self._fence):
            raise LeaseLost("somebody else has the lease, or the store is another one")

    def run(
        self,
        function: Callable[[sqlite3.Connection], Any],
        *,
        kind: Literal["write", "claim", "look"] = "write",
        is_news: bool = False,
    ) -> Awaitable[Any]:
        """Have `function` done by the writer's thread; see `Job` for the kinds."""
        return self._submit(Job(kind=kind, future=self._loop.create_future(), run=function, is_news=is_news))

    def _is_in_hand(self, seq: int, *, is_parked: bool) -> bool:
        """Whether the drain has an entry. To be asked in the writer's thread."""
        return self._claims is not None and self._claims.is_in_hand(seq, is_parked=is_parked)

    def _refusing(self) -> str:
        if not self._writer.is_writable or self._store.file.is_wal_too_long:
            return "store_unwritable"
        return self._store.file.space.refusing

    def _submit(self, job: Job) -> asyncio.Future[Any]:
        self._writer.submit(job)
        return job.future

    def _salvage(self) -> None:
        self._salvager.begin()

    def _notify(self) -> None:
        for callback in self._watchers:
            callback()


class SqliteLease:
    """Keeps `contract.Lease`."""

    good_until = math.inf

    def __init__(
        self, outbox: SqliteOutbox, fence: tuple[int, int], claims: Claims, clock: Clock, *, first_request: int
    ) -> None:
        self._outbox, self._fence, self._claims, self._clock = outbox, fence, claims, clock
        self.first_request = first_request

    def claim(self, room: Room, *, now_ms: int) -> Awaitable[Claim]:
        def claim(db: sqlite3.Connection) -> Claim:
            self._outbox.check_fence(self._fence)
            return self._claims.claim(db, room, now_ms)

        return self._outbox.run(claim, kind="claim")

    def settle(self, settled: Sequence[Settled], *, now_ms: int, report: Report | None = None) -> Awaitable[None]:
        died_at_ms = int(self._clock.now() * 1000)

        def settle(db: sqlite3.Connection) -> None:
            self._outbox.check_fence(self._fence)
            try:
                self._claims.settle(db, settled, now_ms=now_ms, died_at_ms=died_at_ms, report=report)
            except sqlite3.IntegrityError as problem:  # two of what there is but one: the tables contradict each other
                raise Damaged(f"a settlement does not fit what is there ({name_of(problem)})") from None

        return self._outbox.run(settle)

    def bring_forward(self, *, latest_ms: int) -> Awaitable[None]:
        def bring_forward(db: sqlite3.Connection) -> None:
            self._outbox.check_fence(self._fence)
            tables.bring_forward(db, latest_ms)

        return self._outbox.run(bring_forward)


def look_at(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it, so nobody is to hear that it failed: at closing time it may."""
    future.exception()


def look(path: Path, function: Callable[[sqlite3.Connection], Any]) -> Any:
    """Do `function` in one snapshot. Opens the file by SQLite, read-only: a descriptor of ours would drop its locks."""
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("PRAGMA temp_store = MEMORY").fetchall()
        reader.execute("BEGIN")
        return function(reader)
    finally:
        reader.close()


def count(db: sqlite3.Connection) -> Audit:
    """Count a store's entries, beside the ledger of the same snapshot. What is long is measured, not read."""

    def one(statement: str) -> int:
        number: int = db.execute(f"SELECT {statement}").fetchone()[0]
        return number

    counts = tables.load_counts(db)
    measured = Sizes(
        dead_bytes=one(f"coalesce(sum({letters.BYTES}), 0) FROM dead"),
        log_lines=one("count(*) FROM log"),
        log_bytes=one("coalesce(sum(length(fates) + length(seqs) + length(trails)), 0) FROM log")
        + one("coalesce(sum(length(lanes)), 0) FROM log_lanes"),
    )
    return Audit(
        waiting=one("count(*) FROM event"),
        parked=one("count(*) FROM parked"),
        dead=one("count(*) FROM dead"),
        measured=measured,
        ledger=ledger_of(counts),
        sizes=sizes_of(counts),
    )
