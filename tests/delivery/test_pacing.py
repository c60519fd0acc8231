"""Rate, requests under way, and when everything is held: pure rules, with time as a number."""

import heapq
import math
import random
from collections.abc import Callable
from statistics import median

import pytest

from cio_buffer.delivery.breaker import OPENS_AFTER
from cio_buffer.delivery.concurrency import Concurrency
from cio_buffer.delivery.pacing import RAMP_MAX_S, Pacing
from cio_buffer.delivery.rate import CUT, Rate
from cio_buffer.delivery.retry import Backoff
from cio_buffer.delivery.verdict import DELIVERED, Meaning, Verdict

BACKOFF = Backoff(first_s=1.0, max_s=60.0)
UNAVAILABLE = Verdict(meaning=Meaning.UNAVAILABLE, reason="unavailable", status=503)
THROTTLED = Verdict(meaning=Meaning.UNAVAILABLE, reason="throttled", status=429, is_blameless=True, is_everybodys=True)
WRONG_KEY = Verdict(meaning=Meaning.MISCONFIGURED, reason="credentials_rejected", status=401, is_everybodys=True)


def pacing(rate: float = 1e6, in_flight: int = 4) -> Pacing:
    """One that has been well for a while."""
    paced = Pacing(rate_max_per_s=rate, in_flight_max=in_flight, backoff=BACKOFF)
    paced.answered(DELIVERED, sent_at=-1_000.0, now=-1_000.0, jitter=0.0)
    for n in range(100):
        for _ in range(paced.in_flight_limit):
            paced.started(n - 900.0)
        for _ in range(paced.in_flight):
            paced.ended()
            paced.answered(DELIVERED, sent_at=n - 900.0, now=n - 899.99, jitter=0.0)
    assert paced.in_flight_limit == in_flight
    return paced


def fail(paced: Pacing, *at: float, verdict: Verdict = UNAVAILABLE, jitter: float = 1.0) -> None:
    """One request after the other fails, each of which left just before."""
    for now in at:
        paced.answered(verdict, sent_at=now, now=now, jitter=jitter)


def sends(paced: Pacing, *, until: float, now: float = 0.0) -> list[float]:
    """When requests leave that are answered at once."""
    sent = []
    while now < until:
        if paced.wait_s(now) == 0.0:
            paced.started(now)
            paced.ended()
            sent.append(now)
        else:
            now += paced.wait_s(now) + 1e-9
    return sent


def most_in_a_second(sent: list[float]) -> int:
    return max(sum(start <= at < start + 1.0 for at in sent) for start in sent)


def test_any_second_sees_at_most_the_rate_and_a_tenth() -> None:
    sent = sends(pacing(rate=100.0), until=5.0)
    assert len(sent) >= 500
    assert most_in_a_second(sent) <= 110


def test_after_a_start_the_rate_ramps() -> None:
    paced = Pacing(rate_max_per_s=100.0, in_flight_max=4, backoff=BACKOFF)
    paced.answered(DELIVERED, sent_at=0.0, now=0.0, jitter=0.0)
    assert [round(paced.rate_limit_per_s(now)) for now in (0.0, 15.0, 30.0, 60.0)] == [10, 55, 100, 100]
    assert (paced.state(29.0), paced.state(31.0)) == ("ramping", "closed")
    sent = sends(paced, until=40.0)
    assert most_in_a_second([at for at in sent if at < 5.0]) <= 1.1 * 25
    assert most_in_a_second(sent) <= 110


def test_after_a_start_there_is_one_request_under_way_then_two_then_four() -> None:
    limits = []
    paced = Pacing(rate_max_per_s=1e6, in_flight_max=8, backoff=BACKOFF)
    for now in range(6):
        limits.append(paced.in_flight_limit)
        for _ in range(paced.in_flight_limit):
            paced.started(now)
        for _ in range(paced.in_flight):
            paced.ended()
            paced.answered(DELIVERED, sent_at=now, now=now + 0.05, jitter=0.0)
    assert limits == [1, 1, 2, 4, 8, 8]  # the first of all only opens the door


