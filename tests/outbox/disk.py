"""Stands between the store and SQLite: sees each statement, can hold a commit back, and can break."""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any


class Disk:
    """Its `connect` is what a store is opened with. Statements arrive in the store's own thread."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0
        self.breaks_at: Callable[[str], bool] = lambda sql: False
        self.breaks_with: type[sqlite3.Error] = sqlite3.OperationalError
        self.breaks_as = (1034, "SQLITE_IOERR_FSYNC")
        self._loop = asyncio.get_running_loop()
        self._told: Counter[str] = Counter()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._gate: threading.Event | None = None

    def connect(self, path: str) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                disk._before(sql)
                cursor = super().execute(sql, *parameters)
                disk._after(sql)
                return cursor

        return sqlite3.connect(path, isolation_level=None, cached_statements=64, factory=Connection)

    def hold(self) -> None:
        """Let the next commit begin, and not return before `release`."""
        self._gate = threading.Event()

    def release(self) -> None:
        if self._gate:
            self._gate.set()
            self._gate = None

    def is_full(self) -> None:
        """No commit has room, and no checkpoint."""
        self.breaks_as = (13, "SQLITE_FULL")
        self.breaks_at = lambda sql: sql == "COMMIT" or "wal_checkpoint" in sql

    def is_damaged(self, what: str) -> None:
        """Statements that have `what` in them meet damage."""
        self.breaks_with, self.breaks_as = sqlite3.DatabaseError, (11, "SQLITE_CORRUPT")
        self.breaks_at = lambda sql: what in sql

    def mend(self) -> None:
        self.breaks_at = lambda sql: False

    async def sees(self, sql: str) -> None:
        """Wait until the next such statement begins.

        What the loop has not been told of yet is still to come: asked for and awaited in one breath, nothing is missed.
        """
        told = self._told[sql]
        while self._told[sql] == told:
            await self._next()

    async def commits_beyond(self, count: int) -> None:
        """Wait until more than `count` commits have returned."""
        while self.commits <= count:
            await self._next()

    async def _next(self) -> None:
        self._news = self._loop.create_future()
        await self._news

    def _tell(self, sql: str) -> None:
        self._told[sql] += 1
        if not self._news.done():
            self._news.set_result(None)

    def _before(self, sql: str) -> None:
        self.statements.append(sql)
        is_broken = self.breaks_at(sql)
        self._loop.call_soon_threadsafe(self._tell, sql)
        if sql == "COMMIT" and (gate := self._gate):
            gate.wait()
        if is_broken:
            problem = self.breaks_with("something is wrong with the disk")
            problem.sqlite_errorcode, problem.sqlite_errorname = self.breaks_as
            raise problem

    def _after(self, sql: str) -> None:
        self.commits += sql == "COMMIT"
        self._loop.call_soon_threadsafe(self._tell, "")
