"""Track calls over real sockets: what is stored, and the answer to the byte."""

import json

import pytest

from cio_buffer.errors import OutboxFull, OutboxUnavailable
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.routes import TrackRoutes, split_customer
from cio_buffer.ingest.track_v1 import Mapping
from cio_buffer.server import Server
from cio_buffer.telemetry import log
from tests.server.wire import ask, connect, is_closed, read_reply, request
from tests.support.clock import FakeClock

STAMP = 1_700_000_000
BOUGHT = {"type": "person", "identifiers": {"id": "5"}, "action": "event", "name": "bought"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class StubOutbox:
    """Remembers what was appended, or raises what it is told to."""

    def __init__(self):
        self.entries = []
        self.trouble = None

    async def append(self, entries):
        if self.trouble:
            raise self.trouble
        self.entries += entries
        return range(len(entries))

    @property
    def said(self):
        return [json.loads(entry.body) for entry in self.entries]


class StubLogger:
    def __init__(self):
        self.told = []

    def warning(self, event, **fields):
        self.told.append((event, fields))


@pytest.fixture
def outbox():
    return StubOutbox()


@pytest.fixture
def logger():
    return StubLogger()


@pytest.fixture
async def server(outbox, logger):
    intake = Intake(outbox, clock=FakeClock(STAMP + 0.5), new_id=lambda now: f"id at {now}")
    routes = TrackRoutes(intake, Mapping(), logger)
    server = Server(routes.answer, body_max_bytes=4_000_000, connections_max=100)
    yield server
    await server.close(0.05)


@pytest.fixture(params=["tcp", "unix"])
async def address(request, server, tmp_path):
    if request.param == "tcp":
        return await server.listen_tcp("127.0.0.1", 0)
    await server.listen_unix(tmp_path / "api.sock", mode=0o600)
    return str(tmp_path / "api.sock")


@pytest.fixture
def call(address):
    async def call(method, path, body=b"", *headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await ask(address, request(method, path, body, *headers), has_body=method != "HEAD")

    return call


@pytest.mark.parametrize(
    ("line", "body", "kind"),
    [
        ("PUT /api/v1/customers/5", {"plan": "pro"}, "identify"),
        ("PUT /api/v1/customers/5", b"null", "identify"),
        ("PUT /api/v1/customers/5", b"", "identify"),
        ("DELETE /api/v1/customers/5", b"", "delete"),
        ("DELETE /api/v1/customers/5", b"{}", "delete"),
        ("POST /api/v1/customers/5/events", {"name": "bought", "data": None}, "event"),
        ("POST /api/v1/customers/5/events", {"name": "/home", "type": "page"}, "page"),
        ("POST /api/v1/events", {"name": "bought", "anonymous_id": "a1"}, "event"),
        ("POST /api/v1/events", {"name": "invited", "data": {"recipient": "a@x.com"}}, "invite"),
        ("POST /api/v2/entity", BOUGHT, "event"),
        ("POST /api/v2/batch", {"batch": [BOUGHT]}, "event"),
        ("POST /api/v2/batch?trace=1", {"batch": [BOUGHT]}, "event"),
        ("DELETE /api/v1/customers/5?now=/events", b"", "delete"),
    ],
)
async def test_what_is_stored_is_answered_as_the_vendor_does(call, outbox, line, body, kind):
    reply = await call(*line.split(), body)
    assert (reply.status, reply.body) == (200, b"{}\n")
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert [entry.kind for entry in outbox.entries] == [kind]


async def test_the_answer_comes_when_the_entry_is_stored_and_stamped(call, outbox):
    await call("POST", "/api/v1/customers/5/events", {"name": "bought"})
    (entry,) = outbox.entries
    assert json.loads(entry.body) == BOUGHT | {"id": f"id at {STAMP + 0.5}", "timestamp": STAMP}
    assert (entry.accepted_at_ms, entry.route) == (STAMP * 1000 + 500, "v1")


async def test_a_connection_serves_one_call_after_the_other(address, outbox):
    async with connect(address) as (reader, writer):
        for number in range(3):
            writer.write(request("PUT", f"/api/v1/customers/{number}"))
            assert (await read_reply(reader)).body == b"{}\n"
    assert [said["identifiers"]["id"] for said in outbox.said] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "sent",
    [
        request("PUT", "/api/v1/customers/5", b"", "Host: localhost", "Connection: close"),
        b"PUT /api/v1/customers/5 HTTP/1.0\r\n\r\n",
    ],
)
async def test_whoever_wants_one_answer_only_gets_it_and_a_closed_connection(address, outbox, sent):
    async with connect(address) as (reader, writer):
        writer.write(sent)
        reply = await read_reply(reader)
        assert (reply.status, reply.body) == (200, b"{}\n")
        assert await is_closed(reader)
    assert len(outbox.entries) == 1


async def test_an_old_client_is_told_that_the_connection_stays_open(address):
    """In HTTP/1.0 that goes without saying only for the opposite (ApacheBench depends on it)."""
    reply = await ask(address, b"PUT /api/v1/customers/5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


async def test_calls_sent_all_at_once_are_answered_in_order(address, outbox):
    async with connect(address) as (reader, writer):
        writer.writelines(request("PUT", f"/api/v1/customers/{number % 7}".rstrip("0")) for number in range(30))
        statuses = [(await read_reply(reader)).status for _ in range(30)]
    assert statuses == [200 if number % 7 else 400 for number in range(30)]
    assert [said["identifiers"]["id"] for said in outbox.said] == [f"{n % 7}" for n in range(30) if n % 7]


@pytest.mark.parametrize(
    ("segment", "identifiers"),
    [
        ("a%2Fb%3Fc", {"id": "a/b?c"}),
        ("a%252Fb", {"id": "a%2Fb"}),
        ("a/b", {"id": "a/b"}),
        ("a/b/c", {"id": "a/b/c"}),
        ("/a", {"id": "/a"}),
        ("events", {"id": "events"}),
        ("devices", {"id": "devices"}),
        ("a%2Fdevices", {"id": "a/devices"}),
        ("a%2Fevents", {"id": "a/events"}),
        ("a+b@example.com", {"email": "a+b@example.com"}),
        ("a%2Bb%40example.com", {"email": "a+b@example.com"}),
        ("=&$:;,!", {"id": "=&$:;,!"}),
        ("j%C3%BCrgen", {"id": "jürgen"}),
        ("%20", {"id": " "}),
        ("cio_f0", {"cio_id": "f0"}),
    ],
)
async def test_the_path_says_who(call, outbox, segment, identifiers):
    for method, tail in (("PUT", ""), ("POST", "/events"), ("DELETE", "")):
        assert (await call(method, f"/api/v1/customers/{segment}{tail}", {"name": "b"})).status == 200
    assert [said["identifiers"] for said in outbox.said] == [identifiers] * 3


async def test_any_content_type_will_do(call, outbox):
    for kind in ("application/x-www-form-urlencoded", "text/plain; charset=latin-1", "nonsense", ""):
        headers = ("Host: localhost", f"Content-Type: {kind}")
        assert (await call("POST", "/api/v1/customers/5/events", {"name": "ü"}, *headers)).status == 200
    assert [said["name"] for said in outbox.said] == ["ü"] * 4


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v1/customers/5/devices/abc"),
        ("DELETE", "/api/v1/customers/5/devices/a/b/c"),
        ("DELETE", "/api/v1/customers/5/devices"),
        ("DELETE", "/api/v1/customers/5/events"),
        ("DELETE", "/api/v1/customers/5/suppress"),
        ("DELETE", "/api/v1/customers/5/"),
        ("DELETE", "/api/v1/customers"),
        ("PUT", "/api/v1/customers/5/devices"),
        ("PUT", "/api/v1/customers/5/events"),
        ("PUT", "/api/v1/customers/5/events/"),
        ("PUT", "/api/v1/customers/5/events/6"),
        ("POST", "/api/v1/customers/5"),
        ("POST", "/api/v1/customers/5/suppress"),
        ("POST", "/api/v1/customers/5/unsuppress"),
        ("POST", "/api/v1/customers/5/devices/events"),
        ("POST", "/api/v1/customers/5//events"),
        ("GET", "/api/v1/customers/5"),
        ("HEAD", "/api/v1/customers/5"),
        ("GET", "/api/v1/customers/5/events"),
        ("PATCH", "/api/v1/customers/5"),
        ("OPTIONS", "/api/v1/customers/5"),
        ("GET", "/api/v1/events"),
        ("PUT", "/api/v1/events"),
        ("POST", "/api/v1/events/"),
        ("POST", "/api/v1/merge_customers"),
        ("POST", "/api/v1/metrics"),
        ("POST", "/api/v1/push/events"),
        ("POST", "/push/events"),
        ("POST", "/unsubscribe/d1"),
        ("POST", "/api/v1/forms/f/submit"),
        ("POST", "/api/v1/segments/1/add_customers"),
        ("GET", "/api/v1/accounts/region"),
        ("PUT", "/customers/5"),
        ("POST", "/events"),
        ("POST", "/"),
        ("POST", "//api/v1/events"),
    ],
)
async def test_no_other_call_is_mistaken_for_one_of_these(call, outbox, method, path):
    reply = await call(method, path, {"name": "b"})
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert method == "HEAD" or "/api/v1/" in reply.json["meta"]["error"]
    assert outbox.entries == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v2/batch"), ("HEAD", "/api/v2/entity"), ("POST", "/api/v2/x")]
)
async def test_no_call_of_v2_is_mistaken_either(call, outbox, method, path):
    reply = await call(method, path, {"batch": [BOUGHT]})
    assert reply.status == 404
    assert method == "HEAD" or reply.json["errors"][0]["field"] == "path"
    assert outbox.entries == []


