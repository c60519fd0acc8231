"""Each operation: what it must have, what it is called, whose order it keeps."""

import msgspec
import pytest

from cio_buffer.ingest.reading import in_vendors_words
from cio_buffer.operations import DECODERS

ANN = {"id": "5"}
ACME = {"object_type_id": "1", "object_id": "acme"}
TIES = [{"identifiers": ACME, "relationship_attributes": {"role": None}}]
PHONE = {"token": "abc", "platform": "ios"}

ACCEPTED = [
    ("person", {"action": "identify", "identifiers": ANN}, "identify", {"id:5"}),
    ("person", {"action": "identify", "identifiers": ANN, "attributes": None}, "identify", {"id:5"}),
    ("person", {"action": "identify", "identifiers": ANN, "cio_relationships": TIES}, "identify", {"id:5"}),
    (
        "person",
        {
            "action": "identify",
            "identifiers": ANN,
            "attributes": {
                "email": " Ann@Example.com ",
                "phone": "+1",
                "cio_id": "f0",
                "anonymous_id": "a1",
                "id": 5,
                "plan": "pro",
            },
        },
        "identify",
        {"id:5", "email:ann@example.com", "phone:+1", "cio_id:f0", "anonymous_id:a1"},
    ),
    (
        "person",
        {
            "action": "identify",
            "identifiers": ANN,
            "attributes": {"email": "", "phone": None, "id": True, "anonymous_id": ["a"], "cio_id": 1.5},
        },
        "identify",
        {"id:5"},
    ),
    ("person", {"action": "delete", "identifiers": {"email": "Ann@X.com"}}, "delete", {"email:ann@x.com"}),
    ("person", {"action": "event", "identifiers": {"phone": "+1"}, "name": "bought"}, "event", {"phone:+1"}),
    ("person", {"action": "event", "identifiers": {"anonymous_id": "a1"}, "name": "b"}, "event", {"anonymous_id:a1"}),
    ("person", {"action": "event", "identifiers": ANN, "name": "n" * 100, "id": None}, "event", {"id:5"}),
    ("person", {"action": "event", "identifiers": ANN, "name": f"  {'n' * 100}  "}, "event", {"id:5"}),
    ("person", {"action": "event", "identifiers": ANN, "name": "b", "attributes": {"a": {}}}, "event", {"id:5"}),
    ("person", {"action": "page", "identifiers": {"cio_id": "f0"}, "name": "/" * 8_000}, "page", {"cio_id:f0"}),
    ("person", {"action": "screen", "identifiers": ANN, "name": "Home", "timestamp": 1}, "screen", {"id:5"}),
    ("person", {"action": "suppress", "identifiers": ANN}, "suppress", {"id:5"}),
    ("person", {"action": "unsuppress", "identifiers": ANN}, "unsuppress", {"id:5"}),
    (
        "person",
        {"action": "add_relationships", "identifiers": ANN, "cio_relationships": TIES},
        "add_relationships",
        {"id:5"},
    ),
    (
        "person",
        {"action": "delete_relationships", "identifiers": ANN, "cio_relationships": TIES},
        "delete_relationships",
        {"id:5"},
    ),
    ("person", {"action": "add_device", "identifiers": ANN, "device": PHONE}, "add_device", {"id:5"}),
    ("person", {"action": "delete_device", "identifiers": ANN, "device": {"token": "a"}}, "delete_device", {"id:5"}),
    (
        "person",
        {"action": "merge", "primary": ANN, "secondary": {"email": "A@x.com"}},
        "merge",
        {"id:5", "email:a@x.com"},
    ),
    (
        "person",
        {"action": "merge", "primary": {"cio_id": "f0"}, "secondary": ANN | {"email": None}},
        "merge",
        {"cio_id:f0", "id:5"},
    ),
    ("object", {"action": "identify", "identifiers": ACME, "attributes": {}}, "object_identify", {"object:1:acme"}),
    (
        "object",
        {
            "action": "identify_anonymous",
            "identifiers": ACME,
            "cio_relationships": [{"identifiers": {"anonymous_id": "a1"}}],
        },
        "object_identify_anonymous",
        {"object:1:acme"},
    ),
    ("object", {"action": "delete", "identifiers": {"cio_object_id": "o1"}}, "object_delete", {"cio_object:o1"}),
    ("object", {"action": "event", "identifiers": ACME, "name": "sold"}, "object_event", {"object:1:acme"}),
    (
        "object",
        {"action": "add_relationships", "identifiers": ACME, "cio_relationships": [{"identifiers": ANN}]},
        "object_add_relationships",
        {"object:1:acme"},
    ),
    (
        "object",
        {"action": "delete_relationships", "identifiers": ACME, "cio_relationships": [{"identifiers": ANN}]},
        "object_delete_relationships",
        {"object:1:acme"},
    ),
    (
        "delivery",
        {"action": "event", "identifiers": {"id": "d1"}, "name": "opened", "attributes": {"device_token": "abc"}},
        "delivery_event",
        {"delivery:d1"},
    ),
]


