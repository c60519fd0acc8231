"""v2 operations are stored as they came, with the stamps that they lack."""

import json

import pytest

from cio_buffer.errors import InvalidOperation, TooLarge
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.track_v2 import read_batch, read_entity

from .said import ACCEPTANCE, BROKEN, EMPTY_BODIES, NEW_ID, STAMP, has_lanes, said

ANN = {"type": "person", "identifiers": {"id": "5"}}
BOUGHT = ANN | {"action": "event", "name": "bought"}
IDENTIFY = ANN | {"action": "identify"}
TIES = [{"identifiers": {"object_type_id": "1", "object_id": "acme"}}]


def entity(body):
    return read_entity(body if isinstance(body, bytes) else json.dumps(body).encode(), ACCEPTANCE)


def batch(*operations):
    return read_batch(json.dumps({"batch": operations}).encode(), ACCEPTANCE)


@pytest.mark.parametrize(
    "more",
    [
        {"action": "delete"},
        {"action": "suppress"},
        {"action": "unsuppress"},
        {"action": "add_relationships", "cio_relationships": TIES},
        {"action": "delete_relationships", "cio_relationships": TIES},
        {"action": "add_device", "device": {"token": "abc", "platform": "ios", "last_used": "5", "more": 1}},
        {"action": "delete_device", "device": {"token": "abc"}},
        {"type": "object", "action": "delete", "identifiers": {"cio_object_id": "o1"}},
    ],
)
def test_what_needs_no_stamp_is_stored_as_it_came(more):
    entry = entity(ANN | more | {"unknown": None})
    assert said(entry) == ANN | more | {"unknown": None}
    assert entry.call is None


@pytest.mark.parametrize("action", ["event", "page", "screen"])
@pytest.mark.parametrize(
    ("given", "id", "timestamp"),
    [
        ({}, NEW_ID, STAMP),
        ({"id": "", "timestamp": None}, NEW_ID, STAMP),
        ({"id": None, "timestamp": 0}, NEW_ID, 0),
        ({"id": "mine", "timestamp": 12}, "mine", 12),
    ],
)
def test_events_get_the_stamps_that_they_lack(action, given, id, timestamp):
    entry = entity(BOUGHT | {"action": action} | given)
    assert said(entry) == BOUGHT | {"action": action, "id": id, "timestamp": timestamp}
    assert entry.kind == action


@pytest.mark.parametrize(
    ("given", "stamp"),
    [
        ({}, {"timestamp": STAMP}),
        ({"timestamp": None}, {"timestamp": STAMP}),
        ({"attributes": {"_timestamp": None}}, {"timestamp": STAMP}),
        ({"timestamp": 0}, {}),
        ({"_timestamp": 12}, {}),
        ({"attributes": {"_timestamp": 12}}, {}),
        ({"attributes": {"_timestamp": "odd"}}, {}),
    ],
)
def test_an_identify_gets_its_stamp_where_it_has_none(given, stamp):
    assert said(entity(IDENTIFY | given)) == IDENTIFY | given | stamp


ACME = {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
SOLD = ACME | {"action": "event", "name": "sold"}


def test_an_objects_event_gets_its_stamps_too():
    """One SDK sends it; Customer.io's description lacks it."""
    entry = entity(SOLD | {"id": "", "attributes": {"price": 1}})
    assert said(entry) == SOLD | {"id": NEW_ID, "timestamp": STAMP, "attributes": {"price": 1}}
    assert (entry.kind, entry.call) == ("object_event", None)
    assert has_lanes(entry, "object:1:acme")
    assert said(entity(SOLD | {"id": "mine", "timestamp": 0})) == SOLD | {"id": "mine", "timestamp": 0}
    with pytest.raises(TooLarge):
        entity(SOLD | {"attributes": {"x": "x" * 32_000}})


def test_only_a_persons_identify_is_stamped():
    acme = {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
    assert said(entity(acme)) == acme
    opened = {"type": "delivery", "action": "event", "identifiers": {"id": "d"}, "name": "opened"}
    assert said(entity(opened | {"attributes": {"device_token": "t"}})).keys().isdisjoint({"id", "timestamp"})


def test_lanes_are_those_of_the_operation():
    assert has_lanes(entity(IDENTIFY | {"attributes": {"email": "A@x.com", "phone": ""}}), "id:5", "email:a@x.com")
    merge = {"type": "person", "action": "merge", "primary": {"id": "5"}, "secondary": {"cio_id": "f0"}}
    assert has_lanes(entity(merge), "id:5", "cio_id:f0")


def test_members_are_stored_as_they_came():
    odd = b'{"z":12345678901234567890123,"e":1E+2,"a":{"y":null,"x":[null,{}]},"z2":-0.0}'
    body = b'{"type":"person","odd":1E2,"action":"identify","identifiers":{"id":"5"},"attributes":' + odd + b"}"
    assert entity(body).body == body[:-1] + b',"timestamp":%d}' % STAMP


def test_of_a_name_that_stands_there_twice_the_last_one_counts():
    twice = b'{"type":"object","action":"event","name":"a","identifiers":{"id":"6"},"id":"x",'
    entry = entity(twice + b'"type":"person","identifiers":{"id":"5"},"name":"b","id":null}')
    assert said(entry) == ANN | {"action": "event", "name": "b", "id": NEW_ID, "timestamp": STAMP}
    assert has_lanes(entry, "id:5")
    with pytest.raises(InvalidOperation):
        entity(b'{"type":"person","action":"delete","identifiers":{"id":"5"},"action":"suppress"}')


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({}, "type", "required"),
        ({"type": "person"}, "action", "required"),
        ({"type": "robot", "action": "event"}, "type", "invalid"),
        ({"type": 5, "action": "event"}, "type", "invalid"),
        ({"type": "person", "action": "fly"}, "action", "invalid"),
        ({"type": "person", "action": "event", "identifiers": {"id": "5"}}, "name", "required"),
    ],
)
def test_what_is_wrong_is_said(body, field, reason):
    with pytest.raises(InvalidOperation) as refused:
        entity(body)
    assert (refused.value.problem.field, refused.value.problem.reason) == (field, reason)


