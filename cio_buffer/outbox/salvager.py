"""Brings back what can be read of stores that were set aside, while the new one already takes in.

Everything returns under the number it had, before all that is newer, and nothing is delivered until it is over: so the
order of acceptance stays whole. A crash in between costs nothing: what is there already is met again, and left alone.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from cio_buffer.clock import Clock
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox import quarantine, takeover
from cio_buffer.outbox.carving import SEQ_MAX
from cio_buffer.outbox.contract import SetAside
from cio_buffer.outbox.damaged import name_of
from cio_buffer.outbox.quarantine import Salvage
from cio_buffer.outbox.salvage import Rescued, rescue
from cio_buffer.outbox.store import Store

TRY_AGAIN_S = 5.0
REST_SHARE = 1
"""After each commit of 500 rows, so many times as long as it took belongs to others alone: apps wait for the thread."""

NOTHING: Sequence[Rescued] = ()

Run = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class Salvager:
    """Works through what was set aside, the oldest first."""

    def __init__(self, store: Store, *, run: Run, readers: Executor, clock: Clock) -> None:
        """`run` has something done by the writer's thread."""
        self._store, self._run, self._readers, self._clock = store, run, readers, clock
        self._asked = asyncio.Event()
        self._at: str | None = None
        self._ended: int | None = None if quarantine.unfinished(store.path) else store.generation

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be brought back into the store that is there now."""
        return self._ended == self._store.generation

    def begin(self) -> None:
        """There is something to do."""
        self._asked.set()

    async def run(self, on_end: Callable[[], None]) -> None:
        """Salvage what is there, and whatever comes; `on_end` is called whenever nothing is left to do."""
        while True:
            if not self.is_over:
                try:
                    await self._salvage_all()
                except Exception:  # whatever it is: the drain waits for this to end
                    await self._clock.sleep(TRY_AGAIN_S)
                    continue
                on_end()
            await self._asked.wait()
            self._asked.clear()

    async def _salvage_all(self) -> None:
        while True:
            generation = self._store.generation  # first: a store that is set aside meanwhile has its turn
            folders = quarantine.unfinished(self._store.path)
            if not folders:
                break
            ended = await self._salvage(folders[0])
            if generation == self._store.generation and not self._write_down(folders[0], ended):
                await self._clock.sleep(TRY_AGAIN_S)
        self._at, self._ended = None, generation

    def _write_down(self, folder: Path, ended: Salvage) -> bool:
        """False if the disk does not take it: what was salvaged is then gone through again."""
        try:
            quarantine.end(folder, ended)
        except OSError:
            return not folder.exists()  # a person may have deleted it
        return True

    async def _salvage(self, folder: Path) -> Salvage:
        """Bring back all of one; where reading breaks in a way that nobody foresaw, what was brought so far."""
        self._at = folder.name
        highest = quarantine.before(folder).highest_seq or SEQ_MAX  # above it a number was never given out
        chunks = rescue(folder / self._store.path.name, seq_max=highest)
        failed = ""
        try:
            while chunk := await self._next(chunks):
                failed = await self._bring_whatever_can_be(folder.name, chunk) or failed
        except Exception as problem:  # of a kind that nobody foresaw: what is back is back
            failed = name_of(problem)
        saved, dead_saved = await self._patiently(partial(takeover.saved, name=folder.name))
        return Salvage(saved=saved, dead_saved=dead_saved, failed=failed)

    async def _bring_whatever_can_be(self, name: str, chunk: Sequence[Rescued]) -> str:
        """Why some could not be brought, "" if all could: they keep nothing else from it."""
        try:
            await self._bring(name, chunk)
        except Exception as problem:
            failed = name_of(problem)
            if len(chunk) > 1:
                for row in chunk:
                    await self._bring_whatever_can_be(name, [row])
            return failed
        return ""

    async def _next(self, chunks: Iterator[Sequence[Rescued]]) -> Sequence[Rescued]:
        loop = asyncio.get_running_loop()
        chunk: Sequence[Rescued] = await loop.run_in_executor(self._readers, next, chunks, NOTHING)
        return chunk

    async def _bring(self, name: str, chunk: Sequence[Rescued]) -> None:
        began = self._clock.monotonic()
        await self._patiently(lambda db: takeover.bring(self._store, db, name, chunk))
        await self._clock.sleep(REST_SHARE * (self._clock.monotonic() - began))

    async def _patiently(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """Until the store can be written, or closes."""
        while True:
            try:
                return await self._run(function)
            except OutboxUnavailable:
                await self._clock.sleep(TRY_AGAIN_S)

    def told(self) -> list[SetAside]:
        """What was set aside, and how far it has come."""
        return [self._told(folder) for folder in quarantine.folders(self._store.path)]

    def _told(self, folder: Path) -> SetAside:
        before, ended = quarantine.before(folder), quarantine.salvage(folder)
        at = SetAside(
            name=folder.name,
            path=str(folder),
            bytes=quarantine.bytes_in(folder),
            state="salvaging" if folder.name == self._at else "waiting",
            why=before.why,
        )
        if ended is None:
            return at
        return structs.replace(
            at,
            state="failed" if ended.failed else "over",
            why=ended.failed or before.why,
            saved=ended.saved,
            dead_saved=ended.dead_saved,
            lost=None if before.waiting is None else max(before.waiting - ended.saved, 0),
            dead_lost=None if before.dead is None else max(before.dead - ended.dead_saved, 0),
        )
