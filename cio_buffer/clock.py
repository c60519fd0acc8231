"""Time, as everything else of ours is given it. Nothing outside this file reads a clock."""

import asyncio
import time
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


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
