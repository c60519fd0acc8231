"""Whatever comes in: an entry that can be sent, or InvalidOperation."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_buffer.errors import InvalidOperation
from cio_buffer.ingest import track_v2
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.track_v1 import Mapping
from cio_buffer.ingest.track_v1.calls import BY_PATH, OF_A_PERSON, UNDER_A_NAME, find_call
from cio_buffer.operations import DECODERS
from cio_buffer.outbox.trail import NO_MARK, mark_of, unpack_trail
from cio_buffer.upstream.limits import OPERATION_MAX_BYTES, V1_REQUEST_MAX_BYTES

from .said import ACCEPTANCE, made

NAMES = ["id", "email", "_timestamp", "timestamp", "type", "action", "name", "cio_relationships", "anonymous_id", "x"]
ACTIONS = ["identify", "event", "page", "delete", "suppress", "add_relationships", "merge", "fly"]
TIE = {"identifiers": {"object_type_id": "1", "object_id": "acme"}}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=5),
    max_leaves=12,
)


def mostly(good):
    """Seven times in eight `good`, else anything."""
    return st.integers(0, 7).flatmap(lambda die: good if die else values)


attributes = mostly(st.dictionaries(st.sampled_from(NAMES) | st.text(), values, max_size=5))
names = mostly(st.text(min_size=1, max_size=100))
ids, stamps = mostly(st.none() | st.text()), mostly(st.none() | st.integers())
ties = mostly(st.just([TIE]))
wrapped = mostly(
    st.builds(lambda action, tied: {"action": action, "relationships": tied}, st.sampled_from(ACTIONS), ties)
)
persons = mostly(st.sampled_from([{"id": "5"}, {"email": "A@x.com"}, {"anonymous_id": "a"}, {"cio_id": "f0"}]))
identifies = st.builds(
    lambda said, more: said | more if isinstance(said, dict) else said,
    attributes,
    st.fixed_dictionaries({}, optional={"cio_relationships": wrapped, "_timestamp": stamps}),
)
events = st.fixed_dictionaries(
    {"name": names},
    optional={"id": ids, "timestamp": stamps, "data": attributes, "type": mostly(st.sampled_from(ACTIONS))}
    | {"anonymous_id": ids, "more": values},
)
operations = st.fixed_dictionaries(
    {
        "type": mostly(st.just("person")),
        "action": mostly(st.sampled_from(ACTIONS)),
        "identifiers": persons,
        "name": names,
    },
    optional={"id": ids, "timestamp": stamps, "attributes": attributes, "cio_relationships": ties},
)
devices = st.fixed_dictionaries(
    {"id": names, "platform": mostly(st.sampled_from(["ios", "android", "web"]))},
    optional={
        "last_used": mostly(st.none() | st.integers() | st.integers(0, 2**31).map(str)),
        "attributes": mostly(st.none() | attributes),
        "more": values,
    },
)
sides = mostly(
    st.dictionaries(st.sampled_from(["id", "email", "cio_id", "phone"]), ids | st.integers(), min_size=1, max_size=1)
)
people = mostly(st.lists(ids | st.integers(), min_size=1, max_size=5))
reports = st.fixed_dictionaries(
    {"delivery_id": names, "metric": names, "event": names},
    optional={"payload": mostly(st.fixed_dictionaries({"delivery_id": names}, optional={"x": values})), "more": values},
)
metrics = reports.filter(lambda report: "payload" in report)
PERSON = "/api/v1/customers/{}"
said = {
    f"PUT {PERSON}": identifies,
    f"DELETE {PERSON}": values,
    f"POST {PERSON}/events": events,
    f"PUT {PERSON}/devices": st.fixed_dictionaries({"device": mostly(devices)}, optional={"more": values}),
    f"DELETE {PERSON}/devices/{{}}": values,
    f"POST {PERSON}/suppress": values,
    f"POST {PERSON}/unsuppress": values,
    "POST /api/v1/events": events,
    "POST /api/v1/merge_customers": st.fixed_dictionaries(
        {"primary": sides, "secondary": sides}, optional={"more": values}
    ),
    "POST /api/v1/metrics": reports,
    "POST /api/v1/push/events": reports,
    "POST /push/events": reports,
    "POST /api/v1/cio_deliveries/events": metrics,
    "POST /unsubscribe/{}": mostly(st.just({"unsubscribe": True})),
    "POST /unsubscribe/{}/{}": mostly(st.just({"unsubscribe": True})),
    "POST /api/v1/forms/{}/submit": st.fixed_dictionaries({"data": attributes}, optional={"more": values}),
    "POST /api/v1/segments/{}/add_customers": st.fixed_dictionaries({"ids": people}, optional={"more": values}),
    "POST /api/v1/segments/{}/remove_customers": st.fixed_dictionaries({"ids": people}, optional={"more": values}),
    "entity": operations,
    "batch": st.fixed_dictionaries({"batch": mostly(st.lists(mostly(operations), max_size=4))}),
}
STAMPED = (f"PUT {PERSON}", f"POST {PERSON}/events", "POST /api/v1/events")
"""Calls to which v1, too, has stamps added; all the others are left as they came."""


def test_every_call_of_v1_is_among_them():
    assert len(said) - 2 - 1 == len(OF_A_PERSON) + len(BY_PATH) + len(UNDER_A_NAME) + len(["unsubscribe"])


@st.composite
def bodies(draw, way):
    """A body for this kind of call: JSON, sometimes with a few bytes of it changed, lost or doubled."""
    text = json.dumps(draw(mostly(said[way])), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"\\u"]))
    return bytes(body)


mappings = st.builds(
    Mapping, identifiers=st.sampled_from(["shape", "id", "v1"]), anonymous=st.sampled_from(["v2", "v1"])
)
segments = mostly(
    st.sampled_from(["5", "a%40x.com", "cio_f0", "a/b", "7", "%2E"]) | st.text(min_size=1, max_size=160)
).map(lambda segment: str(segment).replace("?", "%3F"))
queries = st.sampled_from(["", "?id_type=id", "?id_type=email", "?id_type=cio_id&a"]) | st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20
).map("?{}".format)
"""Whatever HTTP lets stand there."""


def entries_of(way, named, mapping, body):
    """What such a call becomes; nothing where it is refused, or is no such call."""
    segment, query = named
    try:
        check_text(body)
        if way == "entity":
            return [track_v2.read_entity(body, ACCEPTANCE)]
        if way == "batch":
            return track_v2.read_batch(body, ACCEPTANCE).entries
        line = way.format(segment, segment)
        method, _, path = line.partition(" ")
        return made(line + query, body, mapping) if find_call(method, path.partition("?")[0]) else []
    except InvalidOperation:
        return []


@pytest.mark.parametrize("way", said)
@settings(max_examples=100, deadline=None)
@given(st.data(), st.tuples(segments, queries), mappings)
def test_any_body_is_refused_or_ready_to_be_sent(way, data, named, mapping):
    body = data.draw(bodies(way))
    for entry in entries_of(way, named, mapping, body):
        assert len(entry.body) <= (V1_REQUEST_MAX_BYTES if entry.call else OPERATION_MAX_BYTES)
        assert entry.call is None or (entry.call.isascii() and entry.call.isprintable())
        assert entry.call is None or entry.call.count(" ") == 1
        if entry.call and way not in STAMPED and way not in ("entity", "batch"):
            assert entry.body == body
            continue
        stored = json.loads(entry.body.decode())
        trail = unpack_trail(entry.trail)
        assert (trail.kind, trail.lanes, trail.accepted_at_ms) == (entry.kind, len(entry.lanes) // 8, 1_800_000_000_900)
        if entry.kind in ("event", "page", "screen", "invite"):
            assert stored["id"] not in (None, "")
            assert stored["timestamp"] is not None
            assert not isinstance(stored["id"], str) or trail.mark == mark_of(stored["id"])
            assert trail.mark != NO_MARK
        else:
            assert trail.mark == NO_MARK
        if entry.call is None:
            DECODERS[stored["type"]].decode(entry.body)
            assert entry.lanes
