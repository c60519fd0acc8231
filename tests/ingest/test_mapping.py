"""From v1 to v2, operation by operation: the table of track-api.md, section 7.2. A call in, what is stored out."""

from typing import Any, NamedTuple

import pytest

from cio_buffer.errors import InvalidOperation, TooLarge
from cio_buffer.ingest.track_v1 import Mapping

from .said import ALL_IDS, BY_SHAPE, EMPTY_BODIES, NEW_ID, STAMP, UNMAPPED, encoded, has_lanes, made, said

EVENT_STAMPS = {"id": NEW_ID, "timestamp": STAMP}
ODD = (
    b'{ "z":1, "big" : 123456789012345678901234567890,"e":1E+2,"minus":-0.0,'
    b'  "a":{"y":null,"x":[null,{}]},"u":"\\u00fc"}'
)
"""What may not change on its way: big numbers, the order of names, odd spellings, spaces."""

TIE = {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "relationship_attributes": {"role": None}}


class Named(NamedTuple):
    """A person in a path: what v2 is told by shape, and where every name is an id."""

    segment: str
    by_shape: dict[str, str]
    as_id: dict[str, str]
    lane_by_shape: str
    lane_as_id: str
    path: str


PEOPLE = [
    Named("5", {"id": "5"}, {"id": "5"}, "id:5", "id:5", "5"),
    Named(
        "Ann%40x.com",
        {"email": "Ann@x.com"},
        {"id": "Ann@x.com"},
        "email:ann@x.com",
        "id:Ann@x.com",
        "Ann%40x.com",
    ),
    Named("cio_f0", {"cio_id": "f0"}, {"id": "cio_f0"}, "cio_id:f0", "id:cio_f0", "cio_f0"),
    Named("a/b+c", {"id": "a/b+c"}, {"id": "a/b+c"}, "id:a/b+c", "id:a/b+c", "a%2Fb%2Bc"),
    Named("%2B1%20%C3%BC", {"id": "+1 ü"}, {"id": "+1 ü"}, "id:+1 ü", "id:+1 ü", "%2B1%20%C3%BC"),
]


class Row(NamedTuple):
    """A call about a person (`{}` in its path). `said`: the v2 operations, but for their type and identifiers.

    `kept`: the body where the call stays in v1, None for the one that came.
    """

    line: str
    body: Any
    said: list[dict[str, Any]]
    kept: Any = None
    more_lanes: tuple[str, ...] = ()


IDENTIFY, DELETE = "PUT /api/v1/customers/{}", "DELETE /api/v1/customers/{}"
EVENTS, DEVICES = "POST /api/v1/customers/{}/events", "PUT /api/v1/customers/{}/devices"
DEVICE = "DELETE /api/v1/customers/{}/devices/"
IDENTIFIED = {"action": "identify", "attributes": {}, "timestamp": STAMP}