async def test_a_head_is_answered_without_a_body_and_the_connection_goes_on(address):
    async with connect(address) as (reader, writer):
        writer.write(request("HEAD", "/api/v1/events"))
        assert (await read_reply(reader, has_body=False)).status == 404
        writer.write(request("PUT", "/api/v1/customers/5"))
        assert (await read_reply(reader)).body == b"{}\n"


async def test_v1_says_what_is_wrong_in_one_sentence(call, outbox, logger):
    reply = await call("POST", "/api/v1/customers/5/events", {"name": "secret " * 20})
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.json == {"meta": {"error": "name: `name` must have 1 to 100 bytes, got 139"}}
    assert logger.told == [(log.OPERATION_REFUSED, {"reason": "invalid", "field": "name"})]
    assert outbox.entries == []


async def test_v2_says_what_is_wrong_by_reason_and_field(call, outbox):
    reply = await call("POST", "/api/v2/entity", {"type": "person", "action": "event", "identifiers": {"id": "5"}})
    assert reply.status == 400
    assert reply.json == {"errors": [{"reason": "required", "field": "name", "message": "`name` is required"}]}
    assert outbox.entries == []


@pytest.mark.parametrize("path", ["/api/v1/customers/5/events", "/api/v1/events", "/api/v2/entity", "/api/v2/batch"])
@pytest.mark.parametrize("body", [b"", b"{", b'{"name":"\xff"}', b'\xef\xbb\xbf{"name":"b"}', b"[]"])
async def test_what_is_no_json_is_a_bad_request(call, outbox, path, body):
    reply = await call("POST", path, body)
    assert reply.status == 400
    assert reply.json.keys() == ({"errors"} if "v2" in path else {"meta"})
    assert outbox.entries == []


