"""A dead letter gets another body: checked like any call of an app, and still the operation that was accepted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from cio_buffer.errors import InvalidOperation, TooLarge
from cio_buffer.ingest import amend
from cio_buffer.ingest.amend import EVENTS, amended
from cio_buffer.ingest.track_v1.calls import Found
from cio_buffer.ingest.track_v2 import read_entity
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.outbox.trail import NO_MARK, mark_of, unpack_trail

from .said import ACCEPTANCE, ALL_IDS, BROKEN, BY_SHAPE, STAMP, UNMAPPED, dead, encoded, has_lanes, made, said
from .test_any_body import bodies, entries_of, mappings, queries, segments, values
from .test_any_body import said as ways

ANN = {"type": "person", "identifiers": {"id": "5"}}
BOUGHT = ANN | {"action": "event", "name": "bought", "id": "mine", "timestamp": 12}
PLAN = ANN | {"action": "identify", "attributes": {"plan": "pro"}, "timestamp": 12}
EVENTS_OF_5, PERSON_5 = "POST /api/v1/customers/5/events", "PUT /api/v1/customers/5"
LARGE = {"x": "x" * 32_000}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def new_id(now):
    return f"new at {now}"


def letter_of(body, **otherwise):
    """The dead letter of a v2 operation."""
    return dead(read_entity(encoded(body), ACCEPTANCE), **{"route": "v2 entity"} | otherwise)


def letter_of_call(line, body, mapping=UNMAPPED):
    """The dead letter of a v1 call."""
    (entry,) = made(line, body, mapping)
    return dead(entry, route="v1")


def amend_with(letter, body, mapping=BY_SHAPE):
    return amended(letter, encoded(body), mapping, new_id)


def mark_in(entry):
    return unpack_trail(entry.trail).mark


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize(
    ("was", "body", "becomes"),
    [
        (BOUGHT, BOUGHT | {"name": "sold"}, BOUGHT | {"name": "sold"}),
        (BOUGHT, without(BOUGHT, "id", "timestamp"), BOUGHT),
        (BOUGHT, BOUGHT | {"id": "", "timestamp": None}, BOUGHT),
        (BOUGHT, BOUGHT | {"id": None, "timestamp": 99}, BOUGHT | {"timestamp": 99}),
        (BOUGHT, BOUGHT | {"action": "page", "name": "/home"}, BOUGHT | {"action": "page", "name": "/home"}),
        (BOUGHT, BOUGHT | {"identifiers": {"email": "A@x.com"}}, BOUGHT | {"identifiers": {"email": "A@x.com"}}),
        (PLAN, PLAN | {"attributes": {"plan": "free"}}, PLAN | {"attributes": {"plan": "free"}}),
        (PLAN, without(PLAN, "timestamp"), PLAN),
        (PLAN, without(PLAN, "timestamp") | {"_timestamp": 99}, without(PLAN, "timestamp") | {"_timestamp": 99}),
        (without(PLAN, "timestamp") | {"_timestamp": 12}, without(PLAN, "timestamp"), PLAN),
        (without(PLAN, "timestamp") | {"attributes": {"_timestamp": 12}}, without(PLAN, "timestamp"), PLAN),
        (
            without(PLAN, "timestamp") | {"attributes": {"_timestamp": "odd"}},
            without(PLAN, "timestamp"),
            PLAN | {"timestamp": STAMP},
        ),
        (ANN | {"action": "delete"}, without(PLAN, "timestamp"), PLAN | {"timestamp": STAMP}),
        (ANN | {"action": "delete", "attributes": 5}, ANN | {"action": "suppress"}, ANN | {"action": "suppress"}),
    ],
)
def test_a_v2_operation_keeps_the_stamps_that_its_new_body_lacks(was, body, becomes):
    entry = amend_with(letter_of(was), body)
    assert (said(entry), entry.call) == (becomes, None)
    assert mark_in(entry) == (mark_of(becomes["id"]) if "id" in becomes else NO_MARK)


def test_all_that_follows_from_the_body_is_made_anew_and_the_rest_stays():
    letter = letter_of(BOUGHT, traceparent=TRACE, accepted_at_ms=1_700_000_000_123)
    entry = amend_with(letter, BOUGHT | {"action": "page", "identifiers": {"email": "A@x.com"}})
    assert has_lanes(entry, "email:a@x.com")
    trail = unpack_trail(entry.trail)
    assert (trail.kind, trail.route, trail.lanes, trail.accepted_at_ms) == ("page", "v2 entity", 1, 1_700_000_000_123)
    assert (entry.kind, entry.accepted_at_ms) == ("page", 1_700_000_000_123)
    assert (entry.route, entry.traceparent) == ("v2 entity", TRACE)


@pytest.mark.parametrize("at_ms", [0, 999, 1_700_000_000_123, 1_799_999_999_999, 2**40 + 1])
def test_the_accepted_time_stays_to_the_millisecond(at_ms):
    entry = amend_with(letter_of(ANN | {"action": "delete"}, accepted_at_ms=at_ms), without(PLAN, "timestamp"))
    assert (entry.accepted_at_ms, said(entry)["timestamp"]) == (at_ms, at_ms // 1000)


def test_a_stamp_that_was_given_by_us_stays_too():
    letter = letter_of(without(BOUGHT, "id", "timestamp"))
    entry = amend_with(letter, without(BOUGHT, "id", "timestamp") | {"name": "sold"})
    assert said(entry) == said(letter) | {"name": "sold"}


WITH_IDS = {
    "v2": letter_of(BOUGHT),
    "v2, too large": letter_of(BOUGHT | {"attributes": LARGE}),
    "v1": letter_of_call(EVENTS_OF_5, {"name": "b", "id": "mine"}),
    "v1, anonymous": letter_of_call("POST /api/v1/events", {"name": "b", "anonymous_id": 5, "id": "mine"}),
    "v1, an invite": letter_of_call("POST /api/v1/events", {"name": "b", "id": "mine"}),
    "v1, a page": letter_of_call(EVENTS_OF_5, {"name": "b", "type": "page", "id": "mine"}),
    "v1, an odd type": letter_of_call(EVENTS_OF_5, {"name": "b", "type": "odd", "id": "mine"}),
    "v1, mapped": letter_of_call(EVENTS_OF_5, {"name": "b", "id": "mine"}, BY_SHAPE),
}


@pytest.mark.parametrize("letter", WITH_IDS.values(), ids=WITH_IDS.keys())
def test_an_events_id_cannot_become_another(letter):
    for other in ("yours", "Mine", 5, True, ["mine"], {"a": 1}):
        with pytest.raises(InvalidOperation) as refused:
            amend_with(letter, said(letter) | {"id": other})
        assert refused.value.problem.field == "id"
        assert "yours" not in str(refused.value)
    for none in (said(letter) | {"id": ""}, said(letter) | {"id": None}, without(said(letter), "id"), said(letter)):
        entry = amend_with(letter, none)
        assert said(entry)["id"] == "mine"
        assert mark_in(entry) == mark_of("mine")


def test_an_objects_event_keeps_its_id():
    sold = BOUGHT | {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
    letter = letter_of(sold)
    assert letter.kind == "object_event"
    assert said(amend_with(letter, without(sold, "id", "timestamp"))) == sold
    with pytest.raises(InvalidOperation, match=r"^id: "):
        amend_with(letter, sold | {"id": "yours"})


def test_an_id_may_be_spelled_otherwise():
    letter = letter_of(BOUGHT | {"id": "é"})
    entry = amend_with(letter, json.dumps(BOUGHT | {"id": "é"}).encode())
    assert b"\\u00e9" in entry.body
    assert mark_in(entry) == mark_of("é")


def test_a_number_for_an_id_may_become_text_and_the_event_v2():
    letter = letter_of_call(EVENTS_OF_5, {"name": "b", "id": 17}, BY_SHAPE)
    entry = amend_with(letter, {"name": "b", "id": "17"})
    assert said(entry) == ANN | {"action": "event", "name": "b", "id": "17", "timestamp": STAMP}
    assert (entry.call, mark_in(entry)) == (None, mark_of("17"))
    kept = amend_with(letter, {"name": "c"})
    assert (said(kept), kept.call) == ({"name": "c", "id": 17, "timestamp": STAMP}, EVENTS_OF_5)
    assert mark_in(kept) == mark_of("17")
    with pytest.raises(InvalidOperation, match=r"^id: "):
        amend_with(letter, {"name": "b", "id": "18"})


@pytest.mark.parametrize(
    ("line", "was", "body", "call", "becomes"),
    [
        (
            EVENTS_OF_5,
            {"name": "b", "id": "mine", "timestamp": "12"},
            {"name": "c", "data": {"a": 1}},
            EVENTS_OF_5,
            {"name": "c", "data": {"a": 1}, "id": "mine", "timestamp": "12"},
        ),
        (
            EVENTS_OF_5,
            {"name": "b", "id": "mine", "timestamp": "12"},
            {"name": "c", "timestamp": 99},
            None,
            ANN | {"action": "event", "name": "c", "id": "mine", "timestamp": 99},
        ),
        (
            EVENTS_OF_5 + "?a=b",
            {"name": "b", "id": "mine", "timestamp": 12, "more": 1},
            {"name": "b", "more": 2},
            EVENTS_OF_5 + "?a=b",
            {"name": "b", "more": 2, "id": "mine", "timestamp": 12},
        ),
        (
            PERSON_5,
            {"plan": "pro", "_timestamp": "12"},
            {"plan": "free"},
            PERSON_5,
            {"plan": "free", "_timestamp": "12"},
        ),
        (
            PERSON_5,
            {"plan": LARGE, "_timestamp": 12},
            {"plan": "free"},
            None,
            PLAN | {"attributes": {"plan": "free"}},
        ),
        (PERSON_5, {"plan": LARGE}, b"", None, PLAN | {"attributes": {}, "timestamp": STAMP}),
        (
            PERSON_5,
            {"id": "no event's", "timestamp": "an attribute", "_timestamp": "odd"},
            {"_timestamp": None},
            PERSON_5,
            {"_timestamp": "odd"},
        ),
        (
            "PUT /api/v1/customers/5/devices",
            {"device": {"id": "t", "platform": "web"}},
            {"device": {"id": "t", "platform": "ios"}},
            None,
            ANN | {"action": "add_device", "device": {"token": "t", "platform": "ios"}},
        ),
        (
            "POST /api/v1/merge_customers",
            {"primary": {"id": "5"}, "secondary": {"id": "6"}, "more": 1},
            {"primary": {"id": "5"}, "secondary": {"id": "7"}},
            None,
            {"type": "person", "action": "merge", "primary": {"id": "5"}, "secondary": {"id": "7"}},
        ),
        (
            "POST /api/v1/segments/1/add_customers?id_type=email",
            {"ids": ["a@x.com"]},
            {"ids": ["b@x.com"]},
            "POST /api/v1/segments/1/add_customers?id_type=email",
            {"ids": ["b@x.com"]},
        ),
    ],
)
def test_a_v1_call_stays_that_call_or_becomes_what_v2_can_say_of_it(line, was, body, call, becomes):
    entry = amend_with(letter_of_call(line, was, BY_SHAPE), body)
    assert (entry.call, said(entry)) == (call, becomes)


def test_what_is_in_an_encoded_path_stays_there():
    letter = letter_of_call("POST /api/v1/customers/a%2Fb%2Bc%252F/events?x=%C3%BC", {"name": "b"})
    entry = amend_with(letter, {"name": "c"}, UNMAPPED)
    assert entry.call == letter.call == "POST /api/v1/customers/a%2Fb%2Bc%252F/events?x=%C3%BC"
    assert has_lanes(entry, "id:a/b+c%2F")


def test_a_call_without_stamps_is_taken_to_the_byte():
    report = b'{ "metric":"opened" ,"delivery_id":"d2","metric":"clicked"}'
    entry = amend_with(letter_of_call("POST /api/v1/metrics", {"delivery_id": "d1", "metric": "opened"}), report)
    assert entry.body == report
    assert has_lanes(entry, "delivery:d2")
    unread = amend_with(
        letter_of_call("DELETE /api/v1/customers/5", b"no json, but nobody asked"), b"nor this", UNMAPPED
    )
    assert unread.body == b"nor this"


@pytest.mark.parametrize("identifiers", [{"id": "5"}, {"email": "A@x.com"}, {"cio_id": "f0"}, {"anonymous_id": "a1"}])
@pytest.mark.parametrize("mapping", [BY_SHAPE, ALL_IDS, UNMAPPED])
def test_a_large_v2_event_that_becomes_smaller_is_v2s_again_and_about_the_same_person(identifiers, mapping):
    letter = letter_of(BOUGHT | {"identifiers": identifiers, "attributes": LARGE})
    assert letter.call
    same = amend_with(letter, letter.body, mapping)
    assert (same.call, same.body) == (letter.call, letter.body)
    visitor = {"anonymous_id": "a1"} if "anonymous_id" in identifiers else {}  # v1 names nobody else in its body
    entry = amend_with(letter, {"name": "bought", "data": {}} | visitor, mapping)
    assert said(entry) == BOUGHT | {"identifiers": identifiers, "attributes": {}}
    assert same.lanes == entry.lanes == read_entity(entry.body, ACCEPTANCE).lanes


def test_a_v2_event_that_becomes_larger_is_said_in_v1():
    entry = amend_with(letter_of(BOUGHT), without(BOUGHT, "id") | {"attributes": LARGE})
    assert (entry.call, said(entry)) == (EVENTS_OF_5, {"name": "bought", "data": LARGE, "id": "mine", "timestamp": 12})
    assert mark_in(entry) == mark_of("mine")


@pytest.mark.parametrize(("was", "body"), [(PLAN, BOUGHT), (BOUGHT, PLAN), (BOUGHT, ANN | {"action": "delete"})])
def test_an_event_stays_one_and_nothing_else_becomes_one(was, body):
    """By way of something else its id would get lost, and it could be counted twice."""
    with pytest.raises(InvalidOperation) as refused:
        amend_with(letter_of(was), body)
    assert refused.value.problem.field == "action"


def test_what_is_too_large_is_refused():
    with pytest.raises(TooLarge):
        amend_with(letter_of(PLAN), PLAN | {"attributes": LARGE})
    with pytest.raises(TooLarge):
        amend_with(letter_of(BOUGHT), BOUGHT | {"attributes": {"x": "x" * 100_000}})
    with pytest.raises(TooLarge):
        amend_with(letter_of_call(PERSON_5, {}), {"x": "x" * 500_000})


@pytest.mark.parametrize(("body", "sentence"), BROKEN)
@pytest.mark.parametrize(
    "letter",
    [letter_of(BOUGHT), letter_of(PLAN), letter_of_call(EVENTS_OF_5, {"name": "b"}), letter_of_call(PERSON_5, {})],
    ids=["v2 event", "v2 identify", "v1 event", "v1 identify"],
)
def test_a_broken_body_is_refused_with_what_and_where(letter, body, sentence):
    with pytest.raises(InvalidOperation) as refused:
        amend_with(letter, body)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("letter", "body", "field"),
    [
        (letter_of(BOUGHT), b"", "type"),
        (letter_of(BOUGHT), {"batch": [BOUGHT]}, "type"),
        (letter_of(BOUGHT), {"name": "b", "data": {}}, "type"),
        (letter_of(BOUGHT), BOUGHT | {"name": ""}, "name"),
        (letter_of(BOUGHT), BOUGHT | {"timestamp": "12"}, "timestamp"),
        (letter_of(BOUGHT), BOUGHT | {"action": "fly"}, "action"),
        (letter_of(BOUGHT), encoded(BOUGHT)[:-1] + b',"timestamp":' + b"9" * 5_000 + b"}", "timestamp"),
        (letter_of_call(EVENTS_OF_5, {"name": "b"}), BOUGHT | {"id": None, "name": None}, "name"),
        (letter_of_call(EVENTS_OF_5, {"name": "b"}), b"null", "name"),
        (letter_of_call("POST /api/v1/metrics", {"delivery_id": "d", "metric": "m"}), {"metric": "m"}, "delivery_id"),
        (letter_of_call("POST /api/v1/segments/1/add_customers", {"ids": ["5"]}), {"ids": []}, "ids"),
    ],
)
def test_what_is_wrong_is_said_as_it_is_to_an_app(letter, body, field):
    with pytest.raises(InvalidOperation) as refused:
        amend_with(letter, body)
    assert refused.value.problem.field == field


def test_a_call_that_nobody_knows_any_more_is_refused():
    letter = structs.replace(letter_of_call(EVENTS_OF_5, {"name": "b"}), call="POST /api/v9/events")
    with pytest.raises(InvalidOperation, match="not taken any more"):
        amend_with(letter, {"name": "b"})


@pytest.mark.parametrize("count", [0, 2])
def test_a_letter_stays_one_operation(monkeypatch, count):
    entries = [read_entity(encoded(BOUGHT), ACCEPTANCE)] * count
    monkeypatch.setattr(amend, "find_call", lambda method, path: (Found(lambda call: entries, "Makes many"), ()))
    with pytest.raises(InvalidOperation, match=f"stays one operation, and this would make {count}"):
        amend_with(letter_of_call(PERSON_5, {}), {})


drawn = pytest.mark.parametrize("way", ways)


def in_json(value):
    """As JSON, halves of surrogate pairs and all."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def letters_of(way, entries):
    route = {"entity": "v2 entity", "batch": "v2 batch"}.get(way, "v1")
    return [dead(entry, route=route, traceparent=TRACE) for entry in entries]


