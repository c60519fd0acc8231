"""Each Track v1 call: its answer, its effect, its line in the ledger."""

import base64

import pytest

from cio_buffer.sandbox import Faults, Ledger, Sandbox

from .conftest import NOW, Caller

OK = (200, {})


def last(ledger):
    arrival = ledger.arrivals[-1]
    return arrival.kind, arrival.identifiers, arrival.outcome


async def test_success_looks_like_the_vendors(call, session):
    async with session.put(f"{call.base}/api/v1/customers/5", json={}) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert await reply.read() == b"{}\n"


async def test_identify(call, sandbox, ledger):
    body = {"email": "ann@example.com", "plan": "pro", "gone": None, "unsubscribed": "TRUE", "_update": False}
    assert await call.send("PUT", "/api/v1/customers/5", json=body) == OK
    ann = sandbox.workspace.people.get(email="ANN@example.com")
    assert ann.attributes == {"plan": "pro", "unsubscribed": True}
    assert (ann.identifiers["id"], ann.identifiers["email"]) == ("5", "ann@example.com")
    assert last(ledger) == ("identify", {"id": "5"}, "taken")
    assert ledger.arrivals[-1].body == body


@pytest.mark.parametrize(
    ("segment", "identifiers"),
    [
        ("a%2Fb%3Fc", {"id": "a/b?c"}),
        ("a+b@example.com", {"email": "a+b@example.com"}),
        ("a%252Fb", {"id": "a%2Fb"}),
        ("j%C3%BCrgen", {"id": "jürgen"}),
        ("cio_03000001", {"cio_id": "03000001"}),
        ("ann@localhost", {"id": "ann@localhost"}),
        ("a@b@c.com", {"id": "a@b@c.com"}),
    ],
)
async def test_the_path_says_who(call, ledger, segment, identifiers):
    assert await call.send("PUT", f"/api/v1/customers/{segment}", json={}) == OK
    assert last(ledger)[1] == identifiers


async def test_identify_with_relationships(call, sandbox):
    tie = {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "relationship_attributes": {"role": "boss"}}
    for action in ("add_relationships", "delete_relationships"):
        body = {"cio_relationships": {"action": action, "relationships": [tie]}}
        assert await call.send("PUT", "/api/v1/customers/5", json=body) == OK
        acme = sandbox.workspace.objects.get("1", "acme")
        assert list(acme.people.values()) == ([{"role": "boss"}] if action == "add_relationships" else [])


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"x": "y" * 1001}},
        {"json": {"n" * 151: 1}},
        {"json": {f"a{number}": 1 for number in range(301)}},
        {"json": []},
        {"data": b"{"},
        {"data": b""},
        {"data": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"},
    ],
)
async def test_an_identify_beyond_the_limits_is_a_400(call, ledger, body):
    status, answer = await call.send("PUT", "/api/v1/customers/5", **body)
    assert status == 400
    assert answer["meta"]["errors"]
    assert last(ledger) == ("identify", {"id": "5"}, "refused")


async def test_an_identifier_is_at_most_150_bytes(call):
    assert (await call.send("PUT", f"/api/v1/customers/{'x' * 151}", json={}))[0] == 400


async def test_delete(call, sandbox, ledger):
    await call.send("PUT", "/api/v1/customers/5", json={})
    assert await call.send("DELETE", "/api/v1/customers/5") == OK
    assert await call.send("DELETE", "/api/v1/customers/5", json={}) == OK
    assert sandbox.workspace.people.get(id="5") is None
    assert last(ledger) == ("delete", {"id": "5"}, "taken")


async def test_devices(call, sandbox, ledger):
    device = {"id": "t/1", "platform": "ios", "last_used": "1800000000"}
    assert await call.send("PUT", "/api/v1/customers/5/devices", json={"device": device}) == OK
    assert sandbox.workspace.people.get(id="5").devices == {"t/1": device}
    assert await call.send("DELETE", "/api/v1/customers/5/devices/t%2F1") == OK
    assert sandbox.workspace.people.get(id="5").devices == {}
    assert last(ledger)[0] == "delete_device"


@pytest.mark.parametrize("device", [None, {}, {"id": "t"}, {"id": "t", "platform": "web"}])
async def test_a_device_needs_id_and_platform(call, device):
    assert (await call.send("PUT", "/api/v1/customers/5/devices", json={"device": device}))[0] == 400


