"""What v1 calls become: v2 operations where v2 can say it for certain, else the call that it was."""

import json

import pytest

from cio_buffer.errors import InvalidOperation, TooLarge
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.track_v1 import Mapping, read_person

from .said import ALL_IDS, BROKEN, BY_SHAPE, EMPTY_BODIES, NEW_ID, STAMP, UNMAPPED, has_lanes, made, said

ANN = {"type": "person", "identifiers": {"id": "5"}}
ACME = {"object_type_id": "1", "object_id": "acme"}


def identify(body, segment="5", mapping=BY_SHAPE):
    return made(f"PUT /api/v1/customers/{segment}", body, mapping)


def event(body, segment="5", mapping=BY_SHAPE):
    (entry,) = made(f"POST /api/v1/customers/{segment}/events", body, mapping)
    return entry


def anonymous(body, mapping=BY_SHAPE):
    (entry,) = made("POST /api/v1/events", body, mapping)
    return entry


def delete(segment="5", mapping=BY_SHAPE):
    (entry,) = made(f"DELETE /api/v1/customers/{segment}", b"", mapping)
    return entry


@pytest.mark.parametrize(
    ("segment", "kind", "value"),
    [
        ("5", "id", "5"),
        ("cio_f0", "cio_id", "f0"),
        ("ann@example.com", "email", "ann@example.com"),
        ("a%2Bb%40example.com", "email", "a+b@example.com"),
        ("a+b@example.com", "email", "a+b@example.com"),
        ("ann@localhost", "id", "ann@localhost"),
        ("ann@com.", "id", "ann@com."),
        ("@example.com", "id", "@example.com"),
        ("a@b@example.com", "id", "a@b@example.com"),
        ("a%20b@example.com", "id", "a b@example.com"),
        ("a%09b@example.com", "id", "a\tb@example.com"),
        ("a%252Fb", "id", "a%2Fb"),
        ("a/b", "id", "a/b"),
        ("100%", "id", "100%"),
        ("j%C3%BCrgen", "id", "jürgen"),
        ("+4912345", "id", "+4912345"),
        ("a%00b", "id", "a\0b"),
        ("x" * 150, "id", "x" * 150),
        ("cio_" + "x" * 150, "cio_id", "x" * 150),
    ],
)
def test_the_path_says_who_by_its_shape(segment, kind, value):
    assert said(delete(segment)) == {"type": "person", "identifiers": {kind: value}, "action": "delete"}


def test_all_are_ids_where_the_config_says_so():
    for value in ("ann@example.com", "cio_f0", "5"):
        assert said(delete(value, ALL_IDS))["identifiers"] == {"id": value}
        assert has_lanes(delete(value, ALL_IDS), f"id:{value}")


def test_unmapped_calls_keep_their_path_and_the_lane_of_their_shape():
    entry = delete("Ann%40Example.com", UNMAPPED)
    assert (entry.call, entry.body) == ("DELETE /api/v1/customers/Ann%40Example.com", b"")
    assert has_lanes(entry, "email:ann@example.com")
    assert identify({}, "cio_f0", UNMAPPED)[0].call == "PUT /api/v1/customers/cio_f0"
    assert has_lanes(identify({}, "cio_f0", UNMAPPED)[0], "cio_id:f0")
    kept = event({"name": "b", "data": None}, "a/b+c", UNMAPPED)
    assert kept.call == "POST /api/v1/customers/a%2Fb%2Bc/events"
    assert said(kept) == {"name": "b", "data": None, "id": NEW_ID, "timestamp": STAMP}


@pytest.mark.parametrize("segment", ["", "x" * 151, "cio_", "%FF", "\udcff", "%ED%A0%80", ".", "%2E%2E"])
@pytest.mark.parametrize("mapping", [BY_SHAPE, UNMAPPED])
def test_what_names_nobody_is_refused(segment, mapping):
    with pytest.raises(InvalidOperation) as refused:
        read_person(segment, mapping)
    assert refused.value.problem.field == "customer_id"
    assert "\udcff" not in str(refused.value)


