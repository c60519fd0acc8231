"""The pure rules, as tables."""

import json
from sys import maxsize

import pytest

from cio_buffer.delivery.batching import BatchLimits, form_batch
from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.delivery.lanes import Window, WindowLimits
from cio_buffer.delivery.ready import ReadyQueue
from cio_buffer.delivery.retry import Again, Backoff, Circumstances, HeldBack, InV1, RetryPolicy
from cio_buffer.delivery.verdict import Meaning, Verdict, judge, retry_after_s
from cio_buffer.outbox.contract import Claim, FromMain
from cio_buffer.outbox.entry import DeadLetter, Entry
from cio_buffer.upstream.transport import Reply

NOW = 1_700_000_000.0
BACKOFF = Backoff(first_s=1.0, max_s=60.0)


def claimed(
    seq: int,
    *,
    company_max: int = maxsize,
    body: bytes = b"{}",
    kind: str = "event",
    call: str | None = None,
    holds: int = 0,
) -> Claimed:
    entry = Entry(
        seq=seq,
        first_seq=seq,
        lanes=(),
        packed_lanes=b"",
        trail=b"",
        kind=kind,
        accepted_at_ms=int(NOW * 1000),
        tried_since_ms=int(NOW * 1000),
        call=call,
        attempts=0,
        replays=0,
        traceparent=None,
        body=body,
        holds=holds,
    )
    return Claimed(
        entry=entry,
        seq=seq,
        is_from_parked=False,
        claimed_at=0.0,
        attempts=1,
        body=body,
        call=call,
        company_max=company_max,
        state=State.READY,
        followers=[],
    )


def formed(*members: Claimed, entries_max: int = 1_000, bytes_max: int = 500_000) -> list[int]:
    ready = ReadyQueue()
    for member in members:
        ready.push(member)
    limits = BatchLimits(entries_max=entries_max, bytes_max=bytes_max, same_lane=True)
    return [member.entry.seq for member in form_batch(ready, limits)]


def test_the_oldest_leave_first() -> None:
    assert formed(claimed(3), claimed(1), claimed(2), entries_max=2) == [1, 2]


def test_a_batch_is_as_long_as_the_bytes_that_will_be_sent() -> None:
    bodies = [claimed(seq, body=b"x" * 10) for seq in range(3)]
    exactly = len(b'{"batch":[' + b"x" * 10 + b"," + b"x" * 10 + b"]}")
    assert formed(*bodies, bytes_max=exactly) == [0, 1]
    assert formed(*bodies, bytes_max=exactly - 1) == [0]


def test_one_that_is_too_large_for_any_batch_leaves_alone() -> None:
    assert formed(claimed(1, body=b"x" * 100), claimed(2), bytes_max=50) == [1]


def window(*entries: tuple[int, int]) -> Window:
    """One with (seq, company_max) ready."""
    held = Window(WindowLimits(entries_max=1_000, bytes_max=1_000_000, v1_max=10))
    main = [FromMain(claimed(seq).entry, is_behind=False) for seq, _ in entries]
    held.admit(Claim(parked=[], main=main, is_at_end=True, is_v1_due=False, next_due_at_ms=None), now=0.0)
    members = held.take_batch(BatchLimits(entries_max=1_000, bytes_max=500_000, same_lane=True))
    for member, (_, company_max) in zip(members, entries, strict=True):
        member.company_max = company_max
    held.give_back(members, is_tried=False)
    return held


def batches(held: Window) -> list[list[int]]:
    limits = BatchLimits(entries_max=1_000, bytes_max=500_000, same_lane=True)
    return [[one.entry.seq for one in batch] for batch in iter(lambda: held.take_batch(limits), [])]


def test_suspects_ride_with_their_like_in_the_company_left_to_them() -> None:
    """What nobody suspects, or suspects less, is not dragged into another's search, nor cut short by it."""
    assert batches(window((1, maxsize), (2, 4), (3, maxsize))) == [[1, 3], [2]]
    assert batches(window((1, 4), (2, 2))) == [[1], [2]]
    assert batches(window(*((seq, 2) for seq in range(5)))) == [[0, 1], [2, 3], [4]]


