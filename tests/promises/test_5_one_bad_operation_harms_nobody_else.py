"""One bad operation harms nobody else: it is refused or ends as a dead letter, alone, and all others arrive once."""

import asyncio
import json
import math
from collections import Counter
from typing import Any, get_args

import pytest

from cio_buffer.sandbox.faults import RefusalMode
from tests.promises.apps import DOORS, Apps, event, mark_of, marks_in_effect
from tests.promises.conftest import Upstream
from tests.support.process import Daemon

THOUSAND = 1_000
V1_EVENT, V1_PERSON = "/api/v1/customers/ann/events", "/api/v1/customers/ann"
ENTITY, BATCH = "/api/v2/entity", "/api/v2/batch"
ANN = {"type": "person", "identifiers": {"id": "ann"}}


@pytest.mark.parametrize("mode", get_args(RefusalMode))
async def test_of_a_thousand_the_one_that_is_refused_dies_alone(
    daemon: Daemon, apps: Apps, upstream: Upstream, mode: RefusalMode
) -> None:
    """First in the batch, last, or within it: 999 arrive once, and it takes few requests to find the culprit."""
    upstream.faults.refuse(lambda body: "poison" in json.dumps(body), mode=mode)
    expected = set()
    for turn, place in enumerate((0, 617, THOUSAND - 1)):
        marks = [f"{turn}/{n}" for n in range(THOUSAND)]
        expected |= {*marks} - {marks[place]}
        acts = [event(f"person-{n}", mark) for n, mark in enumerate(marks)]
        acts[place].v2["attributes"]["note"] = "poison"
        requests_before = upstream.ledger.requests_total
        assert await apps.say(acts)
        await daemon.until_empty()
        requests = upstream.ledger.requests_total - requests_before
        assert requests <= (1 if mode == "operation" else 1 + 2 * math.log2(THOUSAND) + 4), place
    arrived = Counter(marks_in_effect(upstream))
    assert set(arrived) == expected
    assert max(arrived.values()) == 1
    assert upstream.ledger.counts["duplicate"] == 0
    await daemon.stop()
    dead = await daemon.dead_letters()
    assert len(dead) == 3
    assert all(b"poison" in letter.body for letter in dead)
    said = {
        "operation": ("refused", "refused by script", 207),
        "whole_batch_400": ("refused", "refused by script", 400),
        "whole_batch_413": ("too_large", "request entity too large", 413),
    }
    assert {(letter.reason, letter.message.strip(), letter.status) for letter in dead} == {said[mode]}