ROWS = {
    "identify": Row(
        IDENTIFY,
        {"plan": "pro", "_update": True, "gone": None},
        [IDENTIFIED | {"attributes": {"plan": "pro", "_update": True, "gone": None}}],
        {"plan": "pro", "_update": True, "gone": None, "_timestamp": STAMP},
    ),
    "identify: nothing": Row(IDENTIFY, b"", [IDENTIFIED], {"_timestamp": STAMP}),
    "identify: null": Row(IDENTIFY, b"null", [IDENTIFIED], {"_timestamp": STAMP}),
    "identify: its stamp moves": Row(
        IDENTIFY,
        {"a": 1, "_timestamp": 12},
        [IDENTIFIED | {"attributes": {"a": 1}, "timestamp": 12}],
        {"a": 1, "_timestamp": 12},
    ),
    "identify: other names": Row(
        IDENTIFY,
        {"id": 7, "email": "B@X.com", "cio_id": "c9", "anonymous_id": "a1"},
        [IDENTIFIED | {"attributes": {"id": 7, "email": "B@X.com", "cio_id": "c9", "anonymous_id": "a1"}}],
        {"id": 7, "email": "B@X.com", "cio_id": "c9", "anonymous_id": "a1", "_timestamp": STAMP},
        ("id:7", "email:b@x.com", "cio_id:c9", "anonymous_id:a1"),
    ),
    "identify: adds relationships": Row(
        IDENTIFY,
        {"cio_relationships": {"action": "add_relationships", "relationships": [TIE]}},
        [IDENTIFIED | {"cio_relationships": [TIE]}],
        {"cio_relationships": {"action": "add_relationships", "relationships": [TIE]}, "_timestamp": STAMP},
    ),
    "delete": Row(DELETE, b"", [{"action": "delete"}]),
    "delete: {}": Row(DELETE, b"{}", [{"action": "delete"}]),
    "delete: whatever": Row(DELETE, b"no json, but nobody asked", [{"action": "delete"}]),
    "suppress": Row("POST /api/v1/customers/{}/suppress", b"", [{"action": "suppress"}]),
    "suppress: {}": Row("POST /api/v1/customers/{}/suppress", b"{ }", [{"action": "suppress"}]),
    "unsuppress": Row("POST /api/v1/customers/{}/unsuppress", b"", [{"action": "unsuppress"}]),
    "unsuppress: {}": Row("POST /api/v1/customers/{}/unsuppress", b"{}", [{"action": "unsuppress"}]),
    "event": Row(
        EVENTS,
        {"name": "bought", "data": {"price": 1}},
        [{"action": "event", "name": "bought", "attributes": {"price": 1}} | EVENT_STAMPS],
        {"name": "bought", "data": {"price": 1}} | EVENT_STAMPS,
    ),
    "event: data is null": Row(
        EVENTS,
        {"name": "bought", "data": None, "type": None},
        [{"action": "event", "name": "bought", "attributes": {}} | EVENT_STAMPS],
        {"name": "bought", "data": None, "type": None} | EVENT_STAMPS,
    ),
    "event: no data": Row(
        EVENTS,
        {"name": "bought", "type": "event"},
        [{"action": "event", "name": "bought"} | EVENT_STAMPS],
        {"name": "bought", "type": "event"} | EVENT_STAMPS,
    ),
    "event: keeps its stamps": Row(
        EVENTS,
        {"name": "bought", "id": "mine", "timestamp": 12},
        [{"action": "event", "name": "bought", "id": "mine", "timestamp": 12}],
        {"name": "bought", "id": "mine", "timestamp": 12},
    ),
    "page": Row(
        EVENTS,
        {"type": "page", "name": "https://x.com/" + "p" * 200, "data": {"title": "P"}},
        [{"action": "page", "name": "https://x.com/" + "p" * 200, "attributes": {"title": "P"}} | EVENT_STAMPS],
        {"type": "page", "name": "https://x.com/" + "p" * 200, "data": {"title": "P"}} | EVENT_STAMPS,
    ),
    "screen": Row(
        EVENTS,
        {"type": "screen", "name": "Home"},
        [{"action": "screen", "name": "Home"} | EVENT_STAMPS],
        {"type": "screen", "name": "Home"} | EVENT_STAMPS,
    ),
    "add device": Row(
        DEVICES,
        {"device": {"id": "t", "platform": "ios"}},
        [{"action": "add_device", "device": {"token": "t", "platform": "ios"}}],
    ),
    "add device: last used, as a number": Row(
        DEVICES,
        {"device": {"platform": "android", "id": "t", "last_used": 1700000000, "attributes": {"device_os": "1"}}},
        [
            {
                "action": "add_device",
                "device": {
                    "token": "t",
                    "platform": "android",
                    "last_used": 1700000000,
                    "attributes": {"device_os": "1"},
                },
            }
        ],
    ),
    "add device: last used, as text": Row(
        DEVICES,
        {"device": {"id": "t", "platform": "ios", "last_used": "1700000000", "attributes": None}},
        [{"action": "add_device", "device": {"token": "t", "platform": "ios", "last_used": 1700000000}}],
    ),
    "add device: last used, as null": Row(
        DEVICES,
        {"device": {"id": "t", "platform": "ios", "last_used": None}},
        [{"action": "add_device", "device": {"token": "t", "platform": "ios"}}],
    ),
    "add device: before 1970": Row(
        DEVICES,
        b'{"device" : { "id": "t" ,"platform":"ios", "last_used" : "-5" , "attributes" : { } } }',
        [{"action": "add_device", "device": {"token": "t", "platform": "ios", "last_used": -5, "attributes": {}}}],
    ),
    "delete device": Row(DEVICE + "t", b"", [{"action": "delete_device", "device": {"token": "t"}}]),
    "delete device: {}": Row(DEVICE + "t", b"{}", [{"action": "delete_device", "device": {"token": "t"}}]),
    "delete device: decoded once": Row(
        DEVICE + "a%252Fb%3Ac%20", b"", [{"action": "delete_device", "device": {"token": "a%2Fb:c "}}]
    ),
}
rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
people = pytest.mark.parametrize("person", PEOPLE, ids=[person.segment for person in PEOPLE])