def test_suspects_never_wait_for_company() -> None:
    limits = BatchLimits(entries_max=1_000, bytes_max=500_000, same_lane=True)
    assert window((1, 4), (2, maxsize)).ready_batch(limits).is_full
    assert not window((1, maxsize), (2, 4)).ready_batch(limits).is_full


def errors(*of: dict[str, object]) -> bytes:
    return json.dumps({"errors": list(of)}).encode()


ONE_OF_THREE = [Meaning.DELIVERED, Meaning.REFUSED, Meaning.DELIVERED]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=200, body=b"{}"), [Meaning.DELIVERED] * 3),
        (Reply(status=200), [Meaning.DELIVERED] * 3),
        (Reply(status=200, body=b"OK"), [Meaning.DELIVERED] * 3),
        (Reply(status=200, body=b'{"errors":[],"meta":{}}'), [Meaning.DELIVERED] * 3),
        (Reply(status=200, body=b'{"errors":null}'), [Meaning.DELIVERED] * 3),
        (Reply(status=200, body=b'{"errors":"something"}'), [Meaning.UNDECIDED] * 3),
        (Reply(status=200, body=b'{"errors":[{"batch_index":1},null],"meta":[]}'), ONE_OF_THREE),
        (Reply(status=200, body=b'\xef\xbb\xbf{"errors":[{"batch_index":1}]}'), ONE_OF_THREE),
        (Reply(status=200, body=b"\n <!DOCTYPE html>"), [Meaning.MISCONFIGURED] * 3),
        (Reply(status=200, body=b'{"errors":[{"batch_index":1'), [Meaning.UNDECIDED] * 3),
        (Reply(status=200, body=errors({"batch_index": 1})), ONE_OF_THREE),
        (Reply(status=207, body=errors({"batch_index": 1}, {"batch_index": 1})), ONE_OF_THREE),
        (Reply(status=207, body=errors({"batch_index": 1}, {"message": "of nobody"})), ONE_OF_THREE),
        (Reply(status=207, body=errors({"batch_index": 1}, {"batch_index": 3})), ONE_OF_THREE),
        (Reply(status=207, body=errors({"batch_index": -1})), [Meaning.UNDECIDED] * 3),
        (Reply(status=207, body=errors({"batch_index": "1"})), [Meaning.UNDECIDED] * 3),
        (Reply(status=207, body=errors({"batch_index": True})), [Meaning.UNDECIDED] * 3),
        (Reply(status=207, body=b"not json"), [Meaning.UNDECIDED] * 3),
        (Reply(status=400), [Meaning.UNDECIDED] * 3),
        (Reply(status=413), [Meaning.UNDECIDED] * 3),
        (Reply(status=422), [Meaning.UNDECIDED] * 3),
        (Reply(status=301), [Meaning.MISCONFIGURED] * 3),
        (Reply(status=401), [Meaning.MISCONFIGURED] * 3),
        (Reply(status=403), [Meaning.MISCONFIGURED] * 3),
        (Reply(status=404), [Meaning.MISCONFIGURED] * 3),
        (Reply(status=408), [Meaning.UNAVAILABLE] * 3),
        (Reply(status=425), [Meaning.UNAVAILABLE] * 3),
        (Reply(status=429), [Meaning.UNAVAILABLE] * 3),
        (Reply(status=500), [Meaning.UNAVAILABLE] * 3),
        (Reply(status=599), [Meaning.UNAVAILABLE] * 3),
        (Reply(trouble="connect"), [Meaning.UNAVAILABLE] * 3),
        (Reply(trouble="dns"), [Meaning.MISCONFIGURED] * 3),
        (Reply(trouble="tls"), [Meaning.MISCONFIGURED] * 3),
        (Reply(trouble="timeout"), [Meaning.AMBIGUOUS] * 3),
        (Reply(trouble="torn"), [Meaning.AMBIGUOUS] * 3),
    ],
)
def test_what_a_reply_means_for_each_of_three(reply: Reply, expected: list[Meaning]) -> None:
    assert [verdict.meaning for verdict in judge(reply, entries=3, is_v1=False, trouble_before="", now=NOW)] == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (204, Meaning.DELIVERED),
        (400, Meaning.REFUSED),
        (404, Meaning.MISCONFIGURED),
        (403, Meaning.MISCONFIGURED),
        (401, Meaning.MISCONFIGURED),
    ],
)
def test_what_a_reply_means_for_a_call_that_left_alone(status: int, expected: Meaning) -> None:
    (verdict,) = judge(Reply(status=status), entries=1, is_v1=True, trouble_before="", now=NOW)
    assert verdict.meaning is expected