def test_no_more_requests_are_under_way_than_allowed() -> None:
    paced = pacing(in_flight=3)
    for _ in range(3):
        assert paced.wait_s(0.0) == 0.0
        paced.started(0.0)
    assert paced.wait_s(0.0) == math.inf
    paced.ended()
    assert paced.wait_s(1.0) == 0.0


def test_one_failure_holds_nobody_but_what_failed() -> None:
    paced = pacing()
    fail(paced, 1.0)
    assert (paced.hold, paced.wait_s(1.0), paced.retry_wait_s(1.0), paced.trouble) == (None, 0.0, 1.0, "unavailable")
    paced.answered(DELIVERED, sent_at=1.1, now=1.2, jitter=0.0)
    assert (paced.is_failing, paced.trouble) == (False, None)


def test_some_failures_in_a_row_hold_everything_and_one_probes_at_a_time() -> None:
    paced = pacing()
    fail(paced, *(float(n) for n in range(OPENS_AFTER)))
    assert (paced.hold, paced.in_flight_limit) == ("outage", 1)
    assert paced.wait_s(2.0) == paced.next_try_in_s(2.0) == 4.0
    assert (paced.state(2.0), paced.state(6.0)) == ("open", "probing")
    fail(paced, 6.0)
    assert paced.wait_s(6.0) == 8.0
    paced.answered(DELIVERED, sent_at=14.0, now=14.1, jitter=0.0)
    assert (paced.hold, paced.in_flight_limit, paced.state(14.1)) == (None, 1, "ramping")


@pytest.mark.parametrize(("held_s", "ramp_s"), [(0.5, 0.5), (10.0, 10.0), (21_600.0, RAMP_MAX_S)])
def test_coming_back_takes_as_long_as_being_away_did_up_to_a_limit(held_s: float, ramp_s: float) -> None:
    paced = pacing(rate=100.0)
    fail(paced, 0.0, verdict=WRONG_KEY)
    paced.answered(DELIVERED, sent_at=held_s, now=held_s, jitter=0.0)
    assert paced.rate_limit_per_s(held_s) == 10.0
    assert paced.state(held_s + ramp_s - 0.01) == "ramping"
    assert paced.state(held_s + ramp_s) == "closed"


def test_a_rate_below_one_a_second_has_no_ramp_to_speak_of() -> None:
    paced = Pacing(rate_max_per_s=0.5, in_flight_max=4, backoff=BACKOFF)
    assert paced.rate_limit_per_s(0.0) == 0.5


def test_failures_of_requests_that_were_under_way_together_open_but_wait_once() -> None:
    paced = pacing()
    for now in (1.0, 1.1, 1.2):
        paced.answered(UNAVAILABLE, sent_at=0.5, now=now, jitter=1.0)
    assert paced.hold == "outage"
    assert paced.wait_s(1.2) == pytest.approx(0.8)  # of the first backoff


def test_a_success_between_failures_keeps_it_closed() -> None:
    paced = pacing()
    for now in range(20):
        fail(paced, now, now + 0.1)
        paced.answered(DELIVERED, sent_at=now + 0.2, now=now + 0.3, jitter=0.0)
    assert paced.hold is None


def test_the_success_of_an_older_request_does_not_end_a_hold() -> None:
    paced = pacing()
    fail(paced, 1.0, verdict=WRONG_KEY)
    paced.answered(DELIVERED, sent_at=0.5, now=1.1, jitter=1.0)
    assert paced.hold == "credentials"
    assert not paced.others_pass


@pytest.mark.parametrize("verdict", [WRONG_KEY, THROTTLED])
def test_what_would_befall_any_request_holds_everything_at_once(verdict: Verdict) -> None:
    paced = pacing()
    fail(paced, 1.0, verdict=verdict)
    assert paced.hold == ("credentials" if verdict is WRONG_KEY else "outage")
    assert paced.next_try_in_s(1.25) == 0.75


