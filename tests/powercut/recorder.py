"""Writes down what is done to the files in one folder: by SQLite, through a VFS of ours, and by our own system calls.

Both are passed on at once, so that the store meets a real disk. `-shm` is left out: it is memory, not disk.
"""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.powercut.disk import (
    Disk,
    Dropped,
    Image,
    Operation,
)

VFS = "powercut"


class Recorder:
    """One folder at a time: after `crash` it is a copy of what was there, and what goes on in the old one is no matter.

    What SQLite does it is told under a lock, so that a crash comes between two operations.
    """

    def __init__(self, folder: Path, start: Image) -> None:
        """`start` is what the disk certainly has at first; it is put into `folder`."""
        self._folder = folder
        self.lives = 0
        self.start = start
        self.log: list[Operation] = []
        self.lock = threading.RLock()
        self.fails_to_sync: Callable[[str], bool] = lambda name: False
        self.has_failed_to_sync = False
        shutil.rmtree(folder, ignore_errors=True)
        write_image(self.root, start)

    @property
    def root(self) -> Path:
        return self._folder / str(self.lives)

    def name_of(self, path: str | bytes | os.PathLike[Any]) -> str | None:
        """The name by which a file is recorded; None where it is not ours, or memory."""
        text, root = os.fsdecode(path), f"{self.root}"
        if text == root:
            return ""
        return text[len(root) + 1 :] if text.startswith(root + "/") and not text.endswith("-shm") else None

    def note(self, operation: Operation) -> None:
        self.log.append(operation)

    def crash(self) -> None:
        """The process is gone, the kernel is not: what was written is there, synced or not."""
        with self.lock:
            shutil.copytree(self.root, self._folder / str(self.lives + 1), ignore=shutil.ignore_patterns("*-shm"))
            self.lives += 1

    def connect(self, path: str) -> sqlite3.Connection:
        """As the store's own `connect`, but through our VFS."""
        return sqlite3.connect(
            f"{Path(path).as_uri()}?vfs={VFS}", uri=True, isolation_level=None, cached_statements=128
        )

    def check_complete(self) -> None:
        """All that is there now was recorded: else something was written behind our back."""
        disk = Disk(self.start)
        for operation in self.log:
            disk.do(operation)
        shown = disk.image(disk.names_pending, lambda change: iter((change,)))
        dropped = any(isinstance(operation, Dropped) for operation in self.log)
        # A reader, whose VFS is not ours, makes an empty WAL where there is none.
        there = {name: content for name, content in read_image(self.root).items() if name in shown or content != b""}
        assert set(shown) == set(there), sorted(set(shown) ^ set(there))
        different = [name for name in there if shown[name] != there[name]]
        assert dropped or not different, different


def write_image(folder: Path, image: Image) -> None:
    """Have just that in `folder`."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for there in os.scandir(folder):
        if there.is_dir():
            shutil.rmtree(there.path)
        else:
            os.unlink(there.path)
    for name, content in sorted(image.items()):
        path = os.path.join(folder, name)
        if content is None:
            os.makedirs(path, exist_ok=True)
        else:
            with open(path, "wb") as file:
                file.write(content)


def read_image(folder: Path) -> Image:
    """What `write_image` wrote, or what became of it."""
    found = sorted(path for path in folder.rglob("*") if not path.name.endswith("-shm"))
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in found}
