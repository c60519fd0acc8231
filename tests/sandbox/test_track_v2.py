"""Each Track v2 operation, alone and in batches."""

import io

import pytest

from .conftest import event, identify

OK = (200, {})
ACME = {"object_type_id": "1", "object_id": "acme"}


def person(action, **more):
    return {"type": "person", "action": action, "identifiers": {"id": "5"}, **more}


def thing(action, **more):
    return {"type": "object", "action": action, "identifiers": ACME, **more}


async def test_identify_with_relationships(call, sandbox, ledger):
    ties = [{"identifiers": ACME, "relationship_attributes": {"role": "boss"}}]
    assert await call.entity(**identify("5", {"plan": "pro", "email": "a@b.co"}, cio_relationships=ties)) == OK
    ann = sandbox.workspace.people.get(id="5")
    assert ann.attributes == {"plan": "pro"}
    assert sandbox.workspace.objects.get("1", "acme").people == {ann.cio_id: {"role": "boss"}}
    arrival = ledger.arrivals[0]
    assert (arrival.api, arrival.kind, arrival.identifiers) == ("v2", "identify", {"id": "5"})


async def test_events_pages_and_screens(call, sandbox):
    for kind in ("event", "page", "screen"):
        assert await call.entity(**person(kind, name=kind, attributes={"a": 1}, timestamp=17)) == OK
    events = sandbox.workspace.people.get(id="5").events
    assert [(one.kind, one.name, one.timestamp) for one in events] == [(k, k, 17) for k in ("event", "page", "screen")]


async def test_an_anonymous_event_waits_for_its_person(call, sandbox):
    operation = {**event("", "looked"), "identifiers": {"anonymous_id": "anon-1"}}
    assert await call.entity(**operation) == OK
    assert [one.name for one in sandbox.workspace.visitors.waiting("anon-1")] == ["looked"]


async def test_relationships(call, sandbox):
    ties = [{"identifiers": ACME}]
    await call.batch(identify("5", {}), person("add_relationships", cio_relationships=ties))
    acme = sandbox.workspace.objects.get("1", "acme")
    assert len(acme.people) == 1
    by_cio_id = [{"identifiers": {"cio_object_id": acme.cio_object_id}}]
    assert await call.entity(**person("delete_relationships", cio_relationships=by_cio_id)) == OK
    assert acme.people == {}


async def test_devices(call, sandbox):
    device = {"token": "t", "platform": "android", "last_used": 17, "attributes": {"app_version": "1"}}
    assert await call.entity(**person("add_device", device=device)) == OK
    assert sandbox.workspace.people.get(id="5").devices == {"t": device}
    assert await call.entity(**person("delete_device", device={"token": "t"})) == OK
    assert sandbox.workspace.people.get(id="5").devices == {}


async def test_merge_delete_suppress_unsuppress(call, sandbox, ledger):
    people = sandbox.workspace.people
    merge = {"type": "person", "action": "merge", "primary": {"id": "5"}, "secondary": {"id": "6"}}
    assert await call.batch(event("5", "a"), event("6", "b"), event("5", "c"), merge) == OK
    assert [one.name for one in people.get(id="5").events] == ["a", "b", "c"]
    assert ledger.arrivals[-1].identifiers == {"primary": {"id": "5"}, "secondary": {"id": "6"}}
    assert await call.batch(person("delete"), person("suppress"), identify("5", {})) == OK
    assert len(people) == 0
    assert await call.batch(person("unsuppress"), identify("5", {})) == OK
    assert len(people) == 1


async def test_phone_is_an_identifier(call, sandbox):
    operation = {**identify("", {"a": 1}), "identifiers": {"phone": "+4915112345678"}}
    assert await call.batch(operation, operation) == OK
    assert [one.identifiers["phone"] for one in sandbox.workspace.people.everyone()] == ["+4915112345678"]


async def test_objects(call, sandbox, ledger):
    objects = sandbox.workspace.objects
    ties = [{"identifiers": {"id": "5"}, "relationship_attributes": {"role": "boss"}}]
    create = thing("identify", attributes={"a": 1, "b": 2}, cio_relationships=ties)
    assert await call.batch(identify("5", {}), create, thing("identify", attributes={"a": None})) == OK
    assert objects.get("1", "acme").attributes == {"b": 2}
    assert list(objects.get("1", "acme").people.values()) == [{"role": "boss"}]
    assert await call.entity(**thing("delete_relationships", cio_relationships=ties)) == OK
    assert not objects.get("1", "acme").people
    assert await call.entity(**thing("add_relationships", cio_relationships=ties)) == OK
    await call.entity(**person("delete"))
    assert not objects.get("1", "acme").people
    assert await call.entity(**thing("delete")) == OK
    assert len(objects) == 0
    assert ledger.arrivals[-1].kind == "object_delete"


async def test_an_anonymous_tie_becomes_the_persons(call, sandbox):
    ties = [{"identifiers": {"anonymous_id": "anon-1"}}]
    assert await call.entity(**thing("identify_anonymous", attributes={"a": 1}, cio_relationships=ties)) == OK
    acme = sandbox.workspace.objects.get("1", "acme")
    assert list(acme.anonymous) == ["anon-1"]
    await call.entity(**identify("5", {"anonymous_id": "anon-1"}))
    assert list(acme.people) == [sandbox.workspace.people.get(id="5").cio_id]
    assert not acme.anonymous