def test_whoever_mends_something_need_not_wait() -> None:
    paced = pacing()
    fail(paced, *range(10), verdict=WRONG_KEY)
    assert paced.wait_s(10.0) > 10.0
    paced.try_now(10.0)
    assert paced.wait_s(10.0) == 0.0
    assert paced.hold == "credentials"


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 120.0), (1.0, 132.0)])
def test_retry_after_is_kept_and_resumed_from_at_different_moments(jitter: float, wait_s: float) -> None:
    paced = pacing()
    later = Verdict(
        meaning=Meaning.UNAVAILABLE, reason="throttled", status=429, is_everybodys=True, retry_after_s=120.0
    )
    fail(paced, 0.0, verdict=later, jitter=jitter)
    assert paced.wait_s(0.0) == pytest.approx(wait_s)


def test_a_429_cuts_what_was_really_being_sent_and_answers_win_it_back() -> None:
    rate = Rate(100.0)
    for n in range(160):
        rate.spend(n / 80)  # 80 a second, of 100 that were allowed
    rate.cut(2.0)
    assert rate.learnt_per_s == pytest.approx(CUT * 80.0, rel=0.05)
    rate = Rate(100.0)
    rate.spend(1.0)  # one
    rate.cut(2.0)
    assert rate.learnt_per_s == pytest.approx(CUT * 50.0)  # so much less was hardly about our pace
    before = rate.learnt_per_s
    for n in range(11):
        rate.grow(2.0 + n)
    assert rate.learnt_per_s == pytest.approx(before + 11.0, abs=1.0)
    rate.grow(10_000.0)
    assert rate.learnt_per_s < before + 13.0  # silence wins nothing


def test_retry_after_is_kept_whoever_else_fails_and_whatever_is_mended() -> None:
    paced = pacing()
    later = Verdict(
        meaning=Meaning.UNAVAILABLE, reason="throttled", status=429, is_everybodys=True, retry_after_s=120.0
    )
    fail(paced, 1.0, verdict=later, jitter=0.0)
    paced.answered(UNAVAILABLE, sent_at=0.5, now=2.0, jitter=1.0, is_suspect=True)
    paced.try_now(3.0)
    assert paced.wait_s(3.0, has_newcomer=True) == paced.wait_s(3.0) == pytest.approx(118.0)


def test_a_429_that_answers_a_probe_cuts_nothing_more() -> None:
    paced = pacing(rate=100.0)
    for n in range(100):
        paced.started(n / 50)
        paced.ended()
    fail(paced, 2.0, verdict=THROTTLED)
    learnt = paced.learnt()
    fail(paced, 10.0, 30.0, verdict=THROTTLED)
    assert paced.learnt() == learnt


def test_what_was_learnt_is_where_the_next_process_begins() -> None:
    paced = pacing(rate=100.0, in_flight=16)
    for n in range(100):
        paced.started(n / 50)
        paced.ended()
    fail(paced, 2.0, verdict=THROTTLED)
    heir = Pacing(rate_max_per_s=100.0, in_flight_max=16, backoff=BACKOFF)
    heir.recall(paced.learnt())
    assert heir.learnt() == paced.learnt()
    heir.answered(DELIVERED, sent_at=0.0, now=0.0, jitter=0.0)
    assert heir.rate_limit_per_s(1_000.0) == pytest.approx(35.0, rel=0.1)


@pytest.mark.parametrize("learnt", [b"", b"{", b"{}", b'{"rate_per_s":-5,"in_flight":0,"latency_s":0}', b"null"])
def test_what_cannot_have_been_learnt_does_no_harm(learnt: bytes) -> None:
    paced = Pacing(rate_max_per_s=100.0, in_flight_max=16, backoff=BACKOFF)
    paced.recall(learnt)
    assert paced.in_flight_limit == 1
    assert 1.0 <= paced.rate_limit_per_s(math.inf) <= 100.0


def learnt_limit(latency_s: Callable[[int, float], float], *, until: float, limit_max: int = 64) -> list[int]:
    """Keep as many under way as may be; each takes `latency_s(in flight, now)`. Returns the limit after each answer."""
    concurrency, limits = Concurrency(limit_max), []
    under_way: list[tuple[float, float]] = []
    now = 0.0
    while now < until:
        while len(under_way) < concurrency.limit:
            concurrency.started(len(under_way) + 1)
            heapq.heappush(under_way, (now + latency_s(len(under_way) + 1, now), now))
        now, sent_at = heapq.heappop(under_way)
        concurrency.answered(sent_at=sent_at, now=now)
        limits.append(concurrency.limit)
    return limits


