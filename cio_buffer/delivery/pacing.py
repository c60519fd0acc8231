"""Rate, requests in flight, and when to hold everything. Times are monotonic seconds, given by the caller."""

import math
from typing import Literal

from cio_buffer.delivery.retry import Backoff
from cio_buffer.delivery.verdict import Meaning, Verdict

BURST_S = 0.1
"""How much of a second's requests may leave at once after a rest. Any second sees at most 1.1 times the rate."""

Hold = Literal["outage", "credentials"]


class Pacing:
    """Says when the next request may leave.

    After a failure everything waits, longer each time; then one request probes at a time until one succeeds.
    """

    def __init__(self, *, rate_max_per_s: float, in_flight_max: int, backoff: Backoff) -> None:
        self._interval_s = 1.0 / rate_max_per_s
        self._burst_s = max(BURST_S - self._interval_s, 0.0)
        self._in_flight_max = in_flight_max
        self._backoff = backoff
        self._next_at = -math.inf  # when the rate alone would let the next request go, were there no burst
        self._held_until = -math.inf
        self._failed_at = -math.inf
        self.in_flight = 0
        self.failures = 0
        self.hold: Hold | None = None

    @property
    def in_flight_limit(self) -> int:
        """How many requests may be under way now."""
        return 1 if self.failures else self._in_flight_max

    def wait_s(self, now: float) -> float:
        """How long until a request may leave: 0 now, infinite until one that is under way has ended."""
        if self.in_flight >= self.in_flight_limit:
            return math.inf
        return max(self._held_until - now, self._next_at - self._burst_s - now, 0.0)

    def next_try_in_s(self, now: float) -> float | None:
        """While everything is held: how long until the next probe."""
        return max(self._held_until - now, 0.0) if self.hold else None

    def started(self, now: float) -> None:
        """A request leaves."""
        self.in_flight += 1
        self._next_at = max(self._next_at, now) + self._interval_s

    def ended(self) -> None:
        """A request's slot is free again: its entries are settled."""
        self.in_flight -= 1

    def answered(self, verdict: Verdict, *, sent_at: float, now: float, jitter: float) -> None:
        """Learn from a reply. Failures of requests that left before the last failure was known count as one."""
        if verdict.meaning in (Meaning.DELIVERED, Meaning.REFUSED, Meaning.UNDECIDED):
            if sent_at >= self._failed_at:  # an older one says nothing about what has failed since
                self.failures, self.hold = 0, None
            return
        if sent_at >= self._failed_at:
            self.failures += 1
            self._failed_at = now
            self._held_until = now + self._backoff.wait_s(self.failures, jitter)
        self._held_until = max(self._held_until, now + verdict.retry_after_s)
        self.hold = "credentials" if verdict.reason == "credentials_rejected" else "outage"
