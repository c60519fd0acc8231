"""When to hold everything: closed, open, one probe, closed. Times are monotonic seconds, given by the caller."""

import math
from typing import Literal

from cio_buffer.delivery.retry import Backoff
from cio_buffer.delivery.verdict import Verdict

OPENS_AFTER = 3
"""Failures in a row, with no success between them, that are no longer taken for one request's bad luck."""

RESUME_SPREAD = 0.1
"""A pause that upstream asked for lasts up to so much longer, so that not everybody comes back in the same moment."""

Hold = Literal["outage", "credentials"]


class Breaker:
    """Closed while things pass. A failure or two make only what failed wait; more of them hold everything.

    While it holds, one request at a time may probe, each after a longer wait, until one succeeds.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failed_at = -math.inf
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._held_until = self._newcomer_at = self._asked_until = -math.inf
        self.retry_at = -math.inf
        """From when on what failed may be sent again."""
        self.failures = 0
        """Failures since the last success; those of requests that were under way together count once."""
        self.has_passed = False
        self.trouble: str | None = None
        """What goes wrong just now, in our words."""

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    @property
    def hold(self) -> Hold | None:
        if not self.is_open:
            return None
        return "credentials" if self.trouble in ("credentials_rejected", "forbidden") else "outage"

    def wait_s(self, now: float, *, has_newcomer: bool) -> float:
        """How long until anything may leave.

        `has_newcomer`: there is something that never failed. If the last probe was something that had failed before,
        that says little: then the newcomer need not wait longer than after a first failure.
        """
        until = self._newcomer_at if has_newcomer else self._held_until
        return max(until - now, 0.0) if self.is_open else 0.0

    def try_now(self, now: float) -> None:
        """Probe without waiting any longer; but as long as upstream asked us to."""
        at = max(now, self._asked_until)
        self._held_until, self.retry_at = min(self._held_until, at), min(self.retry_at, at)
        self._newcomer_at = min(self._newcomer_at, at)

    def passed(self, *, sent_at: float, now: float) -> float | None:
        """A request passed. Returns for how long everything had been held, if that is over now.

        An older request than the last failure says nothing about what has failed since, but that upstream lives.
        """
        self._in_a_row = 0
        self.has_passed = True
        if sent_at < self._failed_at:
            return None
        held_s = None if self._opened_at is None else now - self._opened_at
        self._opened_at, self.failures, self.trouble = None, 0, None
        return held_s

    def failed(self, verdict: Verdict, *, sent_at: float, now: float, jitter: float, is_suspect: bool) -> None:
        """A request failed, for upstream's sake or for our configuration's; or for its own, which nobody knows yet.

        `is_suspect`: what was in it had failed before.
        """
        self._in_a_row += 1
        self.trouble = verdict.reason
        if sent_at >= self._failed_at:
            self.failures += 1
            self._failed_at = now
            self.retry_at = now + self._backoff.wait_s(self.failures, jitter)
        asked_s = verdict.retry_after_s * (1 + RESUME_SPREAD * jitter)
        self._asked_until = max(self._asked_until, now + asked_s)
        self.retry_at = max(self.retry_at, self._asked_until)
        if verdict.is_everybodys or self._in_a_row >= OPENS_AFTER:
            self._opened_at = now if self._opened_at is None else self._opened_at
        if self.is_open:
            self._held_until = self._newcomer_at = self.retry_at
            if is_suspect and not verdict.is_everybodys:
                soon = now + self._backoff.wait_s(1, jitter)
                self._newcomer_at = max(min(self.retry_at, soon), self._asked_until)
