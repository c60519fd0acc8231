"""The command as people run it: a process, its exit code, and what it says."""

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from cio_buffer.clock import SystemClock
from cio_buffer.sandbox import Faults, Ledger, Sandbox
from tests.support.process import Daemon, clean_environ

PATIENCE_S = 30


def command(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `cio-buffer` to its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "cio_buffer", *map(str, arguments)],
        env=clean_environ() | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's: a socket's path may have 107 characters at most, and nothing is to stay behind."""
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        yield Path(folder)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    clock = SystemClock()
    sandbox = Sandbox(clock, Faults(clock), Ledger())
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def daemon(folder: Path, sandbox: Sandbox) -> AsyncIterator[Daemon]:
    async with Daemon(folder, await sandbox.start(), environ={"CIO_BUFFER__DRAIN__AT_STOP_FOR_S": "20"}) as daemon:
        yield daemon
