"""Every lane of every entry that we make leads back to its name."""

import json
from collections.abc import Iterable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_buffer.admin.lane_names import name_of_lane, number_of
from cio_buffer.errors import InvalidOperation
from cio_buffer.ingest.track_v2 import read_entity
from cio_buffer.outbox.entry import NewEntry, pack_lanes, unpack_lanes
from tests.ingest.said import ACCEPTANCE, ALL_IDS, BY_SHAPE, UNMAPPED, made

EVENT = {"name": "did", "id": "01J"}
V1_CALLS: list[tuple[str, object, set[str]]] = [
    ("PUT /api/v1/customers/5", {"email": "Bob@x.example", "plan": {"id": "gold"}}, {"id:5", "email:bob@x.example"}),
    ("PUT /api/v1/customers/5", {"cio_relationships": {"action": "x"}, "cio_id": 7}, {"id:5", "cio_id:7"}),
    ("PUT /api/v1/customers/cio_ab12", {}, {"cio_id:ab12"}),
    ("POST /api/v1/customers/Ann@x.example/events", EVENT | {"odd": 1}, {"email:ann@x.example"}),
    ("POST /api/v1/customers/a%2Fb%20c/events", EVENT | {"data": {"id": "6"}}, {"id:a/b c"}),
    ("POST /api/v1/events", EVENT | {"anonymous_id": "v1"}, {"anonymous_id:v1"}),
    ("POST /api/v1/events", EVENT | {"anonymous_id": 12}, {"anonymous_id:12"}),
    ("POST /api/v1/events", EVENT, set()),
    ("DELETE /api/v1/customers/5", b"", {"id:5"}),
    ("POST /api/v1/customers/5/suppress", b"", {"id:5"}),
    ("PUT /api/v1/customers/5/devices", {"device": {"id": "tok", "platform": "odd"}}, {"id:5"}),
    ("DELETE /api/v1/customers/5/devices/tok", b"", {"id:5"}),
    (
        "POST /api/v1/merge_customers",
        {"primary": {"id": 5}, "secondary": {"email": "B@x.y"}, "odd": 1},
        {"id:5", "email:b@x.y"},
    ),
    ("POST /api/v1/metrics", {"delivery_id": "d1", "metric": "opened"}, {"delivery:d1"}),
    ("POST /push/events", {"delivery_id": "d1", "event": "opened"}, {"delivery:d1"}),
    ("POST /api/v1/cio_deliveries/events", {"payload": {"delivery_id": "d1"}}, {"delivery:d1"}),
    ("POST /unsubscribe/d%201/x", {}, {"delivery:d 1/x"}),
    ("POST /api/v1/forms/f1/submit", {"data": {"email": "Ann@x.y", "phone": "1"}}, {"email:ann@x.y", "phone:1"}),
    ("POST /api/v1/segments/7/add_customers", {"ids": ["5", 6]}, {"id:5", "id:6"}),
    (
        "POST /api/v1/segments/7/remove_customers?id_type=email",
        {"ids": ["A@x.y", "b@x.y"]},
        {"email:a@x.y", "email:b@x.y"},
    ),
]
V2_OPERATIONS = [
    {"type": "person", "action": "event", "identifiers": {"email": "Ann@x.y"}, "name": "did"},
    {"type": "person", "action": "event", "identifiers": {"id": "5"}, "name": "did", "attributes": {"a": "b" * 40_000}},
    {"type": "person", "action": "identify", "identifiers": {"id": "5"}, "attributes": {"email": "A@x.y", "phone": 1}},
    {"type": "person", "action": "merge", "primary": {"id": "5"}, "secondary": {"cio_id": "6"}},
    {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}},
    {"type": "object", "action": "delete", "identifiers": {"cio_object_id": "o7"}},
    {
        "type": "delivery",
        "action": "event",
        "identifiers": {"id": "d1"},
        "name": "opened",
        "attributes": {"device_token": "t"},
    },
]


def names(entries: Iterable[NewEntry]) -> set[str | None]:
    return {name_of_lane(lane, one.body, one.call) for one in entries for lane in unpack_lanes(one.lanes)}


@pytest.mark.parametrize("mapping", [BY_SHAPE, UNMAPPED], ids=["in v2 where it can be", "in v1"])
@pytest.mark.parametrize(("line", "body", "lanes"), V1_CALLS, ids=[line for line, *_ in V1_CALLS])
def test_of_a_v1_call(line: str, body: object, lanes: set[str], mapping: object) -> None:
    assert names(made(line, body, mapping)) == lanes


@pytest.mark.parametrize("operation", V2_OPERATIONS, ids=str)
def test_of_a_v2_operation(operation: dict[str, object]) -> None:
    entry = read_entity(json.dumps(operation).encode(), ACCEPTANCE)
    told = names([entry])
    assert None not in told
    assert pack_lanes(name for name in told if name) == entry.lanes


KINDS = st.sampled_from(["id", "email", "phone"])


@given(person=st.text(min_size=1, max_size=20), more=st.dictionaries(KINDS, st.text()))
def test_of_any_person(person: str, more: dict[str, str]) -> None:
    for mapping in (BY_SHAPE, ALL_IDS, UNMAPPED):
        try:
            [entry] = made(f"PUT /api/v1/customers/{quote(person, safe='')}", more, mapping)
        except InvalidOperation:
            return
        told = names([entry])
        assert None not in told
        assert pack_lanes(name for name in told if name) == entry.lanes


CALLS = st.sampled_from([None, "", "POST", "POST /%ff?id_type=x", "PUT /api/v1/events"])


@given(body=st.binary(max_size=40), call=CALLS)
def test_whatever_is_stored_does_no_harm(body: bytes, call: str | None) -> None:
    assert name_of_lane(number_of("id:5"), body, call) is None


@pytest.mark.parametrize("body", [b'{"type":"odd"}', b'{"type":"person","action":"odd"}', b"{}", b"[]", b""])
def test_nor_an_operation_that_we_do_not_know(body: bytes) -> None:
    """A newer version of us may have stored it."""
    assert name_of_lane(0, body, None) is None


@pytest.mark.parametrize("deep", [b"[" * 9_000, b'{"a":' * 9_000 + b"1" + b"}" * 9_000])
def test_nor_what_is_nested_deeply(deep: bytes) -> None:
    assert name_of_lane(0, deep, "POST /api/v1/events") is None
    assert name_of_lane(0, deep, None) is None


def test_another_entry_does_not_lead_to_it() -> None:
    [entry] = made("PUT /api/v1/customers/5", {"email": "ann@x.y"})
    assert name_of_lane(number_of("id:6"), entry.body, entry.call) is None
