"""What an entry will leave in the delivery log: by an event's id it can be found again."""

import json

import pytest

from cio_buffer.ingest.reading import as_typed, read_fields
from cio_buffer.ingest.track_v1 import Mapping
from cio_buffer.ingest.track_v2 import Acceptance, read_batch, read_entity
from cio_buffer.outbox.trail import LANES_MAX, NO_MARK, ROUTES, mark_of, unpack_trail

from .said import ACCEPTANCE, ALL_IDS, BY_SHAPE, NEW_ID, UNMAPPED, encoded, made

ANN = {"type": "person", "identifiers": {"id": "5"}}
ACME = {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
BOUGHT = {"action": "event", "name": "bought"}
OPENED = {"type": "delivery", "identifiers": {"id": "d"}, "attributes": {"device_token": "t"}}
LARGE = {"attributes": {"x": "x" * 32_000}}
EVERY_MAPPING = [BY_SHAPE, ALL_IDS, UNMAPPED, Mapping(anonymous="v1")]


def trail_of(operation):
    return unpack_trail(read_entity(encoded(operation), ACCEPTANCE).trail)


def trail_of_call(line, body, mapping=BY_SHAPE):
    (entry,) = made(line, body, mapping)
    return unpack_trail(entry.trail)


@pytest.mark.parametrize("who", [ANN, ANN | {"action": "page"}, ANN | {"action": "screen"}, ACME, ANN | LARGE])
@pytest.mark.parametrize(
    ("given", "id"), [({"id": "mine"}, "mine"), ({}, NEW_ID), ({"id": ""}, NEW_ID), ({"id": None}, NEW_ID)]
)
def test_a_v2_event_is_marked_by_its_id(who, given, id):
    assert trail_of(BOUGHT | who | given).mark == mark_of(id)


@pytest.mark.parametrize(
    "operation",
    [
        ANN | {"action": "identify", "id": "mine", "attributes": {"id": "mine"}},
        ANN | {"action": "delete", "id": "mine"},
        ANN | {"action": "add_device", "id": "mine", "device": {"token": "t", "platform": "ios"}},
        ACME | {"action": "identify", "id": "mine"},
        OPENED | BOUGHT | {"name": "opened", "id": "mine"},
    ],
)
def test_what_is_no_event_has_no_mark(operation):
    assert trail_of(operation).mark == NO_MARK


@pytest.mark.parametrize("mapping", EVERY_MAPPING)
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/v1/customers/5/events", {}),
        ("/api/v1/customers/5/events", {"type": "page"}),
        ("/api/v1/customers/5/events", {"type": "unheard of"}),
        ("/api/v1/customers/5/events", {"data": {"x": "x" * 32_000}}),
        ("/api/v1/events", {"anonymous_id": "a1"}),
        ("/api/v1/events", {"anonymous_id": 5, "more": 1}),
        ("/api/v1/events", {"data": {"recipient": "a@x.com"}}),
    ],
)
@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ("", NEW_ID),
        ('"id":null,', NEW_ID),
        ('"id":"",', NEW_ID),
        ('"id":"mine",', "mine"),
        ('"id": "\\u00e9\\n" ,', "é\n"),
        ('"id" : 17 ,', "17"),
        ('"id":0,', "0"),
        ('"id":-5,', "-5"),
        ('"id":1.50,', "1.50"),
        ('"id":1E+2,', "1E+2"),
        ('"id":123456789012345678901234567890,', "123456789012345678901234567890"),
        ('"id":false,', "false"),
        ('"id":["x", 1],', '["x", 1]'),
        ('"id":1,"id":2,', "2"),
    ],
)
def test_a_v1_event_is_marked_by_its_id_as_one_would_type_it(mapping, path, more, given, typed):
    body = f'{{{given}"name":"b",{json.dumps(more)[1:-1] or ""}'.rstrip(",") + "}"
    assert trail_of_call(f"POST {path}", body.encode(), mapping).mark == mark_of(typed)


@pytest.mark.parametrize("mapping", EVERY_MAPPING)
@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("PUT /api/v1/customers/5", {"id": "mine"}),
        ("DELETE /api/v1/customers/5", {"id": "mine"}),
        ("POST /api/v1/metrics", {"id": "mine", "delivery_id": "d", "metric": "opened"}),
        ("POST /api/v1/forms/f/submit", {"id": "mine", "data": {"id": "mine"}}),
    ],
)
def test_a_call_that_is_no_event_has_no_mark(mapping, line, body):
    assert trail_of_call(line, body, mapping).mark == NO_MARK


@pytest.mark.parametrize("text", ['"a"', '"\\u00e9"', "17", "1.50", "null", '{"a": 1}', '""'])
def test_what_is_typed_is_the_text_or_what_json_writes(text):
    typed = as_typed(read_fields(b'{"id": %b }' % text.encode())["id"])
    assert typed == (json.loads(text) if text.startswith('"') else text)


def test_the_operations_of_a_batch_are_marked_each_by_its_own():
    bodies = [ANN | BOUGHT | {"id": "one"}, ANN | {"action": "delete"}, ANN | BOUGHT | {"id": "two"}]
    entries = read_batch(encoded({"batch": bodies}), ACCEPTANCE).entries
    assert [unpack_trail(entry.trail).mark for entry in entries] == [mark_of("one"), NO_MARK, mark_of("two")]


def test_it_counts_lanes():
    assert trail_of(ANN | {"action": "identify", "attributes": {"id": "5", "email": "A@x.com"}}).lanes == 2
    assert trail_of_call("POST /api/v1/events", {"name": "invited"}).lanes == 0
    for people in (254, 255, 256, 1_000):
        body = {"ids": [str(person) for person in range(people)]}
        assert trail_of_call("POST /api/v1/segments/1/add_customers", body).lanes == min(people, LANES_MAX)


@pytest.mark.parametrize("route", [None, *ROUTES])
def test_it_says_by_which_door_it_came(route):
    entry = read_entity(encoded(ANN | BOUGHT), Acceptance(1_700_000_000_123, lambda: NEW_ID, route))
    trail = unpack_trail(entry.trail)
    assert (entry.route, trail.route) == (route, route or "")
    assert trail.accepted_at_ms == entry.accepted_at_ms == 1_700_000_000_123
