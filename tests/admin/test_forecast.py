"""When the outbox will be empty, and when full: as tables."""

import pytest

from cio_buffer.admin.durations import in_words
from cio_buffer.admin.forecast import OVERHEAD_BYTES, Rates, Stored, bytes_per_entry, forecast

MIB, GIB = 1 << 20, 1 << 30
BIG = 1 * GIB + OVERHEAD_BYTES
"""A gigabyte of entries: with a million of them, 1,073.7 bytes each."""


NOTHING = Rates(accepted_per_s=0, delivered_per_s=0, left_per_s=0)


def rates(accepted, delivered, left=None):
    return Rates(accepted_per_s=accepted, delivered_per_s=delivered, left_per_s=delivered if left is None else left)


def stored(waiting, *, dead=0, used=1 * MIB, most=4 * GIB, log=0):
    return Stored(waiting=waiting, dead=dead, bytes_used=used, bytes_max=most, log_bytes=log)


@pytest.mark.parametrize(
    ("why", "waiting", "flow", "is_held", "empty_in_s"),
    [
        ("nothing waits", 0, (5, 5), False, 0.0),
        ("nothing waits, all is held", 0, (0, 0), True, 0.0),
        ("net of the inflow", 1_200, (5, 10), False, 240.0),
        ("as much comes as goes", 1_200, (10, 10), False, None),
        ("more comes than goes", 1_200, (11, 10), False, None),
        ("nothing moves", 1_200, (0, 0), False, None),
        ("nothing comes", 1_200, (0, 10), False, 120.0),
        ("what left before the hold leaves no more", 1_200, (0, 10), True, None),
        ("one by one, for years", 1, (0, 1e-9), False, 1e9),
    ],
)
def test_time_to_empty(why, waiting, flow, is_held, empty_in_s):
    """Which the last seconds say, whatever the minute was like."""
    seen = forecast(NOTHING, rates(*flow), stored(waiting), is_held=is_held)
    assert seen.empty_in_s == (None if empty_in_s is None else pytest.approx(empty_in_s)), why


@pytest.mark.parametrize(
    ("why", "flow", "store", "is_held", "full_in_s"),
    [
        ("as much goes as comes", (10, 10), stored(1_000_000, used=BIG), False, None),
        ("more goes", (10, 11), stored(1_000_000, used=BIG), False, None),
        ("nothing comes", (0, 0), stored(1_000_000, used=BIG), True, None),
        ("another 1,000,000 fit", (100, 0), stored(1_000_000, used=BIG, most=BIG + GIB), False, 10_000.0),
        ("net of what is delivered", (100, 50), stored(1_000_000, used=BIG, most=BIG + GIB), False, 20_000.0),
        ("nothing is delivered while held", (100, 50), stored(1_000_000, used=BIG, most=BIG + GIB), True, 10_000.0),
        ("dead letters take room", (100, 0), stored(0, dead=1_000_000, used=BIG, most=BIG + GIB), False, 10_000.0),
        ("it is full", (0, 0), stored(1_000_000, used=BIG, most=BIG), False, 0.0),
        ("it is more than full", (0, 9), stored(1_000_000, used=BIG, most=GIB), False, 0.0),
        ("few entries, a long log: assumed", (1, 0), stored(3, used=17 * MIB, most=17 * MIB + 6_000), True, 10.0),
    ],
)
def test_time_to_full(why, flow, store, is_held, full_in_s):
    seen = forecast(rates(*flow), rates(*flow), store, is_held=is_held)
    assert seen.full_in_s == (None if full_in_s is None else pytest.approx(full_in_s)), why


def test_what_becomes_a_dead_letter_empties_the_queue_and_fills_the_store():
    flow = rates(10, delivered=0, left=20)
    seen = forecast(flow, flow, stored(100, used=BIG, most=2 * GIB), is_held=False)
    assert seen.empty_in_s == 10.0
    assert seen.full_in_s is not None


@pytest.mark.parametrize(
    ("why", "minute", "lately"),
    [
        ("a burst of a few seconds", (0, 0), (10_000, 0)),
        ("a burst that was delivered, half a minute ago", (1_000, 1_000), (0, 0)),
        ("an outage that is over", (1_000, 0), (1_000, 5_000)),
        ("an outage that is over, and the inflow too", (1_000, 0), (0, 5_000)),
    ],
)
def test_a_moment_that_passes_fills_no_store(why, minute, lately):
    assert forecast(rates(*minute), rates(*lately), stored(1_000, used=BIG), is_held=False).full_in_s is None, why


def test_of_a_minute_and_the_last_seconds_the_less_counts():
    store = stored(1_000_000, used=BIG, most=BIG + GIB)
    for minute, lately in (((100, 0), (900, 0)), ((900, 0), (100, 0))):
        assert forecast(rates(*minute), rates(*lately), store, is_held=True).full_in_s == pytest.approx(10_000.0)


def test_an_empty_store_divides_by_nothing():
    assert bytes_per_entry(stored(0, used=1 * GIB)) > 0
    assert bytes_per_entry(stored(5, used=1 * GIB, log=1 * GIB)) > 0


def test_the_delivery_log_is_nothing_that_entries_take():
    """A thousand entries behind a day of deliveries are no larger for it."""
    assert bytes_per_entry(stored(1_000_000, used=BIG + GIB, log=GIB)) == bytes_per_entry(stored(1_000_000, used=BIG))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (3.25, "3.2 s"),
        (9.96, "10.0 s"),
        (40.0, "40 s"),
        (119.0, "119 s"),
        (240.0, "4 min"),
        (7_199.0, "120 min"),
        (9 * 3_600.0, "9 h"),
        (75 * 3_600.0, "75 h"),
        (5 * 86_400.0, "5 days"),
    ],
)
def test_spans_in_words(seconds, words):
    assert in_words(seconds) == words
