"""A reply → one verdict per entry."""

from collections.abc import Iterable, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum
from math import isnan

from msgspec import Struct

from cio_buffer.upstream.track import MESSAGE_MAX_CHARACTERS, Complaint, complaints
from cio_buffer.upstream.transport import Reply, Trouble

RETRY_AFTER_MAX_S = 300.0
"""As Customer.io's own Node SDK caps it; a year is no answer."""


class Meaning(Enum):
    """DELIVERED: taken in. REFUSED: it can never be. UNDECIDED: the batch was refused, nobody knows for whose sake.

    UNAVAILABLE: not now; upstream's trouble. AMBIGUOUS: sent, and perhaps taken in; the answer was lost.
    MISCONFIGURED: not with this key, region or address; ours.
    """

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNDECIDED = "undecided"
    UNAVAILABLE = "unavailable"
    AMBIGUOUS = "ambiguous"
    MISCONFIGURED = "misconfigured"


class Verdict(Struct, frozen=True, kw_only=True):
    """What a reply means for one entry. `reason` is ours; `vendor_reason`, `field`, `message` are Customer.io's words.

    `is_blameless`: upstream did not look at the entry, so its trouble says nothing about it and spends no attempt.
    `is_everybodys`: it would befall any request, so there is no need to see it again before everything is held.
    `may_be_refused`: for MISCONFIGURED, whether the entry is at fault after all if others pass and it does not.
    `company_max`: for UNDECIDED, how many may share its next request.
    """

    meaning: Meaning
    reason: str = ""
    vendor_reason: str = ""
    field: str = ""
    message: str = ""
    status: int | None = None
    retry_after_s: float = 0.0
    is_blameless: bool = False
    is_everybodys: bool = False
    may_be_refused: bool = False
    company_max: int = 1

    @property
    def is_trouble(self) -> bool:
        """Whether nothing is said about any entry: it is to be sent again, as it was."""
        return self.meaning in (Meaning.UNAVAILABLE, Meaning.AMBIGUOUS, Meaning.MISCONFIGURED)

    @property
    def casts_suspicion(self) -> bool:
        """Whether an entry in the request may be at fault for the trouble."""
        may_be_ours = self.meaning is Meaning.MISCONFIGURED or not self.is_blameless
        return self.is_trouble and may_be_ours and not self.is_everybodys


DELIVERED = Verdict(meaning=Meaning.DELIVERED)


def judge(reply: Reply, *, entries: int, is_v1: bool, trouble_before: str, now: float) -> Sequence[Verdict]:
    """One verdict for each of the `entries` that were in the request, in order. `now` is Unix seconds.

    `trouble_before`: for which reason it failed before, if something else was taken in since; else "".
    """
    status = reply.status
    if status is None:
        return [judge_trouble(reply.trouble or "torn")] * entries
    if status in (408, 425, 429) or status >= 500 or status < 200:
        return [unavailable(reply, status, now)] * entries
    reason = misconfiguration(reply, status)
    if not reason:
        taken_in = status < 300
        return judge_success(reply, status, entries, is_v1=is_v1) if taken_in else judge_refused(reply, status, entries)
    may_be_refused = (status == 404 and is_v1) or (reason == "not_customer_io" and status >= 400)
    if may_be_refused and reason == trouble_before:
        return judge_refused(reply, status, entries)  # others pass: it is about something that is gone, or disliked
    wait_s = retry_after_s(reply.retry_after, now)
    return [misconfigured(reason, status, may_be_refused=may_be_refused, wait_s=wait_s)] * entries


MISCONFIGURED = {401: "credentials_rejected", 403: "forbidden", 404: "not_found"}


def misconfiguration(reply: Reply, status: int) -> str:
    """What our configuration, or whoever stands between, may have to do with this answer; "" for nothing.

    Customer.io speaks JSON. A web page is a proxy's, a firewall's or a portal's, whatever its status says; only that
    something is too large anybody may say.
    """
    if 300 <= status < 400:
        return "redirected"
    is_page = reply.body.lstrip()[:1] == b"<" and status != 413
    return MISCONFIGURED.get(status, "not_customer_io" if is_page else "")