@rows
@people
@pytest.mark.parametrize("mapping", [BY_SHAPE, ALL_IDS], ids=["shape", "id"])
def test_what_v2_can_say_is_stored_in_its_words(row, person, mapping):
    entries = made(row.line.format(person.segment), row.body, mapping)
    is_by_shape = mapping is BY_SHAPE
    about = {"type": "person", "identifiers": person.by_shape if is_by_shape else person.as_id}
    assert [said(entry) for entry in entries] == [about | operation for operation in row.said]
    assert [entry.kind for entry in entries] == [operation["action"] for operation in row.said]
    assert [entry.call for entry in entries] == [None] * len(row.said)
    lane = person.lane_by_shape if is_by_shape else person.lane_as_id
    assert has_lanes(entries[0], lane, *row.more_lanes)
    assert all(has_lanes(entry, lane) for entry in entries[1:])
    assert {entry.accepted_at_ms for entry in entries} == {1_800_000_000_900}


@rows
@people
def test_unmapped_it_stays_the_call_that_it_was(row, person):
    (entry,) = made(row.line.format(person.segment), row.body, UNMAPPED)
    assert entry.kind == row.said[0]["action"]
    assert entry.call == row.line.format(person.path)
    if row.kept is None:
        assert entry.body == encoded(row.body)
    else:
        assert said(entry) == row.kept
    assert has_lanes(entry, person.lane_by_shape, *row.more_lanes)


every_mapping = pytest.mark.parametrize("mapping", [BY_SHAPE, ALL_IDS, UNMAPPED], ids=["shape", "id", "v1"])

IN_DOUBT = {
    "a flat key, as Python and Ruby put it": b'{"device":{"id":"t","platform":"ios","device_os":"1"}}',
    "a flat key that is null": b'{"device":{"id":"t","platform":"ios","last_status":null}}',
    "an unknown platform": b'{"device":{"id":"t","platform":"web"}}',
    "a platform in capitals": b'{"device":{"id":"t","platform":"iOS"}}',
    "more beside the device, as PHP puts it": b'{"device":{"id":"t","platform":"ios"},"id":"5"}',
    "last used, in words": b'{"device":{"id":"t","platform":"ios","last_used":"yesterday"}}',
    "last used, empty": b'{"device":{"id":"t","platform":"ios","last_used":""}}',
    "last used, a fraction": b'{"device":{"id":"t","platform":"ios","last_used":1.5}}',
    "last used, true": b'{"device":{"id":"t","platform":"ios","last_used":true}}',
    "attributes as a list": b'{"device":{"id":"t","platform":"ios","attributes":[]}}',
    "attributes as text": b'{"device":{"id":"t","platform":"ios","attributes":"{}"}}',
    "32 KB": b'{"device":{"id":"t","platform":"ios","attributes":{"x":"' + b"x" * 32_000 + b'"}}}',
}


@pytest.mark.parametrize("body", IN_DOUBT.values(), ids=IN_DOUBT.keys())
@every_mapping
def test_a_device_in_doubt_stays_in_v1_to_the_byte(body, mapping):
    (entry,) = made("PUT /api/v1/customers/5/devices?a=b", body, mapping)
    assert (entry.kind, entry.call, entry.body) == ("add_device", "PUT /api/v1/customers/5/devices?a=b", body)
    assert has_lanes(entry, "id:5")


def test_a_device_of_just_less_than_32_kb_becomes_v2():
    def entry_of(n):
        return made("PUT /api/v1/customers/5/devices", b'{"device":{"id":"%b","platform":"ios"}}' % (b"\\u0001" * n))[0]

    spare = made("PUT /api/v1/customers/5/devices", {"device": {"id": "t", "platform": "ios", "attributes": {"x": ""}}})
    room = 31_999 - len(spare[0].body)
    for size, call in ((room, None), (room + 1, "PUT /api/v1/customers/5/devices")):
        device = {"id": "t", "platform": "ios", "attributes": {"x": "x" * size}}
        (entry,) = made("PUT /api/v1/customers/5/devices", {"device": device})
        assert entry.call == call
    assert entry_of(4_096).call is None
    with pytest.raises(InvalidOperation):
        entry_of(4_097)