@pytest.mark.parametrize(
    ("reply", "is_v1", "is_everybodys"),
    [
        (Reply(status=401), False, True),
        (Reply(status=401), True, True),
        (Reply(status=403), False, False),  # a firewall may mean one body
        (Reply(status=404), False, False),
        (Reply(status=404), True, False),  # a segment may be gone
        (Reply(status=301), True, False),
        (Reply(status=429), False, True),
        (Reply(status=503), False, False),
        (Reply(status=503, retry_after="5"), False, True),
        (Reply(status=200, body=b"<html>"), True, False),
        (Reply(trouble="dns"), True, True),
        (Reply(trouble="tls"), True, True),
        (Reply(trouble="connect"), True, False),
        (Reply(trouble="torn"), True, False),
    ],
)
def test_what_would_befall_any_request(reply: Reply, is_v1: bool, is_everybodys: bool) -> None:
    (verdict,) = judge(reply, entries=1, is_v1=is_v1, trouble_before="", now=NOW)
    assert verdict.is_trouble
    assert verdict.is_everybodys is is_everybodys


PAGE = b"<html>nginx</html>"


@pytest.mark.parametrize(
    ("reply", "is_v1", "trouble_before", "expected"),
    [
        (Reply(status=404), True, "not_found", Meaning.REFUSED),
        (Reply(status=404), True, "timeout", Meaning.MISCONFIGURED),  # it failed for another reason
        (Reply(status=404), False, "not_found", Meaning.MISCONFIGURED),
        (Reply(status=400, body=PAGE), False, "", Meaning.MISCONFIGURED),
        (Reply(status=400, body=PAGE), False, "not_customer_io", Meaning.REFUSED),
        (Reply(status=405, body=PAGE), True, "not_customer_io", Meaning.REFUSED),
        (Reply(status=200, body=PAGE), True, "not_customer_io", Meaning.MISCONFIGURED),
        (Reply(status=403, body=PAGE), True, "forbidden", Meaning.MISCONFIGURED),
        (Reply(status=413, body=PAGE), True, "", Meaning.REFUSED),  # too large is too large, whoever says so
    ],
)
def test_what_others_pass_and_one_does_not_is_its_own(
    reply: Reply, is_v1: bool, trouble_before: str, expected: Meaning
) -> None:
    """A segment that is gone, a firewall that dislikes a body. Before others have passed, nobody knows."""
    (verdict,) = judge(reply, entries=1, is_v1=is_v1, trouble_before=trouble_before, now=NOW)
    assert verdict.meaning is expected


def test_an_answer_that_was_cut_off_is_asked_for_again_in_smaller_parts_and_believed_for_one() -> None:
    cut_off = Reply(status=200, body=b'{"errors":[{"batch_index":1')
    verdicts = judge(cut_off, entries=5, is_v1=False, trouble_before="", now=NOW)
    assert {verdict.company_max for verdict in verdicts} == {3}
    (verdict,) = judge(cut_off, entries=1, is_v1=False, trouble_before="", now=NOW)
    assert verdict.meaning is Meaning.DELIVERED


def test_a_207_that_names_nobody_is_halved() -> None:
    verdicts = judge(Reply(status=207), entries=1_000, is_v1=False, trouble_before="", now=NOW)
    assert {verdict.company_max for verdict in verdicts} == {500}
    (verdict,) = judge(Reply(status=207), entries=1, is_v1=False, trouble_before="", now=NOW)
    assert verdict.meaning is Meaning.REFUSED


def test_all_that_is_said_of_one_operation_is_kept() -> None:
    body = errors(
        {"batch_index": 0, "reason": "required", "field": "name", "message": "first"},
        {"batch_index": 0, "reason": "invalid", "field": "name", "message": "second"},
    )
    (verdict,) = judge(Reply(status=207, body=body), entries=1, is_v1=False, trouble_before="", now=NOW)
    assert (verdict.vendor_reason, verdict.field, verdict.message) == ("required; invalid", "name", "first; second")


