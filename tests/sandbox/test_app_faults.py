"""Scripted trouble at the App API, and answers that do not go out whole and at once."""

import asyncio

import aiohttp
import pytest

from cio_buffer.sandbox import Faults, Ledger, Sandbox

from .conftest import Caller, HandClock, event

DROPPED = aiohttp.ClientConnectionError
CUT = aiohttp.ClientPayloadError
PUSH = {"identifiers": {"id": "ann"}, "transactional_message_id": 3}


class GatedClock(HandClock):
    """Sleeping ends when the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.gate.wait()


async def push(call):
    return await call.send("POST", "/v1/send/push", json=PUSH)


async def begin(call, session):
    return await session.get(f"{call.base}/v1/exports/7/download")


def statuses(sandbox):
    return [request.status for request in sandbox.app_ledger.requests]


async def test_a_prefix_narrows_a_fault_to_the_app_api(call, faults, sandbox, ledger):
    faults.answer(503, path_prefix="/v1/")
    assert (await call.entity(**event("ann", "a")))[0] == 200
    assert (await push(call))[0] == 503
    assert statuses(sandbox) == [503]
    assert ledger.requests_total == 1


async def test_a_fault_without_a_prefix_befalls_both_apis(call, faults):
    faults.answer(503, requests=2)
    assert [(await call.entity(**event("ann", "a")))[0], (await push(call))[0], (await push(call))[0]] == [
        503,
        503,
        200,
    ]


async def test_a_scripted_answer_arrives_word_for_word(call, faults, session):
    headers = [("content-type", "application/zip"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    faults.answer(206, body=b"PK\x00\xff", headers=headers, path_prefix="/v1/exports/")
    async with await begin(call, session) as reply:
        assert (reply.status, await reply.read()) == (206, b"PK\x00\xff")
        assert reply.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert reply.headers.getall("Content-Type") == ["application/zip"]


async def test_a_torn_call_was_not_processed_and_a_lost_answer_was(call, faults, sandbox):
    faults.tear(requests=1, path_prefix="/v1/")
    faults.lose_answers(requests=1, path_prefix="/v1/")
    for _ in range(2):
        with pytest.raises(DROPPED):
            await push(call)
    assert (await push(call))[1]["delivery_id"] == "delivery-2"
    assert statuses(sandbox) == [None, None, 200]


async def test_a_delayed_answer_comes_late_to_what_was_written_down_at_once(call, faults, clock, sandbox):
    faults.delay(4.0, requests=1)
    await push(call)
    assert clock.slept == [4.0]
    assert clock.now() - sandbox.app_ledger.requests[0].at == 4.0


@pytest.mark.parametrize(("mode", "status"), [("operation", 400), ("whole_batch_400", 400), ("whole_batch_413", 413)])
@pytest.mark.parametrize("path", ["/v1/send/push", "/v1/campaigns/12/triggers"])
async def test_a_message_is_refused_by_script(call, faults, mode, status, path):
    faults.refuse(lambda message: message.get("poison") is True, mode=mode)
    assert (await call.send("POST", path, json={**PUSH, "poison": True}))[0] == status
    assert (await call.send("POST", path, json=PUSH))[0] == 200


async def test_a_message_is_blocked_by_script(call, faults, sandbox):
    faults.block(lambda message: message.get("poison") is True, 403, body="<html>")
    assert await call.send("POST", "/v1/send/push", json={**PUSH, "poison": True}) == (403, "<html>")
    assert (await push(call))[1]["delivery_id"] == "delivery-1"  # the other was none


async def test_an_answer_may_say_anything_of_a_message_that_was_taken_in(call, faults):
    faults.answer(502, body="<html>", is_processed=True, requests=1)
    assert await push(call) == (502, "<html>")
    assert (await push(call))[1]["delivery_id"] == "delivery-2"


@pytest.mark.parametrize("pieces", [[b"abcd", b"efgh", b"ij"], [b"abcd"], []])
async def test_a_trickle_sends_an_answer_in_pieces(call, faults, session, clock, pieces):
    faults.answer(200, body=b"".join(pieces))
    faults.trickle(chunk_bytes=4, pause_s=0.5, requests=1)
    async with await begin(call, session) as reply:
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert [piece async for piece, _ in reply.content.iter_chunks() if piece] == pieces
    assert clock.slept == [0.5 for _ in pieces[1:]]


async def test_a_trickle_is_not_gathered_up(session):
    """The first piece is there while the second waits."""
    clock = GatedClock()
    faults = Faults(clock)
    sandbox = Sandbox(clock, faults, Ledger())
    faults.answer(200, body=b"firstlast")
    faults.trickle(chunk_bytes=5, pause_s=1.0)
    async with await begin(Caller(session, await sandbox.start()), session) as reply:
        assert await reply.content.readany() == b"first"
        clock.gate.set()
        assert await reply.content.read() == b"last"
    await sandbox.stop()


async def test_a_trickle_changes_nothing_of_what_the_api_says(call, faults):
    faults.trickle(chunk_bytes=1, pause_s=0.0)
    assert (await push(call))[1]["delivery_id"] == "delivery-1"
    assert await call.entity(**event("ann", "a")) == (200, {})


@pytest.mark.parametrize(
    ("arrives", "promised"), [(b"", 9), (b"abc", 9), (b"abcdefgh", 9), (b"abcdefghi", 10), (b"abcdefghi   ", 13)]
)
async def test_an_answer_breaks_off_before_what_its_head_promises(call, faults, session, arrives, promised):
    faults.answer(200, body=b"abcdefghi")
    faults.break_off(after_bytes=len(arrives), path_prefix="/v1/")
    async with await begin(call, session) as reply:
        assert reply.headers["Content-Length"] == str(promised)
        assert await reply.content.read(len(arrives)) == arrives
        with pytest.raises(CUT):
            await reply.content.read()


async def test_a_large_answer_arrives_as_far_as_it_goes(call, faults, session):
    faults.answer(200, body=b"x" * 3_000_000)
    faults.break_off(after_bytes=2_000_000)
    async with await begin(call, session) as reply:
        assert await reply.content.readexactly(2_000_000) == b"x" * 2_000_000
        with pytest.raises(CUT):
            await reply.content.read()


async def test_a_trickle_breaks_off_without_its_last_chunk(call, faults, session, clock):
    faults.answer(200, body=b"abcdefghi")
    faults.trickle(chunk_bytes=4, pause_s=0.5)
    faults.break_off(after_bytes=6)
    async with await begin(call, session) as reply:
        assert "Content-Length" not in reply.headers
        assert await reply.content.readexactly(6) == b"abcdef"
        with pytest.raises(CUT):
            await reply.content.read()
    assert clock.slept == [0.5]


async def test_what_was_broken_off_was_processed(call, faults, sandbox):
    faults.break_off(after_bytes=2, requests=1)
    with pytest.raises(CUT):
        await push(call)
    assert (await push(call))[1]["delivery_id"] == "delivery-2"
    assert statuses(sandbox) == [200, 200]


@pytest.mark.parametrize("script", [{"chunk_bytes": 1, "pause_s": 1.0}, {"after_bytes": 5}])
async def test_an_answer_to_head_has_no_body_in_any_manner(call, faults, session, script):
    faults.answer(200, body=b"abcdefghi")
    (faults.trickle if "pause_s" in script else faults.break_off)(**script)
    async with session.head(f"{call.base}/v1/exports/7/download") as reply:
        assert (reply.status, await reply.read()) == (200, b"")


async def test_one_who_leaves_in_the_middle_troubles_nobody(call, faults, session, caplog):
    faults.answer(200, body=b"x" * 8_000_000)
    faults.trickle(chunk_bytes=1_000_000, pause_s=0.0, requests=1)
    reply = await begin(call, session)
    reply.close()
    faults.clear()
    assert (await push(call))[0] == 200
    assert not caplog.records


@pytest.mark.parametrize(
    ("method", "script"), [("trickle", {"chunk_bytes": 0, "pause_s": 0.0}), ("break_off", {"after_bytes": -1})]
)
def test_a_script_that_cannot_be_played_is_an_error(faults, method, script):
    with pytest.raises(ValueError):
        getattr(faults, method)(**script)