@drawn
@settings(max_examples=60, deadline=None)
@given(st.data(), st.tuples(segments, queries), mappings)
def test_with_its_own_body_a_letter_stays_what_it_was(way, data, named, mapping):
    entries = entries_of(way, named, mapping, data.draw(bodies(way)))
    for entry, letter in zip(entries, letters_of(way, entries), strict=True):
        same = amend_with(letter, letter.body, mapping)
        expected = structs.replace(entry, route=letter.route, traceparent=TRACE, trail=same.trail)
        assert same == expected
        was, now = unpack_trail(entry.trail), unpack_trail(same.trail)
        assert (now.mark, now.kind, now.lanes, now.accepted_at_ms) == (
            was.mark,
            was.kind,
            was.lanes,
            was.accepted_at_ms,
        )


@drawn
@settings(max_examples=60, deadline=None)
@given(st.data(), st.tuples(segments, queries), mappings, mappings)
def test_any_body_is_refused_or_makes_an_entry_that_keeps_what_has_to_stay(way, data, named, before, after):
    anything = st.sampled_from(list(ways)).flatmap(bodies) | values.map(in_json) | st.binary()
    for letter in letters_of(way, entries_of(way, named, before, data.draw(bodies(way)))):
        try:
            entry = amend_with(letter, data.draw(bodies(way) | anything), after)
        except InvalidOperation:
            continue
        assert isinstance(entry, NewEntry)
        kept = (letter.accepted_at_ms, letter.route, letter.traceparent)
        assert (entry.accepted_at_ms, entry.route, entry.traceparent) == kept
        if letter.kind in EVENTS and entry.kind in EVENTS:
            was = amend_with(letter, letter.body, after)
            assert mark_in(entry) == mark_in(was)
        assert amend_with(dead(entry), entry.body, after).body == entry.body