async def test_delivery_events(call, sandbox, ledger):
    operation = {"type": "delivery", "action": "event", "identifiers": {"id": "d"}, "name": "opened"}
    assert await call.entity(**operation, attributes={"device_token": "t"}) == OK
    assert [one.metric for one in sandbox.workspace.deliveries["d"]] == ["opened"]
    assert ledger.arrivals[-1].kind == "delivery_event"
    status, body = await call.entity(**operation)
    assert (status, {error["field"] for error in body["errors"]}) == (400, {"attributes", "attributes.device_token"})


@pytest.mark.parametrize(
    ("operation", "reason", "field"),
    [
        ("text", "invalid", "operation"),
        ({}, "required", "type"),
        ({"type": "robot"}, "invalid", "type"),
        ({"type": "person"}, "required", "action"),
        (person("dance"), "invalid", "action"),
        ({"type": "person", "action": "delete"}, "required", "identifiers"),
        (person("delete", identifiers={}), "required", "identifiers"),
        (person("delete", identifiers={"id": "1", "email": "x"}), "invalid", "identifiers"),
        (person("delete", identifiers={"id": 5}), "invalid", "identifiers.id"),
        (person("delete", identifiers={"id": "x" * 151}), "invalid", "identifiers.id"),
        (person("delete", identifiers={"anonymous_id": "x"}), "invalid", "identifiers"),
        (person("event"), "required", "name"),
        (person("event", name="x" * 101), "invalid", "name"),
        (person("event", name="x", timestamp="17"), "invalid", "timestamp"),
        (person("event", name="x", attributes=None), "invalid", "attributes"),
        (person("identify", attributes={"x": "y" * 1001}), "invalid", "x"),
        (person("add_relationships"), "required", "cio_relationships"),
        (person("add_relationships", cio_relationships={}), "invalid", "cio_relationships"),
        (
            person("add_relationships", cio_relationships=[{"identifiers": {"object_type_id": "a", "object_id": "b"}}]),
            "invalid",
            "cio_relationships[0].identifiers.object_type_id",
        ),
        (person("add_device", device={"token": "t"}), "required", "device.platform"),
        (person("merge", primary={"id": "1"}, secondary={"id": "2"}), "invalid", "identifiers"),
        (thing("event", name="x"), "invalid", "action"),
        (person("event", name="x", attributes={"d": "x" * 32_000}), "invalid", "operation"),
    ],
)
async def test_an_invalid_operation_is_named_and_its_neighbours_are_taken(call, ledger, operation, reason, field):
    status, body = await call.batch(event("ann", "before"), operation, event("ann", "after"))
    assert status == 207
    assert (1, reason, field) in [(error["batch_index"], error["reason"], error["field"]) for error in body["errors"]]
    assert {error["batch_index"] for error in body["errors"]} == {1}
    assert all(error["message"] for error in body["errors"])
    assert [arrival.outcome for arrival in ledger.arrivals] == ["taken", "refused", "taken"]


async def test_every_wrong_field_is_named(call):
    status, body = await call.batch({**event("", ""), "timestamp": 1.5})
    assert status == 207
    assert [error["field"] for error in body["errors"]] == ["identifiers.id", "name", "timestamp"]


async def test_an_invalid_entity_is_a_400(call, sandbox, ledger):
    status, body = await call.entity(**person("event"))
    assert (status, body["errors"][0]["field"]) == (400, "name")
    assert (await call.entity(**person("event", name="x", attributes={"d": "x" * 32_000})))[0] == 400
    assert ledger.counts == {"refused": 2}
    assert len(sandbox.workspace.people) == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"batch":{}}', b'{"batch":[]}', b'{"batch":[\xff]}'])
async def test_a_malformed_batch_is_a_400(call, ledger, data):
    status, body = await call.send("POST", "/api/v2/batch", data=data)
    assert (status, sorted(body["errors"][0])) == (400, ["field", "message", "reason"])
    assert not ledger.arrivals
    assert (ledger.requests[0].status, ledger.requests[0].body_bytes) == (400, len(data))


async def test_an_operation_of_a_batch_is_measured_as_it_was_sent(call):
    """One byte below the limit passes, the limit does not."""
    frame = b'{"type":"person","action":"event","identifiers":{"id":"5"},"name":"x","attributes":{"d":"%s"}}'
    for size, status in ((31_999, 200), (32_000, 207)):
        operation = frame % (b"x" * (size - len(frame) + 2))
        assert len(operation) == size
        assert (await call.send("POST", "/api/v2/batch", data=b'{"batch": [ ' + operation + b" ]}"))[0] == status


async def test_a_batch_is_smaller_than_500_000_bytes(call, ledger):
    body = b'{"batch":[{"type":"person","action":"delete","identifiers":{"id":"5"}}]}'
    assert (await call.send("POST", "/api/v2/batch", data=body + b" " * (499_999 - len(body))))[0] == 200
    assert (await call.send("POST", "/api/v2/batch", data=body + b" " * (500_000 - len(body))))[0] == 413
    assert (await call.send("POST", "/api/v2/batch", data=io.BytesIO(body + b" " * 3_000_000)))[0] == 413
    assert ledger.arrivals_total == 1
