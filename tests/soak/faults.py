"""What befalls the daemon, its disk and its upstream: one fault at a time, each over when its coroutine returns."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from aiohttp import ClientError, ClientSession

from tests.soak.vendor import Mood
from tests.support.process import Daemon

PAGE = 4096
STRACE_S = 3.0


class Faults:
    """On one daemon and its vendor. `lost`: entries that status said were lost with damaged files; None: unknown."""

    def __init__(self, daemon: Daemon, vendor_url: str, chance: random.Random) -> None:
        self._daemon, self._vendor_url, self._chance = daemon, vendor_url, chance
        self.lost: int | None = 0
        self.saved = 0
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": self._kill,
            "stopped and started": self._stop,
            "frozen": self._freeze,
            "reloaded": self._reload,
            "upstream out of reach": self._leave,
            "upstream down": lambda: self._in_mood(Mood(status=503), 10.0),
            "upstream cuts connections": lambda: self._in_mood(Mood(cut=True, share=0.3), 8.0),
            "upstream says 429": lambda: self._in_mood(Mood(status=429), 4.0),
            "upstream fails now and then": lambda: self._in_mood(Mood(status=500, share=0.3), 8.0),
            "upstream loses answers": lambda: self._in_mood(Mood(torn=True, share=0.3), 8.0),
            "upstream is slow": lambda: self._in_mood(Mood(delay_s=0.4), 8.0),
            "upstream rejects the key": lambda: self._in_mood(Mood(status=401), 5.0),
            "dead letters replayed and purged": self._replay,
            "file damaged": self._damage,
        }
        if shutil.which("strace"):
            self.kinds |= {
                "syncs fail": lambda: self._strace("fdatasync", "error=EIO:when=1..40"),
                "writes fail": lambda: self._strace("pwrite64", "error=EIO:when=3..30"),
                "no room to write": lambda: self._strace("pwrite64", "error=ENOSPC:when=3..60"),
                "syncs are slow": lambda: self._strace("fdatasync", "delay_enter=20000"),
            }
        if os.path.ismount(daemon.store.parent):
            self.kinds["disk full"] = self._fill_disk

    async def _kill(self) -> None:
        await self._daemon.kill()
        await self._daemon.start()

    async def _stop(self) -> None:
        assert await self._daemon.stop() == 0
        await self._daemon.start()

    async def _freeze(self) -> None:
        self._daemon.signal(signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(1.0, 10.0))
        self._daemon.signal(signal.SIGCONT)

    async def _reload(self) -> None:
        self._daemon.signal(signal.SIGHUP)

    async def _in_mood(self, mood: Mood, for_s: float) -> None:
        await self.set_mood(mood)
        await asyncio.sleep(for_s)
        await self.set_mood(Mood())

    async def _leave(self) -> None:
        """Nobody listens there, and what is open ends."""
        for_s = self._chance.uniform(5.0, 20.0)
        await self._tell("away", for_s)
        await asyncio.sleep(for_s + 1.0)

    async def set_mood(self, mood: Mood) -> None:
        await self._tell("mood", mood)

    async def _tell(self, what: str, value: object) -> None:
        async with (
            ClientSession() as session,
            session.post(f"{self._vendor_url}/{what}", data=msgspec.json.encode(value)) as answer,
        ):
            assert answer.status == 200

    async def _replay(self) -> None:
        """Replayed letters of a poison die again; half of the time they are purged."""
        for command in (["replay", "--all", "--yes"], ["purge", "--all", "--yes"])[: self._chance.choice([1, 2])]:
            await self._command("dead", *command)

    async def _command(self, *arguments: str) -> None:
        admin = str(self._daemon.folder / "admin.sock")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cio_buffer", *arguments, "--admin", admin, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await process.wait()

    async def _strace(self, call: str, how: str) -> None:
        assert self._daemon.process is not None
        pid = self._daemon.process.pid
        tracer = await asyncio.create_subprocess_exec(
            "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{how}", "-p", str(pid),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await asyncio.sleep(STRACE_S)
        finally:
            with suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGINT)  # it lets go of the daemon
        await tracer.wait()

    async def _fill_disk(self) -> None:
        """Somebody else fills it to the last byte, and goes away again."""
        foreign = self._daemon.store.parent / "foreign"
        try:
            with suppress(OSError), foreign.open("wb") as file:
                while True:
                    file.write(b"\0" * 1_048_576)
                    await asyncio.sleep(0)
            await asyncio.sleep(6.0)
        finally:
            foreign.unlink()

    async def _damage(self) -> None:
        """Some pages of the file are overwritten while nobody has it open; see `clear_quarantine`."""
        await self._daemon.kill()
        pages = max(self._daemon.store.stat().st_size // PAGE, 1)
        with self._daemon.store.open("r+b") as file:
            for _ in range(self._chance.randint(1, 4)):
                file.seek(self._chance.randrange(pages) * PAGE)
                file.write(self._chance.choice([b"\0" * PAGE, self._chance.randbytes(PAGE)]))
        await self._daemon.start()

    async def clear_quarantine(self) -> None:
        """Count what damage has cost, and remove what has been salvaged."""
        try:
            aside = (await self._daemon.status())["outbox"]["quarantined"]
        except (OSError, ClientError, TimeoutError):
            return
        for one in aside:
            if one["state"] in ("over", "failed"):
                self.saved += one["saved"]
                self.lost = None if self.lost is None or one["lost"] is None else self.lost + one["lost"]
                await self._command("outbox", "quarantine", "remove", one["name"], "--yes")


def mounted(folder: Path, mib: int) -> bool:
    """A small disk of its own for the store, where we may make one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def unmount(folder: Path) -> None:
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=False)
