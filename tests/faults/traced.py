"""The daemon under strace, which makes a system call fail, wait, or be the last one."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.process import Daemon, Door

ATTACHED = b"attached"
DETACHED_IN_S = 10.0


class Injection:
    """`what` befalls `calls` (names with commas), such as `error=EIO:when=3..7`. `path`: on that file only."""

    def __init__(self, calls: str, what: str, path: Path | None = None) -> None:
        self.calls, self.what, self.path = calls, what, path

    def __str__(self) -> str:
        return f"{self.calls}:{self.what}" + (f" on {self.path.name}" if self.path else "")

    def command(self) -> list[str]:
        """strace and its options, before the program or `-p`."""
        only = ["-P", str(self.path)] if self.path else []
        return [
            *("strace", "-f", "-qq", "-o", "/dev/null", *only),
            *("-e", f"trace={self.calls}", "-e", f"inject={self.calls}:{self.what}"),
        ]


class TracedDaemon(Daemon):
    """`refused` counts who was told 503. `floor_bytes`: see `disk_free_min_bytes`."""

    def __init__(self, folder: Path, track_url: str, *, floor_bytes: int = 0, **more: Any) -> None:
        super().__init__(folder, track_url, **more)
        floor = f"disk_free_min_bytes = {floor_bytes}"
        self.config.write_text(self.config.read_text().replace("disk_free_min_bytes = 0", floor))
        self.refused = 0

    async def launch(self, injection: Injection | None = None) -> bool:
        """Start it, under strace if something is to befall it; False if it ended before it was ready.

        `strace -D` makes the daemon our child and strace the grandchild, so that signals and exit codes are the
        daemon's own; it ends with it. (`--seccomp-bpf` would be quicker, but then nothing befalls anybody.)
        """
        return await self._launch(*([*injection.command(), "-D"] if injection else []))

    @asynccontextmanager
    async def befallen(self, injection: Injection) -> AsyncIterator[None]:
        """It befalls the daemon that runs, for as long as this lasts."""
        assert self.process
        command = [*injection.command(), "-p", str(self.process.pid)]
        command.remove("-qq")  # it says when it is there
        strace = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        try:
            assert strace.stderr
            async with asyncio.timeout(DETACHED_IN_S):
                said = await strace.stderr.readline()
            assert ATTACHED in said, said
            yield
        finally:
            if strace.returncode is None:
                strace.terminate()
            async with asyncio.timeout(DETACHED_IN_S):
                await strace.communicate()

    async def _answer(
        self,
        method: str,
        path: str,
        body: object = None,
        raw: bytes | None = None,
        *,
        door: Door = "unix",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """As in `Daemon`, and a 503 is counted, and has to say when to come again."""
        status, told, said = await super()._answer(method, path, body, raw, door=door, headers=headers)
        if status == 503:
            assert "Retry-After" in told, said
            self.refused += 1
        return status, told, said

    async def __aenter__(self) -> "TracedDaemon":
        await super().__aenter__()
        return self


def missing(programs: Sequence[str] = ("strace",)) -> str:
    """Which of them are not there; "" if all are."""
    return ", ".join(program for program in programs if not shutil.which(program))