async def test_poison_that_makes_a_lane_wait_lets_it_go_on(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """What one person did before and after the bad one arrives, in order."""
    upstream.faults.refuse(lambda body: "poison" in json.dumps(body), mode="whole_batch_400")
    acts = [event("ann", f"{n:02}") for n in range(20)]
    acts[7].v2["attributes"]["note"] = "poison"
    assert await apps.say(acts)
    await daemon.until_empty()
    assert marks_in_effect(upstream) == [f"{n:02}" for n in range(20) if n != 7]


BAD_OPERATIONS: dict[str, bytes] = {
    "no object": b"17",
    "null": b"null",
    "no type": b'{"action":"event","identifiers":{"id":"x"},"name":"n"}',
    "unknown type": b'{"type":"robot","action":"event","identifiers":{"id":"x"},"name":"n"}',
    "no action": b'{"type":"person","identifiers":{"id":"x"}}',
    "unknown action": b'{"type":"person","action":"dance","identifiers":{"id":"x"}}',
    "no name": b'{"type":"person","action":"event","identifiers":{"id":"x"}}',
    "empty name": b'{"type":"person","action":"event","identifiers":{"id":"x"},"name":""}',
    "number for a name": b'{"type":"person","action":"event","identifiers":{"id":"x"},"name":5}',
    "no identifiers": b'{"type":"person","action":"event","name":"n"}',
    "empty id": b'{"type":"person","action":"event","identifiers":{"id":""},"name":"n"}',
    "id of 151 bytes": b'{"type":"person","action":"event","identifiers":{"id":"%s"},"name":"n"}' % (b"x" * 151),
    "two identifiers": b'{"type":"person","action":"event","identifiers":{"id":"x","email":"a@b.c"},"name":"n"}',
    "text for a timestamp": b'{"type":"person","action":"event","identifiers":{"id":"x"},"name":"n","timestamp":"now"}',
    "list of attributes": b'{"type":"person","action":"event","identifiers":{"id":"x"},"name":"n","attributes":[1]}',
    "32 KB": b'{"type":"person","action":"identify","identifiers":{"id":"x"},"attributes":{"a":"%s"}}'
    % (b"x" * 32_000),
}


async def test_bad_operations_of_an_apps_batch_are_named_and_the_good_ones_arrive(
    daemon: Daemon, upstream: Upstream
) -> None:
    good = [json.dumps(event("ann", f"{n}").v2).encode() for n in range(len(BAD_OPERATIONS))]
    mixed = [one for pair in zip(good, BAD_OPERATIONS.values(), strict=True) for one in pair]
    status, body = await daemon.call("POST", BATCH, raw=b'{"batch":[' + b",".join(mixed) + b"]}")
    assert status == 207
    errors = json.loads(body)["errors"]
    assert [error["batch_index"] for error in errors] == list(range(1, len(mixed), 2))
    assert all(error["reason"] in {"required", "invalid"} and error["message"] for error in errors)
    await daemon.until_empty()
    assert marks_in_effect(upstream) == [str(n) for n in range(len(good))]


def attributes_of(text: bytes) -> bytes:
    return b'{"type":"person","action":"identify","identifiers":{"id":"x"},"attributes":%s}' % text


BAD_CALLS: list[tuple[str, str, str, bytes, int]] = [
    *((f"v2 {name}", "POST", ENTITY, body, 413 if name == "32 KB" else 400) for name, body in BAD_OPERATIONS.items()),
    ("not JSON", "POST", V1_EVENT, b"name=bought", 400),
    ("cut off", "POST", V1_EVENT, b'{"name":"bou', 400),
    ("two documents", "POST", ENTITY, b"{}{}", 400),
    ("empty batch", "POST", BATCH, b'{"batch":[]}', 400),
    ("no batch", "POST", BATCH, b"{}", 400),
    ("batch of a number", "POST", BATCH, b'{"batch":7}', 400),
    ("list for a body", "PUT", V1_PERSON, b"[]", 400),
    ("v1 event without a name", "POST", V1_EVENT, b'{"data":{}}', 400),
    ("v1 event with a number for a name", "POST", V1_EVENT, b'{"name":1}', 400),
    ("v1 data that is a text", "POST", V1_EVENT, b'{"name":"n","data":"d"}', 400),
    ("v1 id of 151 bytes", "PUT", "/api/v1/customers/" + "x" * 151, b"{}", 400),
    ("v1 data over 100 KB", "POST", V1_EVENT, b'{"name":"n","data":{"a":"%s"}}' % (b"x" * 100_001), 413),
    ("NaN", "POST", ENTITY, attributes_of(b'{"a":NaN}'), 400),
    ("Infinity in v1", "PUT", V1_PERSON, b'{"a":Infinity}', 400),
    ("half of a pair", "POST", ENTITY, attributes_of(rb'{"a":"\ud800"}'), 400),
    ("half of a pair in v1", "POST", V1_EVENT, rb'{"name":"\udc00"}', 400),
    ("bytes that are no UTF-8", "POST", ENTITY, attributes_of(b'{"a":"\xff"}'), 400),
    ("a path that is no UTF-8", "PUT", "/api/v1/customers/%ff", b"{}", 400),
    ("nested 100,000 deep", "POST", ENTITY, attributes_of(b'{"a":%s}' % (b"[" * 100_000 + b"]" * 100_000)), 400),
    ("nested deep in v1", "PUT", V1_PERSON, b'{"a":%s}' % (b"[" * 100_000 + b"]" * 100_000), 400),
    ("unknown path", "POST", "/api/v3/entity", b"{}", 404),
    ("unknown v1 path", "POST", "/api/v1/nothing", b"{}", 404),
    ("wrong method", "GET", BATCH, b"", 404),
    ("over the limit for bodies", "POST", BATCH, b" " * 9_000_000, 413),
]


async def test_bad_calls_are_answered_and_change_nothing(daemon: Daemon, upstream: Upstream) -> None:
    """In the shape of the API that was called, through either door; a good call after each is taken as ever."""
    assert daemon.process
    pid, said = daemon.process.pid, []
    for name, method, path, body, expected in BAD_CALLS:
        for door in DOORS:
            status, answer = await daemon.call(method, path, raw=body, door=door)
            assert status == expected, (name, door, status, answer)
            assert complaint(answer), (name, answer)
            said.append(f"{name}/{door}")
            assert (await daemon.call("POST", ENTITY, event("ann", said[-1]).v2, door=door))[0] == 200
    await daemon.until_empty()
    assert marks_in_effect(upstream) == said
    assert {mark_of(one) for one in upstream.ledger.arrivals} == set(said)
    assert daemon.process.poll() is None
    assert daemon.process.pid == pid


def complaint(answer: bytes) -> str:
    """The sentence in an error, in either of the vendor's shapes."""
    told: dict[str, Any] = json.loads(answer)
    found = told["errors"][0]["message"] if "errors" in told else told["meta"]["error"]
    assert isinstance(found, str)
    return found


STRANGE = [b"12345678901234567890123456789", b"-0.0", b"1e300", b'"\\u0000"', b'"\\ud83d\\ude00"', b"[[[[[[[[1]]]]]]]]"]


async def test_strange_values_arrive_as_they_were_said(daemon: Daemon, upstream: Upstream) -> None:
    """What is JSON is not ours to judge: big integers, keys that come twice (the last counts), odd characters."""
    for n, value in enumerate(STRANGE):
        body = b'{"mark":"%d","value":"first","value":%s}' % (n, value)
        assert (await daemon.call("PUT", V1_PERSON, raw=body))[0] == 200
        assert (await daemon.call("POST", ENTITY, raw=attributes_of(body)))[0] == 200
    await daemon.until_empty()
    found = {(mark_of(one), one.identifiers["id"]): one.body["attributes"]["value"] for one in upstream.ledger.arrivals}
    for n, value in enumerate(STRANGE):
        assert repr(found[str(n), "ann"]) == repr(found[str(n), "x"]) == repr(json.loads(value)), value


async def test_a_deep_operation_spoils_no_batch(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """As deep as we take it, it rides with others two levels deeper: it is delivered or refused by itself."""
    answers = []
    for depth in (100, 500, 900, 950, 980, 990, 1_000, 1_010):
        deep = b'{"mark":"deep","a":%s}' % (b"[" * depth + b"]" * depth)
        answers.append((await daemon.call("POST", ENTITY, raw=attributes_of(deep)))[0])
        assert await apps.say([event("ann", f"{depth:04}"), event("bob", f"{depth:04} too")])
    assert set(answers) <= {200, 400}
    status = await daemon.until_empty()
    assert apps.acknowledged.keys() == set(marks_in_effect(upstream)) - {"deep"}
    assert status["ledger"]["dead_lettered"] + marks_in_effect(upstream).count("deep") == answers.count(200)


async def test_a_body_that_breaks_off_harms_nobody(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    promise = b"POST /api/v2/entity HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    for _ in range(20):
        reader, writer = await asyncio.open_unix_connection(str(daemon.folder / "api.sock"))
        writer.write(promise)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    reader, writer = await asyncio.open_unix_connection(str(daemon.folder / "api.sock"))
    try:
        writer.write(promise)  # and this one stays, with its promise
        await writer.drain()
        assert await apps.say([event("ann", "good")])
        await daemon.until_empty()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer
    assert marks_in_effect(upstream) == ["good"]
