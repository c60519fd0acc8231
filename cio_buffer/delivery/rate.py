"""How many requests leave in a second. Times are monotonic seconds, given by the caller."""

import math

BURST_S = 0.1
"""How much of a second's requests may leave at once after a rest. Any second sees at most 1.1 times the rate."""

SENT_MIN = 0.5
"""Of the learnt rate: where less than this was being sent, a 429 was hardly about our pace, and cuts that much less."""

CUT = 0.7
"""What is left of a rate that was too much. Milder than a half: a 429 says "a little less", and costs a pause too."""

GROWTH_PER_S = 0.01
"""How much of the highest rate is won back in a second of answers: from nothing to all in 100 s."""

FLOOR = 0.01
"""Of the highest rate; below it nothing would be learnt any more."""

RAMP_FIRST = 0.1
RAMP_FIRST_PER_S = 1.0
"""Where a ramp begins: a tenth of the rate, or one request a second if that is more."""


class Rate:
    """A token bucket whose rate is learnt: cut when upstream says "too many", won back slowly, ramped after a hold."""

    def __init__(self, max_per_s: float) -> None:
        self._max_per_s = max_per_s
        self._learnt_per_s = max_per_s
        self._next_at = -math.inf  # when the next request might leave, were there no burst
        self._passed_at = -math.inf
        self._ramp_from, self._ramp_s = -math.inf, 0.0
        self._sent = Sent()

    @property
    def learnt_per_s(self) -> float:
        return self._learnt_per_s

    def recall(self, learnt_per_s: float) -> None:
        """Begin with what was learnt earlier."""
        self._learnt_per_s = min(max(learnt_per_s, FLOOR * self._max_per_s), self._max_per_s)

    def limit_per_s(self, now: float) -> float:
        """Requests a second that may leave now."""
        first = min(max(RAMP_FIRST * self._learnt_per_s, RAMP_FIRST_PER_S), self._learnt_per_s)
        return first + (self._learnt_per_s - first) * self._ramped(now)

    def is_ramping(self, now: float) -> bool:
        return self._ramped(now) < 1.0

    def wait_s(self, now: float) -> float:
        """How long until the bucket has a token; 0 for now."""
        burst_s = max(BURST_S - 1.0 / self.limit_per_s(now), 0.0)
        return max(self._next_at - burst_s - now, 0.0)

    def spend(self, now: float) -> None:
        """A request leaves."""
        self._next_at = max(self._next_at, now) + 1.0 / self.limit_per_s(now)
        self._sent.add(now)

    def grow(self, now: float) -> None:
        """A request passed. Only time in which answers come wins anything back: silence teaches nothing."""
        since_s = min(now - self._passed_at, 1.0)
        self._passed_at = now
        self._learnt_per_s = min(self._learnt_per_s + GROWTH_PER_S * self._max_per_s * since_s, self._max_per_s)

    def cut(self, now: float) -> None:
        """It was too much: what was really being sent, not what might have been."""
        too_much = max(min(self._learnt_per_s, self._sent.per_s(now)), SENT_MIN * self._learnt_per_s)
        self._learnt_per_s = max(CUT * too_much, FLOOR * self._max_per_s)

    def ramp(self, now: float, for_s: float) -> None:
        """Come back slowly, for so long."""
        self._ramp_from, self._ramp_s = now, for_s

    def _ramped(self, now: float) -> float:
        """How far the ramp has come, from 0 to 1."""
        return 1.0 if now >= self._ramp_from + self._ramp_s else (now - self._ramp_from) / self._ramp_s


class Sent:
    """Requests of about the last second: those of this whole second, and a share of those of the one before."""

    def __init__(self) -> None:
        self._second, self._count, self._before = 0, 0, 0

    def add(self, now: float) -> None:
        self._turn(now)
        self._count += 1

    def per_s(self, now: float) -> float:
        self._turn(now)
        return self._count + self._before * (1.0 - (now - self._second))

    def _turn(self, now: float) -> None:
        second = math.floor(now)
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
