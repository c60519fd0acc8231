"""Room that is kept for the day on which the disk is full.

On a full disk SQLite cannot even delete: that goes through the WAL, which has to grow. So a queue that filled the disk
could never empty itself. A file of real blocks beside the store is given up then, and made again once there is room.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from cio_buffer.outbox.beside import size_of

NOT_THERE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
"""A filesystem that cannot set blocks aside."""


class Ballast:
    """`wanted_bytes` of real blocks in one file; 0 wants none."""

    def __init__(self, path: Path, wanted_bytes: int) -> None:
        self._path, self.wanted_bytes = path, wanted_bytes

    @property
    def missing_bytes(self) -> int:
        """What is still to be set aside: all of it, or nothing."""
        return 0 if size_of(self._path) >= self.wanted_bytes else self.wanted_bytes

    def make(self) -> bool:
        """Set the blocks aside; False if there is no room for them. Half a ballast is none."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(fd, 0, self.wanted_bytes)
        except OSError as problem:
            self.give_up()
            if problem.errno in NOT_THERE:
                self.wanted_bytes = 0
                return True
            return False
        finally:
            os.close(fd)
        return True

    def fit(self) -> None:
        """Drop one that is larger than wanted; `make` makes it anew."""
        with suppress(OSError):
            if size_of(self._path) > self.wanted_bytes:
                self.give_up()

    def give_up(self) -> bool:
        """Let the store have the room; False if there was none to give."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
