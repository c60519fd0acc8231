"""Measures what the store stands on. The store's own files are looked at by name only, never opened."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.outbox.beside import ballast_of, free_bytes, size_of, wal_of
from cio_buffer.outbox.opening import filesystem_of

SYNCS, BLOCK_BYTES = 50, 4096
SYNCS_FOR_S = 5.0
"""A disk that is slower than a tenth of a second is known after fewer."""

SYNCS_MIN = 5
DEVICES = Path("/sys/dev/block")


class FileSeen(Struct, frozen=True, kw_only=True):
    """`mode`: its permission bits."""

    name: str
    mode: int


class FolderSeen(Struct, frozen=True, kw_only=True):
    """The store's folder. `there`: itself, or the nearest above it that exists; what follows is about that one.

    `may_write`: this user may make files in it. `is_ours`: it belongs to this user. `files`: the store's.
    """

    path: str
    there: str
    is_folder: bool
    mode: int
    is_ours: bool
    may_write: bool
    files: Sequence[FileSeen] = ()

    @property
    def exists(self) -> bool:
        return self.path == self.there


class SpaceSeen(Struct, frozen=True, kw_only=True):
    """Bytes. `ballast`: what is set aside of the `ballast_wanted`; `used`: the store's files."""

    free: int
    used: int
    ballast: int
    ballast_wanted: int


class SyncsSeen(Struct, frozen=True, kw_only=True):
    """How long one took: a block appended to a file, or written over, and then synced. `problem`: why none was."""

    append_median_s: float = 0.0
    append_p99_s: float = 0.0
    overwrite_median_s: float = 0.0
    overwrite_p99_s: float = 0.0
    problem: str = ""


class CacheSeen(Struct, frozen=True, kw_only=True):
    """What the kernel says of a disk: `write_cache` is "write back", "write through", or "" where it says nothing."""

    write_cache: str = ""
    is_rotational: bool = False


def see_folder(store: Path) -> FolderSeen:
    """Raises OSError where this user may not even look."""
    folder = store.parent.absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    found = there.stat() if there.exists() else there.lstat()  # a link that leads nowhere
    return FolderSeen(
        path=str(folder),
        there=str(there),
        is_folder=stat.S_ISDIR(found.st_mode),
        mode=stat.S_IMODE(found.st_mode),
        is_ours=found.st_uid == os.geteuid(),
        may_write=os.access(there, os.W_OK | os.X_OK),
        files=see_files(store) if there == folder and stat.S_ISDIR(found.st_mode) else (),
    )


def see_files(store: Path) -> Sequence[FileSeen]:
    """The store and what lies beside it under its name."""
    with os.scandir(store.parent) as there:
        of_the_store = (f"{store.name}-", f"{store.name}.")
        names = sorted(one.name for one in there if one.name == store.name or one.name.startswith(of_the_store))
    return [FileSeen(name=name, mode=stat.S_IMODE((store.parent / name).lstat().st_mode)) for name in names]


def see_space(store: Path, there: Path, ballast_wanted: int) -> SpaceSeen:
    """Raises OSError."""
    return SpaceSeen(
        free=free_bytes(there),
        used=size_of(store) + size_of(wal_of(store)),
        ballast=size_of(ballast_of(store)),
        ballast_wanted=ballast_wanted,
    )


def see_filesystem(folder: Path) -> str:
    """Its type, "" where that cannot be told."""
    return filesystem_of(folder)


def see_syncs(store: Path, there: Path, clock: Clock) -> SyncsSeen:
    """Time syncs of a scratch file in the folder `there`, and remove it.

    Not a file without a name: some filesystems do not write those. One that a killed run left is removed first.
    """
    scratch = there / f"{store.name}.doctor"
    try:
        scratch.unlink(missing_ok=True)
        fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            appends = time_syncs(fd, clock, step_bytes=BLOCK_BYTES)
            overwrites = time_syncs(fd, clock, step_bytes=0)
        finally:
            os.close(fd)
            scratch.unlink(missing_ok=True)
    except OSError as problem:
        return SyncsSeen(problem=problem.strerror or str(problem))
    return SyncsSeen(
        append_median_s=median(appends),
        append_p99_s=p99(appends),
        overwrite_median_s=median(overwrites),
        overwrite_p99_s=p99(overwrites),
    )


def time_syncs(fd: int, clock: Clock, *, step_bytes: int) -> list[float]:
    """Seconds of each of SYNCS, or of fewer on a slow disk. `step_bytes` is how far each block is behind the last."""
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has but the one
    block, began, took = os.urandom(BLOCK_BYTES), clock.monotonic(), []
    for number in range(SYNCS):
        at = clock.monotonic()
        os.pwrite(fd, block, number * step_bytes)
        sync(fd)
        took.append(clock.monotonic() - at)
        if number >= SYNCS_MIN and clock.monotonic() - began > SYNCS_FOR_S:
            break
    return took


def p99(times: Sequence[float]) -> float:
    """Of fifty it is nearly the longest."""
    return quantiles(times, n=100, method="inclusive")[98]


def see_cache(there: Path, devices: Path = DEVICES) -> CacheSeen:
    """Of the disk that a folder is on. A partition has its queue with its disk; a filesystem without one has none."""
    try:
        number = there.stat().st_dev
        device = (devices / f"{os.major(number)}:{os.minor(number)}").resolve(strict=True)
        queue = next(place for place in (device / "queue", device.parent / "queue") if place.is_dir())
        cache = (queue / "write_cache").read_text().strip()
        return CacheSeen(write_cache=cache, is_rotational=(queue / "rotational").read_text().strip() == "1")
    except (OSError, StopIteration):
        return CacheSeen()
