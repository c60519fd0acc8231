"""The store's file as a thing that can be opened, emptied of its WAL, doubted, and set aside."""

import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path

from cio_buffer.clock import Clock
from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import quarantine, schema
from cio_buffer.outbox.backup import Upgrade
from cio_buffer.outbox.beside import size_of, wal_of
from cio_buffer.outbox.damaged import is_full
from cio_buffer.outbox.opening import WAL_BYTES_KEPT, Connect, close_untouched, open_store
from cio_buffer.outbox.quarantine import Before
from cio_buffer.outbox.space import Space

CHECKPOINT_BYTES = WAL_BYTES_KEPT
"""How long the WAL may get. A checkpoint of so much stalls the writer 8 to 13 ms; more makes a start after a crash
slower."""

WAL_BYTES_MAX = 268_435_456
"""A disk that fails at each checkpoint leaves a longer one, with which a start after a crash takes seconds."""

SET_ASIDE_REST_S = 10.0
"""Not one store after the other: a disk that damages a new one at once is to be waited for."""


class StoreFile:
    """Everything here runs in the writer's thread, but for `interrupt`; others may read single attributes."""

    def __init__(self, path: Path, *, clock: Clock, connect: Connect, space: Space) -> None:
        """`known_format`: what was written here before, as far as anything tells; None where nothing does."""
        self.path, self.space = path, space
        self.known_format: int | None = None
        self.upgrade: Upgrade | None = None
        self.errors: Counter[str] = Counter()
        self.is_checkpoint_failing = False
        self.was_full = False  # the last time that anything failed
        self._clock, self._connect = clock, connect
        self._wal = wal_of(path)
        self._checkpoint_at = CHECKPOINT_BYTES
        self._db: sqlite3.Connection | None = None
        self._latest: sqlite3.Connection | None = None
        self._last_set_aside: float | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """Raises StoreUnusable while it could not be opened again."""
        if self._db is None:
            raise StoreUnusable(f"{self.path} is not open")
        return self._db

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def open(self) -> sqlite3.Connection:
        """Raises Damaged, or StoreUnusable where it cannot be ours."""
        self._db, _ = open_store(
            self.path,
            self._connected,
            known_format=self.known_format,
            keep_free_bytes=self.space.disk_needed_bytes,
            on_upgrade=self._note_upgrade,
        )
        self.known_format = schema.VERSION
        self._checkpoint_at, self.is_checkpoint_failing = CHECKPOINT_BYTES, False
        return self._db

    def _note_upgrade(self, upgrade: Upgrade) -> None:
        """Of several openings, the first that changed anything: a store that follows a damaged one is no upgrade."""
        self.upgrade = self.upgrade or upgrade

    def _connected(self, path: str) -> sqlite3.Connection:
        self._latest = self._connect(path)
        return self._latest

    def interrupt(self) -> None:
        """End the statement that is running, if one is. From another thread."""
        if self._latest is not None:
            with suppress(sqlite3.Error):  # it was closed
                self._latest.interrupt()

    def close(self) -> None:
        """Let go of it, whatever state it is in."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def let_go(self) -> None:
        """Close it, and leave the WAL where it is: the file may be damaged."""
        if self._db is not None:
            close_untouched(self._db, self.path)
            self._db = None

    def set_aside(self, before: Before) -> None:
        """Move it out of the way; nothing is there afterwards. Raises StoreUnusable where that cannot be done."""
        now = self._clock.monotonic()
        if self._last_set_aside is not None and now - self._last_set_aside < SET_ASIDE_REST_S:
            raise StoreUnusable(f"{self.path} is damaged again so soon after another was")
        try:
            self._move(before)  # before it is closed: SQLite empties no WAL into a file that has moved
        except OSError as problem:
            self.let_go()
            raise StoreUnusable(f"cannot set {self.path} aside: {problem.strerror}") from None
        self.close()
        self._last_set_aside = now

    def _move(self, before: Before) -> None:
        try:
            quarantine.set_aside(self.path, before, self._clock.now())
        except OSError:
            if not self.space.give_up_ballast() or not self.path.exists():  # half of it is done: see Store.reopen
                raise
            quarantine.set_aside(self.path, before, self._clock.now())

    def failed(self, doing: str, problem: BaseException) -> None:
        """Count what went wrong with the disk; where that is full, the ballast goes."""
        self.errors[doing] += 1
        self.was_full = is_full(problem)
        if self.was_full:
            self.space.give_up_ballast()

    @property
    def needs_care(self) -> bool:
        """Whether it is to be looked at again soon, whether or not anybody wants anything of it."""
        return bool(self.space.refusing) or self.is_checkpoint_failing

    @property
    def is_wal_too_long(self) -> bool:
        return self.is_checkpoint_failing and size_of(self._wal) > WAL_BYTES_MAX

    def checkpoint_if_due(self) -> bool:
        """Whether it was, and went through: so much has been written since the last one."""
        if size_of(self._wal) > self._checkpoint_at:
            with suppress(sqlite3.Error):  # commits go on, and it is tried again later
                self.checkpoint()
                return True
        return False

    def care(self) -> None:
        """Look at what is used and free, and try again what failed. Raises sqlite3.Error or OSError: try it later."""
        if self.is_checkpoint_failing:
            self.checkpoint()
        self.space.look(self.db)

    def checkpoint(self) -> None:
        """Copy the WAL into the file, on this connection only: with two, the WAL grows without end.

        If it was copied whole, the next commit cuts it to WAL_BYTES_KEPT and begins it anew, so its size tells how
        long it is. If not, because somebody reads it or the disk fails, commits go on and it is tried again later.
        Raises what SQLite raises.
        """
        pages, copied = 1, 0
        try:
            _, pages, copied = self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self.is_checkpoint_failing = False
        except sqlite3.Error as problem:
            self.is_checkpoint_failing = True
            self.failed("checkpoint", problem)
            raise
        finally:
            self._checkpoint_at = CHECKPOINT_BYTES if pages == copied else size_of(self._wal) + CHECKPOINT_BYTES // 2
