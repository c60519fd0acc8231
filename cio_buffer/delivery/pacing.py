"""When the next request may leave: rate, requests under way, and holding everything, in one place.

Times are monotonic seconds, given by the caller.
"""

import math
from typing import Literal

import msgspec
from msgspec import Struct

from cio_buffer.delivery.breaker import Breaker, Hold
from cio_buffer.delivery.concurrency import Concurrency
from cio_buffer.delivery.rate import Rate
from cio_buffer.delivery.retry import Backoff
from cio_buffer.delivery.verdict import Meaning, Verdict

RAMP_MAX_S = 30.0
"""Coming back takes as long as being away did, but no longer than this; after a start, this long."""

State = Literal["closed", "open", "probing", "ramping"]


class Learnt(Struct, frozen=True, kw_only=True):
    """What survives a restart: requests a second, requests under way, how long answers usually take (0: unknown)."""

    rate_per_s: float
    in_flight: float
    latency_s: float


class Pacing:
    """Says when the next request may leave, and learns from each answer."""

    def __init__(self, *, rate_max_per_s: float, in_flight_max: int, backoff: Backoff) -> None:
        self._rate = Rate(rate_max_per_s)
        self._concurrency = Concurrency(in_flight_max)
        self._breaker = Breaker(backoff)
        self.in_flight = 0

    @property
    def hold(self) -> Hold | None:
        """Why everything is held; None while it is not."""
        return self._breaker.hold

    @property
    def trouble(self) -> str | None:
        """What goes wrong just now, as a verdict's reason; None while nothing does."""
        return self._breaker.trouble

    @property
    def is_failing(self) -> bool:
        """Whether nothing has passed since something failed."""
        return self._breaker.failures > 0

    @property
    def others_pass(self) -> bool:
        """Whether the last thing heard was good: others have passed since whatever failed before."""
        return self._breaker.has_passed and not self._breaker.failures

    @property
    def in_flight_limit(self) -> int:
        """How many requests may be under way now."""
        return 1 if self._breaker.is_open else self._concurrency.limit

    def rate_limit_per_s(self, now: float) -> float:
        """How many requests may leave in a second, as things are."""
        return self._rate.limit_per_s(now)

    def state(self, now: float) -> State:
        if self._breaker.is_open:
            return "open" if self._breaker.wait_s(now, has_newcomer=False) else "probing"
        return "ramping" if self._rate.is_ramping(now) else "closed"

    def wait_s(self, now: float, *, has_newcomer: bool = False) -> float:
        """How long until a request may leave: 0 now, infinite until one that is under way has ended.

        `has_newcomer`: there is something to send that never failed.
        """
        if self.in_flight >= self.in_flight_limit:
            return math.inf
        return max(self._breaker.wait_s(now, has_newcomer=has_newcomer), self._rate.wait_s(now))

    def retry_wait_s(self, now: float) -> float:
        """How long until what failed may be sent again."""
        return max(self._breaker.retry_at - now, 0.0)

    def next_try_in_s(self, now: float) -> float | None:
        """While everything is held: how long until the next probe."""
        return self._breaker.wait_s(now, has_newcomer=False) if self.hold else None

    def try_now(self, now: float) -> None:
        """Something was mended: probe without waiting any longer."""
        self._breaker.try_now(now)

    def started(self, now: float) -> None:
        """A request leaves."""
        self.in_flight += 1
        self._rate.spend(now)
        self._concurrency.started(self.in_flight)

    def ended(self) -> None:
        """A request's slot is free again: its entries are settled."""
        self.in_flight -= 1

    def answered(
        self,
        verdict: Verdict,
        *,
        sent_at: float,
        now: float,
        jitter: float,
        is_suspect: bool = False,
        is_alone: bool = False,
    ) -> None:
        """Learn from a reply, when it comes. `is_suspect`: to what had failed before; `is_alone`: to one entry."""
        if not verdict.is_trouble:
            self._passed(sent_at, now)
            return
        if is_suspect and is_alone and self.others_pass and verdict.casts_suspicion:
            return  # others have passed since it failed: it is its own trouble, and no news
        if verdict.meaning is not Meaning.MISCONFIGURED and not self._breaker.is_open:
            if verdict.status == 429:
                self._rate.cut(now)
            self._concurrency.refused(sent_at=sent_at, now=now)
        self._breaker.failed(verdict, sent_at=sent_at, now=now, jitter=jitter, is_suspect=is_suspect)

    def learnt(self) -> bytes:
        """What to remember, for `recall`."""
        in_flight, latency_s = self._concurrency.learnt
        rate_per_s = round(self._rate.learnt_per_s, 1)
        return msgspec.json.encode(
            Learnt(rate_per_s=rate_per_s, in_flight=float(int(in_flight)), latency_s=round(latency_s, 3))
        )

    def recall(self, learnt: bytes) -> None:
        """Begin with what an earlier process learnt; what cannot be read is nothing."""
        try:
            known = msgspec.json.decode(learnt, type=Learnt)
        except msgspec.MsgspecError:
            return
        self._rate.recall(known.rate_per_s)
        self._concurrency.recall(known.in_flight, known.latency_s)

    def _passed(self, sent_at: float, now: float) -> None:
        is_first = not self._breaker.has_passed
        held_s = self._breaker.passed(sent_at=sent_at, now=now)
        if is_first or held_s is not None:
            self._rate.ramp(now, RAMP_MAX_S if is_first or held_s is None else min(held_s, RAMP_MAX_S))
            self._concurrency.restart(now)
        self._rate.grow(now)
        self._concurrency.answered(sent_at=sent_at, now=now)
