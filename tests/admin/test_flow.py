"""Rates from looks at the ledger."""

import pytest

from cio_buffer.admin.flow import LOOKS_MAX, Flow
from cio_buffer.outbox.contract import Ledger


def ledger(accepted, delivered=0, dead_lettered=0, purged=0):
    return Ledger(accepted=accepted, delivered=delivered, dead_lettered=dead_lettered, purged=purged)


def after(seconds, per_second, over_s=60):
    """Rates after so many looks; `per_second` says what the ledger held in which second."""
    flow = Flow(per_second(0), 1_000.0)
    for second in range(1, seconds + 1):
        flow.look(per_second(second), 1_000.0 + second)
    rates = flow.rates(per_second(seconds), 1_000.0 + seconds, over_s=over_s)
    return rates.accepted_per_s, rates.delivered_per_s, rates.left_per_s


def test_totals_of_before_are_no_rate():
    assert after(5, lambda second: ledger(1_000_000, 900_000)) == (0, 0, 0)


@pytest.mark.parametrize("over_s", [10, 60])
@pytest.mark.parametrize("seconds", [1, 5, 59, 60, 61, 600])
def test_a_steady_flow_is_its_rate_from_the_first_second_on(seconds, over_s):
    rates = after(seconds, lambda second: ledger(7 * second, 5 * second, second, 2 * second), over_s)
    assert rates == pytest.approx((7, 5, 8))


def test_a_burst_is_spread_over_the_time_that_is_looked_at_and_then_forgotten():
    def burst(second):
        return ledger(600, 600) if second > 30 else ledger(0)

    assert after(60, burst, over_s=60) == pytest.approx((10, 10, 10))
    assert after(60, burst, over_s=10) == (0, 0, 0)
    assert after(35, burst, over_s=10) == pytest.approx((60, 60, 60))
    assert after(100, burst, over_s=60) == (0, 0, 0)


def test_the_first_moment_is_no_rate_either():
    flow = Flow(ledger(0), 1_000.0)
    assert flow.rates(ledger(3), 1_000.001, over_s=60).accepted_per_s == 3


def test_looks_that_came_late_still_make_a_rate():
    """The loop was busy for two minutes: what came in them is spread over them."""
    flow = Flow(ledger(0), 1_000.0)
    assert flow.rates(ledger(1_200), 1_120.0, over_s=60).accepted_per_s == 10


@pytest.mark.parametrize("over_s", [10, 60])
def test_a_store_that_begins_anew_makes_no_negative_rate(over_s):
    """A damaged one made room for it: its totals begin at zero, once the looks of before it are told apart."""

    def reborn(second):
        return ledger(1_000 + 5 * second, 1_000) if second < 20 else ledger(3 * (second - 20), second - 20)

    assert after(19, reborn, over_s) == pytest.approx((5, 0, 0))
    assert after(20, reborn, over_s) == (0, 0, 0)
    assert after(80, reborn, over_s) == pytest.approx((3, 1, 1))


def test_between_its_first_commit_and_the_next_look_a_new_store_has_no_rate():
    flow = Flow(ledger(1_000, 1_000), 1_000.0)
    rates = flow.rates(ledger(3), 1_000.5, over_s=60)
    assert (rates.accepted_per_s, rates.delivered_per_s, rates.left_per_s) == (0, 0, 0)


def test_what_is_salvaged_is_no_inflow():
    assert after(30, lambda second: Ledger(accepted=second, salvaged=100 * second)) == pytest.approx((1, 0, 0))


def test_memory_is_bounded():
    flow = Flow(ledger(0), 0.0)
    for second in range(10_000):
        flow.look(ledger(second), float(second))
    assert len(flow._looks) == LOOKS_MAX
