"""What the SDKs put on the wire, each as it does it (sdk-wire.md, section 1), over real sockets."""

import json
from base64 import b64encode, urlsafe_b64encode

import pytest

from cio_buffer.callers import Callers
from cio_buffer.errors import OutboxFull, OutboxUnavailable
from tests.server.wire import ask, connect, read_reply

SITE, KEY = "site?>", "key~~?"
STANDARD = "Basic " + b64encode(f"{SITE}:{KEY}".encode()).decode()
URL_SAFE = "Basic " + urlsafe_b64encode(f"{SITE}:{KEY}".encode()).decode()
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"

CALLS = [
    ("PUT", "/api/v1/customers/5", {"plan": "pro"}),
    ("DELETE", "/api/v1/customers/5", None),
    ("POST", "/api/v1/customers/5/events", {"name": "bought"}),
    ("PUT", "/api/v1/customers/5/devices", {"device": {"id": "t", "platform": "ios"}}),
    ("DELETE", "/api/v1/customers/5/devices/t", None),
    ("POST", "/api/v1/customers/5/suppress", None),
    ("POST", "/api/v1/customers/5/unsuppress", None),
    ("POST", "/api/v1/events", {"name": "bought", "anonymous_id": "a1"}),
    ("POST", "/api/v1/merge_customers", {"primary": {"id": "5"}, "secondary": {"id": "6"}}),
    ("POST", "/api/v1/metrics", {"delivery_id": "d1", "metric": "opened"}),
    ("POST", "/api/v1/push/events", {"delivery_id": "d1", "event": "opened"}),
    ("POST", "/push/events", {"delivery_id": "d1", "event": "opened"}),
    ("POST", "/api/v1/cio_deliveries/events", {"payload": {"delivery_id": "d1"}}),
    ("POST", "/api/v1/forms/f/submit", {"data": {"email": "a@x.com"}}),
    ("POST", "/api/v1/segments/1/add_customers", {"ids": ["5"]}),
    ("POST", "/api/v1/segments/1/remove_customers", {"ids": ["5"]}),
    ("POST", "/unsubscribe/d1", {"unsubscribe": True}),
    ("POST", "/api/v2/entity", {"type": "person", "action": "delete", "identifiers": {"id": "5"}}),
    ("POST", "/api/v2/batch", {"batch": [{"type": "person", "action": "delete", "identifiers": {"id": "5"}}]}),
]


@pytest.fixture
def callers():
    return Callers(site_id=SITE, keys=(KEY, ""), needed="key")


