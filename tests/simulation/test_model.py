"""The arithmetic that runs are held against, by hand."""

from collections import Counter

import pytest

from tests.simulation.checks import fullest_second, percentile, worst_excess
from tests.simulation.model import Limits, coming_back, drain_s, going_on, ramp_allows, winning_back

LIMITS = Limits(rate_per_s=100.0, answers_per_s=1_000.0, cycle_s=0.001)


@pytest.mark.parametrize(
    ("from_s", "until_s", "allowed"),
    [
        (0.0, 1.0, 11.5 + 1.3 + 1.0),  # a tenth of the rate at first, 3 more each second
        (29.0, 30.0, 98.5 + 10.0 + 1.0),
        (29.5, 30.5, 49.625 + 50.0 + 10.0 + 1.0),
        (40.0, 41.0, 100.0 + 10.0 + 1.0),
    ],
)
def test_what_a_ramp_allows(from_s: float, until_s: float, allowed: float) -> None:
    assert ramp_allows(from_s, until_s, rate_per_s=100.0, ramp_s=30.0) == pytest.approx(allowed)


def test_a_drain_after_a_long_hold() -> None:
    """30 s of ramp let 1,650 full batches go, the other 9,150 take 91.5 s."""
    speed = coming_back(LIMITS, 21_600.0)
    took_s = drain_s(10_800_000, rest=0, added_per_s=lambda _: 0.0, taken_per_s=lambda at_s: 1_000 * speed(at_s))
    assert took_s == pytest.approx(121.5, abs=0.1)


def test_a_drain_that_waits_for_answers() -> None:
    limits = Limits(rate_per_s=100.0, answers_per_s=20.0, cycle_s=0.5)
    took_s = drain_s(1_000, rest=0, added_per_s=lambda _: 10.0, taken_per_s=going_on(limits))
    assert took_s == pytest.approx(100.0, abs=0.1)


def test_a_rate_is_won_back_by_one_a_second() -> None:
    speed = winning_back(LIMITS, 20.0)
    assert [speed(0.0), speed(10.0), speed(80.0), speed(500.0)] == [20.0, 30.0, 100.0, 100.0]


def test_what_never_empties() -> None:
    assert drain_s(10, rest=0, added_per_s=lambda _: 5.0, taken_per_s=lambda _: 5.0) == float("inf")


def test_the_fullest_second_begins_anywhere() -> None:
    assert fullest_second([0.0, 0.9, 1.1, 1.2, 1.89, 1.9]) == (4, 0.9)
    assert fullest_second([]) == (0, 0.0)


def test_a_burst_is_seen_wherever_it_is() -> None:
    even = [5.0 + place / 5 for place in range(100)]
    assert worst_excess(even, 5.0, 30.0, 100.0) == ""
    assert "45 requests" in worst_excess(sorted([*even, *[9.0] * 40]), 5.0, 30.0, 100.0)


def test_a_percentile_counts() -> None:
    assert [percentile(Counter({1: 9, 5: 1}), share) for share in (0.5, 0.9, 0.95)] == [1, 1, 5]
    assert percentile(Counter(), 0.9) == 0
