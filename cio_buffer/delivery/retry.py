"""A verdict → a settlement, or another try."""

from sys import maxsize

from msgspec import Struct

from cio_buffer.delivery.claimed import EVENT_KINDS, Claimed
from cio_buffer.delivery.verdict import RETRY_AFTER_MAX_S, Meaning, Verdict
from cio_buffer.outbox.entry import DeadLetter, Settlement
from cio_buffer.upstream.track import event_as_v1


class Again(Struct, frozen=True):
    """It stays in hand and is sent again, in a request of at most so many."""

    company_max: int = maxsize


class InV1(Struct, frozen=True):
    """It stays in hand and is said in v1, where a v2 batch did not take it."""

    call: str
    body: bytes


class HeldBack(Struct, frozen=True):
    """Its own trouble, for the `holds`-th time: its lanes wait until then (Unix milliseconds), the others pass."""

    until_ms: int
    holds: int


Outcome = Settlement | Again | InV1 | HeldBack


class Backoff(Struct, frozen=True, kw_only=True):
    """Exponential, with full jitter: everybody who met the same failure comes back at another moment."""

    first_s: float
    max_s: float

    def wait_s(self, failures: int, jitter: float) -> float:
        """How long to wait after so many failures in a row; `jitter` is in [0, 1)."""
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 60)) * jitter


class Circumstances(Struct, frozen=True, kw_only=True):
    """What else is known of a request when its reply comes.

    `company`: how many entries were in it. `is_held`: everything was held, this was a probe. `is_its_own`: nothing
    else failed just before, or nothing else is left to try, so that trouble is taken for its own. `others_pass`: the
    last thing heard before was good. `is_crowded`: nobody else can be let in. `now` is Unix seconds by a clock that
    never jumps; `wall_now` is what the machine's own clock says.
    """

    company: int
    is_held: bool
    is_its_own: bool
    others_pass: bool
    is_crowded: bool
    now: float
    wall_now: float

    def age_s(self, since_ms: int) -> float:
        """How long an entry has been tried, by whichever clock says less: to set a clock makes nobody die of age."""
        return min(self.now, self.wall_now) - since_ms / 1000


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How long an entry is tried for. `keep_trying_for_s` is 0 for ever."""

    backoff: Backoff
    keep_trying_for_s: float

    @property
    def wait_max_ms(self) -> int:
        """How far ahead `HeldBack` may reach."""
        return int(max(self.backoff.max_s, RETRY_AFTER_MAX_S) * 1000)

    def settle(self, claimed: Claimed, verdict: Verdict, at: Circumstances, *, jitter: float) -> Outcome:
        """Say what becomes of an entry that was not delivered. `jitter` is in [0, 1)."""
        match verdict.meaning:
            case Meaning.UNDECIDED:
                return Again(min(verdict.company_max, claimed.company_max))
            case Meaning.REFUSED:
                return self._in_v1(claimed, verdict) or dead(verdict.reason, verdict)
            case Meaning.UNAVAILABLE | Meaning.AMBIGUOUS if self._is_too_old(claimed, at):
                return expired(verdict)
        if not verdict.casts_suspicion:
            return Again(claimed.company_max)
        if at.company > 1:
            return self._in_less_company(claimed, at)
        return self._alone(claimed, verdict, at, jitter)

    def _in_less_company(self, claimed: Claimed, at: Circumstances) -> Again:
        """Perhaps somebody in the request is at fault: look for them in half the company.

        In an outage only when nothing else is left to try: else it would take all that waits apart.
        """
        is_looked_for = at.is_its_own or not at.is_held
        return Again(min((at.company + 1) // 2, claimed.company_max) if is_looked_for else claimed.company_max)

    def _alone(self, claimed: Claimed, verdict: Verdict, at: Circumstances, jitter: float) -> Outcome:
        """Hold back who fails for their own sake; for what may be our configuration's, only once others pass."""
        is_its_own = at.others_pass if verdict.meaning is Meaning.MISCONFIGURED else at.is_its_own
        if not is_its_own:
            return self.make_room(claimed, at, jitter) or Again(claimed.company_max)
        if self._is_too_old(claimed, at) and not verdict.may_be_refused:
            return expired(verdict)
        return self._hold(claimed, at, jitter)

    def make_room(self, claimed: Claimed, at: Circumstances, jitter: float) -> HeldBack | None:
        """Hold back the first of a request that failed, where nothing else is left to try and nobody can be let in.

        One person's many operations would else keep everybody waiting until the culprit among them is found.
        """
        return self._hold(claimed, at, jitter) if at.is_crowded and at.is_its_own else None

    def _hold(self, claimed: Claimed, at: Circumstances, jitter: float) -> HeldBack:
        holds = claimed.entry.holds + 1
        return HeldBack(int((at.now + self.backoff.wait_s(holds, jitter)) * 1000), holds)

    def _is_too_old(self, claimed: Claimed, at: Circumstances) -> bool:
        return 0 < self.keep_trying_for_s < at.age_s(claimed.entry.tried_since_ms)

    def _in_v1(self, claimed: Claimed, verdict: Verdict) -> InV1 | None:
        """v1 takes what v2 has no room for, and anonymous events for certain: v2's taking them is undocumented."""
        is_event = claimed.call is None and claimed.entry.kind in EVENT_KINDS
        is_about_the_person = verdict.field.startswith("identifiers") and claimed.is_anonymous
        if not is_event or not (verdict.reason == "too_large" or is_about_the_person):
            return None
        said = event_as_v1(claimed.body)
        return InV1(*said) if said else None


def dead(reason: str, verdict: Verdict) -> DeadLetter:
    return DeadLetter(
        reason=reason,
        vendor_reason=verdict.vendor_reason,
        field=verdict.field,
        message=verdict.message,
        status=verdict.status,
    )


def expired(verdict: Verdict) -> DeadLetter:
    """Too old to be tried again. Where no answer came last, it says so: whoever replays it has to know."""
    doubt = "; it may have been taken in" if verdict.meaning is Meaning.AMBIGUOUS else ""
    message = verdict.message or ("" if verdict.status else f"no answer: {verdict.reason}{doubt}")
    return DeadLetter(reason="expired", message=message, status=verdict.status)
