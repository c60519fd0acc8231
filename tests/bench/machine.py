"""What the numbers were measured on."""

import os
import platform
import sqlite3
import time
from pathlib import Path
from statistics import median

from msgspec import Struct

from cio_buffer.outbox.opening import filesystem_of

SYNCS = 200
PAGE = b"\x5a" * 4096


class Machine(Struct, frozen=True, kw_only=True):
    """`fdatasync_us`: the median for one page that is overwritten in place, as a recycled WAL's are."""

    cores: int
    cpu: str
    python: str
    sqlite: str
    kernel: str
    filesystem: str
    fdatasync_us: float
    load_1_min: float


def look(folder: Path) -> Machine:
    """The machine, and the disk that `folder` is on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=cpu_model(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        kernel=platform.release(),
        filesystem=filesystem_of(folder) or "unknown",
        fdatasync_us=median(syncs_us(folder / "syncs")),
        load_1_min=os.getloadavg()[0],
    )


def describe(machine: Machine) -> str:
    return (
        f"{machine.cores} cores of {machine.cpu}, Linux {machine.kernel}, Python {machine.python}, "
        f"SQLite {machine.sqlite}, {machine.filesystem}, fdatasync {machine.fdatasync_us:.0f} µs (median), "
        f"load average {machine.load_1_min:.2f} at the beginning, {os.getloadavg()[0]:.2f} at the end"
    )


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def syncs_us(path: Path) -> list[float]:
    """How long each of some syncs took."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, PAGE * 64, 0)
        os.fsync(fd)
        return [sync_us(fd, 4096 * (count % 64)) for count in range(SYNCS)]
    finally:
        os.close(fd)
        path.unlink()


def sync_us(fd: int, at: int) -> float:
    os.pwrite(fd, PAGE, at)
    began = time.perf_counter()
    os.fdatasync(fd)
    return (time.perf_counter() - began) * 1e6