@pytest.mark.parametrize("body", EMPTY_BODIES)
def test_an_empty_body_lacks_everything(body):
    with pytest.raises(InvalidOperation, match="`type` is required"):
        entity(body)


@pytest.mark.parametrize(("body", "sentence"), BROKEN)
def test_a_broken_body_is_refused_with_what_and_where(body, sentence):
    def read():
        check_text(body)
        entity(body)

    with pytest.raises(InvalidOperation) as refused:
        read()
    assert sentence in str(refused.value)


def test_an_operation_has_less_than_32_kb():
    spare = 31_999 - len(entity(IDENTIFY | {"attributes": {"x": ""}}).body)
    assert len(entity(IDENTIFY | {"attributes": {"x": "x" * spare}}).body) == 31_999
    with pytest.raises(TooLarge, match="32000 bytes"):
        entity(IDENTIFY | {"attributes": {"x": "x" * (spare + 1)}})


def test_an_event_that_is_too_large_for_v2_is_said_in_v1():
    entry = entity(BOUGHT | {"attributes": {"x": "x" * 32_000}, "more": 1})
    assert (entry.kind, entry.call) == ("event", "POST /api/v1/customers/5/events")
    stamps = {"id": NEW_ID, "timestamp": STAMP}
    assert said(entry) == {"name": "bought", "data": {"x": "x" * 32_000}, "more": 1} | stamps
    assert has_lanes(entry, "id:5")


@pytest.mark.parametrize("identifiers", [{"phone": "+1"}, {"id": "a@x.com"}, {"id": "cio_5"}, {"id": ".."}])
def test_a_large_event_of_somebody_whom_v1_cannot_name_is_refused(identifiers):
    with pytest.raises(TooLarge):
        entity(BOUGHT | {"identifiers": identifiers, "attributes": {"x": "x" * 32_000}})


def test_an_event_with_more_than_100_000_bytes_of_attributes_is_refused():
    assert entity(BOUGHT | {"attributes": {"x": "x" * (100_000 - 9)}}).call
    with pytest.raises(TooLarge):
        entity(BOUGHT | {"attributes": {"x": "x" * (100_000 - 8)}})


def test_each_operation_of_a_batch_is_judged_by_itself():
    taken = batch(BOUGHT, {"type": "person"}, IDENTIFY, 5, None, BOUGHT | {"name": ""})
    assert [said(entry)["action"] for entry in taken.entries] == ["event", "identify"]
    assert [(index, problem.field, problem.reason) for index, problem in taken.problems] == [
        (1, "action", "required"),
        (3, "", "invalid"),
        (4, "type", "required"),
        (5, "name", "invalid"),
    ]


def test_one_large_operation_of_a_batch_harms_no_other():
    taken = batch(IDENTIFY | {"attributes": {"x": "x" * 32_000}}, BOUGHT)
    assert [entry.kind for entry in taken.entries] == ["event"]
    assert [index for index, _ in taken.problems] == [0]


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"{}", "batch", "required"),
        (b'{"batch":[]}', "batch", "required"),
        (b'{"batch":{}}', "batch", "invalid"),
        (b'{"batch":null}', "batch", "invalid"),
        (b"", "", "invalid"),
        (b"null", "", "invalid"),
        (b'{"batch":[{]}', "", "invalid"),
        (b'{"batch":[{}]', "", "invalid"),
        (b'{"batch":[{}]}]', "", "invalid"),
        (b'\xef\xbb\xbf{"batch":[{}]}', "", "invalid"),
        (b'{"batch":[{"a":"\\ud800"}]}', "", "invalid"),
        (b'{"batch":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}", "", "invalid"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body, field, reason):
    with pytest.raises(InvalidOperation) as refused:
        read_batch(body, ACCEPTANCE)
    assert (refused.value.problem.field, refused.value.problem.reason) == (field, reason)