@pytest.mark.parametrize("seconds", ["007", "-00", "0123", "-01", "-", "--1", "+1", " 1", "\u0661", "0x1", "1\n"])
def test_a_devices_seconds_that_are_no_number_of_json_stay_in_v1(seconds):
    """Put into v2 they would spoil a whole batch."""
    body = encoded({"device": {"id": "t", "platform": "ios", "last_used": seconds}})
    (entry,) = made("PUT /api/v1/customers/5/devices", body)
    assert (entry.call, entry.body) == ("PUT /api/v1/customers/5/devices", body)


@pytest.mark.parametrize("seconds", ["0", "-0", "-5", "1700000000", "9" * 30])
def test_a_devices_seconds_that_are_a_number_of_json_become_v2(seconds):
    (entry,) = made("PUT /api/v1/customers/5/devices", {"device": {"id": "t", "platform": "ios", "last_used": seconds}})
    assert b'"last_used":%b}' % seconds.encode() in entry.body
    assert said(entry)["device"]["last_used"] == int(seconds)


def test_a_devices_members_are_stored_as_they_came():
    body = (
        b'{"device":{"attributes":' + ODD + b',"platform":"ios","last_used":123456789012345678901234567890,"id":"t"}}'
    )
    (entry,) = made("PUT /api/v1/customers/5/devices", body)
    assert b'"attributes":' + ODD in entry.body
    assert b'"last_used":123456789012345678901234567890' in entry.body


MERGED = {
    "ids": ({"primary": {"id": "5"}, "secondary": {"id": "6"}}, ("id", "5"), ("id", "6")),
    "emails": (
        {"secondary": {"email": "B@x.com"}, "primary": {"email": "A@x.com"}},
        ("email", "A@x.com"),
        ("email", "B@x.com"),
    ),
    "cio_ids": ({"primary": {"cio_id": "f0"}, "secondary": {"id": "cio_f0"}}, ("cio_id", "f0"), ("id", "cio_f0")),
    "numbers": ({"primary": {"id": 5}, "secondary": {"id": -6}}, ("id", "5"), ("id", "-6")),
    "big numbers": (
        b'{"primary": {"id" : 123456789012345678901234567890 },"secondary":{"id":0}}',
        ("id", "123456789012345678901234567890"),
        ("id", "0"),
    ),
    "nulls beside": ({"primary": {"id": "5", "email": None}, "secondary": {"id": "6"}}, ("id", "5"), ("id", "6")),
    "twice the same": ({"primary": {"id": "5"}, "secondary": {"id": 5}}, ("id", "5"), ("id", "5")),
    "most": ({"primary": {"id": "x" * 150}, "secondary": {"id": "ü" * 75}}, ("id", "x" * 150), ("id", "ü" * 75)),
}


@pytest.mark.parametrize(("body", "primary", "secondary"), MERGED.values(), ids=MERGED.keys())
@every_mapping
def test_a_merge_becomes_v2_with_numbers_as_text(body, primary, secondary, mapping):
    """It says itself what kind of name each one is, so nothing depends on the mapping."""
    (entry,) = made("POST /api/v1/merge_customers", body, mapping)
    assert said(entry) == {
        "type": "person",
        "action": "merge",
        "primary": dict([primary]),
        "secondary": dict([secondary]),
    }
    assert (entry.kind, entry.call) == ("merge", None)
    assert has_lanes(
        entry, *(f"{kind}:{value}".replace("A@", "a@").replace("B@", "b@") for kind, value in (primary, secondary))
    )


@every_mapping
def test_a_merge_that_says_more_stays_in_v1_to_the_byte(mapping):
    body = b'{ "secondary":{"id":  6}, "primary":{"email":"A@x.com"},"reason" : null}'
    (entry,) = made("POST /api/v1/merge_customers", body, mapping)
    assert (entry.kind, entry.call, entry.body) == ("merge", "POST /api/v1/merge_customers", body)
    assert has_lanes(entry, "id:6", "email:a@x.com")


