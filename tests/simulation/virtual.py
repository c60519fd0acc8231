"""Time that passes only when nothing is left to do in it: an event loop whose hours take seconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

from cio_buffer.clock import SystemClock

Result = TypeVar("Result")

NIGHT = 1_700_006_400.0
"""When every run begins, Unix seconds: a midnight (UTC)."""

TURN_S = 1e-6
"""What one turn of the loop takes. Not 0: a wait for less than a float can tell apart would never end."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Goes straight to the next timer whenever nothing else can run. Only timers may be waited for, no sockets."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(NoSelector(self))

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def pass_time(self, timeout: float | None) -> None:
        """What the loop would have slept for. Raises where it would have slept for ever."""
        if timeout is None:
            raise RuntimeError(f"everybody waits for somebody else, {self._now:.1f} s into the run")
        self._now += max(timeout, TURN_S)


class NoSelector(selectors.SelectSelector):
    """Sees nothing happen, and lets virtual time pass where another would wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.pass_time(timeout)
        return []


class VirtualClock(SystemClock):
    """Keeps `cio_buffer.clock.Clock`. It sleeps and waits as the daemon's own clock does: by the loop's timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return NIGHT + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()


def run(work: Coroutine[None, None, Result]) -> Result:
    """Run `work` in virtual time, to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
