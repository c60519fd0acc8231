"""Time, as everything else of ours is given it. Nothing outside this file reads a clock."""

import asyncio
import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait. Rules take the value; loops take the clock."""

    def now(self) -> float:
        """Unix seconds. May jump, forwards and back."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set, or `seconds` have passed; None: however long that takes."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class SteadyTime:
    """Unix seconds that never jump: what a clock said at the start, and what has passed since."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = clock.now() - clock.monotonic()

    def now(self) -> float:
        return self._clock.monotonic() + self._offset_s