@pytest.mark.parametrize(("kind_of_thing", "said", "kind", "lanes"), ACCEPTED)
def test_what_is_accepted_has_a_kind_and_lanes(kind_of_thing, said, kind, lanes):
    operation = DECODERS[kind_of_thing].decode(msgspec.json.encode(said | {"unknown": [1]}))
    assert (operation.kind, operation.lanes()) == (kind, lanes)


def event(**more):
    return {"action": "event", "identifiers": ANN, "name": "bought"} | more


REFUSED = [
    ("person", {"identifiers": ANN}, "action", "required"),
    ("person", {"action": "fly", "identifiers": ANN}, "action", "invalid"),
    ("person", {"action": 5, "identifiers": ANN}, "action", "invalid"),
    ("person", {"action": "identify"}, "identifiers", "required"),
    ("person", {"action": "delete", "identifiers": None}, "identifiers", "invalid"),
    ("person", event(identifiers={}), "identifiers", "invalid"),
    ("person", event(identifiers={"id": None}), "identifiers", "invalid"),
    ("person", event(identifiers={"id": "5", "email": "a@x.com"}), "identifiers", "invalid"),
    ("person", event(identifiers={"user": "5"}), "identifiers", "invalid"),
    ("person", event(identifiers={"id": 5}), "identifiers.id", "invalid"),
    ("person", event(identifiers={"id": ""}), "identifiers.id", "invalid"),
    ("person", event(identifiers={"id": "ü" * 76}), "identifiers.id", "invalid"),
    ("person", {"action": "event", "identifiers": ANN}, "name", "required"),
    ("person", event(name=None), "name", "invalid"),
    ("person", event(name="   "), "name", "invalid"),
    ("person", event(name="n" * 101), "name", "invalid"),
    ("person", event(action="page", name="/" * 8_001), "name", "invalid"),
    ("person", event(id=5), "id", "invalid"),
    ("person", event(timestamp="1700000000"), "timestamp", "invalid"),
    ("person", event(timestamp=1.5), "timestamp", "invalid"),
    ("person", event(timestamp=True), "timestamp", "invalid"),
    ("person", event(attributes=[]), "attributes", "invalid"),
    ("person", {"action": "identify", "identifiers": ANN, "attributes": "x"}, "attributes", "invalid"),
    ("person", {"action": "identify", "identifiers": ANN, "timestamp": "now"}, "timestamp", "invalid"),
    (
        "person",
        {"action": "identify", "identifiers": ANN, "cio_relationships": {"action": "add_relationships"}},
        "cio_relationships",
        "invalid",
    ),
    ("person", {"action": "add_relationships", "identifiers": ANN}, "cio_relationships", "required"),
    (
        "person",
        {"action": "add_relationships", "identifiers": ANN, "cio_relationships": [{}]},
        "cio_relationships[0].identifiers",
        "required",
    ),
    ("person", {"action": "add_device", "identifiers": ANN}, "device", "required"),
    ("person", {"action": "add_device", "identifiers": ANN, "device": {"token": "a"}}, "device.platform", "required"),
    ("person", {"action": "delete_device", "identifiers": ANN, "device": {}}, "device.token", "required"),
    ("person", {"action": "delete_device", "identifiers": ANN, "device": {"token": ""}}, "device.token", "invalid"),
    ("person", {"action": "merge", "primary": ANN}, "secondary", "required"),
    ("person", {"action": "merge", "primary": ANN, "secondary": {"id": 6}}, "secondary.id", "invalid"),
    ("person", {"action": "merge", "primary": {"phone": "+1"}, "secondary": ANN}, "primary", "invalid"),
    ("person", {"action": "merge", "primary": ANN, "secondary": {"anonymous_id": "a"}}, "secondary", "invalid"),
    ("person", {"action": "merge", "primary": ANN, "secondary": {"user": "a"}}, "secondary", "invalid"),
    ("person", {"action": "merge", "primary": ANN, "secondary": ANN | {"email": "a@x.com"}}, "secondary", "invalid"),
    ("object", {"action": "fly", "identifiers": ACME, "name": "b"}, "action", "invalid"),
    ("object", {"action": "page", "identifiers": ACME, "name": "b"}, "action", "invalid"),
    ("object", {"action": "event", "identifiers": ACME}, "name", "required"),
    ("object", {"action": "event", "identifiers": ACME, "name": "n" * 101}, "name", "invalid"),
    ("object", {"action": "event", "identifiers": ACME, "name": "b", "id": 5}, "id", "invalid"),
    ("object", {"action": "event", "identifiers": ACME, "name": "b", "timestamp": 1.5}, "timestamp", "invalid"),
    ("object", {"action": "event", "identifiers": ANN, "name": "b"}, "identifiers", "invalid"),
    ("object", {"action": "delete", "identifiers": {"object_id": "acme"}}, "identifiers", "invalid"),
    ("object", {"action": "delete", "identifiers": ACME | {"cio_object_id": "o"}}, "identifiers", "invalid"),
    ("object", {"action": "delete", "identifiers": ACME | {"object_id": ""}}, "identifiers.object_id", "invalid"),
    (
        "object",
        {"action": "delete", "identifiers": ACME | {"object_type_id": 1}},
        "identifiers.object_type_id",
        "invalid",
    ),
    (
        "delivery",
        {"action": "event", "identifiers": {"id": "d"}, "attributes": {"device_token": "a"}},
        "name",
        "required",
    ),
    (
        "delivery",
        {"action": "event", "identifiers": {"id": "d"}, "name": "sent", "attributes": {"device_token": "a"}},
        "name",
        "invalid",
    ),
    (
        "delivery",
        {"action": "event", "identifiers": {"id": "d"}, "name": "opened", "attributes": {}},
        "attributes.device_token",
        "required",
    ),
]


@pytest.mark.parametrize(("kind_of_thing", "said", "field", "reason"), REFUSED)
def test_what_is_refused_names_the_field(kind_of_thing, said, field, reason):
    with pytest.raises(msgspec.ValidationError) as refused:
        DECODERS[kind_of_thing].decode(msgspec.json.encode(said))
    problem = in_vendors_words(str(refused.value))
    assert (problem.field, problem.reason) == (field, reason)
    assert problem.message
    assert "$" not in problem.message


def test_an_identify_is_stamped_in_any_of_three_spellings():
    for given in ({"timestamp": 0}, {"_timestamp": 1}, {"attributes": {"_timestamp": "2"}}):
        said = {"action": "identify", "identifiers": ANN} | given
        assert DECODERS["person"].decode(msgspec.json.encode(said)).is_stamped()
    for absent in ({}, {"timestamp": None, "_timestamp": None}, {"attributes": {"_timestamp": None, "timestamp": 1}}):
        said = {"action": "identify", "identifiers": ANN} | absent
        assert not DECODERS["person"].decode(msgspec.json.encode(said)).is_stamped()
