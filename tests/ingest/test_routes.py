"""Track calls over real sockets: what is stored, and the answer to the byte."""

import json
import zlib

import pytest

from cio_buffer.errors import OutboxFull, OutboxUnavailable
from cio_buffer.ingest.repeats import fingerprint
from cio_buffer.ingest.track_v1 import find_call
from cio_buffer.outbox.entry import AppCall
from cio_buffer.outbox.names import Receipt
from cio_buffer.outbox.trail import unpack_trail
from cio_buffer.telemetry import log
from tests.server.wire import ask, connect, is_closed, read_reply, request

from .rooms import STAMP

BOUGHT = {"type": "person", "identifiers": {"id": "5"}, "action": "event", "name": "bought"}
RECEIPT, NOW_MS = "x-cio-buffer-receipt", STAMP * 1000 + 500
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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
        ("PUT /api/v1/customers/5/devices", {"device": {"id": "t", "platform": "ios"}}, "add_device"),
        ("DELETE /api/v1/customers/5/devices/t", b"", "delete_device"),
        ("POST /api/v1/customers/5/suppress", b"", "suppress"),
        ("POST /api/v1/customers/5/unsuppress", b"", "unsuppress"),
        ("POST /api/v1/merge_customers", {"primary": {"id": "5"}, "secondary": {"id": "6"}}, "merge"),
        ("POST /api/v1/metrics", {"delivery_id": "d1", "metric": "opened"}, "metric"),
        ("POST /api/v1/push/events", {"delivery_id": "d1", "event": "opened"}, "push_metric"),
        ("POST /push/events", {"delivery_id": "d1", "event": "opened"}, "push_metric"),
        ("POST /api/v1/cio_deliveries/events", {"payload": {"delivery_id": "d1"}}, "in_app_metric"),
        ("POST /unsubscribe/d1", {"unsubscribe": True}, "unsubscribe"),
        ("POST /api/v1/forms/f/submit", {"data": {"email": "a@x.com"}}, "form"),
        ("POST /api/v1/segments/1/add_customers", {"ids": ["5"]}, "segment_add"),
        ("POST /api/v1/segments/1/remove_customers?id_type=email", {"ids": ["a@x.com"]}, "segment_remove"),
    ],
)
async def test_what_is_stored_is_answered_as_the_vendor_does(call, outbox, line, body, kind):
    reply = await call(*line.split(), body)
    assert (reply.status, reply.body) == (200, b"{}\n")
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert [entry.kind for entry in outbox.entries] == [kind]
    trail = unpack_trail(outbox.entries[0].trail)
    assert (trail.kind, trail.route, trail.accepted_at_ms) == (kind, outbox.entries[0].route, NOW_MS)


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
        ("DELETE", "/api/v1/customers/5/devices/a/b/c"),
        ("DELETE", "/api/v1/customers/5/devices"),
        ("DELETE", "/api/v1/customers/5/events"),
        ("DELETE", "/api/v1/customers/5/suppress"),
        ("DELETE", "/api/v1/customers/5/"),
        ("DELETE", "/api/v1/customers"),
        ("PUT", "/api/v1/customers/5/events"),
        ("PUT", "/api/v1/customers/5/events/"),
        ("PUT", "/api/v1/customers/5/events/6"),
        ("POST", "/api/v1/customers/5"),
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
        ("DELETE", "/api/v1/customers/5/devices/"),
        ("DELETE", "/api/v1/customers/5/devices/t/events"),
        ("DELETE", "/api/v1/customers/5/events/devices/t"),
        ("PUT", "/api/v1/customers/5/devices/"),
        ("PUT", "/api/v1/customers/5/devices/t"),
        ("PUT", "/api/v1/customers/5/suppress"),
        ("POST", "/api/v1/customers/5/devices"),
        ("POST", "/api/v1/customers/5/suppress/"),
        ("POST", "/api/v1/customers/5/events/suppress"),
        ("GET", "/api/v1/customers/5/suppress"),
        ("PUT", "/api/v1/merge_customers"),
        ("POST", "/api/v1/merge_customers/"),
        ("GET", "/api/v1/metrics"),
        ("POST", "/metrics"),
        ("PUT", "/api/v1/push/events"),
        ("GET", "/push/events"),
        ("POST", "/push/events/"),
        ("POST", "/cio_deliveries/events"),
        ("GET", "/unsubscribe/d1"),
        ("POST", "/unsubscribe"),
        ("POST", "/api/v1/unsubscribe/d1"),
        ("GET", "/api/v1/forms/f/submit"),
        ("POST", "/api/v1/forms/submit"),
        ("POST", "/api/v1/forms//submit"),
        ("POST", "/api/v1/forms/a/b/submit"),
        ("POST", "/api/v1/forms/f/submit/"),
        ("POST", "/api/v1/segments/1/add_people"),
        ("POST", "/api/v1/segments/add_customers"),
        ("POST", "/api/v1/segments//add_customers"),
        ("POST", "/api/v1/segments/1/2/add_customers"),
        ("PUT", "/api/v1/segments/1/add_customers"),
        ("POST", "/api/v1/accounts/region"),
        ("HEAD", "/api/v1/accounts/region"),
        ("GET", "/api/v1/accounts/region/"),
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
    method = {"": "PUT", "events": "POST"}[split[1]]
    found, named = find_call(method, f"/api/v1/customers/{rest}")
    assert (named, found.make.__name__) == ((split[0],), {"": "identify", "events": "event"}[split[1]])


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        ("5/devices/t", ("5", "t")),
        ("a/b/devices/t", ("a/b", "t")),
        ("devices/devices/t", ("devices", "t")),
        ("5/devices/a%2Fb", ("5", "a%2Fb")),
        ("5/devices/events", ("5", "events")),
        ("5/devices/devices", ("5", "devices")),
        ("/devices/t", ("", "t")),
    ],
)
def test_a_devices_path_is_split_from_the_right_too(rest, named):
    found, parts = find_call("DELETE", f"/api/v1/customers/{rest}")
    assert (found.make.__name__, parts) == ("delete_device", named)