VISITED = {"name": "b", "anonymous_id": "a1", "data": {"a": 1}}


@every_mapping
@pytest.mark.parametrize("kind", [None, "event", "page", "screen"])
def test_an_anonymous_event_becomes_v2(mapping, kind):
    (entry,) = made("POST /api/v1/events", VISITED | {"type": kind}, mapping)
    operation = {"type": "person", "identifiers": {"anonymous_id": "a1"}, "action": kind or "event", "name": "b"}
    assert said(entry) == operation | {"attributes": {"a": 1}} | EVENT_STAMPS
    assert (entry.kind, entry.call) == (kind or "event", None)
    assert has_lanes(entry, "anonymous_id:a1")


@pytest.mark.parametrize(
    ("more", "mapping"),
    [
        ({}, Mapping(anonymous="v1")),
        ({}, Mapping(anonymous="v1", identifiers="v1")),
        ({"extra": 1}, BY_SHAPE),
        ({"type": "sneeze"}, BY_SHAPE),
        ({"timestamp": 1.5}, BY_SHAPE),
        ({"data": {"x": "x" * 32_000}}, BY_SHAPE),
    ],
)
def test_an_anonymous_event_stays_in_v1_where_that_is_wanted_or_v2_cannot_say_it(more, mapping):
    (entry,) = made("POST /api/v1/events", VISITED | more, mapping)
    assert (entry.kind, entry.call) == ("event", "POST /api/v1/events")
    assert said(entry) == EVENT_STAMPS | VISITED | more
    assert has_lanes(entry, "anonymous_id:a1")


@every_mapping
@pytest.mark.parametrize("anonymous_id", ["left out", "", None])
def test_an_invite_stays_in_v1(anonymous_id, mapping):
    body = {"name": "invited", "data": {"recipient": "a@x.com"}}
    body |= {} if anonymous_id == "left out" else {"anonymous_id": anonymous_id}
    (entry,) = made("POST /api/v1/events", body, mapping)
    assert (entry.kind, entry.call) == ("invite", "POST /api/v1/events")
    assert said(entry) == body | EVENT_STAMPS
    assert has_lanes(entry)


@every_mapping
def test_an_identify_that_deletes_relationships_stays_in_v1(mapping):
    """As two operations of v2 the second would take effect although the first is refused."""
    body = {"a": 1, "id": "7", "cio_relationships": {"action": "delete_relationships", "relationships": [TIE]}}
    (entry,) = made("PUT /api/v1/customers/5", body, mapping)
    assert (entry.kind, entry.call) == ("identify", "PUT /api/v1/customers/5")
    assert said(entry) == body | {"_timestamp": STAMP}
    assert has_lanes(entry, "id:5", "id:7")


@every_mapping
def test_an_event_of_another_type_stays_in_v1(mapping):
    body = {"name": "b", "type": "sneeze", "data": {"a": 1}}
    (entry,) = made("POST /api/v1/customers/5/events", body, mapping)
    assert (entry.kind, entry.call) == ("event", "POST /api/v1/customers/5/events")
    assert said(entry) == body | EVENT_STAMPS


