"""Sees to it that what is over does not outgrow its limits: the delivery log, and dead letters."""

import math

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from cio_buffer import config
from cio_buffer.admin.warnings import EVICTED_HINT
from cio_buffer.clock import Clock, SteadyTime
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import Archive, Keeping, Tidied
from cio_buffer.telemetry import log

LOG_SHARE, DEAD_SHARE = 8, 4
"""What is over is in the same file as what waits: the log gets an eighth of it, dead letters a quarter, whatever the
config says, so that neither keeps apps out."""

REST_S = 5.0
PAUSE_S, PAUSE_SHARE = 0.02, 4
"""Between two steps: at least so long, and so many times as long as the step took. Apps wait for the same thread."""

TOLD_EVERY_S = log.FOLD_S
"""What is thrown away in between is counted in the next line: the log would fold an earlier one, with its counts."""


def keeping(wanted: config.Outbox) -> Keeping:
    """How much is kept, as far as it leaves room for what waits."""
    log_bytes = min(wanted.keep_log_bytes, wanted.bytes_max // LOG_SHARE)
    return Keeping(
        log_for_s=wanted.keep_log_for_s if log_bytes else 0.0,  # one without room is none
        log_bytes=log_bytes,
        dead_for_s=wanted.keep_dead_for_s,
        dead_bytes=min(wanted.keep_dead_bytes, wanted.bytes_max // DEAD_SHARE),
    )


class Keeper:
    """Throws away what need not be kept any longer, in small steps, and says so where that was a dead letter."""

    def __init__(self, archive: Archive, keeping: Keeping, *, clock: Clock, logger: FilteringBoundLogger) -> None:
        self._archive, self._keeping = archive, keeping
        self._clock, self._steady, self._logger = clock, SteadyTime(clock), logger
        self._evicted: Evicted | None = None
        self._told_at = -math.inf

    async def run(self) -> None:
        while True:
            await self._clock.sleep(await self.step())

    async def step(self) -> float:
        """Throw a little away; returns how many seconds to rest before the next step."""
        began = self._clock.monotonic()
        try:
            tidied = await self._archive.tidy(self._keeping, now_ms=self._now_ms())
        except OutboxUnavailable:  # a later step tries again
            return REST_S
        self._evicted = add(self._evicted, tidied, self._clock.monotonic())
        if self._evicted and self._is_time_to_tell(self._evicted, tidied):
            self._tell(self._evicted)
        return REST_S if tidied.is_done else max(PAUSE_S, PAUSE_SHARE * (self._clock.monotonic() - began))

    def _now_ms(self) -> int:
        """By whichever clock makes things younger: one that was set wrong must not throw anything away."""
        return int(min(self._clock.now(), self._steady.now()) * 1000)

    def _is_time_to_tell(self, evicted: "Evicted", tidied: Tidied) -> bool:
        """Once all of it is gone, or if there is no end of it; and not more often than the log takes it."""
        now = self._clock.monotonic()
        is_counted = tidied.is_done or now - evicted.since >= TOLD_EVERY_S
        return is_counted and now - self._told_at >= TOLD_EVERY_S

    def _tell(self, evicted: "Evicted") -> None:
        self._logger.warning(
            log.DEAD_EVICTED,
            count=evicted.by_age + evicted.by_bytes,
            by_age=evicted.by_age,
            by_bytes=evicted.by_bytes,
            hint=EVICTED_HINT,
        )
        self._evicted, self._told_at = None, self._clock.monotonic()


class Evicted(Struct, frozen=True):
    """Dead letters that were thrown away, by cause, `since` when: monotonic seconds."""

    by_age: int
    by_bytes: int
    since: float


def add(before: Evicted | None, tidied: Tidied, now: float) -> Evicted | None:
    """What was thrown away before and now; None if nothing was."""
    if not (tidied.letters_by_age or tidied.letters_by_bytes):
        return before
    before = before or Evicted(0, 0, now)
    return Evicted(before.by_age + tidied.letters_by_age, before.by_bytes + tidied.letters_by_bytes, before.since)