def test_an_identify_becomes_v2():
    (entry,) = identify({"email": "Ann@X.com", "plan": None, "_update": True, "deep": {"b": [None], "a": {}}})
    assert said(entry) == ANN | {
        "action": "identify",
        "attributes": {"email": "Ann@X.com", "plan": None, "_update": True, "deep": {"b": [None], "a": {}}},
        "timestamp": STAMP,
    }
    assert (entry.kind, entry.call, entry.accepted_at_ms) == ("identify", None, 1_800_000_000_900)
    assert has_lanes(entry, "id:5", "email:ann@x.com")


@pytest.mark.parametrize("body", EMPTY_BODIES)
def test_an_identify_may_be_empty(body):
    (entry,) = identify(body)
    assert said(entry) == ANN | {"action": "identify", "attributes": {}, "timestamp": STAMP}


@pytest.mark.parametrize(
    ("given", "stamp"), [({}, STAMP), ({"_timestamp": None}, STAMP), ({"_timestamp": 0}, 0), ({"_timestamp": 12}, 12)]
)
def test_an_identifys_stamp_moves_to_the_top(given, stamp):
    (entry,) = identify(given | {"timestamp": 5})
    assert said(entry) == ANN | {"action": "identify", "attributes": {"timestamp": 5}, "timestamp": stamp}


@pytest.mark.parametrize("given", ["12", 1.5, True, [1]])
def test_an_odd_stamp_of_an_identify_stays_in_v1(given):
    (entry,) = identify({"a": 1, "_timestamp": given})
    assert (entry.call, said(entry)) == ("PUT /api/v1/customers/5", {"a": 1, "_timestamp": given})
    assert has_lanes(entry, "id:5")


def test_an_identify_touches_every_identifier_that_it_names():
    (entry,) = identify({"id": 7, "email": "A@X.com", "cio_id": "f0", "anonymous_id": "a1"}, "b@x.com")
    assert has_lanes(entry, "email:b@x.com", "id:7", "email:a@x.com", "cio_id:f0", "anonymous_id:a1")
    (kept,) = identify({"email": "A@X.com", "_timestamp": "odd"})
    assert has_lanes(kept, "id:5", "email:a@x.com")


def test_emails_in_any_case_share_a_lane():
    assert delete("Ann@Example.COM").lanes == delete("ann@example.com").lanes
    assert delete("ANN").lanes != delete("ann").lanes


def tied(action, *relationships):
    return {"plan": "pro", "cio_relationships": {"action": action, "relationships": list(relationships)}}


TIE = {"identifiers": ACME, "relationship_attributes": {"role": None}}


def test_added_relationships_stay_with_the_identify():
    (entry,) = identify(tied("add_relationships", TIE, {"identifiers": {"cio_object_id": "o1"}}))
    assert said(entry)["cio_relationships"] == [TIE, {"identifiers": {"cio_object_id": "o1"}}]
    assert said(entry)["attributes"] == {"plan": "pro"}


def test_an_identify_that_deletes_relationships_stays_whole_in_v1():
    """v2 needs a second operation for it, which would take effect although the first is refused."""
    body = tied("delete_relationships", TIE) | {"email": "a@x.com"}
    (entry,) = identify(body)
    assert (entry.kind, entry.call) == ("identify", "PUT /api/v1/customers/5")
    assert said(entry) == body | {"_timestamp": STAMP}
    assert has_lanes(entry, "id:5", "email:a@x.com")


def test_null_relationships_are_none():
    (entry,) = identify({"cio_relationships": None})
    assert said(entry) == ANN | {"action": "identify", "attributes": {}, "timestamp": STAMP}


