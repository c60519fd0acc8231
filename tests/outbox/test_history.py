"""What is kept with an entry of the requests that did not deliver it."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cio_buffer.outbox.entry import Attempt, Fate, Parked, Released, Settled
from cio_buffer.outbox.history import FIRST_KEPT, LAST_KEPT, lengthened, read_history
from tests.outbox.backends import NOW_MS, REFUSED, Hand, operation
from tests.outbox.requests import AGAIN

HELD = Parked(NOW_MS, holds=1, held_for="http_503")


async def numbers(hand: Hand, seq: int) -> list[int]:
    """The requests that an entry remembers."""
    return [attempt.request for attempt in (await hand.known(seq)).history]


# With the entry


async def test_a_held_entry_keeps_the_requests_of_each_time_it_was_in_hand(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": AGAIN}, status=None, trouble="timeout")
    await hand.request({"a": HELD}, status=503, took_ms=70)
    await hand.take()
    await hand.request({"a": AGAIN}, status=500)
    await hand.request({"a": HELD}, status=503)
    await hand.crash()
    first, second, *_ = (await hand.known(seq)).history
    held = Fate(what="held", reason="http_503", until_ms=NOW_MS)
    assert first == Attempt(request=1, sent_at_ms=NOW_MS - 40, took_ms=40, fate=AGAIN, trouble="timeout")
    assert second == Attempt(request=2, sent_at_ms=NOW_MS - 70, took_ms=70, fate=held, status=503)
    assert await numbers(hand, seq) == [1, 2, 3, 4]


async def test_a_letter_keeps_its_history_through_replays_and_deaths(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": HELD})
    await hand.take()
    await hand.request({"a": REFUSED})
    assert await numbers(hand, seq) == [1, 2]
    await hand.replay(seq)
    assert await numbers(hand, seq) == [1, 2]
    await hand.take()
    await hand.request({"a": HELD})
    assert await numbers(hand, seq) == [1, 2, 3]
    await hand.take()
    await hand.request({"a": REFUSED})
    await hand.crash()
    (letter,) = await hand.outbox.archive.letters()
    assert [(one.request, one.fate.what) for one in letter.history] == [
        (1, "held"), (2, "dead"), (3, "held"), (4, "dead"),
    ]  # fmt: skip
    assert (letter.attempts, letter.replays) == (4, 1)
    await hand.replay(seq)
    await hand.take()
    await hand.request({"a": REFUSED})  # straight from the main lane
    (letter,) = await hand.outbox.archive.letters()
    assert (letter.attempts, letter.replays, await numbers(hand, seq)) == (5, 2, [1, 2, 3, 4, 5])


async def test_what_the_log_has_forgotten_is_still_kept_with_the_letter(hand: Hand) -> None:
    (seq,) = await hand.bury(operation("a", "ann"))
    hand.clock.advance(1)
    await hand.tidy(log_for_s=0)
    known = await hand.known(seq)
    assert (list(known.happenings), [one.fate.reason for one in known.history]) == ([], ["refused"])


async def test_what_was_in_hand_at_a_crash_remembers_what_was_settled(hand: Hand) -> None:
    """The request itself is in the log."""
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": HELD})
    await hand.take()
    await hand.request({"a": AGAIN})
    await hand.crash()
    assert (await numbers(hand, seq), await hand.story(seq)) == ([1], ["held", "again"])


async def test_a_settlement_that_is_repeated_adds_nothing(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    report = await hand.request({"a": HELD})
    settled = [Settled(hand.held["a"], HELD, 1, hand.tries["a"])]
    await hand.lease.settle(settled, now_ms=hand.now_ms, report=report)
    assert await numbers(hand, seq) == [1]
    await hand.take()
    report = await hand.request({"a": REFUSED})
    settled = [Settled(hand.held["a"], REFUSED, 2, hand.tries["a"])]
    await hand.lease.settle(settled, now_ms=hand.now_ms, report=report)
    assert await numbers(hand, seq) == [1, 2]


async def test_what_is_released_keeps_what_it_went_through(hand: Hand) -> None:
    (seq,) = await hand.append(operation("a", "ann"))
    await hand.take()
    await hand.request({"a": HELD})
    await hand.take()
    await hand.request({"a": AGAIN})
    await hand.request({"a": AGAIN})
    await hand.lease.settle([Settled(hand.held["a"], Released(), 3, hand.tries["a"])], now_ms=hand.now_ms)
    assert (await numbers(hand, seq), (await hand.known(seq)).attempts) == ([1, 2, 3], 3)
    await hand.take()
    assert (hand.held["a"].attempts, hand.held["a"].holds) == (3, 1)


async def test_what_was_released_or_only_moved_aside_keeps_what_it_had(hand: Hand) -> None:
    seq, other = await hand.append(operation("a", "ann"), operation("b", "ann"))
    await hand.take()
    await hand.request({"a": HELD})
    await hand.settle(Parked(), "b")
    await hand.take()
    await hand.settle(Released(), "a")
    assert (await numbers(hand, seq), await numbers(hand, other)) == ([1], [])


# As it is written


def attempts(requests: Sequence[int]) -> list[Attempt]:
    return [Attempt(request=number, sent_at_ms=number, took_ms=1, fate=AGAIN, status=500) for number in requests]


def numbers_in(text: str) -> list[int]:
    return [attempt.request for attempt in read_history(text)]


@given(st.lists(st.integers(1, 40), max_size=120), st.integers(0, 5))
def test_each_request_is_kept_once_and_of_too_many_the_first_and_the_last(steps: list[int], overlap: int) -> None:
    """Whatever pieces it comes in, and though each begins with what is known already."""
    requests = [sum(steps[: n + 1]) for n in range(len(steps))]
    text = ""
    for start in range(0, len(requests), 7):
        text = lengthened(text, attempts(requests[max(start - overlap, 0) : start + 7]))
    is_all = len(requests) <= FIRST_KEPT + LAST_KEPT
    assert numbers_in(text) == (requests if is_all else [*requests[:FIRST_KEPT], *requests[-LAST_KEPT:]])


def test_words_of_customer_io_come_back_whatever_they_are() -> None:
    message = 'a "quoted"\nline \u2028 and \U0001f600 and \r\x85'
    fate = Fate(what="dead", reason="refused", vendor_reason="invalid", field="a\tb", message=message)
    attempt = Attempt(request=1, sent_at_ms=2, took_ms=3, fate=fate, status=400)
    assert read_history(lengthened("", [attempt, *attempts([2])])) == [attempt, *attempts([2])]


def test_nothing_is_written_of_nothing() -> None:
    assert (lengthened("", []), read_history("")) == ("", [])
