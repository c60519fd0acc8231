"""The story of an operation: what the store knows of it, united and in order."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_buffer.admin.chronicle import tell, tell_by_receipt
from cio_buffer.admin.story import LAST_MS, Step, Story, Traced, moment, read_moment
from cio_buffer.cli.telling import told
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.errors import UnknownReceipt
from cio_buffer.outbox.archive import Dead, Found, Happening, Known
from cio_buffer.outbox.entry import Attempt, Fate
from cio_buffer.outbox.names import Receipt
from tests.admin.stories import (
    ACCEPTED_MS,
    AGAIN,
    LOST,
    NAMES,
    REFUSED,
    at,
    dead,
    found,
    happened,
    kept,
    known,
    sent,
)

HELD = Fate(what="held", reason="timeout", until_ms=at(60_000), is_ambiguous=True)
IN_V1 = Fate(what="in_v1", reason="too_large")
DELIVERED = sent(820, 17_000)


def story(
    entry: Known, *, log_since: int | None = -1_000, where: Whereabouts | None = None, now: int = 20_000
) -> Story:
    return tell(entry, found(entry, log_since=log_since), where, names=NAMES, now_ms=at(now))


def words(of: Story) -> list[object]:
    """Each step in short: what happened, and of a request its number and what became of the operation."""
    return [(step.sent.number, step.sent.outcome) if step.sent else step.what for step in of.steps]


# The state, by where it is and what befell it last.


@pytest.mark.parametrize(
    ("entry", "where", "state"),
    [
        (known(place="main"), None, "pending"),
        (known(place="main"), Whereabouts(state="waiting"), "pending"),
        (known(place="main"), Whereabouts(state="ready"), "pending"),
        (known(place="main"), Whereabouts(state="parking"), "held"),
        (known(place="main"), Whereabouts(state="in_flight", request=9, since_ms=at(5)), "in_flight"),
        (known(place="main"), Whereabouts(state="in_flight"), "in_flight"),
        (known(place="parked"), None, "held"),
        (known(place="parked"), Whereabouts(state="ready"), "held"),
        (known(place="parked"), Whereabouts(state="in_flight", request=9, since_ms=at(5)), "in_flight"),
        (known(sent(9, 5, REFUSED), place="dead", dead=dead(10)), None, "dead"),
        (known(sent(9, 5)), None, "delivered"),
        (known(sent(9, 5)), Whereabouts(state="in_flight", request=10, since_ms=at(5)), "delivered"),
        (known(sent(9, 5, REFUSED), happened("purged", 50)), None, "purged"),
        (known(sent(9, 5, REFUSED), happened("evicted", 50)), None, "evicted"),
        (known(happened("forgotten", 50)), None, "forgotten"),
        (known(sent(9, 5, REFUSED)), None, "ended"),
        (known(sent(9, 5, AGAIN)), None, "ended"),
        (known(sent(9, 5, REFUSED), happened("replayed", 50)), None, "ended"),
        (known(), None, "ended"),
        (known(happened("started", 50)), None, "ended"),
        (known(sent(9, 5), happened("stopped", 50), happened("started", 60)), None, "delivered"),
    ],
)
def test_the_state(entry, where, state):
    assert story(entry, where=where).state == state


def test_what_was_delivered_at_the_first_try():
    told = story(known(sent(812, 51)))
    assert words(told) == ["accepted", (812, "delivered")]
    assert (told.receipt, told.kind, told.route) == (NAMES.receipt(7, ACCEPTED_MS), "event", "v1")
    assert (told.accepted_at, told.ended_at) == ("2026-11-25T03:12:44.120Z", "2026-11-25T03:12:44.371Z")
    assert (told.attempts, told.replays, told.is_whole, told.is_ambiguous) == (1, 0, True, False)
    assert (told.held, told.dead) == (None, None)


def test_a_request_tells_what_came_back_and_what_became_of_it():
    told = story(known(sent(9, 5, HELD, status=None, entries=1, took_ms=5_000), place="parked"))
    request = told.steps[1].sent
    assert request is not None
    assert (request.attempt, request.entries, request.status, request.trouble) == (1, 1, None, "timeout")
    assert (request.took_s, request.outcome, request.reason, request.is_ambiguous) == (5.0, "held", "timeout", True)
    assert request.until == "2026-11-25T03:13:44.120Z"


def test_requests_are_counted():
    told = story(known(sent(8, 5, LOST, status=None), sent(9, 6_000, IN_V1, status=413), sent(11, 17_000, is_v1=True)))
    assert words(told) == ["accepted", (8, "again"), (9, "in_v1"), (11, "delivered")]
    assert [step.sent.attempt for step in told.steps if step.sent] == [1, 2, 3]
    assert told.attempts == 3
    assert not told.is_ambiguous  # it was delivered after all


# Two sources, one story.


@pytest.mark.parametrize(
    ("log", "history", "order"),
    [
        ([], [], []),
        ([8, 9], [], [8, 9]),
        ([], [8, 9], [8, 9]),
        ([8, 9], [8, 9], [8, 9]),
        ([8, 9], [9], [8, 9]),
        ([9], [8, 9], [8, 9]),
        ([9], [8, 10], [8, 9, 10]),
        ([8, 10], [9], [8, 9, 10]),
    ],
)
def test_a_request_that_both_know_is_told_once_and_in_order(log, history, order):
    entry = known(*(sent(n, n * 100, AGAIN) for n in log), place="main", history=[kept(n, n * 100) for n in history])
    assert words(story(entry)) == ["accepted", *((number, "again") for number in order)]


def test_the_log_says_more_of_a_request_than_what_was_kept():
    entry = known(sent(9, 900, AGAIN), place="main", history=[kept(8, 800), kept(9, 900)])
    assert [(step.sent.entries, step.sent.is_v1) for step in story(entry).steps if step.sent] == [
        (None, None),
        (10, False),
    ]


def test_what_was_kept_finds_its_place_among_what_else_befell_it():
    entry = known(
        happened("replayed", 3_000),
        sent(9, 4_000, REFUSED, status=400),
        place="dead",
        dead=dead(4_200, replays=1),
        history=[kept(7, 1_000), kept(8, 2_000, REFUSED, status=400), kept(9, 4_000, REFUSED, status=400)],
    )
    assert words(story(entry)) == ["accepted", (7, "again"), (8, "dead"), "replayed", (9, "dead")]


def test_without_a_request_beside_it_what_was_kept_is_placed_by_time():
    entry = known(happened("replayed", 3_000), place="main", history=[kept(7, 1_000), kept(9, 4_000)])
    assert words(story(entry)) == ["accepted", (7, "again"), "replayed", (9, "again")]


def test_a_clock_that_was_set_back_does_not_change_the_order():
    entry = known(sent(8, 50_000, AGAIN), sent(9, 1_000, AGAIN), sent(10, 2_000))
    assert words(story(entry)) == ["accepted", (8, "again"), (9, "again"), (10, "delivered")]


# Deaths and replays.


def test_a_dead_letter_says_why_in_both_words():
    told = story(known(sent(9, 5, REFUSED, status=400), place="dead", dead=dead(210), attempts=1))
    assert words(told) == ["accepted", (9, "dead")]
    assert told.dead is not None
    assert (told.dead.reason, told.dead.vendor_reason, told.dead.field) == ("refused", "invalid", "identifiers.id")
    assert (told.dead.message, told.dead.status) == ("must be an email", 400)
    assert told.dead.at == told.ended_at == "2026-11-25T03:12:44.330Z"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ([], ["accepted", "died"]),
        ([sent(8, 5, AGAIN)], ["accepted", (8, "again"), "died"]),
        ([sent(8, 5, REFUSED), happened("replayed", 50)], ["accepted", (8, "dead"), "replayed", "died"]),
        ([sent(8, 5, REFUSED), happened("edited", 300)], ["accepted", (8, "dead"), "edited"]),
        ([happened("edited", 300)], ["accepted", "died", "edited"]),
        ([happened("stopped", 20), happened("started", 30)], ["accepted", "stopped", "started", "died"]),
    ],
)
def test_a_death_that_no_request_tells_of_is_told_all_the_same(log, told):
    assert words(story(known(*log, place="dead", dead=dead(210)))) == told


def test_delivered_after_two_deaths():
    entry = known(
        sent(8, 5, REFUSED, status=400),
        happened("edited", 1_000),
        happened("replayed", 2_000),
        sent(9, 3_000, REFUSED, status=400),
        happened("replayed", 4_000),
        sent(10, 5_000),
        replays=2,
    )
    told = story(entry)
    assert words(told) == [
        "accepted",
        (8, "dead"),
        "edited",
        "replayed",
        (9, "dead"),
        "replayed",
        (10, "delivered"),
    ]
    assert (told.state, told.replays, told.dead, told.ended_at) == ("delivered", 2, None, "2026-11-25T03:12:49.320Z")


def test_replays_are_those_that_are_stored_or_those_that_are_told():
    assert story(known(happened("replayed", 50), place="main")).replays == 1
    assert story(known(place="main", replays=3)).replays == 3


# The daemon's own comings and goings.

START, STOP = happened("started", 1_000), happened("stopped", 900)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ([STOP, START, DELIVERED], ["accepted", "stopped", "started", (820, "delivered")]),
        ([START, DELIVERED], ["accepted", "restarted", (820, "delivered")]),
        ([STOP, START, happened("started", 2_000)], ["accepted", "stopped", "started", "restarted"]),
        ([happened("started", -500), START, DELIVERED], ["accepted", "restarted", (820, "delivered")]),
        ([happened("started", -500), DELIVERED], ["accepted", (820, "delivered")]),
        # accepted just before the drain began, after a clean stop
        ([happened("stopped", -50), happened("started", 3), DELIVERED], ["accepted", (820, "delivered")]),
        ([DELIVERED, happened("started", 30_000)], ["accepted", (820, "delivered")]),
        # a crash is nothing to one that is dead
        ([sent(8, 5, REFUSED), START, happened("purged", 2_000)], ["accepted", (8, "dead"), "purged"]),
        ([sent(8, 5, REFUSED), STOP, happened("replayed", 950), START], ["accepted", (8, "dead"), "replayed"]),
        ([happened("purged", 50), START], ["accepted", "purged"]),
        ([happened("forgotten", 50), START], ["accepted", "forgotten"]),
        (
            [sent(8, 5, REFUSED), happened("replayed", 950), START, DELIVERED],
            ["accepted", (8, "dead"), "replayed", "restarted", (820, "delivered")],
        ),
    ],
)
def test_starts_and_stops_are_told_while_it_waited(log, told):
    is_over = any(one.what in ("purged", "forgotten") for one in log) or DELIVERED in log
    place = "gone" if is_over else "main"
    assert words(story(known(*log, place=place))) == told


def test_after_a_crash_requests_are_not_counted_and_it_may_have_been_taken_in():
    told = story(known(sent(8, 5, AGAIN), START, sent(9, 2_000, AGAIN), place="main"))
    assert [step.sent.attempt for step in told.steps if step.sent] == [1, None]
    assert (told.is_whole, told.is_ambiguous) == (False, True)


def test_after_a_crash_what_was_delivered_was_delivered():
    told = story(known(START, DELIVERED))
    assert (told.state, told.is_whole, told.is_ambiguous) == ("delivered", False, False)


def test_a_start_that_the_log_begins_with_accuses_nobody():
    """Whatever was before it was thrown away."""
    assert words(story(known(START, DELIVERED), log_since=1_000)) == ["accepted", "log_begins", (820, "delivered")]


# A log that does not go back so far.


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (-1, ["accepted", (8, "again"), (820, "delivered")]),
        (0, ["accepted", (8, "again"), (820, "delivered")]),
        (1, ["accepted", "log_begins", (8, "again"), (820, "delivered")]),
        (800, ["accepted", "log_begins", (8, "again"), (820, "delivered")]),
        (801, ["accepted", (8, "again"), "log_begins", (820, "delivered")]),
        (99_000, ["accepted", (8, "again"), (820, "delivered"), "log_begins"]),
        (None, ["accepted", "no_log", (8, "again"), (820, "delivered")]),
    ],
)
def test_a_log_that_begins_later_is_told(since, told):
    one = story(known(DELIVERED, history=[kept(8, 800)]), log_since=since)
    assert words(one) == told
    is_whole = since is not None and since <= 0
    assert one.is_whole == is_whole
    assert [step.sent.attempt for step in one.steps if step.sent] == ([1, 2] if is_whole else [None, None])


def test_attempts_are_those_that_are_stored_or_those_that_are_told():
    assert story(known(sent(8, 5, AGAIN), place="main", attempts=0)).attempts == 1
    assert story(known(place="main", attempts=4), log_since=90_000).attempts == 4


# What is in hand just now.


def test_a_request_under_way_is_the_last_step():
    told = story(known(place="main"), where=Whereabouts(state="in_flight", request=9, since_ms=at(18_500)))
    assert words(told) == ["accepted", (9, "under_way")]
    assert told.steps[-1].at == moment(at(18_500))
    assert told.steps[-1].sent.took_s == 1.5
    assert (told.ended_at, told.is_ambiguous) == (None, True)


def test_a_request_that_the_store_knows_to_be_over_is_not_under_way():
    """The store has committed it, the drain has not let go yet."""
    told = story(
        known(sent(9, 5, AGAIN), place="main"), where=Whereabouts(state="in_flight", request=9, since_ms=at(5))
    )
    assert (told.state, words(told)) == ("pending", ["accepted", (9, "again")])


@pytest.mark.parametrize("due", [None, 60_000])
def test_what_is_held_says_until_when_and_why(due):
    entry = known(place="parked", holds=3, held_for="timeout", due_at_ms=None if due is None else at(due))
    told = story(entry)
    assert told.held is not None
    assert (told.held.until, told.held.reason, told.held.holds) == (due and moment(at(due)), "timeout", 3)
    assert story(known(place="main", holds=3)).held is None


@pytest.mark.parametrize(
    ("entry", "is_ambiguous"),
    [
        (known(place="main"), False),
        (known(sent(8, 5, AGAIN), place="main"), False),
        (known(sent(8, 5, LOST), place="main"), True),
        (known(sent(8, 5, LOST), sent(9, 50, REFUSED), place="dead", dead=dead(60)), True),
        (known(sent(9, 50, REFUSED), place="dead", dead=dead(60)), False),
        (known(sent(8, 5, LOST), happened("purged", 50)), True),
        (known(place="parked", history=[kept(8, 5, LOST)]), True),
    ],
)
def test_it_is_said_where_nobody_knows_whether_it_was_taken_in(entry, is_ambiguous):
    assert story(entry).is_ambiguous == is_ambiguous


# Of what nothing is left.


def test_what_is_nowhere_was_accepted_as_its_receipt_says():
    told = tell_by_receipt(Receipt(7, ACCEPTED_MS), found(log_since=60_000), names=NAMES)
    assert (told.state, told.kind, told.is_whole, told.is_ambiguous) == ("ended", "", False, True)
    assert (told.receipt, told.accepted_at, told.ended_at) == (
        NAMES.receipt(7, ACCEPTED_MS),
        "2026-11-25T03:12:44.120Z",
        None,
    )
    assert words(told) == ["accepted", "log_begins"]


def test_what_the_log_should_know_and_does_not_is_not_said_to_be_whole():
    assert not tell_by_receipt(Receipt(7, ACCEPTED_MS), found(), names=NAMES).is_whole


@pytest.mark.parametrize(("seq", "is_known"), [(1_000, True), (1_001, False)])
def test_a_number_that_was_not_given_out_yet_is_unknown(seq, is_known):
    if is_known:
        assert tell_by_receipt(Receipt(seq, ACCEPTED_MS), found(), names=NAMES)
    else:
        with pytest.raises(UnknownReceipt):
            tell_by_receipt(Receipt(seq, ACCEPTED_MS), found(), names=NAMES)


# Moments.


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
        (ACCEPTED_MS, "2026-11-25T03:12:44.120Z"),
        (ACCEPTED_MS - 120, "2026-11-25T03:12:44.000Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
        (1 << 62, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_moments_are_utc_to_the_millisecond(ms, written):
    assert moment(ms) == written
    assert round(read_moment(written).timestamp() * 1000) == min(max(ms, 0), LAST_MS)


# Whatever the store says, there is a story.

ANY_TEXT = st.text(max_size=8)
ANY_MS = st.one_of(st.integers(0, 10_000), st.integers(-(1 << 62), 1 << 62))
FATES = st.builds(
    Fate,
    what=st.sampled_from(["dead", "held", "again", "in_v1"]),
    reason=ANY_TEXT,
    is_ambiguous=st.booleans(),
    vendor_reason=ANY_TEXT,
    field=ANY_TEXT,
    message=ANY_TEXT,
    until_ms=st.none() | ANY_MS,
)
STATUSES = st.none() | st.integers(100, 599)
TOOK = st.integers(-5, 10_000)
REQUESTS = st.builds(
    Happening,
    at_ms=ANY_MS,
    what=st.just("sent"),
    request=st.integers(1, 30),
    took_ms=TOOK,
    status=STATUSES,
    trouble=st.none() | ANY_TEXT,
    is_v1=st.booleans(),
    entries=st.integers(1, 1_000),
    fate=st.none() | FATES,
)
OTHERS = st.builds(
    Happening,
    at_ms=ANY_MS,
    what=st.sampled_from(["replayed", "edited", "purged", "evicted", "forgotten", "stopped", "started"]),
)
ATTEMPTS = st.builds(
    Attempt,
    request=st.integers(1, 30),
    sent_at_ms=ANY_MS,
    took_ms=TOOK,
    fate=FATES,
    status=STATUSES,
    trouble=st.none() | ANY_TEXT,
)


def is_end(step: Step) -> bool:
    return step.what == "died" or (step.sent is not None and step.sent.outcome == "dead")


@st.composite
def entries(draw, *, is_possible: bool) -> Known:
    """Whatever, or (`is_possible`) with requests in the order of their numbers, as the store has them."""
    log, history = draw(st.lists(REQUESTS | OTHERS, max_size=12)), draw(st.lists(ATTEMPTS, max_size=8))
    if is_possible:
        numbers = iter(sorted(draw(st.sets(st.integers(1, 30), min_size=12, max_size=12))))
        log = [msgspec.structs.replace(one, request=next(numbers)) if one.request else one for one in log]
        history = sorted({attempt.request: attempt for attempt in history}.values(), key=lambda one: one.request)
    place = draw(st.sampled_from(["main", "parked", "dead", "gone"]))
    is_dead = place == "dead" and (is_possible or draw(st.booleans()))
    return known(
        *log,
        place=place,
        seq=draw(st.integers(1, 1 << 50)),
        kind=draw(st.sampled_from(["", "event", "identify"])),
        route=draw(st.sampled_from(["", "v1", "v2 batch", "something new"])),
        accepted_at_ms=draw(ANY_MS),
        attempts=draw(st.integers(0, 5)),
        holds=draw(st.integers(0, 30)),
        held_for=draw(ANY_TEXT),
        due_at_ms=draw(st.none() | ANY_MS),
        history=history,
        dead=draw(st.builds(Dead, history=st.just(()), body=st.just(b""))) if is_dead else None,
    )


WHERE = st.none() | st.builds(
    Whereabouts,
    state=st.sampled_from(["waiting", "ready", "in_flight", "parking"]),
    request=st.none() | st.integers(1, 40),
    since_ms=st.none() | ANY_MS,
)
SINCE = st.none() | ANY_MS


def among(entry: Known, since_ms: int | None) -> Found:
    return Found(known=[entry], is_more=False, log_since_ms=since_ms, highest_seq=1)


@given(entries(is_possible=True), WHERE, SINCE)
def test_any_entry_has_a_story_in_the_order_of_its_requests(entry, where, since_ms):
    """Whatever the clocks said."""
    one = tell(entry, among(entry, since_ms), where, names=NAMES, now_ms=0)
    numbers = [step.sent.number for step in one.steps if step.sent and step.sent.outcome != "under_way"]
    assert numbers == sorted(set(numbers))
    assert set(numbers) == {told.request for told in (*entry.happenings, *entry.history) if told.request}
    own = [step.what for step in one.steps if step.what in ("replayed", "edited", "purged", "evicted", "forgotten")]
    assert own == [told.what for told in entry.happenings if told.what not in ("sent", "started", "stopped")]
    assert one.steps[0].what == "accepted"
    if entry.place == "dead":
        ends = [place for place, step in enumerate(one.steps) if is_end(step)]
        begins = [place for place, step in enumerate(one.steps) if step.what == "replayed" or step.sent]
        assert one.state == "dead"
        assert max(ends) >= max(begins, default=0)


@given(entries(is_possible=False), WHERE, SINCE, ANY_MS)
def test_nothing_that_the_store_may_say_stops_us_from_telling(entry, where, since_ms, now_ms):
    one = tell(entry, among(entry, since_ms), where, names=NAMES, now_ms=now_ms)
    log_since = None if since_ms is None else moment(since_ms)
    traced = Traced(stories=[one], is_more=False, log_since=log_since, at=moment(now_ms))
    as_read = msgspec.json.decode(msgspec.json.encode(traced), type=Traced)
    assert as_read.stories == traced.stories
    assert told(as_read)
