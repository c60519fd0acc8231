"""What the store takes, what its disk has left, and whether that is enough to take in more."""

import sqlite3
from pathlib import Path
from typing import Literal

from cio_buffer.outbox.backup import throw_away_all
from cio_buffer.outbox.ballast import Ballast
from cio_buffer.outbox.beside import ballast_of, free_bytes, size_of, wal_of
from cio_buffer.outbox.opening import WAL_BYTES_KEPT, pragma
from cio_buffer.outbox.quarantine import bytes_set_aside

PAGE_BYTES = 4096

Refusing = Literal["", "outbox_full", "disk_low"]


class Space:
    """`refusing` is "" while there is room. Looks are made by the store's thread; anybody may read what was seen."""

    def __init__(self, store: Path, *, bytes_max: int, disk_free_min_bytes: int, ballast_bytes: int) -> None:
        self._store, self._wal = store, wal_of(store)
        self._bytes_max, self._disk_free_min_bytes = bytes_max, disk_free_min_bytes
        self._ballast = Ballast(ballast_of(store), ballast_bytes)
        self.bytes_used = 0
        self.refusing: Refusing = ""

    def look(self, db: sqlite3.Connection) -> None:
        """See what is used and free, and set the ballast aside if there is room for it."""
        pages, free_pages = int(pragma(db, "page_count")), int(pragma(db, "freelist_count"))
        self.bytes_used = (pages - free_pages) * PAGE_BYTES + size_of(self._wal) + bytes_set_aside(self._store)
        reusable = free_pages * PAGE_BYTES
        self.refusing = self._judge(free_bytes(self._store.parent), reusable)
        if self.refusing == "disk_low" and throw_away_all(self._store):
            self.refusing = self._judge(free_bytes(self._store.parent), reusable)

    def _judge(self, disk_free: int, reusable: int) -> Refusing:
        """Where a ballast is missing it is made, if the disk has the room; else free pages have to stand for it."""
        needed = self.disk_needed_bytes
        if self._ballast.missing_bytes and disk_free >= needed and not self._ballast.make():
            disk_free = 0
        return refusing(
            bytes_used=self.bytes_used,
            bytes_max=self._bytes_max,
            disk_free=disk_free,
            disk_needed=needed,
            reusable=reusable,
            wal_growth=max(WAL_BYTES_KEPT - size_of(self._wal), 0),
        )

    @property
    def disk_needed_bytes(self) -> int:
        """What has to be free for appends to be taken."""
        return self._disk_free_min_bytes + self._ballast.missing_bytes

    def fit_ballast(self) -> None:
        """The config may want less of it than it did."""
        self._ballast.fit()

    def give_up_ballast(self) -> bool:
        """The disk is full: let the store have what was kept for that, and nobody else. False if there is nothing."""
        self.refusing = "disk_low"
        return self._ballast.give_up()


def refusing(
    *, bytes_used: int, bytes_max: int, disk_free: int, disk_needed: int, reusable: int = 0, wal_growth: int = 0
) -> Refusing:
    """Why nothing more is to be taken in. The disk first: that is somebody else's doing, and harder to bear.

    `reusable`: free pages in the file, which never shrinks. After a backlog that filled the disk they are the room
    there is, and to fill them takes no disk but what the WAL may still have to grow.
    """
    is_reusable = disk_free + reusable >= disk_needed and disk_free >= wal_growth
    if disk_free < disk_needed and not is_reusable:
        return "disk_low"
    return "outbox_full" if bytes_used >= bytes_max else ""