def test_an_upstream_with_few_hands_is_not_buried_and_none_of_them_is_idle() -> None:
    """Eight requests at a time, 0.2 s each: more only wait. Between one and twice as many are right."""
    limits = learnt_limit(lambda in_flight, _: 0.2 * max(in_flight / 8, 1.0), until=300.0)
    settled = limits[len(limits) // 2 :]
    assert min(settled) >= 8
    assert max(settled) <= 8 * 2 * 1.3


def test_an_upstream_that_is_merely_slow_is_not_starved() -> None:
    """From 0.1 to 1 s, however many there are: fewer would not make it faster."""
    chance = random.Random(1)
    limits = learnt_limit(lambda _, now: (0.1 if now < 60.0 else 1.0) * chance.uniform(0.9, 1.1), until=120.0)
    assert limits[-1] == 64


def test_quick_answers_among_slow_ones_do_not_keep_it_at_one() -> None:
    """Calls that leave alone and batches take turns; of one request there is no half to try."""
    chance = random.Random(3)
    limits = learnt_limit(lambda in_flight, now: chance.choice([0.05, 0.4]), until=120.0, limit_max=16)
    assert median(limits[-200:]) >= 8


def test_the_refusal_of_a_lone_request_is_not_about_how_many_there_are() -> None:
    """Else the first failures of an outage in quiet traffic would make the drain crawl afterwards."""
    concurrency = Concurrency(16)
    for now in range(3):
        concurrency.started(1)
        concurrency.refused(sent_at=now, now=now + 0.5)
    assert concurrency.learnt == (16.0, 0.0)


def test_refusals_cut_it_once_for_all_that_were_under_way() -> None:
    concurrency = Concurrency(16)
    concurrency.recall(16.0, 0.05)
    for now in range(10):
        for _ in range(concurrency.limit):
            concurrency.started(concurrency.limit)
        for _ in range(concurrency.limit):
            concurrency.answered(sent_at=now, now=now + 0.05)
    assert concurrency.limit == 16
    concurrency.started(16)
    for now in (10.0, 10.1, 10.2):
        concurrency.refused(sent_at=9.9, now=now)
    assert concurrency.limit == 11
    concurrency.started(11)
    concurrency.refused(sent_at=10.5, now=11.0)
    assert concurrency.limit == 7


def test_after_what_had_failed_before_fails_again_a_newcomer_need_not_wait_long() -> None:
    """With nothing else to send, one bad operation would else hold up whatever comes next for minutes."""
    paced = pacing()
    fail(paced, 0.0)
    for now in range(1, 10):
        paced.answered(UNAVAILABLE, sent_at=now, now=now, jitter=1.0, is_suspect=True)
    assert paced.wait_s(9.0) == 60.0
    assert paced.wait_s(9.0, has_newcomer=True) == 1.0
    fail(paced, 10.0)  # so did the newcomer: it is not the suspect's fault
    assert paced.wait_s(10.0, has_newcomer=True) == 60.0


@pytest.mark.parametrize("verdict", [WRONG_KEY, THROTTLED])
def test_a_newcomer_waits_like_everybody_for_what_befalls_everybody(verdict: Verdict) -> None:
    paced = pacing()
    for now in range(10):
        paced.answered(verdict, sent_at=now, now=now, jitter=1.0, is_suspect=True)
    assert paced.wait_s(9.0, has_newcomer=True) == paced.wait_s(9.0) == 60.0


def test_that_a_known_culprit_fails_again_is_no_news() -> None:
    """Others have passed since it first failed. With company it might be somebody else."""
    paced = pacing()
    for now in range(10):
        paced.answered(UNAVAILABLE, sent_at=now, now=now, jitter=1.0, is_suspect=True, is_alone=True)
    assert (paced.is_failing, paced.hold) == (False, None)
    paced.answered(UNAVAILABLE, sent_at=10.0, now=10.0, jitter=1.0, is_suspect=True)
    assert paced.is_failing