def judge_trouble(trouble: Trouble) -> Verdict:
    """No answer came. Where no connection opened, nothing was sent."""
    if trouble in ("timeout", "torn"):
        return Verdict(meaning=Meaning.AMBIGUOUS, reason=trouble)
    is_ours = trouble in ("dns", "tls")
    meaning = Meaning.MISCONFIGURED if is_ours else Meaning.UNAVAILABLE
    return Verdict(meaning=meaning, reason=trouble, is_blameless=True, is_everybodys=is_ours)


def judge_success(reply: Reply, status: int, entries: int, *, is_v1: bool) -> Sequence[Verdict]:
    """Taken in, but for what is complained of."""
    return [DELIVERED] * entries if is_v1 else judge_each(complaints(reply.body), status, entries)


def judge_each(told: Sequence[Complaint] | None, status: int, entries: int) -> Sequence[Verdict]:
    """A 207, or a 200 that complains: those named are refused, the others taken in.

    Complaints that name nobody we sent are passed over, unless there are no others: then the culprit is looked for by
    halving, as after a refusal. So it is if the answer was cut off (`told` is None): fewer have a shorter one.
    """
    if (status == 207 and not told) or (told is None and entries > 1):
        return undecided("refused", status, entries)
    if not told:
        return [DELIVERED] * entries
    named: dict[int, list[Complaint]] = {}
    for one in told:
        if one.index is not None and one.index < entries:
            named.setdefault(one.index, []).append(one)
    if not named:
        return undecided("refused", status, entries, told)
    return [refused("refused", named[index], status) if index in named else DELIVERED for index in range(entries)]


def judge_refused(reply: Reply, status: int, entries: int) -> Sequence[Verdict]:
    """A request refused whole: its one entry is at fault, or one of several, to be found by halving."""
    told = complaints(reply.body) or [Complaint(message=reply.body[:MESSAGE_MAX_CHARACTERS].decode(errors="replace"))]
    return undecided("too_large" if status == 413 else "refused", status, entries, told)


def undecided(reason: str, status: int, entries: int, told: Sequence[Complaint] = ()) -> Sequence[Verdict]:
    """Somebody in the request is at fault: one who was alone, or somebody in either half."""
    if entries == 1:
        return [refused(reason, told, status)]
    half = (entries + 1) // 2
    return [Verdict(meaning=Meaning.UNDECIDED, reason=reason, status=status, company_max=half)] * entries


def refused(reason: str, told: Sequence[Complaint], status: int) -> Verdict:
    """What was said about one entry, which may be several things: their reasons, fields and messages in one."""
    return Verdict(
        meaning=Meaning.REFUSED,
        reason=reason,
        vendor_reason=joined(one.reason for one in told),
        field=joined(one.field for one in told),
        message=joined(one.message for one in told),
        status=status,
    )


def joined(words: Iterable[str]) -> str:
    """Each of them once, in a bounded text."""
    return "; ".join(dict.fromkeys(filter(None, words)))[:MESSAGE_MAX_CHARACTERS]


def misconfigured(reason: str, status: int, *, may_be_refused: bool, wait_s: float) -> Verdict:
    """All but a 401 may be a firewall's whim about one body, or about something that is gone: wait and see."""
    return Verdict(
        meaning=Meaning.MISCONFIGURED,
        reason=reason,
        status=status,
        retry_after_s=wait_s,
        is_blameless=True,
        is_everybodys=status == 401 or wait_s > 0.0,
        may_be_refused=may_be_refused,
    )


def unavailable(reply: Reply, status: int, now: float) -> Verdict:
    """Not now. Who says when is believed at once."""
    wait_s, is_throttled = retry_after_s(reply.retry_after, now), status == 429
    return Verdict(
        meaning=Meaning.UNAVAILABLE,
        reason="throttled" if is_throttled else "unavailable",
        status=status,
        retry_after_s=wait_s,
        is_blameless=is_throttled,
        is_everybodys=is_throttled or wait_s > 0.0,
    )


def retry_after_s(header: str, now: float) -> float:
    """A Retry-After, given in seconds or as a date, in seconds from `now`; 0 for none or nonsense, and capped."""
    try:
        wait_s = float(header)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(header).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return 0.0 if isnan(wait_s) else min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
