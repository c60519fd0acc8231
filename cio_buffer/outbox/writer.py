"""The one thread that writes the store: it takes what has been asked for since its last commit, and commits it whole.

No timer: while one commit syncs, the next group gathers. What was asked for is done in that order, and its results
reach the event loop in that order.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Literal

from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.errors import OutboxUnavailable, StoreUnusable
from cio_buffer.outbox.damaged import Damaged, is_damage, name_of
from cio_buffer.outbox.entry import AppCall, NewEntry
from cio_buffer.outbox.store import SECONDS_BETWEEN_LOOKS, Store
from cio_buffer.outbox.transaction import transaction

GROUP_JOBS_MAX = 5_000
GROUP_BYTES_MAX = 8_388_608
PROBE_FIRST_S, PROBE_MAX_S = 0.1, 5.0
INTERRUPT_EVERY_S = 0.02
"""Opening is a row of statements, and an interruption ends one."""


class Job(Struct, eq=False, kw_only=True):
    """Something to be done in the thread, and who waits for it.

    `kind`: an "append" has `entries`, perhaps the `call` that brought them, and is refused when its commit fails; a
    "write" is tried until it commits; a "claim" reads after the commit of all that was asked for before it; a "look"
    reads whatever there is.
    `is_news`: it brings what may be claimed.
    """

    kind: Literal["append", "write", "claim", "look"]
    future: asyncio.Future[Any]
    entries: Sequence[NewEntry] = ()
    call: AppCall | None = None
    bytes: int = 0
    run: Callable[[sqlite3.Connection], Any] | None = None
    is_news: bool = False
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs jobs in its thread, against a `Store`."""

    def __init__(
        self, store: Store, *, clock: Clock, on_news: Callable[[], None], on_set_aside: Callable[[], None]
    ) -> None:
        """Both are called in the event loop: `on_news` after the results of a group that brought any, `on_set_aside`
        when a damaged file has made room for a new one."""
        self._store = store
        self._on_news, self._on_set_aside = on_news, on_set_aside
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()  # None: the last of all
        self._is_closing = False
        self._failures = 0
        self._is_doubted = False
        self._generation_told = 0
        self.queued_bytes = 0
        self._thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)

    async def start(self, known_format: int | None = None) -> None:
        """Open the store in the thread. Raises what opening raised."""
        self._known_format = known_format
        self._thread.start()
        await self._opened

    async def abandon(self) -> None:
        """End the thread, whatever it is at: opening may have to read a long WAL, or to migrate."""
        self._is_closing = True
        self._jobs.put(None)
        while self._thread.is_alive():
            self._store.file.interrupt()
            await asyncio.sleep(INTERRUPT_EVERY_S)

    def submit(self, job: Job) -> None:
        """Queue a job. To be called in the event loop."""
        if self._is_closing:
            job.future.set_exception(OutboxUnavailable("the store is closing"))
            return
        self.queued_bytes += job.bytes
        self._jobs.put(job)

    async def close(self) -> None:
        """Do what was asked for, close the store, end the thread. One last try for what could not be written."""
        self._is_closing = True
        self._jobs.put(None)
        await self._closed
        self._thread.join()

    @property
    def is_writable(self) -> bool:
        """Whether the last commit succeeded."""
        return self._failures == 0

    @property
    def is_alive(self) -> bool:
        """Whether the thread is there. It may have to wait for the disk: then a restart would only wait for it too."""
        return self._thread.is_alive()

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            self._store.open(self._known_format)
        except BaseException as problem:
            self._call_in_loop(settle, self._opened, None, problem)
            return
        self._generation_told = self._store.generation
        self._call_in_loop(settle, self._opened, None, None)
        try:
            self._serve()
        finally:
            self._is_closing = True
            self._store.close()
            self._call_in_loop(settle, self._closed, None, None)

    def _serve(self) -> None:
        waiting: deque[Job] = deque()
        is_last = False
        while not is_last:
            is_last = self._gather(waiting)
            if self._failures:
                self._probe()
            while waiting:
                group = next_group(waiting)
                kept = self._put_off(group) if self._failures else self._do(group)
                waiting.extendleft(reversed(kept))
                if self._failures:
                    waiting = deque(self._put_off(waiting))
                    break
            self._store.look_at_room()
        for job in waiting:
            job.error = OutboxUnavailable("the store closed before it could be written")
        self._deliver(list(waiting))

    def _probe(self) -> None:
        """See whether the disk takes anything again."""
        try:
            self._store.probe()
        except Exception as problem:
            self._failed("commit", problem)
            if is_damage(problem):
                self._doubt(problem)
        else:
            self._failures = 0
            self._tell_set_aside()

    def _failed(self, doing: str, problem: Exception) -> None:
        self._failures += 1
        self._store.file.failed(doing, problem)

    def _doubt(self, damage: Exception) -> None:
        """Damage was met: open the file anew and look again; if that brings the same, set it aside and begin another.

        Whatever was to be done is done again, by then perhaps in another store.
        """
        try:
            if self._is_doubted:
                self._set_aside(damage)
            else:
                self._is_doubted = True
                self._store.reopen()
        except Damaged as more:
            self._doubt(more)
        except Exception as problem:  # whatever it is, it is tried again: without this thread nothing would be
            self._failed("open", problem)

    def _set_aside(self, damage: Exception) -> None:
        self._store.set_aside(name_of(damage))
        self._failures = 0
        self._tell_set_aside()

    def _tell_set_aside(self) -> None:
        """Have salvage begin if there is another store, which may have come to be long after the old one was moved."""
        if self._generation_told != self._store.generation:
            self._generation_told = self._store.generation
            self._is_doubted = False
            self._call_in_loop(self._on_set_aside)

    def _gather(self, waiting: deque[Job]) -> bool:
        """Sleep until something is asked for, and add all of it to `waiting`; True if it was the last."""
        try:
            job = self._jobs.get(timeout=self._rest_s())
            while job is not None:
                waiting.append(job)
                job = self._jobs.get_nowait()
        except Empty:
            return False
        return True

    def _rest_s(self) -> float | None:
        """How long to sleep at most: while appends are refused, until it is time to look again."""
        if self._failures:
            return min(PROBE_FIRST_S * 2.0 ** min(self._failures - 1, 10), PROBE_MAX_S)
        return SECONDS_BETWEEN_LOOKS if self._store.file.needs_care else None

    def _do(self, group: Sequence[Job]) -> Sequence[Job]:
        """Commit a group's writes, then do its reads; returns those jobs that are still to be done."""
        writes = [job for job in group if job.kind in ("append", "write")]
        try:
            if writes:
                self._commit(writes)
        except Exception as problem:
            if is_damage(problem):
                self._doubt(problem)
                return group
            if is_the_disks(problem):
                self._failed("commit", problem)
                return self._put_off(group, problem)
            if len(group) > 1:
                return self._do_singly(group)
            group[0].error = unstorable(problem) if group[0].kind == "append" else problem
        unread = self._read([job for job in group if job.kind in ("claim", "look")])
        self._is_doubted &= bool(unread)
        self._deliver([job for job in group if job not in unread])
        return unread

    def _read(self, reads: Sequence[Job]) -> Sequence[Job]:
        """Returns those that met damage, and what follows: they are to be done again."""
        for place, job in enumerate(reads):
            try:
                job.result = job.run(self._store.db) if job.run else None
            except Exception as problem:
                if is_damage(problem):
                    self._doubt(problem)
                    return reads[place:]
                job.error = unreadable(problem) if isinstance(problem, sqlite3.Error | StoreUnusable) else problem
        return []

    def _do_singly(self, group: Sequence[Job]) -> Sequence[Job]:
        """So that whoever is at fault fails alone."""
        for done, job in enumerate(group):
            if kept := self._do([job]):
                return [*kept, *group[done + 1 :]]
        return []

    def _commit(self, writes: Sequence[Job]) -> None:
        """Do `writes` in one transaction. Raises what went wrong; then nothing was done."""
        db = self._store.db
        try:
            with transaction(db):
                appends = [job for job in writes if job.kind == "append"]
                calls = [job.call for job in appends if job.call]
                numbers = self._store.insert(db, [job.entries for job in appends], calls)
                for job, seqs in zip(appends, numbers, strict=True):
                    job.result = seqs
                for job in writes:
                    if job.run:
                        job.result = job.run(db)
                self._store.before_commit(db)
        except BaseException:
            self._store.after_rollback()
            raise
        self._store.after_commit(db)

    def _put_off(self, jobs: Iterable[Job], problem: Exception | None = None) -> Sequence[Job]:
        """The disk is at fault: refuse appends, look where asked to; returns the rest, which is kept for later."""
        waiting = list(jobs)
        refused = [job for job in waiting if job.kind == "append"]
        for job in refused:
            name = getattr(problem, "sqlite_errorname", type(problem).__name__ if problem else "no disk")
            job.error = OutboxUnavailable(f"the store cannot be written ({name})")
        looks = [job for job in waiting if job.kind == "look"]
        unread = self._read(looks)
        self._deliver([*refused, *(job for job in looks if job not in unread)])
        return [job for job in waiting if job.kind in ("write", "claim") or job in unread]

    def _deliver(self, jobs: Sequence[Job]) -> None:
        self._call_in_loop(self._hand_over, jobs)

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        is_news = False
        for job in jobs:
            self.queued_bytes -= job.bytes
            is_news |= job.is_news
            settle(job.future, job.result, job.error)
        if is_news:
            self._on_news()

    def _call_in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is gone, and with it everybody who waited
            self._is_closing = True


def is_the_disks(problem: Exception) -> bool:
    """Whether the disk is at fault, or the file, rather than what was to be written.

    SQLite's CORRUPT and NOTADB come as plain DatabaseError, what an app could cause as one of its other children.
    """
    return isinstance(problem, sqlite3.OperationalError) or type(problem) is sqlite3.DatabaseError


def unreadable(problem: Exception) -> OutboxUnavailable:
    return OutboxUnavailable(f"the store cannot be read ({name_of(problem)})")


def unstorable(problem: Exception) -> OutboxUnavailable:
    return OutboxUnavailable(f"this cannot be stored ({type(problem).__name__})")


def next_group(waiting: deque[Job]) -> list[Job]:
    """Take from the front what may share a commit."""
    group: list[Job] = []
    size = 0
    while waiting and len(group) < GROUP_JOBS_MAX and size < GROUP_BYTES_MAX:
        group.append(waiting.popleft())
        size += group[-1].bytes
    return group


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a waiter its answer, unless it has stopped waiting."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