async def test_a_name_in_a_path_that_is_no_text_is_a_bad_request(call):
    assert (await call("PUT", "/api/v1/customers/%FF")).status == 400
    assert (await call("PUT", "/api/v1/customers/\udcff")).status == 400
    assert (await call("PUT", "/api/v1/customers/")).status == 400
    assert (await call("POST", "/api/v1/customers//events", {"name": "b"})).status == 400


async def test_a_batch_is_stored_but_for_what_is_wrong_in_it(call, outbox):
    reply = await call("POST", "/api/v2/batch", {"batch": [{"type": "person"}, BOUGHT, BOUGHT | {"name": ""}]})
    assert reply.status == 207
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    message = "`name` must have 1 to 100 bytes, got 0"
    assert reply.json == {
        "errors": [
            {"batch_index": 0, "reason": "required", "field": "action", "message": "`action` is required"},
            {"batch_index": 2, "reason": "invalid", "field": "name", "message": message},
        ]
    }
    assert [said["name"] for said in outbox.said] == ["bought"]


async def test_a_batch_in_which_all_is_wrong_stores_nothing(call, outbox):
    reply = await call("POST", "/api/v2/batch", {"batch": [5]})
    assert (reply.status, [error["batch_index"] for error in reply.json["errors"]]) == (207, [0])
    assert outbox.entries == []


async def test_what_is_too_large_for_every_door_is_413(call, outbox):
    large = {"x": "x" * 100_000}
    assert (await call("POST", "/api/v1/customers/5/events", {"name": "b", "data": large})).status == 413
    reply = await call("POST", "/api/v2/entity", BOUGHT | {"attributes": large})
    assert (reply.status, reply.json["errors"][0]["reason"]) == (413, "invalid")
    assert outbox.entries == []


FULL = OutboxFull("outbox_full", retry_after_s=7), {"reason": "outbox_full", "retry_after": "7"}
UNAVAILABLE = OutboxUnavailable(), {"reason": "store_unwritable", "retry_after": "1"}


@pytest.mark.parametrize(("trouble", "told"), [FULL, UNAVAILABLE])
async def test_where_nothing_can_be_stored_the_app_is_asked_to_wait(call, outbox, trouble, told):
    outbox.trouble = trouble
    v1 = await call("POST", "/api/v1/customers/5/events", {"name": "b"})
    assert (v1.status, v1.headers["retry-after"]) == (503, told["retry_after"])
    assert "The outbox" in v1.json["meta"]["error"]
    for path, body in (("/api/v2/entity", BOUGHT), ("/api/v2/batch", {"batch": [BOUGHT, {"type": "person"}]})):
        v2 = await call("POST", path, body)
        assert (v2.status, v2.headers["retry-after"]) == (503, told["retry_after"])
        assert v2.json["errors"][0]["reason"] == told["reason"]


@pytest.mark.parametrize(
    ("given", "kept"), [(TRACE, TRACE), ("\udcff" * 9, None), ("x" * 4_000, None), (TRACE + "-more", None), ("", None)]
)
async def test_the_trace_that_an_app_is_in_is_kept_if_it_is_one(call, outbox, given, kept):
    await call("PUT", "/api/v1/customers/5", b"", "Host: localhost", f"traceparent: {given}")
    assert outbox.entries[0].traceparent == kept


@pytest.mark.parametrize(
    ("rest", "split"),
    [("5", ("5", "")), ("5/events", ("5", "events")), ("a/b/events", ("a/b", "events")), ("events", ("events", ""))],
)
def test_a_customers_path_is_split_from_the_right(rest, split):
    assert split_customer(rest) == split
