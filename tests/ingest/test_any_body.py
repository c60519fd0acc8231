"""Whatever comes in: an entry that can be sent, or InvalidOperation."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from cio_buffer.errors import InvalidOperation
from cio_buffer.ingest import track_v1, track_v2
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.track_v1 import Mapping, read_person
from cio_buffer.upstream.limits import OPERATION_MAX_BYTES, V1_REQUEST_MAX_BYTES

from .said import ACCEPTANCE

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
said = {
    "identify": identifies,
    "event": events,
    "anonymous": events,
    "entity": operations,
    "batch": st.fixed_dictionaries({"batch": mostly(st.lists(mostly(operations), max_size=4))}),
}


@st.composite
def calls(draw):
    """A kind of call, and a body for it: JSON, sometimes with a few bytes of it changed, lost or doubled."""
    way = draw(st.sampled_from(sorted(said)))
    text = json.dumps(draw(mostly(said[way])), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"\\u"]))
    return way, bytes(body)


mappings = st.builds(
    Mapping, identifiers=st.sampled_from(["shape", "id", "v1"]), anonymous=st.sampled_from(["v2", "v1"])
)
segments = mostly(st.sampled_from(["5", "a%40x.com", "cio_f0"]) | st.text(min_size=1, max_size=160)).map(str)


def entries_of(way, segment, mapping, body):
    """What such a call becomes; nothing where it is refused."""
    try:
        check_text(body)
        match way:
            case "identify":
                return track_v1.identify(read_person(segment, mapping), body, ACCEPTANCE)
            case "event":
                return track_v1.event(read_person(segment, mapping), body, ACCEPTANCE)
            case "anonymous":
                return track_v1.anonymous_event(body, mapping, ACCEPTANCE)
            case "entity":
                return [track_v2.read_entity(body, ACCEPTANCE)]
            case _:
                return track_v2.read_batch(body, ACCEPTANCE).entries
    except InvalidOperation:
        return []


@settings(max_examples=500, deadline=None)
@given(calls(), segments, mappings)
def test_any_body_is_refused_or_ready_to_be_sent(call, segment, mapping):
    way, body = call
    for entry in entries_of(way, segment, mapping, body):
        stored = json.loads(entry.body.decode())
        assert len(entry.body) <= (V1_REQUEST_MAX_BYTES if entry.call else OPERATION_MAX_BYTES)
        assert entry.call is None or entry.call.isascii()
        if entry.kind in ("event", "page", "screen", "invite"):
            assert stored["id"]
            assert stored["timestamp"] is not None
        if entry.call is None:
            assert stored["type"] in ("person", "object", "delivery")
            assert entry.lanes