DELIVERY = {"delivery:d1"}
MORE = b', "n": 123456789012345678901234567890 , "e":1E+2, "z":{"b":1,"a":null}}'
V1_ONLY = {
    "push metric": ("POST /api/v1/push/events", b'{"delivery_id":"d1","event":"opened"', "push_metric", DELIVERY),
    "push metric, at the root": ("POST /push/events", b'{"event":"x","delivery_id":"d1"', "push_metric", DELIVERY),
    "metric": ("POST /api/v1/metrics", b'{ "metric":"opened","delivery_id":"d1"', "metric", DELIVERY),
    "metric, unknown": ("POST /api/v1/metrics", b'{"delivery_id":"d/1","metric":""', "metric", {"delivery:d/1"}),
    "in-app metric": (
        "POST /api/v1/cio_deliveries/events",
        b'{"type":"in_app","payload":{"delivery_id":"d1","event":"opened"}',
        "in_app_metric",
        DELIVERY,
    ),
    "form, by email": (
        "POST /api/v1/forms/f1/submit",
        b'{"data":{"answer":"7","email":"A@X.com"}',
        "form",
        {"email:a@x.com"},
    ),
    "form, by id": ("POST /api/v1/forms/01/submit", b'{"data":{"id":5,"email":""}', "form", {"id:5"}),
    "form, by a name that we do not know": (
        "POST /api/v1/forms/f/submit",
        b'{"data":{"mail":"a@x.com"}',
        "form",
        set(),
    ),
    "form, with odd letters": ("POST /api/v1/forms/a%20%C3%BC+%2f/submit", b'{"data":{"id":"5"}', "form", {"id:5"}),
    "segment": ("POST /api/v1/segments/7/add_customers", b'{"ids":["5","6"]', "segment_add", {"id:5", "id:6"}),
    "segment, out of": ("POST /api/v1/segments/7/remove_customers", b'{"ids":["5"]', "segment_remove", {"id:5"}),
    "segment, numbers": (
        "POST /api/v1/segments/007/add_customers",
        b'{"ids":[5, "6", 123456789012345678901234567890]',
        "segment_add",
        {"id:5", "id:6", "id:123456789012345678901234567890"},
    ),
    "segment, other values": (
        "POST /api/v1/segments/7/add_customers",
        b'{"ids":[null,"",true,1.5,{"id":"5"},"5"]',
        "segment_add",
        {"id:5"},
    ),
    "segment, by id": ("POST /api/v1/segments/7/add_customers?id_type=id", b'{"ids":["5"]', "segment_add", {"id:5"}),
    "segment, by email": (
        "POST /api/v1/segments/7/remove_customers?id_type=email",
        b'{"ids":["A@X.com","b@x.com"]',
        "segment_remove",
        {"email:a@x.com", "email:b@x.com"},
    ),
    "segment, by cio_id": (
        "POST /api/v1/segments/7/add_customers?a=%41&id_type=cio_id&&b",
        b'{"ids":["f0"]',
        "segment_add",
        {"cio_id:f0"},
    ),
    "unsubscribe": ("POST /unsubscribe/d1", b'{"unsubscribe": true', "unsubscribe", DELIVERY),
    "unsubscribe, with a bare /": ("POST /unsubscribe/a/b=", b'{"unsubscribe":true', "unsubscribe", {"delivery:a/b="}),
    "unsubscribe, encoded": ("POST /unsubscribe/a%2Fb", b'{"unsubscribe":true', "unsubscribe", {"delivery:a/b"}),
}


@pytest.mark.parametrize(("line", "body", "kind", "lanes"), V1_ONLY.values(), ids=V1_ONLY.keys())
@every_mapping
def test_what_v2_cannot_say_stays_in_v1_to_the_byte(line, body, kind, lanes, mapping):
    (entry,) = made(line, body + MORE, mapping)
    assert (entry.kind, entry.body) == (kind, body + MORE)
    assert entry.call == {
        "POST /api/v1/forms/a%20%C3%BC+%2f/submit": "POST /api/v1/forms/a%20%C3%BC%2B%2F/submit",
        "POST /unsubscribe/a/b=": "POST /unsubscribe/a/b%3D",
    }.get(line, line)
    assert has_lanes(entry, *lanes)
    assert entry.accepted_at_ms == 1_800_000_000_900


@pytest.mark.parametrize(("line", "body", "kind", "lanes"), V1_ONLY.values(), ids=V1_ONLY.keys())
def test_a_query_is_kept_with_the_call_and_never_encoded_twice(line, body, kind, lanes):
    head = line if "?" in line else f"{line}?"
    (plain,) = made(line, body + MORE)
    (entry,) = made(f'{head}&x=%41+%2f?["{{~', body + MORE)
    assert entry.call == f'{plain.call}{"" if "?" in line else "?"}&x=%41+%2f?["{{~'
    (odd,) = made(f"{head}&x=\udcff\u00fc \n", body + MORE)
    assert odd.call == f"{plain.call}{'' if '?' in line else '?'}&x=%FF%C3%BC%20%0A"


def test_a_query_is_kept_with_whatever_stays_in_v1():
    for line, body in (
        ("PUT /api/v1/customers/5", {"_timestamp": "odd"}),
        ("POST /api/v1/customers/5/events", {"name": "b", "more": 1}),
        ("POST /api/v1/events", {"name": "b"}),
        ("POST /api/v1/merge_customers", {"primary": {"id": "5"}, "secondary": {"id": "6"}, "more": 1}),
    ):
        assert made(f"{line}?a=b", body)[0].call == f"{line}?a=b"
        assert made(f"{line}?", body)[0].call == line
    for line in (
        "DELETE /api/v1/customers/5",
        "POST /api/v1/customers/5/suppress",
        "DELETE /api/v1/customers/5/devices/t",
    ):
        assert made(f"{line}?a=b", b"", UNMAPPED)[0].call == f"{line}?a=b"