async def test_suppress_blocks_the_identifiers_until_unsuppress(call, sandbox):
    people = sandbox.workspace.people
    await call.send("PUT", "/api/v1/customers/5", json={"email": "a@b.co"})
    assert await call.send("POST", "/api/v1/customers/5/suppress") == OK
    for identifier in ("5", "a@b.co"):
        assert await call.send("PUT", f"/api/v1/customers/{identifier}", json={}) == OK
        assert await call.send("POST", f"/api/v1/customers/{identifier}/events", json={"name": "x"}) == OK
    assert len(people) == 0
    assert people.failures
    assert await call.send("POST", "/api/v1/customers/5/unsuppress") == OK
    assert len(people) == 0
    await call.send("PUT", "/api/v1/customers/a@b.co", json={})
    assert people.get(email="a@b.co") is not None


async def test_events_pages_and_screens(call, sandbox, ledger):
    path = "/api/v1/customers/5/events"
    assert await call.send("POST", path, json={"name": " bought ", "data": {"price": 3}, "timestamp": 17}) == OK
    assert await call.send("POST", path, json={"name": "/home", "type": "page", "data": None}) == OK
    assert await call.send("POST", path, json={"name": "Home", "type": "screen"}) == OK
    events = sandbox.workspace.people.get(id="5").events
    assert [(event.kind, event.name, event.timestamp) for event in events] == [
        ("event", "bought", 17),
        ("page", "/home", NOW),
        ("screen", "Home", NOW),
    ]
    assert events[0].data == {"price": 3}
    assert [arrival.kind for arrival in ledger.arrivals] == ["event", "page", "screen"]
    assert ledger.arrivals[0].timestamp == 17


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "x" * 101}, {"name": "x", "type": "no"}, {"name": "x", "data": {"d": "x" * 100_000}}],
)
async def test_a_bad_event_is_a_400(call, body):
    status, answer = await call.send("POST", "/api/v1/customers/5/events", json=body)
    assert (status, list(answer)) == (400, ["meta"])


async def test_a_large_event_that_v2_would_refuse_is_taken(call):
    body = {"name": "x", "data": {"d": "x" * 99_000}}
    assert await call.send("POST", "/api/v1/customers/5/events", json=body) == OK


async def test_anonymous_and_invite_events(call, sandbox, ledger):
    anonymous = {"name": "looked", "anonymous_id": "anon-1", "id": "01J00000000000000000000001"}
    assert await call.send("POST", "/api/v1/events", json=anonymous) == OK
    assert last(ledger) == ("event", {"anonymous_id": "anon-1"}, "taken")
    assert [event.name for event in sandbox.workspace.visitors.waiting("anon-1")] == ["looked"]
    invite = {"name": "invited", "data": {"recipient": "new@example.com"}}
    assert await call.send("POST", "/api/v1/events", json=invite) == OK
    assert last(ledger)[0] == "invite_event"
    assert [event.name for event in sandbox.workspace.invites] == ["invited"]
    assert (await call.send("POST", "/api/v1/events", json={"name": "whose"}))[0] == 400


async def test_merge(call, sandbox, ledger):
    await call.send("PUT", "/api/v1/customers/1", json={"a": "one"})
    await call.send("PUT", "/api/v1/customers/b@example.com", json={"a": "two", "b": "two"})
    body = {"primary": {"id": 1}, "secondary": {"email": "b@example.com"}}
    assert await call.send("POST", "/api/v1/merge_customers", json=body) == OK
    assert sandbox.workspace.people.get(email="b@example.com").attributes == {"a": "one", "b": "two"}
    assert len(sandbox.workspace.people) == 1
    assert last(ledger)[0] == "merge"


@pytest.mark.parametrize(
    "body", [{}, {"primary": {"id": "1"}}, {"primary": {"id": "1", "email": "x"}, "secondary": {"id": "2"}}]
)
async def test_a_bad_merge_is_a_400_in_its_own_shape(call, body):
    status, answer = await call.send("POST", "/api/v1/merge_customers", json=body)
    assert status == 400
    assert isinstance(answer["meta"]["error"], str)


@pytest.mark.parametrize(
    ("path", "body", "metrics"),
    [
        ("/api/v1/metrics", {"delivery_id": "d", "metric": "opened"}, ["opened"]),
        ("/api/v1/push/events", {"delivery_id": "d", "event": "opened", "device_id": "t"}, ["opened"]),
        ("/push/events", {"delivery_id": "d", "event": "converted", "device_id": "t"}, ["converted"]),
        (
            "/api/v1/cio_deliveries/events",
            {"type": "in_app", "payload": {"delivery_id": "d", "event": "clicked"}},
            ["clicked"],
        ),
        ("/unsubscribe/d", {"unsubscribe": True}, ["unsubscribed"]),
    ],
)
async def test_deliveries(call, sandbox, path, body, metrics):
    assert await call.send("POST", path, json=body) == OK
    assert [one.metric for one in sandbox.workspace.deliveries["d"]] == metrics
    assert last(sandbox.ledger)[1:] == ({"delivery_id": "d"}, "taken")
    assert (await call.send("POST", path, data=b"[]"))[0] == 400