@pytest.mark.parametrize(
    "wrapped",
    [
        [],
        "x",
        [TIE],
        {"relationships": [TIE]},
        {"action": "replace", "relationships": [TIE]},
        {"action": "add_relationships", "relationships": None},
        {"action": "add_relationships", "relationships": []},
        {"action": "add_relationships", "relationships": [TIE], "more": 1},
        {"action": "add_relationships", "relationships": [TIE | {"more": 1}]},
        {"action": "add_relationships", "relationships": [{"identifiers": ACME | {"object_type_id": 1}}]},
        {"action": "add_relationships", "relationships": [{"identifiers": {"id": "5"}}]},
    ],
)
def test_relationships_of_another_shape_stay_in_v1(wrapped):
    (entry,) = identify({"cio_relationships": wrapped, "plan": "pro"})
    assert entry.call == "PUT /api/v1/customers/5"
    assert said(entry) == {"cio_relationships": wrapped, "plan": "pro", "_timestamp": STAMP}


@pytest.mark.parametrize("given", [{"_timestamp": None}, {}])
def test_what_stays_in_v1_is_stamped_as_v1_spells_it(given):
    (entry,) = identify(given | {"a": 1}, mapping=UNMAPPED)
    assert said(entry) == {"a": 1, "_timestamp": STAMP}


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({}, "event"),
        ({"type": None}, "event"),
        ({"type": "event"}, "event"),
        ({"type": "page"}, "page"),
        ({"type": "screen"}, "screen"),
    ],
)
def test_an_event_becomes_v2(given, action):
    entry = event(given | {"name": "bought", "data": {"price": 1}})
    stamps = {"id": NEW_ID, "timestamp": STAMP}
    assert said(entry) == ANN | {"action": action, "name": "bought", "attributes": {"price": 1}} | stamps
    assert (entry.kind, entry.call) == (action, None)
    assert has_lanes(entry, "id:5")


@pytest.mark.parametrize(("given", "attributes"), [({}, None), ({"data": None}, {}), ({"data": {}}, {})])
def test_an_events_data_may_be_empty(given, attributes):
    assert said(event(given | {"name": "b"})).get("attributes") == attributes


@pytest.mark.parametrize(
    ("given", "id", "timestamp"),
    [
        ({"id": "mine"}, "mine", STAMP),
        ({"id": "", "timestamp": None}, NEW_ID, STAMP),
        ({"id": None, "timestamp": 0}, NEW_ID, 0),
        ({"id": "é", "timestamp": -1}, "é", -1),
        ({"timestamp": 10**30}, NEW_ID, 10**30),
    ],
)
@pytest.mark.parametrize("mapping", [BY_SHAPE, UNMAPPED])
def test_events_get_the_stamps_that_they_lack(given, id, timestamp, mapping):
    entry = event(given | {"name": "b"}, mapping=mapping)
    assert (said(entry)["id"], said(entry)["timestamp"]) == (id, timestamp)


@pytest.mark.parametrize(
    "given",
    [
        {"type": "purchase"},
        {"type": ""},
        {"type": 5},
        {"type": False},
        {"type": ["event"]},
        {"timestamp": 1.5},
        {"timestamp": 1.0},
        {"timestamp": "1700000000"},
        {"timestamp": "now"},
        {"timestamp": True},
        {"timestamp": {}},
        {"extra": None},
    ],
)
def test_an_event_in_doubt_stays_in_v1(given):
    entry = event(given | {"name": "b", "data": {"a": 1}})
    assert entry.call == "POST /api/v1/customers/5/events"
    assert said(entry) == {"timestamp": STAMP} | given | {"name": "b", "data": {"a": 1}, "id": NEW_ID}
    assert entry.kind == "event"
    assert has_lanes(entry, "id:5")


@pytest.mark.parametrize("id", [5, 0, 1.5, False, ["x"], {"a": 1}, 10**30])
@pytest.mark.parametrize("mapping", [BY_SHAPE, UNMAPPED])
def test_an_events_id_that_is_no_text_stays_as_it_came(id, mapping):
    for entry in (event({"name": "b", "id": id}, mapping=mapping), anonymous({"name": "b", "id": id}, mapping)):
        assert entry.call
        assert said(entry) == {"name": "b", "id": id, "timestamp": STAMP}


