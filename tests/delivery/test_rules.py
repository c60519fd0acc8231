"""The pure rules, as tables."""

import json
from heapq import heapify
from sys import maxsize

import pytest

from cio_buffer.delivery.batching import BatchLimits, form_batch
from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.retry import Again, Backoff, HeldBack, InV1, RetryPolicy
from cio_buffer.delivery.verdict import Meaning, Verdict, judge, retry_after_s
from cio_buffer.outbox.entry import DeadLetter, Delivered, Entry
from cio_buffer.upstream.transport import Reply

NOW = 1_700_000_000.0
BACKOFF = Backoff(first_s=1.0, max_s=60.0)


def claimed(
    seq: int, *, company_max: int = maxsize, body: bytes = b"{}", kind: str = "event", call: str | None = None
) -> Claimed:
    entry = Entry(
        seq=seq,
        lanes=(),
        kind=kind,
        accepted_at_ms=int(NOW * 1000),
        call=call,
        attempts=0,
        replays=0,
        traceparent=None,
        body=body,
    )
    return Claimed(
        entry=entry,
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
    ready = [(member.entry.seq, member) for member in members]
    heapify(ready)
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


def test_suspects_ride_with_their_like_in_the_company_left_to_them() -> None:
    """What nobody suspects, or suspects less, is not dragged into another's search."""
    assert formed(claimed(1), claimed(2, company_max=4), claimed(3)) == [1]
    assert formed(claimed(1, company_max=4), claimed(2, company_max=2)) == [1]
    assert formed(*(claimed(seq, company_max=2) for seq in range(5))) == [0, 1]


def errors(*of: dict[str, object]) -> bytes:
    return json.dumps({"errors": list(of)}).encode()


ONE_OF_THREE = [Meaning.DELIVERED, Meaning.REFUSED, Meaning.DELIVERED]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=200, body=b"{}"), [Meaning.DELIVERED] * 3),
        (Reply(status=200, body=b"<html>"), [Meaning.DELIVERED] * 3),
        (Reply(status=200), [Meaning.DELIVERED] * 3),
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
        (Reply(trouble="timeout"), [Meaning.UNAVAILABLE] * 3),
    ],
)
def test_what_a_reply_means_for_each_of_three(reply: Reply, expected: list[Meaning]) -> None:
    assert [verdict.meaning for verdict in judge(reply, entries=3, is_v1=False, now=NOW)] == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(204, Meaning.DELIVERED), (400, Meaning.REFUSED), (404, Meaning.REFUSED), (401, Meaning.MISCONFIGURED)],
)
def test_what_a_reply_means_for_a_call_that_left_alone(status: int, expected: Meaning) -> None:
    (verdict,) = judge(Reply(status=status), entries=1, is_v1=True, now=NOW)
    assert verdict.meaning is expected


def test_the_first_of_several_complaints_about_one_operation_speaks() -> None:
    body = errors({"batch_index": 0, "field": "name", "message": "first"}, {"batch_index": 0, "message": "second"})
    (verdict,) = judge(Reply(status=207, body=body), entries=1, is_v1=False, now=NOW)
    assert (verdict.field, verdict.message) == ("name", "first")


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
    (verdict,) = judge(Reply(status=400, body=body), entries=1, is_v1=True, now=NOW)
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


@pytest.mark.parametrize(
    ("verdict", "company", "is_its_own", "expected"),
    [
        (Verdict(meaning=Meaning.DELIVERED), 2, True, Delivered()),
        (Verdict(meaning=Meaning.UNDECIDED, company_max=4), 8, True, Again(4)),
        (Verdict(meaning=Meaning.MISCONFIGURED), 1, True, Again(maxsize)),
        (Verdict(meaning=Meaning.REFUSED, reason="refused"), 1, True, DeadLetter(reason="refused")),
        (UNAVAILABLE, 2, False, Again(maxsize)),
        (UNAVAILABLE, 5, True, Again(3)),
        (UNAVAILABLE, 1, False, Again(maxsize)),
        (UNAVAILABLE, 1, True, HeldBack(int((NOW + 0.5) * 1000))),
        (Verdict(meaning=Meaning.UNAVAILABLE, is_blameless=True), 1, True, Again(maxsize)),
    ],
)
def test_what_becomes_of_an_entry(verdict: Verdict, company: int, is_its_own: bool, expected: object) -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    assert policy.settle(claimed(1), verdict, company=company, is_its_own=is_its_own, now=NOW, jitter=0.5) == expected


