"""The watch over what really leaves: it sees disorder wherever it is, and none where there is none."""

import pytest
from msgspec import structs

from cio_buffer.delivery.order import OrderWatch
from cio_buffer.outbox.entry import Entry
from tests.delivery.test_rules import claimed


def entry(seq: int, *lanes: int) -> Entry:
    return structs.replace(claimed(seq).entry, lanes=lanes)


@pytest.mark.parametrize(
    ("delivered", "sent", "violations"),
    [
        ([], [(1, 7), (2, 7)], 0),
        ([], [(2, 7), (1, 8)], 0),
        ([], [(2, 7), (1, 7)], 1),
        ([], [(3, 7), (1, 7), (2, 7)], 2),
        ([(3, 7)], [(2, 7)], 1),
        ([(3, 7)], [(2, 8)], 0),
        ([(3, 7)], [(3, 7), (4, 7)], 0),  # again, after a lost answer
        ([(3, 7, 8)], [(2, 8, 9)], 1),
    ],
)
def test_what_leaves_is_not_older_than_what_left_before_it(
    delivered: list[tuple[int, ...]], sent: list[tuple[int, ...]], violations: int
) -> None:
    watch = OrderWatch()
    watch.delivered([entry(*one) for one in delivered])
    watch.sent([entry(*one) for one in sent])
    assert watch.violations == violations


def test_what_comes_back_with_another_store_is_no_disorder() -> None:
    watch = OrderWatch()
    watch.delivered([entry(3, 7)])
    watch.start_over()
    watch.sent([entry(1, 7), entry(3, 7)])
    assert watch.violations == 0