@pytest.mark.parametrize("body", EMPTY_BODIES)
def test_an_unsubscribe_may_be_empty(body):
    (entry,) = made("POST /unsubscribe/d1", body)
    assert (entry.kind, entry.body) == ("unsubscribe", body)


def test_a_segment_call_belongs_to_each_of_up_to_1000_people():
    body = {"ids": [f"p{number}" for number in range(1_000)]}
    (entry,) = made("POST /api/v1/segments/7/add_customers", body)
    assert has_lanes(entry, *(f"id:p{number}" for number in range(1_000)))
    for ids in ([], [str(number) for number in range(1_001)]):
        with pytest.raises(InvalidOperation) as refused:
            made("POST /api/v1/segments/7/add_customers", {"ids": ids})
        assert refused.value.problem.field == "ids"


def bad_merge(**sides):
    return "POST /api/v1/merge_customers", {"primary": {"id": "5"}, "secondary": {"id": "6"}} | sides


ADD, FORM, UNSUBSCRIBE = "POST /api/v1/segments/7/add_customers", "POST /api/v1/forms/f/submit", "POST /unsubscribe/d"
REFUSED = {
    "merge: a fraction": (*bad_merge(primary={"id": 1.5}), "primary.id"),
    "merge: an odd number": (
        "POST /api/v1/merge_customers",
        b'{"primary":{"id":1E2},"secondary":{"id":6}}',
        "primary.id",
    ),
    "merge: true": (*bad_merge(secondary={"id": True}), "secondary.id"),
    "merge: null": (*bad_merge(secondary={"id": None}), "secondary"),
    "merge: a list": (*bad_merge(secondary={"id": ["6"]}), "secondary.id"),
    "merge: empty": (*bad_merge(secondary={"id": ""}), "secondary.id"),
    "merge: too long": (*bad_merge(primary={"id": "x" * 151}), "primary.id"),
    "merge: nobody": (*bad_merge(primary={}), "primary"),
    "merge: two names": (*bad_merge(primary={"id": "5", "email": "a@x.com"}), "primary"),
    "merge: a phone": (*bad_merge(primary={"phone": "+1"}), "primary"),
    "merge: an anonymous id": (*bad_merge(secondary={"anonymous_id": "a"}), "secondary"),
    "merge: an unknown kind": (*bad_merge(secondary={"user": "a"}), "secondary"),
    "merge: no object": (*bad_merge(secondary="6"), "secondary"),
    "merge: one side": ("POST /api/v1/merge_customers", {"primary": {"id": "5"}}, "secondary"),
    "merge: nothing": ("POST /api/v1/merge_customers", b"", "primary"),
    "device: none": (DEVICES, {}, "device"),
    "device: nothing": (DEVICES, b"", "device"),
    "device: null": (DEVICES, {"device": None}, "device"),
    "device: no id": (DEVICES, {"device": {"platform": "ios"}}, "device.id"),
    "device: a number as id": (DEVICES, {"device": {"id": 5, "platform": "ios"}}, "device.id"),
    "device: an empty id": (DEVICES, {"device": {"id": "", "platform": "ios"}}, "device.id"),
    "device: no platform": (DEVICES, {"device": {"id": "t"}}, "device.platform"),
    "device: an empty platform": (DEVICES, {"device": {"id": "t", "platform": ""}}, "device.platform"),
    "device: a long platform": (DEVICES, {"device": {"id": "t", "platform": "x" * 101}}, "device.platform"),
    "device: a token too long": (DEVICE + "x" * 4_097, b"", "device_id"),
    "device: a token that is no text": (DEVICE + "%FF", b"", "device_id"),
    "metric: nothing": ("POST /api/v1/metrics", b"", "delivery_id"),
    "metric: no metric": ("POST /api/v1/metrics", {"delivery_id": "d1"}, "metric"),
    "metric: no delivery": ("POST /api/v1/metrics", {"metric": "opened"}, "delivery_id"),
    "metric: an empty delivery": ("POST /api/v1/metrics", {"metric": "opened", "delivery_id": ""}, "delivery_id"),
    "metric: a long delivery": ("POST /api/v1/metrics", {"metric": "o", "delivery_id": "x" * 4_097}, "delivery_id"),
    "push metric: no event": ("POST /push/events", {"delivery_id": "d1"}, "event"),
    "push metric: a number": ("POST /api/v1/push/events", {"delivery_id": 5, "event": "opened"}, "delivery_id"),
    "in-app metric: nothing": ("POST /api/v1/cio_deliveries/events", b"{}", "payload"),
    "in-app metric: empty": ("POST /api/v1/cio_deliveries/events", {"payload": {}}, "payload.delivery_id"),
    "form: nothing": (FORM, b"", "data"),
    "form: no object": (FORM, {"data": []}, "data"),
    "form: null": (FORM, {"data": None}, "data"),
    "form: id is no text": ("POST /api/v1/forms/%FF/submit", {"data": {}}, "form_id"),
    "form: id is a step up": ("POST /api/v1/forms/%2E%2e/submit", {"data": {}}, "form_id"),
    "segment: nothing": (ADD, b"", "ids"),
    "segment: null": (ADD, {"ids": None}, "ids"),
    "segment: one name": (ADD, {"ids": "5"}, "ids"),
    "segment: a name": ("POST /api/v1/segments/vip/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: below 0": ("POST /api/v1/segments/-7/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: a fraction": ("POST /api/v1/segments/7.0/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: encoded": ("POST /api/v1/segments/%37/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: odd digits": ("POST /api/v1/segments/\u0667/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: absurd": (f"POST /api/v1/segments/{'7' * 19}/add_customers", {"ids": ["5"]}, "segment_id"),
    "segment: by phone": (ADD + "?id_type=phone", {"ids": ["5"]}, "id_type"),
    "segment: by ID": (ADD + "?id_type=ID", {"ids": ["5"]}, "id_type"),
    "segment: the last one counts": (ADD + "?id_type=id&id_type=x", {"ids": ["5"]}, "id_type"),
    "unsubscribe: a list": (UNSUBSCRIBE, b"[]", ""),
    "unsubscribe: nobody": ("POST /unsubscribe/", b"", "delivery_id"),
    "unsubscribe: no text": ("POST /unsubscribe/%FF", b"", "delivery_id"),
    "unsubscribe: a step up": ("POST /unsubscribe/a/../b", b"", "delivery_id"),
    "unsubscribe: a hidden step up": ("POST /unsubscribe/a/%2e%2E/b", b"", "delivery_id"),
    "unsubscribe: too long": ("POST /unsubscribe/" + "x" * 4_097, b"", "delivery_id"),
}


@pytest.mark.parametrize(("line", "body", "field"), REFUSED.values(), ids=REFUSED.keys())
@every_mapping
def test_what_is_wrong_is_said(line, body, field, mapping):
    with pytest.raises(InvalidOperation) as refused:
        made(line.format("5"), body, mapping)
    assert refused.value.problem.field == field


@pytest.mark.parametrize("token", [".", "..", "%2E", "%2e."])
def test_a_token_that_is_a_step_up_is_said_in_v2_only(token):
    (entry,) = made(DEVICE.format("5") + token)
    assert said(entry)["device"]["token"] in (".", "..")
    with pytest.raises(InvalidOperation) as refused:
        made(DEVICE.format("5") + token, b"", UNMAPPED)
    assert refused.value.problem.field == "device_id"


@pytest.mark.parametrize(
    "line",
    [
        FORM,
        "POST /api/v1/metrics",
        "POST /push/events",
        ADD,
        UNSUBSCRIBE,
        "POST /api/v1/cio_deliveries/events",
        DEVICES,
    ],
)
def test_a_v1_call_has_a_most(line):
    body = {
        "data": {}, "delivery_id": "d", "metric": "m", "event": "e", "ids": ["5"], "payload": {"delivery_id": "d"},
        "device": {"id": "t", "platform": "ios"}, "x": "",
    }  # fmt: skip
    room = 500_000 - len(encoded(body))
    assert len(made(line.format("5"), body | {"x": "x" * room})[0].body) == 500_000
    with pytest.raises(TooLarge):
        made(line.format("5"), body | {"x": "x" * (room + 1)})
