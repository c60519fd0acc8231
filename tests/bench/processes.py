"""Other processes: what they use, and the servers that ours is held against or sends to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from tests.support.process import Daemon

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
"""An upstream that refuses every connection at once."""

AS_SHIPPED = {
    "CIO_BUFFER__RETRY__BACKOFF_FIRST_S": "1",
    "CIO_BUFFER__RETRY__BACKOFF_MAX_S": "300",
    "CIO_BUFFER__DRAIN__RATE_MAX_PER_S": "100",
    "CIO_BUFFER__OUTBOX__DISK_FREE_MIN_BYTES": "268435456",
    "NO_PROXY": "127.0.0.1",
}
"""Takes back what the tests' config has for tests' sake."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Server(Struct, frozen=True):
    """A process that answers HTTP."""

    url: str
    pid: int


def bare(kind: Literal["answer", "send"]) -> AbstractContextManager[Server]:
    """One of the servers in `bare.py`, in a process of its own."""
    return serving("tests.bench.bare", kind)


def sink() -> AbstractContextManager[Server]:
    """The upstream in `sink.py`, in a process of its own."""
    return serving("tests.bench.sink")


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[Server]:
    """A module that prints its address and serves."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.kill()


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, its own and the kernel's for it; counted in ticks, mostly of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int, field: Literal["VmRSS", "VmHWM"] = "VmRSS") -> float:
    """Resident memory now, or at its highest, in MB of 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith(field))
    return kib * 1024 / 1e6