@pytest.mark.parametrize(
    "body",
    [
        b'{"meta":{"error":"so sorry"}}',
        b'{"meta":{"errors":["so sorry"]}}',
        b'{"errors":["so sorry"]}',
        b'{"errors":[{"message":"so sorry"}]}',
        b'{"errors":[{"detail":"so sorry","status":"400"}]}',
        b"so sorry",
    ],
)
def test_the_vendors_reason_is_found_in_any_of_its_shapes(body: bytes) -> None:
    (verdict,) = judge(Reply(status=400, body=body), entries=1, is_v1=True, trouble_before="", now=NOW)
    assert verdict.message == "so sorry"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        ("0.5", 0.5),
        ("", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("-5", 0.0),
        ("31536000", 300.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Mon, 13 Nov 2023 22:14:20 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_capped(header: str, expected: float) -> None:
    assert retry_after_s(header, NOW) == expected


UNAVAILABLE = Verdict(meaning=Meaning.UNAVAILABLE, reason="unavailable", status=503)


FIREWALL = Verdict(meaning=Meaning.MISCONFIGURED, reason="forbidden", status=403, is_blameless=True)
WRONG_KEY = Verdict(meaning=Meaning.MISCONFIGURED, reason="credentials_rejected", status=401, is_everybodys=True)
LOST = Verdict(meaning=Meaning.AMBIGUOUS, reason="timeout")


def at(
    company: int = 1,
    *,
    is_its_own: bool = True,
    others_pass: bool = True,
    is_held: bool = False,
    is_crowded: bool = False,
    now: float = NOW,
    wall_now: float = NOW,
) -> Circumstances:
    return Circumstances(
        company=company,
        is_held=is_held,
        is_its_own=is_its_own,
        others_pass=others_pass,
        is_crowded=is_crowded,
        now=now,
        wall_now=wall_now,
    )


@pytest.mark.parametrize(
    ("verdict", "company", "is_its_own", "expected"),
    [
        (Verdict(meaning=Meaning.UNDECIDED, company_max=4), 8, True, Again(4)),
        (WRONG_KEY, 1, True, Again(maxsize)),
        (FIREWALL, 8, True, Again(4)),
        (FIREWALL, 1, True, HeldBack(int((NOW + 0.5) * 1000), 1)),
        (Verdict(meaning=Meaning.REFUSED, reason="refused"), 1, True, DeadLetter(reason="refused")),
        (UNAVAILABLE, 2, False, Again(1)),
        (UNAVAILABLE, 5, True, Again(3)),
        (UNAVAILABLE, 1, False, Again(maxsize)),
        (UNAVAILABLE, 1, True, HeldBack(int((NOW + 0.5) * 1000), 1)),
        (LOST, 2, True, Again(1)),
        (LOST, 1, True, HeldBack(int((NOW + 0.5) * 1000), 1)),
        (Verdict(meaning=Meaning.UNAVAILABLE, is_blameless=True), 1, True, Again(maxsize)),
    ],
)
def test_what_becomes_of_an_entry(verdict: Verdict, company: int, is_its_own: bool, expected: object) -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    assert policy.settle(claimed(1), verdict, at(company, is_its_own=is_its_own), jitter=0.5) == expected


ALL_NIGHT = at(others_pass=False)
GONE = Verdict(meaning=Meaning.MISCONFIGURED, reason="not_found", is_blameless=True, may_be_refused=True)


@pytest.mark.parametrize(
    ("verdict", "when", "expected"),
    [
        (FIREWALL, ALL_NIGHT, Again(maxsize)),  # while nothing passes it is no firewall's whim
        (FIREWALL, at(7, others_pass=False), Again(4)),
        (UNAVAILABLE, at(7, is_held=True), Again(4)),  # nothing else is left to try
        (UNAVAILABLE, at(7, is_held=True, is_its_own=False), Again(maxsize)),  # an outage takes nothing apart
        (Verdict(meaning=Meaning.UNAVAILABLE, is_everybodys=True), at(7), Again(maxsize)),
        (GONE, at(), HeldBack(int((NOW + 0.5) * 1000), 1)),  # its next try decides
        (GONE, at(others_pass=False), Again(maxsize)),
        (GONE, at(others_pass=False, is_crowded=True), HeldBack(int((NOW + 0.5) * 1000), 1)),
        (FIREWALL, at(others_pass=False, is_crowded=True, is_its_own=False), Again(maxsize)),
    ],
)
def test_what_becomes_of_an_entry_when_there_is_more_to_know(
    verdict: Verdict, when: Circumstances, expected: object
) -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    assert policy.settle(claimed(1), verdict, when, jitter=0.5) == expected


def test_nobody_dies_of_age_for_what_may_be_our_configurations() -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=1.0)
    late = at(others_pass=False, now=NOW + 10, wall_now=NOW + 10)
    assert policy.settle(claimed(1), FIREWALL, late, jitter=0.5) == Again(maxsize)


@pytest.mark.parametrize(
    ("verdict", "message", "status"),
    [
        (UNAVAILABLE, "", 503),
        (LOST, "no answer: timeout; it may have been taken in", None),
        (Verdict(meaning=Meaning.UNAVAILABLE, reason="connect", is_blameless=True), "no answer: connect", None),
    ],
)
def test_who_dies_of_age_says_what_they_last_met(verdict: Verdict, message: str, status: int | None) -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=1.0)
    late = at(now=NOW + 10, wall_now=NOW + 10)
    letter = policy.settle(claimed(1), verdict, late, jitter=0.5)
    assert letter == DeadLetter(reason="expired", message=message, status=status)