EVENT = (
    b'{"type":"person","action":"page","identifiers":{"cio_id":"a/b"},'
    b'"name":"x","id":"I","timestamp":5,"attributes":{"n":1}}'
)


def test_an_event_too_large_for_v2_is_said_in_v1_with_the_same_stamps() -> None:
    policy = RetryPolicy(backoff=BACKOFF, keep_trying_for_s=0)
    too_large = Verdict(meaning=Meaning.REFUSED, reason="too_large", status=413)
    said = policy.settle(claimed(1, body=EVENT), too_large, company=1, is_its_own=True, now=NOW, jitter=0)
    assert isinstance(said, InV1)
    assert said.call == "POST /api/v1/customers/cio_a%2Fb/events"
    assert json.loads(said.body) == {"name": "x", "id": "I", "timestamp": 5, "type": "page", "data": {"n": 1}}
    in_v1 = claimed(1, body=said.body, call=said.call)
    assert isinstance(policy.settle(in_v1, too_large, company=1, is_its_own=True, now=NOW, jitter=0), DeadLetter)


@pytest.mark.parametrize(("failures", "expected"), [(1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (5_000, 60.0)])
def test_backoff_doubles_up_to_its_limit(failures: int, expected: float) -> None:
    assert BACKOFF.wait_s(failures, 1.0) == expected
    assert BACKOFF.wait_s(failures, 0.0) == 0.0


def pacing(rate: float = 10.0, in_flight: int = 3) -> Pacing:
    return Pacing(rate_max_per_s=rate, in_flight_max=in_flight, backoff=BACKOFF)


def fail(pacing: Pacing, *, sent_at: float, now: float, verdict: Verdict = UNAVAILABLE) -> None:
    pacing.answered(verdict, sent_at=sent_at, now=now, jitter=1.0)


def test_any_second_sees_at_most_the_rate_and_a_tenth() -> None:
    paced, now, sent = pacing(rate=100.0, in_flight=1_000), 0.0, []
    while now < 5.0:
        if paced.wait_s(now) == 0.0:
            paced.started(now)
            paced.ended()
            sent.append(now)
        else:
            now += paced.wait_s(now) + 1e-9
    assert len(sent) >= 500
    assert max(sum(start <= at < start + 1.0 for at in sent) for start in sent) <= 110


def test_no_more_requests_are_under_way_than_allowed() -> None:
    paced = pacing(rate=1e6)
    for _ in range(3):
        assert paced.wait_s(0.0) == 0.0
        paced.started(0.0)
    assert paced.wait_s(0.0) == float("inf")
    paced.ended()
    assert paced.wait_s(1.0) == 0.0


def test_after_a_failure_one_probes_at_a_time_until_one_succeeds() -> None:
    paced = pacing(rate=1e6)
    fail(paced, sent_at=0.0, now=1.0)
    assert (paced.hold, paced.in_flight_limit, paced.wait_s(1.0)) == ("outage", 1, 1.0)
    fail(paced, sent_at=2.0, now=2.5)
    assert paced.wait_s(2.5) == 2.0
    paced.answered(Verdict(meaning=Meaning.DELIVERED), sent_at=4.5, now=5.0, jitter=1.0)
    assert (paced.hold, paced.in_flight_limit) == (None, 3)


def test_failures_of_requests_that_were_under_way_together_count_once() -> None:
    paced = pacing()
    for now in (1.0, 1.1, 1.2):
        fail(paced, sent_at=0.5, now=now)
    assert paced.failures == 1


def test_the_success_of_an_older_request_does_not_end_a_hold() -> None:
    paced = pacing()
    fail(paced, sent_at=0.0, now=1.0)
    paced.answered(Verdict(meaning=Meaning.DELIVERED), sent_at=0.5, now=1.1, jitter=1.0)
    assert paced.hold == "outage"


def test_a_rejected_key_is_called_by_its_name() -> None:
    paced = pacing()
    fail(paced, sent_at=0.0, now=1.0, verdict=Verdict(meaning=Meaning.MISCONFIGURED, reason="credentials_rejected"))
    assert paced.hold == "credentials"
    assert paced.next_try_in_s(1.25) == 0.75