async def test_unsubscribe_needs_its_content_type(call):
    assert (await call.send("POST", "/unsubscribe/d", data=b'{"unsubscribe":true}'))[0] == 400


async def test_forms(call, sandbox, ledger):
    body = {"data": {"email": "ann@example.com", "colour": "red", "form_url": "https://example.com"}}
    assert await call.send("POST", "/api/v1/forms/f1/submit", json=body) == (204, "")
    assert sandbox.workspace.people.get(email="ann@example.com").attributes == {"colour": "red"}
    assert last(ledger) == ("form", {"form_id": "f1", "email": "ann@example.com"}, "taken")
    for wrong in ({}, {"data": {}}, {"data": {"id": "1", "email": "a@b.co"}}):
        status, answer = await call.send("POST", "/api/v1/forms/f1/submit", json=wrong)
        assert (status, list(answer["meta"])) == (400, ["errors"])


async def test_segments(call, sandbox, ledger):
    await call.send("PUT", "/api/v1/customers/ann@example.com", json={})
    ann = sandbox.workspace.people.get(email="ann@example.com")
    for action, members in (("add_customers", {ann.cio_id}), ("remove_customers", set())):
        path = f"/api/v1/segments/7/{action}?id_type=email"
        assert await call.send("POST", path, json={"ids": ["ann@example.com", "nobody@example.com", 4]}) == OK
        assert sandbox.workspace.segment(7) == members
    assert last(ledger) == ("segment_remove", {"segment_id": "7"}, "taken")


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("7/add_customers", []),
        ("7/add_customers", ["x"] * 1001),
        ("7/add_customers?id_type=phone", ["x"]),
        ("8/add_customers", ["x"]),
        ("x/remove_customers", ["x"]),
        ("9" * 5000 + "/remove_customers", ["x"]),
    ],
)
async def test_a_bad_segment_call_is_a_400(call, path, ids):
    assert (await call.send("POST", f"/api/v1/segments/{path}", json={"ids": ids}))[0] == 400


async def test_region(call, ledger):
    status, body = await call.send("GET", "/api/v1/accounts/region")
    assert (status, body["region"], body["environment_id"]) == (200, "us", 1)
    assert not ledger.arrivals
    assert (ledger.requests[0].status, ledger.requests[0].operations) == (200, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/api/v1/customers/5"), ("PUT", "/api/v1/customers/"), ("POST", "/v1/send")],
)
async def test_what_is_not_there_is_a_404(call, method, path):
    assert (await call.send(method, path))[0] == 404


@pytest.fixture
async def guarded(clock, session):
    """A sandbox that knows its credentials."""
    sandbox = Sandbox(clock, Faults(clock), Ledger(), site_id="s?te", track_api_key="k>>y")
    yield Caller(session, await sandbox.start())
    await sandbox.stop()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
async def test_credentials_are_known_in_both_alphabets(guarded, encode):
    headers = {"Authorization": f"Basic {encode(b's?te:k>>y').decode()}"}
    assert await guarded.send("PUT", "/api/v1/customers/5", json={}, headers=headers) == OK
    assert (await guarded.send("GET", "/api/v1/accounts/region", headers=headers))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer s?te:k>>y"},
        {"Authorization": "Basic ***"},
        {"Authorization": "Basic " + base64.b64encode(b"s?te:wrong").decode()},
    ],
)
async def test_wrong_credentials_are_a_401(guarded, headers):
    for method, path in (("PUT", "/api/v1/customers/5"), ("POST", "/api/v2/batch"), ("GET", "/api/v1/accounts/region")):
        assert (await guarded.send(method, path, json={}, headers=headers))[0] == 401


async def test_three_calls_need_no_credentials(guarded):
    push = {"delivery_id": "d", "event": "opened", "device_id": "t"}
    assert await guarded.send("POST", "/api/v1/metrics", json={"delivery_id": "d", "metric": "opened"}) == OK
    assert await guarded.send("POST", "/api/v1/push/events", json=push) == OK
    assert await guarded.send("POST", "/unsubscribe/d", json={"unsubscribe": True}) == OK
