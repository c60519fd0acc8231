"""A reply → one verdict per entry."""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from enum import Enum
from math import isnan

from msgspec import Struct

from cio_buffer.upstream.track import Complaint, complaints
from cio_buffer.upstream.transport import Reply

RETRY_AFTER_MAX_S = 300.0
"""As Customer.io's own Node SDK caps it; a year is no answer."""


class Meaning(Enum):
    """DELIVERED: taken in. REFUSED: it can never be. UNDECIDED: the batch was refused, nobody knows for whose sake.

    UNAVAILABLE: not now; upstream's trouble. MISCONFIGURED: not with this key, region or address; ours.
    """

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNDECIDED = "undecided"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"


class Verdict(Struct, frozen=True, kw_only=True):
    """What a reply means for one entry. `reason` is ours, `field` and `message` are Customer.io's words.

    `is_blameless`: upstream did not look at the entry, so its trouble says nothing about it and spends no attempt.
    `company_max`: for UNDECIDED, how many may share its next request.
    """

    meaning: Meaning
    reason: str = ""
    field: str = ""
    message: str = ""
    status: int | None = None
    retry_after_s: float = 0.0
    is_blameless: bool = False
    company_max: int = 1


DELIVERED = Verdict(meaning=Meaning.DELIVERED)


def judge(reply: Reply, *, entries: int, is_v1: bool, now: float) -> list[Verdict]:
    """One verdict for each of the `entries` that were in the request, in order. `now` is Unix seconds."""
    status = reply.status
    if status is None:
        trouble = reply.trouble or "torn"
        blameless = trouble in ("connect", "dns", "tls")
        return [Verdict(meaning=Meaning.UNAVAILABLE, reason=trouble, is_blameless=blameless)] * entries
    if 200 <= status < 300:
        return [DELIVERED] * entries if is_v1 else judge_each(complaints(reply.body), status, entries)
    if 300 <= status < 400:
        return [misconfigured("redirected", status)] * entries
    if status in (401, 403):
        return [misconfigured("credentials_rejected", status)] * entries
    if status == 404 and not is_v1:
        return [misconfigured("not_found", status)] * entries
    if status in (408, 425, 429) or status >= 500 or status < 200:
        wait_s = retry_after_s(reply.retry_after, now)
        reason = "throttled" if status == 429 else "unavailable"
        verdict = Verdict(
            meaning=Meaning.UNAVAILABLE,
            reason=reason,
            status=status,
            retry_after_s=wait_s,
            is_blameless=status == 429,
        )
        return [verdict] * entries
    return judge_refused(reply, status, entries)


def judge_each(told: Sequence[Complaint], status: int, entries: int) -> list[Verdict]:
    """A 207, or a 200 that complains: those named are refused, the others taken in.

    Complaints that name nobody we sent are passed over, unless there are no others: then each is asked alone.
    """
    verdicts = [DELIVERED] * entries
    named = [one for one in told if one.index is not None and one.index < entries]
    for one in reversed(named):  # of several about one operation the first speaks
        assert one.index is not None
        verdicts[one.index] = refused("refused", one, status)
    if (told and not named) or (status == 207 and not told):
        if entries == 1:
            return [refused("refused", told[0] if told else Complaint(), status)]
        return [Verdict(meaning=Meaning.UNDECIDED, reason="refused", status=status)] * entries
    return verdicts


def judge_refused(reply: Reply, status: int, entries: int) -> list[Verdict]:
    """A request refused whole: its one entry is at fault, or one of several, to be found by halving."""
    reason = "too_large" if status == 413 else "refused"
    if entries > 1:
        half = (entries + 1) // 2
        return [Verdict(meaning=Meaning.UNDECIDED, reason=reason, status=status, company_max=half)] * entries
    told = complaints(reply.body)
    complaint = told[0] if told else Complaint(message=reply.body[:1_000].decode(errors="replace"))
    return [refused(reason, complaint, status)]


def refused(reason: str, complaint: Complaint, status: int) -> Verdict:
    field, message = complaint.field, complaint.message or complaint.reason
    return Verdict(meaning=Meaning.REFUSED, reason=reason, field=field, message=message, status=status)


def misconfigured(reason: str, status: int) -> Verdict:
    return Verdict(meaning=Meaning.MISCONFIGURED, reason=reason, status=status, is_blameless=True)


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
