"""Ids by which Customer.io tells a repeat from a second event."""

import random

import pytest
from ulid import ULID

from cio_buffer.ingest.event_id import COUNTED, EventIds

NOW = 1_700_000_000.123


@pytest.fixture
def ids() -> EventIds:
    return EventIds(random.Random(1))


def test_a_library_takes_them_for_ulids_of_that_moment(ids: EventIds) -> None:
    for now in (0.0, NOW, 2_000_000_000.999):
        made = ids.new(now)
        assert str(ULID.from_str(made)) == made
        assert ULID.from_str(made).milliseconds == int(now * 1000)


def test_none_is_made_twice_and_later_ones_sort_later(ids: EventIds) -> None:
    made = [ids.new(NOW) for _ in range(5_000)]
    assert made == sorted(set(made))


def test_a_spent_start_is_replaced(ids: EventIds) -> None:
    ids.new(NOW)
    ids._count = COUNTED - 1
    last, first = ids.new(NOW), ids.new(NOW)
    assert last[10:22] != first[10:22]
    assert last[22:] == "ZZZZ"
    assert first[22:] == "0000"


def test_two_processes_make_different_ones() -> None:
    assert EventIds(random.Random(1)).new(NOW) != EventIds(random.Random(2)).new(NOW)
