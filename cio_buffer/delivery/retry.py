"""A verdict → a settlement, or another try."""

from sys import maxsize

from msgspec import Struct

from cio_buffer.delivery.claimed import EVENT_KINDS, Claimed
from cio_buffer.delivery.verdict import Meaning, Verdict
from cio_buffer.outbox.entry import DeadLetter, Delivered, Settlement
from cio_buffer.upstream.track import event_as_v1


class Again(Struct, frozen=True):
    """It stays in hand and is sent again, in a request of at most so many."""

    company_max: int = maxsize


class InV1(Struct, frozen=True):
    """It stays in hand and is said in v1, where a v2 batch did not take it."""

    call: str
    body: bytes


class HeldBack(Struct, frozen=True):
    """Its own trouble: its lanes wait until then (Unix milliseconds), the others pass."""

    until_ms: int


Outcome = Settlement | Again | InV1 | HeldBack


class Backoff(Struct, frozen=True, kw_only=True):
    """Exponential, with full jitter: everybody who met the same failure comes back at another moment."""

    first_s: float
    max_s: float

    def wait_s(self, failures: int, jitter: float) -> float:
        """How long to wait after so many failures in a row; `jitter` is in [0, 1)."""
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 60)) * jitter


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How long an entry is tried for. `keep_trying_for_s` is 0 for ever."""

    backoff: Backoff
    keep_trying_for_s: float

    def settle(
        self, claimed: Claimed, verdict: Verdict, *, company: int, is_its_own: bool, now: float, jitter: float
    ) -> Outcome:
        """Say what becomes of an entry that was sent with `company` entries in all, itself included.

        `is_its_own`: nothing else failed just before, or nothing else is left to try, so that trouble is taken for the
        fault of somebody in the request. `now` is Unix seconds.
        """
        match verdict.meaning:
            case Meaning.DELIVERED:
                return Delivered()
            case Meaning.UNDECIDED:
                return Again(min(verdict.company_max, claimed.company_max))
            case Meaning.MISCONFIGURED if verdict.status != 403 or not is_its_own:
                return Again(claimed.company_max)  # our key is wrong, not the entry: no attempt is spent
            case Meaning.MISCONFIGURED:
                return self._apart(claimed, verdict, company=company, now=now, jitter=jitter)  # or a firewall's whim
            case Meaning.REFUSED:
                return self._in_v1(claimed, verdict) or dead(verdict.reason, verdict)
        if self.keep_trying_for_s and now - claimed.entry.accepted_at_ms / 1000 > self.keep_trying_for_s:
            return dead("expired", verdict)
        if not is_its_own or verdict.is_blameless:
            return Again(claimed.company_max)
        return self._apart(claimed, verdict, company=company, now=now, jitter=jitter)

    def _apart(self, claimed: Claimed, verdict: Verdict, *, company: int, now: float, jitter: float) -> Outcome:
        """Somebody in the request is at fault: look for them in half the company, and alone hold them back."""
        if company > 1:
            return Again(min((company + 1) // 2, claimed.company_max))
        wait_s = max(self.backoff.wait_s(max(claimed.attempts, 1), jitter), verdict.retry_after_s)
        return HeldBack(int((now + wait_s) * 1000))

    def _in_v1(self, claimed: Claimed, verdict: Verdict) -> InV1 | None:
        """v1 takes what v2 has no room for, and anonymous events for certain: v2's taking them is undocumented."""
        is_event = claimed.call is None and claimed.entry.kind in EVENT_KINDS
        is_about_the_person = verdict.field.startswith("identifiers") and claimed.is_anonymous
        if not is_event or not (verdict.reason == "too_large" or is_about_the_person):
            return None
        said = event_as_v1(claimed.body)
        return InV1(*said) if said else None


def dead(reason: str, verdict: Verdict) -> DeadLetter:
    return DeadLetter(reason=reason, field=verdict.field, message=verdict.message, status=verdict.status)