async def test_a_compressed_body_is_not_taken(call, outbox, region):
    """No SDK sends one, and half a stream would pass for an empty body."""
    for kind, packed in (("deflate", zlib.compress(b"{}")), ("gzip", b"\x1f\x8b"), ("br", b"{}")):
        headers = ("Host: localhost", f"Content-Encoding: {kind}")
        v1 = await call("PUT", "/api/v1/customers/5", packed, *headers)
        assert (v1.status, v1.headers["connection"]) == (415, "close")
        assert v1.json == {"meta": {"error": "Bodies are taken uncompressed only"}}
        v2 = await call("POST", "/api/v2/batch", packed, *headers)
        assert (v2.status, v2.json["errors"][0]["reason"]) == (415, "invalid")
    assert outbox.entries == []


async def test_a_body_that_says_that_it_is_not_compressed_is_taken(call, outbox):
    headers = ("Host: localhost", "Content-Encoding: Identity")
    assert (await call("PUT", "/api/v1/customers/5", b"{}", *headers)).status == 200
    assert len(outbox.entries) == 1


async def test_a_body_over_the_limit_is_refused_in_the_shape_of_its_api(call, outbox):
    """Customer.io takes less than 500 KB in a request, so less is taken here than the server would let in."""
    most = b'{"name":"b"' + b" " * (499_999 - 12) + b"}"
    assert (await call("POST", "/api/v1/customers/5/events", most)).status == 200
    v1 = await call("POST", "/api/v1/customers/5/events", most + b" ")
    assert (v1.status, v1.json) == (413, {"meta": {"error": "A body has at most 499999 bytes"}})
    v2 = await call("POST", "/api/v2/batch", most + b" ")
    problem = {"reason": "invalid", "field": "", "message": "A body has at most 499999 bytes"}
    assert (v2.status, v2.json) == (413, {"errors": [problem]})
    assert len(outbox.entries) == 1


async def test_which_region_it_is_is_asked_and_never_stored(call, outbox, region):
    reply = await call("GET", "/api/v1/accounts/region?a=b")
    assert (reply.status, reply.json["region"]) == (200, "us")
    assert region.asked == [("GET", "/api/v1/accounts/region?a=b", b"")]
    assert outbox.entries == []


async def test_what_broke_is_said_in_json_and_nothing_of_it(call, outbox):
    outbox.trouble = RuntimeError("secret")
    v1 = await call("PUT", "/api/v1/customers/5", {"a": "secret"})
    assert (v1.status, v1.headers["content-type"]) == (500, "application/json; charset=utf-8")
    assert v1.json == {"meta": {"error": "Something here broke; the log says more"}}
    v2 = await call("POST", "/api/v2/entity", BOUGHT)
    assert (v2.status, v2.json["errors"][0]["message"]) == (500, "Something here broke; the log says more")


