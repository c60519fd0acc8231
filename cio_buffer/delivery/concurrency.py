"""How many requests may be under way. Times are monotonic seconds, given by the caller."""

import math

from msgspec import Struct

SLOW = 2.0
"""Answers that take so many times as long as usual may be our own doing: too many requests in upstream's queue."""

REFUSED = 0.7
"""What is left of the limit after a refusal. A half left 13 % of 64 where one in fifty was refused, this 17 %."""

HELPED = 0.75
"""Half as many requests that made answers no faster than this share were not what made them slow."""

FINE_S = 0.1
"""Answers as quick as this are never called slow: below it our own event loop is what varies."""

SETTLES = 0.3
"""How far what is usual follows quicker answers at a time. It follows slower ones only when halving did not help."""


class Trial(Struct, frozen=True):
    """Half as many are under way to see whether answers come faster: so many there were, and so long they took."""

    limit: float
    latency_s: float


class Concurrency:
    """Additive increase, multiplicative decrease, by rounds: as many answers as there may be requests under way.

    Up: doubled to where it once was well, then one more for each round that used all it had. Down: to 0.7, at once,
    when a request is refused for upstream's sake; and to a half when answers take twice as long as usual, for one
    round. If that does not make them faster, it was not our doing: the limit comes back, and such answers are usual
    from then on. So a queue that we build is not mistaken for a slow upstream, nor a slow upstream for a queue that we
    build.
    """

    def __init__(self, limit_max: int) -> None:
        self._max = float(limit_max)
        self._goal = self._max
        self._limit = 1.0
        self._usual_s = math.inf
        self._trial: Trial | None = None
        self._most = 0
        self._begin(-math.inf)

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def learnt(self) -> tuple[float, float]:
        """What is worth remembering: how many were well, and how long answers usually take (0: unknown)."""
        usual_s = 0.0 if math.isinf(self._usual_s) else self._usual_s
        return max(self._goal, self._limit), usual_s

    def recall(self, limit: float, usual_s: float) -> None:
        """Begin with what was learnt earlier: still with one, but doubling up to there."""
        self._goal = min(max(limit, 1.0), self._max)
        self._usual_s = usual_s or math.inf

    def started(self, in_flight: int) -> None:
        """A request leaves, with which so many are under way."""
        self._was_full |= in_flight >= self.limit
        self._most = max(self._most, in_flight)

    def restart(self, now: float) -> None:
        """Begin with one again, after everything was held."""
        self._limit, self._trial = 1.0, None
        self._begin(now)

    def answered(self, *, sent_at: float, now: float) -> None:
        """Upstream took a request, well or ill."""
        if sent_at < self._began:
            return  # it left under another limit
        self._answers += 1
        self._latency_s += now - sent_at
        if self._answers >= self.limit:
            self._judge(self._latency_s / self._answers)
            self._begin(now)

    def refused(self, *, sent_at: float, now: float) -> None:
        """Upstream could not take a request. Those that were under way together count once.

        Of one that was under way alone there cannot have been too many.
        """
        if sent_at < self._began or self._most <= 1:
            return
        self._goal = self._limit = max(REFUSED * self._limit, 1.0)
        self._trial = None
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._began, self._answers, self._latency_s = now, 0, 0.0
        self._was_full, self._most = False, 0

    def _judge(self, latency_s: float) -> None:
        """Draw the conclusion from a round."""
        if trial := self._trial:
            self._trial = None
            if latency_s > HELPED * trial.latency_s:
                self._limit, self._usual_s = trial.limit, latency_s
            else:
                self._goal = self._limit
        elif self._limit >= 2 and latency_s > max(SLOW * self._usual_s, FINE_S):  # of one there is no half to try
            self._trial = Trial(self._limit, latency_s)
            self._limit = max(self._limit / 2, 1.0)
        else:
            self._usual_s = (
                latency_s
                if math.isinf(self._usual_s)
                else self._usual_s + min(SETTLES * (latency_s - self._usual_s), 0.0)
            )
            if self._was_full:
                self._raise()

    def _raise(self) -> None:
        more = min(2 * self._limit, self._goal) if self._limit < self._goal else self._limit + 1
        self._limit = min(more, self._max)