def test_an_anonymous_event_becomes_v2():
    entry = anonymous({"name": "b", "anonymous_id": "a1", "data": {"a": 1}})
    assert said(entry) == {
        "type": "person",
        "identifiers": {"anonymous_id": "a1"},
        "action": "event",
        "name": "b",
        "id": NEW_ID,
        "timestamp": STAMP,
        "attributes": {"a": 1},
    }
    assert (entry.kind, entry.call) == ("event", None)
    assert has_lanes(entry, "anonymous_id:a1")


def test_an_anonymous_event_stays_in_v1_where_the_config_says_so_or_more_is_said():
    for mapping, more in ((Mapping(anonymous="v1"), {}), (BY_SHAPE, {"extra": 1})):
        entry = anonymous({"name": "b", "anonymous_id": "a1", "type": "page"} | more, mapping)
        assert (entry.kind, entry.call) == ("page", "POST /api/v1/events")
        expected = {"name": "b", "anonymous_id": "a1", "type": "page", "id": NEW_ID, "timestamp": STAMP}
        assert said(entry) == expected | more
        assert has_lanes(entry, "anonymous_id:a1")


@pytest.mark.parametrize("given", [{}, {"anonymous_id": ""}, {"anonymous_id": None}])
def test_an_event_of_nobody_is_an_invite_and_stays_in_v1(given):
    body = given | {"name": "b", "data": {"recipient": "a@x.com"}}
    entry = anonymous(body)
    assert (entry.kind, entry.call) == ("invite", "POST /api/v1/events")
    assert said(entry) == body | {"id": NEW_ID, "timestamp": STAMP}
    assert has_lanes(entry)


REFUSED_EVENTS = [
    ({}, "name", "required"),
    ({"data": {}}, "name", "required"),
    ({"name": None}, "name", "invalid"),
    ({"name": 5}, "name", "invalid"),
    ({"name": " "}, "name", "invalid"),
    ({"name": "ü" * 51}, "name", "invalid"),
    ({"name": "/" * 8_001, "type": "page"}, "name", "invalid"),
    (b'{"name":"b","timestamp":1e999}', "timestamp", "invalid"),
    ({"name": "b", "data": []}, "data", "invalid"),
    ({"name": "b", "data": "x"}, "data", "invalid"),
]


@pytest.mark.parametrize(("body", "field", "reason"), REFUSED_EVENTS)
@pytest.mark.parametrize("take", [event, anonymous])
def test_what_is_wrong_with_an_event_is_said(body, field, reason, take):
    with pytest.raises(InvalidOperation) as refused:
        take(body)
    assert (refused.value.problem.field, refused.value.problem.reason) == (field, reason)


@pytest.mark.parametrize(
    ("given", "lanes"),
    [(5, ["anonymous_id:5"]), (0, ["anonymous_id:0"]), (10**30, [f"anonymous_id:{10**30}"])]
    + [(odd, []) for odd in (1.5, True, False, ["a1"], {"id": "a1"})],
)
@pytest.mark.parametrize("mapping", [BY_SHAPE, Mapping(anonymous="v1")])
def test_an_anonymous_id_that_is_no_text_stays_in_v1_and_a_number_keeps_its_order(given, lanes, mapping):
    entry = anonymous({"name": "b", "anonymous_id": given}, mapping)
    assert (entry.kind, entry.call) == ("event", "POST /api/v1/events")
    assert said(entry) == {"name": "b", "anonymous_id": given, "id": NEW_ID, "timestamp": STAMP}
    assert has_lanes(entry, *lanes)


@pytest.mark.parametrize("value", ["x" * 151, int("9" * 151)])
@pytest.mark.parametrize("mapping", [BY_SHAPE, Mapping(anonymous="v1")])
def test_what_is_wrong_with_an_anonymous_id_is_said(value, mapping):
    with pytest.raises(InvalidOperation) as refused:
        anonymous({"name": "b", "anonymous_id": value}, mapping)
    assert refused.value.problem.field == "anonymous_id"


