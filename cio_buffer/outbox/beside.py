"""What lies beside the store's file, and how large it is.

By `stat` alone: to `open` the store's file and close it again would drop the locks that SQLite holds on it.
"""

import os
from pathlib import Path


def wal_of(store: Path) -> Path:
    return store.with_name(store.name + "-wal")


def shm_of(store: Path) -> Path:
    return store.with_name(store.name + "-shm")


def lock_of(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


def ballast_of(store: Path) -> Path:
    return store.with_name(store.name + ".ballast")


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def free_bytes(folder: Path) -> int:
    """What its disk has left for us."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or deleted in it survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
