"""The production outbox in virtual time: the same SQL, the same commits in groups; no thread, and nothing is synced."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cio_buffer.clock import Clock
from cio_buffer.outbox.names import Names
from cio_buffer.outbox.opening import StoreLock, prepare_folder
from cio_buffer.outbox.salvager import Salvager
from cio_buffer.outbox.sqlite import SqliteOutbox, look
from cio_buffer.outbox.store import Store
from cio_buffer.outbox.writer import Job, Writer, next_group

GROUP_S = 0.005
"""What a group takes, commit and all: a sync on a good disk, and a claim of 2,000 at 0.7 µs each."""

RELAXED = ("journal_mode = MEMORY", "synchronous = OFF", "secure_delete = OFF", "cell_size_check = OFF")
"""What a run that nobody restarts can do without. The statements and transactions stay what they are."""


class VirtualOutbox(SqliteOutbox):
    """Keeps `contract.Outbox`, with the production's store, claims and lease."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        super().__init__(folder / "outbox.db", clock=clock, bytes_max=1 << 40, disk_free_min_bytes=0)

    async def open(self) -> None:
        prepare_folder(self._store.path)
        self._lock = StoreLock(self._store.path)
        self._loop = asyncio.get_running_loop()
        self._writer = VirtualWriter(self._store, clock=self._clock, on_news=self._notify)
        await self._writer.start()
        self.names = Names(self._store.store_id)
        self._salvager = Salvager(self._store, run=self.run, readers=self._readers, clock=self._clock)
        self._salvaging = self._loop.create_future()  # there is nothing to salvage

    async def look(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """At once: no thread belongs to virtual time."""
        return look(self._store.path, function)


class VirtualWriter(Writer):
    """The writer without its thread: a group is done, whole, when the time that it takes is over."""

    def __init__(self, store: Store, *, clock: Clock, on_news: Callable[[], None]) -> None:
        super().__init__(store, clock=clock, on_news=on_news, on_set_aside=lambda: None)
        self._waiting: deque[Job] = deque()
        self._is_at_work = False

    async def start(self, known_format: int | None = None) -> None:
        db = self._store.open(known_format)
        for setting in RELAXED:
            db.execute(f"PRAGMA {setting}").fetchall()

    def submit(self, job: Job) -> None:
        self.queued_bytes += job.bytes
        self._waiting.append(job)
        self._begin()

    async def close(self) -> None:
        while self._waiting:
            self._work()
        self._store.close()

    def _begin(self) -> None:
        if not self._is_at_work:
            self._is_at_work = True
            self._loop.call_later(GROUP_S, self._work)

    def _work(self) -> None:
        self._is_at_work = False
        if group := next_group(self._waiting):
            kept = self._do(group)
            assert not kept, "a disk in memory does not fail"
        if self._waiting:
            self._begin()

    def _call_in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)