def test_who_is_held_again_waits_longer() -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    held = claimed(1, holds=3)
    assert policy.settle(held, UNAVAILABLE, at(), jitter=0.5) == HeldBack(int((NOW + 4.0) * 1000), 4)
    assert policy.wait_max_ms == 300_000


HOUR_S = 3_600.0


@pytest.mark.parametrize(
    ("verdict", "passed_s", "wall_jump_s", "is_dead"),
    [
        (UNAVAILABLE, HOUR_S + 1, 0.0, True),
        (UNAVAILABLE, HOUR_S - 1, 0.0, False),
        (LOST, HOUR_S + 1, 0.0, True),
        (FIREWALL, HOUR_S + 1, 0.0, True),
        (WRONG_KEY, HOUR_S + 1, 0.0, False),  # ours to mend: nobody dies of it
        (UNAVAILABLE, 1, 365 * 86_400.0, False),  # the clock was set forward
        (UNAVAILABLE, HOUR_S + 1, -365 * 86_400.0, False),
    ],
)
def test_age_ends_retrying_by_whichever_clock_is_milder(
    verdict: Verdict, passed_s: float, wall_jump_s: float, is_dead: bool
) -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=HOUR_S)
    when = at(now=NOW + passed_s, wall_now=NOW + passed_s + wall_jump_s)
    outcome = policy.settle(claimed(1), verdict, when, jitter=0.5)
    assert isinstance(outcome, DeadLetter) is is_dead


EVENT = (
    b'{"type":"person","action":"page","identifiers":{"cio_id":"a/b"},'
    b'"name":"x","id":"I","timestamp":5,"attributes":{"n":1}}'
)


def test_an_event_too_large_for_v2_is_said_in_v1_with_the_same_stamps() -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    too_large = Verdict(meaning=Meaning.REFUSED, reason="too_large", status=413)
    said = policy.settle(claimed(1, body=EVENT), too_large, at(), jitter=0)
    assert isinstance(said, InV1)
    assert said.call == "POST /api/v1/customers/cio_a%2Fb/events"
    assert json.loads(said.body) == {"name": "x", "id": "I", "timestamp": 5, "type": "page", "data": {"n": 1}}
    in_v1 = claimed(1, body=said.body, call=said.call)
    assert isinstance(policy.settle(in_v1, too_large, at(), jitter=0), DeadLetter)


@pytest.mark.parametrize(("failures", "expected"), [(1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (5_000, 60.0)])
def test_backoff_doubles_up_to_its_limit(failures: int, expected: float) -> None:
    assert BACKOFF.wait_s(failures, 1.0) == expected
    assert BACKOFF.wait_s(failures, 0.0) == 0.0