@pytest.mark.parametrize("body", EMPTY_BODIES)
def test_an_empty_event_lacks_its_name(body):
    with pytest.raises(InvalidOperation, match="`name` is required"):
        event(body)


@pytest.mark.parametrize(("body", "sentence"), BROKEN)
@pytest.mark.parametrize("take", [identify, event, anonymous])
def test_a_broken_body_is_refused_with_what_and_where(body, sentence, take):
    def read():
        check_text(body)
        take(body)

    with pytest.raises(InvalidOperation) as refused:
        read()
    assert sentence in str(refused.value)


def filled_up_to(entry_of, size):
    """The entry whose body in v2 has, or would have, `size` bytes: `entry_of` makes one with a filling of n bytes."""
    spare = size - len(entry_of(0).body)
    return entry_of(spare)


def test_an_operation_of_32_kb_or_more_stays_in_v1():
    def bought(n):
        return event({"name": "b", "data": {"x": "x" * n}})

    assert (len(filled_up_to(bought, 31_999).body), filled_up_to(bought, 31_999).call) == (31_999, None)
    assert filled_up_to(bought, 32_000).call == "POST /api/v1/customers/5/events"
    assert said(filled_up_to(bought, 32_000))["id"] == NEW_ID

    def named(n):
        return identify({"x": "x" * n})[0]

    assert (len(filled_up_to(named, 31_999).body), filled_up_to(named, 31_999).call) == (31_999, None)
    assert filled_up_to(named, 32_000).call == "PUT /api/v1/customers/5"
    assert said(filled_up_to(named, 32_000))["_timestamp"] == STAMP


def test_an_identify_stays_in_v1_when_its_relationships_are_too_large():
    body = tied("add_relationships", TIE | {"relationship_attributes": {"x": "x" * 32_000}})
    (entry,) = identify(body)
    assert entry.call == "PUT /api/v1/customers/5"
    assert said(entry) == body | {"_timestamp": STAMP}


def test_an_events_data_may_have_100_000_bytes():
    most = '{"x":"' + "x" * (100_000 - 8) + '"}'
    assert said(event(f'{{"name":"b","data":{most}}}'.encode()))["data"] == json.loads(most)
    with pytest.raises(TooLarge) as refused:
        event(f'{{"name":"b","data":{most[:-1]} }}}}'.encode())
    assert refused.value.problem.field == "data"


def test_a_v1_request_has_a_most():
    assert identify({"x": "x" * 499_900})[0].call
    with pytest.raises(TooLarge):
        identify({"x": "x" * 500_000})
    with pytest.raises(TooLarge):
        event({"name": "b", "more": "x" * 500_000})


ODD = b'{"z":1,"big":123456789012345678901234567890,"e":1E+2,"minus":-0.0,"a":{"y":null,"x":[null,{}]},"u":"\\u00fc"}'


def test_attributes_reach_the_stored_body_as_they_came():
    assert b'"attributes":' + ODD in identify(ODD)[0].body
    assert b'"attributes":' + ODD in event(b'{"name":"b","data":' + ODD + b"}").body
    assert b'"data":' + ODD in event(b'{"name":"b","data":' + ODD + b',"more":1}').body


def test_of_a_name_that_stands_there_twice_the_last_one_counts():
    (entry,) = identify(b'{"email":"a@x.com","plan":"a","email":"b@x.com","plan":"b"}')
    assert said(entry)["attributes"] == {"email": "b@x.com", "plan": "b"}
    assert entry.body.count(b"plan") == 1
    assert has_lanes(entry, "id:5", "email:b@x.com")
    twice = event(b'{"name":"a","id":"x","name":"b","data":{"a":1},"id":"","data":null}')
    assert said(twice) == ANN | {"action": "event", "name": "b", "id": NEW_ID, "timestamp": STAMP, "attributes": {}}


def test_an_event_remembers_how_it_came():
    assert (event({"name": "b"}).route, event({"name": "b"}).accepted_at_ms) == ("a test", 1_800_000_000_900)
