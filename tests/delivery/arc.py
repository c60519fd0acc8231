"""Adaptive concurrency as Vector describes it in its documentation, for comparison; written from that description.

Answers of a round trip are averaged. More of them may be under way by one where the average is not above the moving
average of earlier rounds; a tenth fewer where a request was refused, or the average is above that by 2.5 of its
deviations. The moving average follows by 0.4. It starts with one.
"""

import math

FOLLOWS, DEVIATIONS, DECREASE = 0.4, 2.5, 0.9


class Arc:
    """Has the face of `Concurrency`, so that both can be put to the same test."""

    def __init__(self, limit_max: int) -> None:
        self._max = limit_max
        self.limit = 1
        self._mean_s = self._variance = 0.0
        self._ends = -math.inf
        self._latencies: list[float] = []
        self._was_refused = self._was_full = False

    def started(self, in_flight: int) -> None:
        self._was_full |= in_flight >= self.limit

    def answered(self, *, sent_at: float, now: float) -> None:
        self._latencies.append(now - sent_at)
        self._look(now)

    def refused(self, *, sent_at: float, now: float) -> None:
        self._was_refused = True
        self._look(now)

    def _look(self, now: float) -> None:
        if now < self._ends or not self._latencies:
            return
        mean_s = sum(self._latencies) / len(self._latencies)
        threshold_s = DEVIATIONS * math.sqrt(self._variance)
        if self._mean_s:
            if self._was_refused or mean_s > self._mean_s + threshold_s:
                self.limit = max(int(self.limit * DECREASE), 1)
            elif mean_s <= self._mean_s and self._was_full:
                self.limit = min(self.limit + 1, self._max)
            difference = mean_s - self._mean_s
            self._mean_s += FOLLOWS * difference
            self._variance = (1 - FOLLOWS) * (self._variance + FOLLOWS * difference**2)
        else:
            self._mean_s = mean_s
        self._ends = now + self._mean_s
        self._latencies.clear()
        self._was_refused = self._was_full = False