@pytest.mark.parametrize("host", [b"x", b"\xc3\xbc", b"\xff"])
async def test_whoever_calls_itself_what_it_likes_is_told_that_there_is_no_such_call(server, tmp_path, host):
    """On a UNIX socket any Host will do, and it stands in the sentence."""
    await server.listen_unix(tmp_path / "api.sock", mode=0o600)
    reply = await ask(str(tmp_path / "api.sock"), b"POST /events HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert reply.status == 404


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("PUT /api/v1/customers/5", b""),
        ("POST /api/v1/customers/5/events", {"name": "bought"}),
        ("POST /api/v1/metrics", {"delivery_id": "d1", "metric": "opened"}),
        ("POST /api/v2/entity", BOUGHT),
        ("POST /api/v2/batch", {"batch": [BOUGHT]}),
    ],
)
async def test_whoever_stores_one_entry_gets_its_receipt(call, outbox, line, body):
    await call("PUT", "/api/v1/customers/1")
    reply = await call(*line.split(), body)
    assert reply.headers[RECEIPT] == outbox.names.receipt(2, NOW_MS)
    assert outbox.names.read_receipt(reply.headers[RECEIPT]) == Receipt(2, NOW_MS)
    assert reply.headers.keys() == {"content-type", "content-length", "date", RECEIPT}


async def test_whoever_stores_several_gets_the_first_receipt_and_the_last(call, outbox):
    await call("PUT", "/api/v1/customers/1")
    reply = await call("POST", "/api/v2/batch", {"batch": [BOUGHT] * 3})
    assert (reply.status, reply.body) == (200, b"{}\n")
    first, last = reply.headers[RECEIPT].split("..")
    assert [outbox.names.read_receipt(receipt).seq for receipt in (first, last)] == [2, 4]


async def test_receipts_are_for_what_was_stored_of_a_batch(call, outbox):
    bad = {"type": "person"}
    one = await call("POST", "/api/v2/batch", {"batch": [bad, BOUGHT]})
    two = await call("POST", "/api/v2/batch", {"batch": [BOUGHT, bad, BOUGHT]})
    assert (one.status, one.headers[RECEIPT]) == (207, outbox.names.receipt(1, NOW_MS))
    assert (two.status, two.headers[RECEIPT]) == (207, "..".join(outbox.names.receipt(seq, NOW_MS) for seq in (2, 3)))
    none = await call("POST", "/api/v2/batch", {"batch": [bad]})
    assert (none.status, RECEIPT in none.headers) == (207, False)


@pytest.mark.parametrize("last", ["Connection: close", "Connection: keep-alive"])
async def test_every_kind_of_client_gets_a_receipt(address, outbox, last):
    new = await ask(address, request("PUT", "/api/v1/customers/5", b"", "Host: localhost", last))
    old = await ask(address, f"PUT /api/v1/customers/5 HTTP/1.0\r\n{last}\r\n\r\n".encode())
    assert [new.headers[RECEIPT], old.headers[RECEIPT]] == [outbox.names.receipt(seq, NOW_MS) for seq in (1, 2)]


async def test_what_is_refused_has_no_receipt(call, outbox, region):
    refused = [
        await call("POST", "/api/v1/customers/5/events", {"name": ""}),
        await call("POST", "/api/v2/entity", {"type": "person"}),
        await call("POST", "/api/v2/batch", b"{"),
        await call("POST", "/api/v1/nothing"),
        await call("GET", "/api/v1/accounts/region"),
        await call("POST", "/api/v2/entity", BOUGHT | {"attributes": {"x": "x" * 100_000}}),
    ]
    for trouble in (FULL[0], UNAVAILABLE[0], RuntimeError()):
        outbox.trouble = trouble
        refused += [await call("PUT", "/api/v1/customers/5"), await call("POST", "/api/v2/batch", {"batch": [BOUGHT]})]
    assert [reply.status for reply in refused] == [400, 400, 400, 404, 200, 413, 503, 503, 503, 503, 500, 500]
    assert not any(RECEIPT in reply.headers for reply in refused)


async def test_a_repeat_of_what_was_stored_is_answered_without_a_receipt(call, outbox, repeats):
    """Which entries the first call made is not remembered; the answer is the vendor's all the same."""
    lost = AppCall(fingerprint=fingerprint("\nPUT /api/v1/customers/5", b"{}"), at_s=STAMP)
    repeats._lose(lost)
    reply = await call("PUT", "/api/v1/customers/5", b"{}", "Host: localhost", "X-Retry-Count: 1")
    assert (reply.status, reply.body, outbox.entries) == (200, b"{}\n", [])
    assert reply.headers.keys() == {"content-type", "content-length", "date"}
