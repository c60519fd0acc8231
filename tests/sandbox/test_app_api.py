"""The App API: what is answered to which call, and that each is written down as it came."""

import asyncio
import base64
import gzip
import hashlib
import io
import json

import pytest

from cio_buffer.sandbox import AppLedger, Faults, Ledger, Sandbox
from cio_buffer.sandbox.app_calls import AppCall

from .conftest import NOW, Caller, HandClock

ANN = {"identifiers": {"id": "ann"}}
TEMPLATE = {**ANN, "transactional_message_id": 3}
MAIL = {**TEMPLATE, "to": "ann@example.com"}
CHANNELS = ["email", "push", "sms", "whatsapp", "inbox_message", "in_app"]
UNAUTHORIZED = (401, {"errors": [{"detail": "unauthorized", "status": "401"}]})


def attached(*sizes: int) -> dict[str, str]:
    return {f"{number}.bin": base64.b64encode(b"x" * size).decode() for number, size in enumerate(sizes)}


async def send_large(call: Caller, path: str, body: bytes) -> int:
    """The status that is answered. As a file, because aiohttp warns of large bodies that are not."""
    return (await call.send("POST", path, data=io.BytesIO(body)))[0]


async def exchange(base: str, request: bytes, *, is_torn: bool = False) -> bytes:
    """What comes back until the other side hangs up; a torn request's sender hangs up first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    writer.write(request)
    if is_torn:
        await writer.drain()
    else:
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return b"" if is_torn else answer


@pytest.mark.parametrize("channel", CHANNELS)
async def test_every_send_is_queued_under_a_name_of_its_own(call, channel):
    message = MAIL if channel == "email" else TEMPLATE
    replies = [await call.send("POST", f"/v1/send/{channel}", json=message) for _ in range(2)]
    assert [(status, body["queued_at"]) for status, body in replies] == [(200, int(NOW))] * 2
    assert len({body["delivery_id"] for _, body in replies}) == 2


@pytest.mark.parametrize(
    "message",
    [
        {**ANN, "to": "a@b.co", "from": "c@d.co", "subject": "Hello", "body": "<p>"},
        {**TEMPLATE, "to": "a@b.co", "identifiers": {"email": "a@b.co"}},
        {**MAIL, "transactional_message_id": "welcome", "identifiers": {"cio_id": "03000001"}},
        {**MAIL, "cc": "a@b.co," * 7, "bcc": "a@b.co," * 7},
        {**MAIL, "cc": '"Doe, Ann, and Bob" <a@b.co>,' * 14},
        {**MAIL, "attachments": None},
        {**MAIL, "attachments": {"a.txt": "YWJj\nYWJj\n"}},
    ],
)
async def test_emails_that_are_taken(call, message):
    assert (await call.send("POST", "/v1/send/email", json=message))[0] == 200


@pytest.mark.parametrize(
    ("channel", "message", "named"),
    [
        *[(channel, {**ANN, "to": "a@b.co"}, "is required") for channel in CHANNELS],
        ("push", {"transactional_message_id": 3}, "identifiers is required"),
        ("push", {**TEMPLATE, "identifiers": {}}, "identifiers is required"),
        ("push", {**TEMPLATE, "identifiers": {"id": "ann", "email": "a@b.co"}}, "exactly one"),
        ("push", {**TEMPLATE, "identifiers": {"phone": "+1"}}, "exactly one"),
        ("push", {**TEMPLATE, "identifiers": {"id": ""}}, "identifiers.id is required"),
        ("sms", {**ANN, "transactional_message_id": ""}, "transactional_message_id is required"),
        ("sms", {**ANN, "transactional_message_id": True}, "must be a number or a string"),
        ("sms", {**TEMPLATE, "send_at": "soon"}, "send_at"),
        ("sms", [], "JSON object"),
        ("email", TEMPLATE, "to is required"),
        ("email", {**ANN, "to": "a@b.co", "from": "c@d.co", "subject": "Hello"}, "body is required"),
        ("email", {**MAIL, "cc": "a@b.co," * 8, "bcc": "a@b.co," * 7}, "15"),
        ("email", {**MAIL, "attachments": {"a.txt": "***"}}, "base64"),
        ("email", {**MAIL, "attachments": ["a.txt"]}, "must be an object"),
    ],
)
async def test_sends_that_are_a_400(call, sandbox, channel, message, named):
    status, answer = await call.send("POST", f"/v1/send/{channel}", json=message)
    assert status == 400
    assert named in answer["meta"]["error"]
    assert sandbox.app_ledger.requests[-1].status == 400


@pytest.mark.parametrize(("sizes", "status"), [((1_000_000, 1_000_000), 200), ((1_000_000, 1_000_001), 413)])
async def test_attachments_count_decoded_and_together(call, sizes, status):
    message = {**MAIL, "attachments": attached(*sizes)}
    assert await send_large(call, "/v1/send/email", json.dumps(message).encode()) == status


@pytest.mark.parametrize(("send_at", "said"), [(int(NOW) + 60, int(NOW) + 60), (int(NOW) - 60, None)])
async def test_a_later_send_says_when(call, send_at, said):
    _, answer = await call.send("POST", "/v1/send/push", json={**TEMPLATE, "send_at": send_at})
    assert answer.get("send_at") == said


@pytest.mark.parametrize(
    "broadcast",
    [{}, {"data": None, "recipients": {}}, {"emails": ["a@b.co"]}, {"recipients": {}, "ids": ["1"]}],
)
async def test_a_broadcast_is_triggered(call, broadcast):
    replies = [await call.send("POST", "/v1/campaigns/12/triggers", json=broadcast) for _ in range(2)]
    assert replies == [(200, {"id": 1}), (200, {"id": 2})]


@pytest.mark.parametrize(
    ("broadcast", "pointer"),
    [
        ({"emails": ["a@b.co"], "ids": []}, "/ids"),
        ({"recipients": {"segment": {"id": 1}}, "data_file_url": "https://example.com"}, "/data_file_url"),
        ({"emails": [], "per_user_data": []}, "/per_user_data"),
    ],
)
async def test_a_broadcast_has_one_audience(call, broadcast, pointer):
    status, answer = await call.send("POST", "/v1/campaigns/12/triggers", json=broadcast)
    assert (status, answer["errors"][0]["status"]) == (422, "422")
    assert answer["errors"][0]["source"] == {"pointer": pointer}


async def test_a_broadcast_that_is_not_json_is_a_400(call):
    assert (await call.send("POST", "/v1/campaigns/12/triggers", data=b"{"))[0] == 400


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/customers/5/attributes?id_type=id", "/v1/exports/7/download", "/v1/send/owl"])
async def test_any_other_call_is_answered_with_nothing_of_itself(call, sandbox, method, path):
    answer = await call.send(method, path, data=b"" if method in {"GET", "HEAD"} else b"\x00secret")
    assert (answer[0], answer[1] or {}) == (200, {})
    assert (sandbox.app_ledger.requests[-1].method, sandbox.app_ledger.requests[-1].path) == (method, path)


@pytest.mark.parametrize(
    ("key", "headers", "is_admitted"),
    [
        (None, {}, True),
        ("secret", {"Authorization": "Bearer secret"}, True),
        ("secret", {"authorization": "bearer secret"}, True),
        ("secret", {"Authorization": "Bearer other"}, False),
        ("secret", {"Authorization": "Basic secret"}, False),
        ("secret", {}, False),
        ("sa_live_1", {"Authorization": "Bearer sa_live_1"}, False),
        ("sa_live_1", {"Authorization": "Bearer sa_live_1", "X-Workspace-Id": "3"}, True),
        ("sa_live_1", {"Authorization": "Bearer sa_live_2", "X-Workspace-Id": "3"}, False),
    ],
)
async def test_the_app_api_has_a_key_of_its_own(session, key, headers, is_admitted):
    clock = HandClock()
    sandbox = Sandbox(clock, Faults(clock), Ledger(), app_api_key=key)
    call = Caller(session, await sandbox.start())
    try:
        for path in ("/v1/send/push", "/v1/anything"):
            answer = await call.send("POST", path, json=TEMPLATE, headers=headers)
            assert answer[0] == 200 if is_admitted else answer == UNAUTHORIZED
        assert (await call.send("PUT", "/api/v1/customers/5", json={}))[0] == 200
    finally:
        await sandbox.stop()


async def test_a_request_is_written_down_as_it_came(call, sandbox, ledger, clock):
    body = gzip.compress(b"{}")
    head = (
        b"PATCH /v1/%7Epeople/a%2fb//c?q=a+b&q=%2B HTTP/1.1\r\nhOST: x\r\nX-b: 2\r\nx-A:  \xff spaced  \r\nX-B: 1\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 22\r\nConnection: close\r\n\r\n"
    )
    clock.advance(2.5)
    await exchange(call.base, head + body)
    request = sandbox.app_ledger.requests[0]
    assert (request.number, request.at, request.status, request.extent) == (1, NOW + 2.5, 200, "whole")
    assert (request.method, request.path) == ("PATCH", "/v1/%7Epeople/a%2fb//c?q=a+b&q=%2B")
    assert request.headers == (
        (b"hOST", b"x"),
        (b"X-b", b"2"),
        (b"x-A", b"\xff spaced"),
        (b"X-B", b"1"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"22"),
        (b"Connection", b"close"),
    )
    assert request.body == body
    assert ledger.requests_total == 0


async def test_of_a_large_body_only_length_and_hash_are_kept(call, sandbox):
    for size in (1024 * 1024, 1024 * 1024 + 1):
        assert await send_large(call, "/v1/imports", b"x" * size) == 200
    kept, hashed = sandbox.app_ledger.requests
    assert kept.body == b"x" * kept.body_bytes
    assert (hashed.body, hashed.body_bytes) == (None, 1024 * 1024 + 1)
    assert hashed.body_sha256 == hashlib.sha256(b"x" * hashed.body_bytes).hexdigest()


async def test_a_body_beyond_all_limits_is_not_read_to_its_end(call, sandbox):
    body = b"x" * 17 * 1024 * 1024
    assert await send_large(call, "/v1/imports", body) == 413
    request = sandbox.app_ledger.requests[0]
    assert (request.extent, request.status) == ("too_large", 413)
    assert request.body_bytes < len(body)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\n0123", b"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n"]
)
async def test_a_torn_request_is_written_down_and_uses_up_no_fault(call, sandbox, faults, framing):
    faults.answer(503, requests=1)
    await exchange(call.base, b"POST /v1/send/push HTTP/1.1\r\nHost: x\r\n" + framing, is_torn=True)
    assert (await call.send("GET", "/v1/after"))[0] == 503
    torn = next(request for request in sandbox.app_ledger.requests if request.method == "POST")
    assert (torn.extent, torn.body, torn.status) == ("torn", b"0123", None)


@pytest.mark.parametrize(("limits", "kept"), [({"limit": 3}, [3, 4, 5]), ({"kept_max_bytes": 250}, [4, 5])])
def test_the_ledger_forgets_the_oldest(limits, kept):
    ledger = AppLedger(**limits)
    for _ in range(5):
        ledger.record(
            AppCall(method="POST", path="/v1/x", headers=((b"A", b"b"),), body=b"x" * 100), at=NOW, status=200
        )
    assert [request.number for request in ledger.requests] == kept
    assert ledger.requests_total == 5