def as_sent(method, path, body=None, *headers, shown=STANDARD):
    """A request with just these headers. A body that is None is absent, length and all."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    lines = ["Host: 127.0.0.1:8787", f"Authorization: {shown}", *headers]
    lines += [] if data is None else [f"Content-Length: {len(data)}"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode(errors="surrogateescape") + (data or b"")


@pytest.fixture
def send(address):
    async def send(method, path, body=None, *headers, shown=STANDARD):
        return await ask(address, as_sent(method, path, body, *headers, shown=shown))

    return send


@pytest.fixture
def identifiers(outbox):
    """Whom the stored operations are about."""
    return lambda: [said["identifiers"] for said in outbox.said]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_go_takes_nothing_but_200_and_node_nothing_but_json(send, outbox, method, path, body):
    """Forms too, which Customer.io itself answers with 204."""
    reply = await send(method, path, body)
    assert (reply.status, reply.json) == (200, {})
    assert reply.headers["content-type"].partition(";")[0] == "application/json"
    assert len(outbox.entries) == 1


async def test_node_throws_on_what_is_not_json_so_refusals_are_too(send, outbox):
    event = "/api/v1/customers/5/events"
    refused = {
        400: await send("POST", event, {}),
        401: await send("POST", event, {"name": "b"}, shown="Basic bm86bm8="),
        404: await send("GET", "/nowhere"),
        413: await send("POST", event, {"name": "b", "data": {"x": "x" * 100_000}}),
        415: await send("POST", event, b"", "Content-Encoding: gzip"),
    }
    outbox.trouble = OutboxUnavailable()
    refused[503] = await send("POST", event, {"name": "b"})
    assert {status: reply.status for status, reply in refused.items()} == {status: status for status in refused}
    for reply in refused.values():
        assert reply.headers["content-type"].partition(";")[0] == "application/json"
        assert isinstance(reply.json["meta"]["error"], str)


async def test_go_writes_its_credentials_in_the_url_safe_alphabet(send, outbox):
    assert STANDARD != URL_SAFE
    for shown in (STANDARD, URL_SAFE):
        assert (await send("PUT", "/api/v1/customers/5", {}, JSON, shown=shown)).status == 200
    assert len(outbox.entries) == 2


async def test_nobody_waits_for_a_challenge(address, outbox):
    """Head, credentials and body come at once; so does the answer."""
    async with connect(address) as (reader, writer):
        writer.write(as_sent("POST", "/api/v1/customers/5/events", {"name": "b"}, JSON))
        assert (await read_reply(reader)).status == 200


async def test_go_leaves_signs_in_an_id_bare(send, identifiers):
    for segment in ("a@b", "a+b", "a:b", "a=b", "a&b", "a$b", "a+b@x.com"):
        assert (await send("PUT", f"/api/v1/customers/{segment}", {}, JSON)).status == 200
    assert identifiers() == [{"id": f"a{sign}b"} for sign in "@+:=&$"] + [{"email": "a+b@x.com"}]


async def test_python_node_and_ruby_encode_signs_in_an_id(send, identifiers):
    for segment in ("a%40b", "a%2Bb", "a%3Ab", "a%3Db", "a%26b", "a%24b", "a%2fb", "a%20b", "%C3%BC"):
        assert (await send("PUT", f"/api/v1/customers/{segment}", {}, JSON)).status == 200
    assert identifiers() == [{"id": f"a{sign}b"} for sign in "@+:=&$/ "] + [{"id": "ü"}]


async def bare_slashes(send, identifiers, person):
    path = f"/api/v1/customers/{person}"
    for method, tail, body in (
        ("PUT", "", {}),
        ("DELETE", "", None),
        ("POST", "/events", {"name": "b"}),
        ("PUT", "/devices", {"device": {"id": "t", "platform": "ios"}}),
        ("DELETE", "/devices/t", None),
        ("POST", "/suppress", b""),
        ("POST", "/unsuppress", b""),
    ):
        assert (await send(method, path + tail, body)).status == 200, tail
    return identifiers()


async def test_async_leaves_a_slash_in_an_id_bare(send, identifiers):
    assert await bare_slashes(send, identifiers, "a/b") == [{"id": "a/b"}] * 7


async def test_php_leaves_a_slash_in_an_id_bare(send, identifiers):
    assert await bare_slashes(send, identifiers, "tenant/1/user/2") == [{"id": "tenant/1/user/2"}] * 7


async def test_an_id_of_php_that_ends_in_a_tail_stays_ambiguous(send, outbox):
    """Whose device `events` is, nobody can tell: never to be read as part of a longer name."""
    assert (await send("PUT", "/api/v1/customers/a/devices/b", {})).status == 404
    assert (await send("DELETE", "/api/v1/customers/a/events")).status == 404
    assert outbox.entries == []


async def test_async_encodes_a_device_token_twice(send, outbox):
    assert (await send("DELETE", "/api/v1/customers/5/devices/a%252Fb", None, JSON)).status == 200
    assert outbox.said[0]["device"] == {"token": "a%2Fb"}


@pytest.mark.parametrize("body", [None, b"", b"{}", b"null"])
@pytest.mark.parametrize(
    ("method", "tail"),
    [("PUT", ""), ("DELETE", ""), ("DELETE", "/devices/t"), ("POST", "/suppress"), ("POST", "/unsuppress")],
)
async def test_a_body_may_be_missing_empty_or_null(send, outbox, method, tail, body):
    """Go sends none, Ruby and PHP no bytes, Python and Node {}, Go for no attributes the word null."""
    assert (await send(method, f"/api/v1/customers/5{tail}", body)).status == 200
    assert len(outbox.entries) == 1
    assert outbox.entries[0].call is None


async def test_go_sends_null_for_no_attributes(send, outbox):
    assert (await send("PUT", "/api/v1/customers/5", b"null", JSON, shown=URL_SAFE)).status == 200
    assert outbox.said[0]["attributes"] == {}


async def test_go_sends_null_for_no_data(send, outbox):
    assert (await send("POST", "/api/v1/customers/5/events", b'{"data":null,"name":"bought"}', JSON)).status == 200
    assert outbox.said[0]["attributes"] == {}


async def test_go_sends_null_for_no_attributes_of_a_device(send, outbox):
    body = b'{"device":{"attributes":null,"id":"t","last_used":"1700000000","platform":"ios"}}'
    assert (await send("PUT", "/api/v1/customers/5/devices", body, JSON)).status == 200
    assert outbox.said[0]["device"] == {"token": "t", "platform": "ios", "last_used": 1_700_000_000}


async def test_go_deletes_without_a_content_type(send, outbox):
    assert (await send("DELETE", "/api/v1/customers/5", None, "Accept-Encoding: gzip", shown=URL_SAFE)).status == 200
    assert outbox.said[0]["action"] == "delete"


async def test_go_escapes_angle_brackets(send, outbox):
    body = b'{"data":{"a":"\\u003c\\u0026\\u003e"},"name":"b"}'
    assert (await send("POST", "/api/v1/customers/5/events", body, JSON)).status == 200
    assert outbox.said[0]["attributes"] == {"a": "<&>"}


async def test_ruby_suppresses_with_an_empty_form_post(send, outbox):
    for tail in ("suppress", "unsuppress"):
        assert (await send("POST", f"/api/v1/customers/5/{tail}", b"", FORM, "Connection: close")).status == 200
    assert [said["action"] for said in outbox.said] == ["suppress", "unsuppress"]


async def test_node_names_json_on_a_get_and_a_delete_without_a_body(send, outbox, region):
    assert (await send("DELETE", "/api/v1/customers/5", None, JSON)).status == 200
    assert (await send("GET", "/api/v1/accounts/region", None, JSON)).status == 200
    assert len(region.asked) == 1
    assert [said["action"] for said in outbox.said] == ["delete"]


@pytest.mark.parametrize("content_type", [FORM, "Content-Type: text/plain", "Content-Type:", "X-None: none"])
async def test_php_and_others_may_say_what_they_like_about_the_content(send, outbox, content_type):
    assert (await send("POST", "/api/v1/customers/5/events", {"name": "ü"}, content_type)).status == 200
    assert outbox.said[0]["name"] == "ü"


async def test_go_writes_last_used_as_text(send, outbox):
    device = {"id": "t", "platform": "android", "last_used": "1700000000", "attributes": {"device_os": "14"}}
    assert (await send("PUT", "/api/v1/customers/5/devices", {"device": device}, JSON)).status == 200
    assert outbox.said[0]["device"]["last_used"] == 1_700_000_000
    assert outbox.entries[0].call is None


async def test_node_sends_numbers_in_merges(send, outbox):
    body = {"primary": {"id": 5}, "secondary": {"id": 6}}
    assert (await send("POST", "/api/v1/merge_customers", body, JSON)).status == 200
    assert outbox.said == [
        {"type": "person", "action": "merge", "primary": {"id": "5"}, "secondary": {"id": "6"}},
    ]


async def test_node_sends_numbers_in_segments(send, outbox):
    body = b'{"ids":[1,"2",3]}'
    assert (await send("POST", "/api/v1/segments/7/add_customers?id_type=id", body, JSON)).status == 200
    assert (outbox.entries[0].call, outbox.entries[0].body) == (
        "POST /api/v1/segments/7/add_customers?id_type=id",
        body,
    )


async def test_node_sends_any_key_of_an_event_as_it_is(send, outbox):
    """Extra keys, ids as numbers, stamps as text: what v1 would have judged, v1 judges."""
    event = {"name": "b", "data": {}, "id": 7, "timestamp": "1700000000", "userId": 3}
    assert (await send("POST", "/api/v1/customers/5/events", event, JSON)).status == 200
    assert outbox.entries[0].call == "POST /api/v1/customers/5/events"
    assert outbox.said[0] == event


async def test_node_tracks_a_page_view_without_data(send, outbox):
    assert (await send("POST", "/api/v1/customers/5/events", {"type": "page", "name": "/home"}, JSON)).status == 200
    assert (outbox.said[0]["action"], "attributes" in outbox.said[0]) == ("page", False)


async def test_python_and_ruby_put_a_devices_keys_flat(send, outbox):
    body = b'{"device": {"id": "t", "platform": "ios", "last_used": 1700000000, "app_version": "1"}}'
    assert (await send("PUT", "/api/v1/customers/5/devices", body, JSON)).status == 200
    assert (outbox.entries[0].call, outbox.entries[0].body) == ("PUT /api/v1/customers/5/devices", body)


async def test_php_puts_the_persons_id_beside_the_device(send, outbox):
    body = b'{"device":{"id":"t","platform":"ios"},"id":"5"}'
    assert (await send("PUT", "/api/v1/customers/5/devices", body, JSON)).status == 200
    assert (outbox.entries[0].call, outbox.entries[0].body) == ("PUT /api/v1/customers/5/devices", body)


async def test_ruby_leaves_id_and_cio_id_in_the_body_of_an_identify(send, outbox):
    assert (await send("PUT", "/api/v1/customers/cio_f0", {"cio_id": "f0", "id": "5"}, JSON)).status == 200
    assert outbox.said[0]["identifiers"] == {"cio_id": "f0"}
    assert outbox.said[0]["attributes"] == {"cio_id": "f0", "id": "5"}


async def test_every_sdk_leaves_out_an_empty_anonymous_id(send, outbox):
    event = {"name": "invited", "data": {"recipient": "a@x.com"}}
    assert (await send("POST", "/api/v1/events", event, JSON)).status == 200
    assert (outbox.entries[0].kind, outbox.entries[0].call) == ("invite", "POST /api/v1/events")


PUSHED = {"delivery_id": "d1", "event": "opened", "device_id": "t", "timestamp": 1_700_000_000}


async def test_ruby_posts_push_metrics_to_the_root(send, outbox):
    assert (await send("POST", "/push/events", PUSHED, JSON)).status == 200
    assert (outbox.entries[0].kind, outbox.entries[0].call) == ("push_metric", "POST /push/events")


async def test_node_and_async_post_push_metrics_below_the_api(send, outbox):
    assert (await send("POST", "/api/v1/push/events", PUSHED, JSON)).status == 200
    assert (outbox.entries[0].kind, outbox.entries[0].call) == ("push_metric", "POST /api/v1/push/events")


async def test_node_and_async_unsubscribe_at_the_root(send, outbox):
    assert (await send("POST", "/unsubscribe/d1", {"unsubscribe": True}, JSON)).status == 200
    assert outbox.entries[0].call == "POST /unsubscribe/d1"


async def test_async_leaves_a_slash_in_a_deliverys_id_bare(send, outbox):
    assert (await send("POST", "/unsubscribe/a/b", {"unsubscribe": True}, JSON)).status == 200
    assert outbox.entries[0].call == "POST /unsubscribe/a/b"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/customers/1"), ("POST", "/events"), ("POST", "/batch"), ("POST", "/entity")]
)
async def test_node_with_half_a_url_is_told_the_whole(send, outbox, method, path):
    reply = await send(method, path, {}, JSON)
    assert reply.status == 404
    assert "http://127.0.0.1:8787/api/v1" in reply.json["meta"]["error"]
    assert outbox.entries == []


async def test_go_python_and_node_keep_their_connections(address, outbox):
    async with connect(address) as (reader, writer):
        for number in range(50):
            writer.write(as_sent("PUT", f"/api/v1/customers/{number}", {}, JSON))
            reply = await read_reply(reader)
            assert (reply.status, reply.headers.get("connection", "keep-alive")) == (200, "keep-alive")
    assert len(outbox.entries) == 50


async def test_a_refusal_keeps_the_connection_of_go_python_and_node(address, outbox):
    """Unless the end of a body is unknown: a pool should not lose its connections over a missing name."""
    async with connect(address) as (reader, writer):
        for method, path, body, shown, status in (
            ("POST", "/api/v1/customers/5/events", {}, STANDARD, 400),
            ("POST", "/api/v1/customers/5/events", {"name": "b"}, "Basic bm86bm8=", 401),
            ("POST", "/nowhere", {"name": "b"}, STANDARD, 404),
            ("POST", "/api/v1/customers/5/events", {"name": "b", "data": {"x": "x" * 100_000}}, STANDARD, 413),
            ("POST", "/api/v1/customers/5/events", {"name": "b"}, STANDARD, 200),
        ):
            writer.write(as_sent(method, path, body, shown=shown))
            assert (await read_reply(reader)).status == status
    assert len(outbox.entries) == 1


async def test_ruby_opens_a_connection_for_every_call(send, outbox):
    for number in range(50):
        assert (await send("PUT", f"/api/v1/customers/{number}", {}, JSON, "Connection: close")).status == 200
    assert len(outbox.entries) == 50


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_php_waits_5_s_only_so_an_answer_takes_one_write(send, outbox, method, path, body):
    await send(method, path, body)
    assert len(outbox.calls) == 1


async def test_node_says_that_it_repeats(send, outbox):
    """The header alone does not prove that the first attempt was stored: test_repeats.py has the others."""
    for count in ("1", "2", "3"):
        assert (await send("POST", "/api/v1/events", {"name": "b"}, f"X-Retry-Count: {count}")).status == 200
    assert len(outbox.entries) == 3


@pytest.mark.parametrize("trouble", [OutboxFull("outbox_full", retry_after_s=7), OutboxUnavailable()])
@pytest.mark.parametrize("asked", CALLS)
async def test_node_waits_as_told_and_async_repeats_a_503_but_no_500(send, outbox, trouble, asked):
    outbox.trouble = trouble
    reply = await send(*asked)
    assert (reply.status, reply.headers["retry-after"]) == (503, "7" if isinstance(trouble, OutboxFull) else "1")


async def test_node_go_and_ruby_read_meta_error(send):
    reply = await send("POST", "/api/v1/customers/5/events", {"data": {}}, JSON)
    assert (reply.status, reply.json) == (400, {"meta": {"error": "name: `name` is required"}})


async def test_node_reads_nothing_out_of_a_list_so_v1_has_none(send):
    for path in ("/api/v1/merge_customers", "/api/v1/metrics", "/push/events", "/unsubscribe/..", "/nowhere"):
        assert (await send("POST", path, b"[]", JSON)).json.keys() == {"meta"}
    for path in ("/api/v2/entity", "/api/v2/batch", "/api/v2/nowhere"):
        assert (await send("POST", path, b"[]", JSON)).json.keys() == {"errors"}


async def test_node_sends_sec_fetch_mode(send):
    reply = await send("PUT", "/api/v1/customers/5", {}, JSON, "sec-fetch-mode: cors", "accept-language: *")
    assert reply.status == 200


async def test_async_sends_headers_of_its_own(send):
    reply = await send("PUT", "/api/v1/customers/5", {}, "X-Request-Id: 1b2c", "X-Timestamp: 2026-11-24T10:00:00Z")
    assert reply.status == 200


SECRETS = [
    ("POST", "/api/v1/customers/secret/events", {"name": "secret" * 20}),
    ("POST", "/api/v1/customers/secret/events", {"name": {"secret": "secret"}}),
    ("POST", "/api/v1/customers/secret/events", {"name": "b", "data": "secret"}),
    ("POST", "/api/v1/customers/secret/events", b'{"name":"secret'),
    ("POST", "/api/v1/customers/secret/events", b'{"name":"secret\xff'),
    ("PUT", "/api/v1/customers/" + "secret" * 30, {}),
    ("PUT", "/api/v1/customers/secret/devices", {"device": "secret"}),
    ("PUT", "/api/v1/customers/5/devices", {"device": {"id": "secret" * 1_000, "platform": "secret"}}),
    ("DELETE", "/api/v1/customers/5/devices/secret%FF", b""),
    ("POST", "/api/v1/merge_customers", {"primary": {"id": ["secret"]}, "secondary": {"id": "secret"}}),
    ("POST", "/api/v1/merge_customers", {"primary": {"id": "secret" * 30}, "secondary": {"id": "secret"}}),
    ("POST", "/api/v1/metrics", {"delivery_id": "secret" * 1_000, "metric": "secret"}),
    ("POST", "/api/v1/segments/secret/add_customers", {"ids": ["secret"]}),
    ("POST", "/api/v1/segments/1/add_customers?id_type=secret", {"ids": ["secret"]}),
    ("POST", "/api/v1/segments/1/add_customers", {"ids": "secret"}),
    ("POST", "/unsubscribe/secret%FF", b"{}"),
    ("POST", "/secret", b"secret"),
    ("POST", "/api/v2/entity", {"type": "secret", "action": "secret"}),
    ("POST", "/api/v2/entity", {"type": "person", "action": "event", "identifiers": {"id": "secret" * 30}}),
]


QUOTED = [
    {"type": "person", "action": "secret", "identifiers": {"id": "5"}},
    {"type": "person", "action": "delete", "identifiers": {"secret": "5"}},
    {"type": "delivery", "action": "event", "identifiers": {"id": "d1"}, "name": "secret"},
]
"""What msgspec would quote."""

SECRETS += [("POST", "/api/v2/entity", body) for body in QUOTED]


@pytest.mark.parametrize(("method", "path", "body"), SECRETS)
async def test_python_logs_what_we_answer_so_answers_and_log_tell_no_payload(send, logger, method, path, body):
    reply = await send(method, path, body, JSON)
    assert reply.status in (400, 404)
    assert b"secret" not in reply.body
    assert "secret" not in repr(logger.told)
