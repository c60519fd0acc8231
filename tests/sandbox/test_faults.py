"""Scripted trouble does what it says, for as long as it says."""

import asyncio
import random

import aiohttp
import pytest

from cio_buffer.sandbox import Faults, Ledger, Sandbox

from .conftest import Caller, HandClock, event

DROPPED = aiohttp.ClientConnectionError


class StoppedClock(HandClock):
    """Whoever sleeps by it never wakes."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.is_asleep.set()
        await asyncio.Event().wait()


async def test_an_answer_replaces_processing_for_so_many_requests(call, faults, sandbox, ledger):
    faults.answer(503, body="<html>", headers={"Retry-After": "7"}, requests=2)
    for _ in range(2):
        assert await call.batch(event("ann", "a"), event("ann", "b")) == (503, "<html>")
    assert (await call.batch(event("ann", "a")))[0] == 200
    assert ledger.counts == {"faulted": 4, "taken": 1}
    assert [person.events[0].name for person in sandbox.workspace.people.everyone()] == ["a"]


async def test_headers_of_a_scripted_answer_arrive(call, faults, session, sandbox):
    faults.answer(429, headers={"Retry-After": "7", "Content-Type": "text/html"}, requests=1)
    async with session.post(f"{call.base}/api/v2/entity", json={}) as reply:
        assert reply.headers["Retry-After"] == "7"
        assert reply.content_type == "text/html"


async def test_an_answer_ends_with_its_time(call, faults, clock):
    faults.answer(500, seconds=10)
    clock.advance(9.9)
    assert (await call.entity(**event("ann", "a")))[0] == 500
    clock.advance(0.1)
    assert (await call.entity(**event("ann", "a")))[0] == 200


async def test_a_script_plays_in_the_order_in_which_it_was_set(call, faults):
    faults.answer(503, requests=2)
    faults.answer(429, requests=1)
    faults.tear(requests=1)
    assert [(await call.entity(**event("ann", "a")))[0] for _ in range(3)] == [503, 503, 429]
    with pytest.raises(DROPPED):
        await call.entity(**event("ann", "a"))
    assert (await call.entity(**event("ann", "a")))[0] == 200


async def test_trouble_without_an_end_lasts_until_it_is_cleared(call, faults):
    faults.answer(401)
    assert [(await call.entity(**event("ann", "a")))[0] for _ in range(3)] == [401] * 3
    faults.clear()
    assert (await call.entity(**event("ann", "a")))[0] == 200


async def test_a_path_prefix_narrows_a_fault(call, faults):
    faults.answer(500, path_prefix="/api/v1/")
    assert (await call.entity(**event("ann", "a")))[0] == 200
    assert (await call.send("DELETE", "/api/v1/customers/ann"))[0] == 500


async def test_a_lost_answer_was_processed(call, faults, sandbox, ledger):
    faults.lose_answers(requests=1)
    same = event("ann", "a", id="01J00000000000000000000001")
    with pytest.raises(DROPPED):
        await call.batch(same, same, {"type": "person"})
    assert (await call.batch(same))[0] == 200
    assert [arrival.outcome for arrival in ledger.arrivals] == ["lost_answer", "duplicate", "refused", "duplicate"]
    assert [request.status for request in ledger.requests] == [None, 200]
    assert len(sandbox.workspace.people.get(id="ann").events) == 1
    assert [arrival.number for arrival in ledger.in_effect()] == [1]


async def test_answers_are_lost_with_a_probability(clock):
    faults = Faults(clock)
    faults.lose_answers(probability=0.25, chance=random.Random(4))
    lost = sum(faults.take("/").ending is not None for _ in range(1000))
    assert 200 < lost < 300


async def test_a_probability_needs_a_source_of_chance(faults):
    with pytest.raises(ValueError, match="chance"):
        faults.lose_answers(probability=0.5)


async def test_a_torn_request_was_not_processed(call, faults, sandbox, ledger):
    faults.tear(requests=1)
    with pytest.raises(DROPPED):
        await call.entity(**event("ann", "a"))
    assert sandbox.workspace.people.get(id="ann") is None
    assert [(arrival.outcome, arrival.kind) for arrival in ledger.arrivals] == [("faulted", "event")]
    assert ledger.requests[0].status is None


async def test_a_delayed_answer_comes_late_to_what_was_processed_at_once(call, faults, clock, ledger):
    faults.delay(4.0, requests=1)
    await call.entity(**event("ann", "a"))
    await call.entity(**event("ann", "b"))
    assert clock.slept == [4.0]
    assert [round(arrival.at - ledger.arrivals[0].at, 3) for arrival in ledger.arrivals] == [0.0, 4.0]


async def test_a_delay_goes_together_with_an_answer(call, faults, clock):
    faults.delay(2.0)
    faults.answer(502, requests=1)
    assert (await call.entity(**event("ann", "a")))[0] == 502
    assert clock.slept == [2.0]


@pytest.fixture
def poison(faults):
    """Refuses what is named poison, in the mode that the test asks for."""
    return lambda mode: faults.refuse(lambda operation: operation.get("name") == "poison", mode=mode)


async def test_a_refused_operation_of_a_batch_is_named_and_the_others_are_taken(call, poison, ledger):
    poison("operation")
    status, body = await call.batch(event("ann", "a"), event("ann", "poison"), event("ann", "b"))
    assert status == 207
    assert [(error["batch_index"], error["reason"]) for error in body["errors"]] == [(1, "invalid")]
    assert [arrival.outcome for arrival in ledger.arrivals] == ["taken", "refused", "taken"]


async def test_a_refused_operation_alone_is_a_400(call, poison):
    poison("operation")
    assert (await call.entity(**event("ann", "poison")))[0] == 400
    status, body = await call.send("POST", "/api/v1/customers/ann/events", json={"name": "poison"})
    assert (status, body) == (400, {"meta": {"errors": ["refused by script"]}})


@pytest.mark.parametrize("status", [400, 413])
async def test_a_whole_batch_is_refused_for_one_operation_in_it(call, poison, sandbox, ledger, status):
    poison(f"whole_batch_{status}")
    assert (await call.batch(event("ann", "a"), event("ann", "poison")))[0] == status
    assert ledger.counts == {"refused": 2}
    assert len(sandbox.workspace.people) == 0
    assert (await call.batch(event("ann", "a")))[0] == 200


async def test_an_answer_may_say_anything_of_what_was_processed(call, faults, sandbox, ledger):
    """So it does whatever a proxy puts in its place, or a bug of Customer.io's."""
    faults.answer(200, body='{"errors":[{"batch_i', is_processed=True, requests=1)
    same = event("ann", "a", id="01J00000000000000000000001")
    assert await call.batch(same, {"type": "person"}) == (200, '{"errors":[{"batch_i')
    assert (await call.batch(same))[0] == 200
    assert [arrival.outcome for arrival in ledger.arrivals] == ["lost_answer", "refused", "duplicate"]
    assert len(sandbox.workspace.people.get(id="ann").events) == 1


@pytest.mark.parametrize("status", [403, 500])
async def test_a_block_meets_one_operation_and_whoever_rides_with_it(call, faults, sandbox, ledger, status):
    faults.block(lambda operation: operation.get("name") == "poison", status, body="<html>")
    assert await call.batch(event("ann", "a"), event("bob", "poison")) == (status, "<html>")
    assert await call.entity(**event("bob", "poison")) == (status, "<html>")
    assert (await call.send("POST", "/api/v1/customers/bob/events", json={"name": "poison"}))[0] == status
    assert (await call.entity(**event("ann", "a")))[0] == 200
    assert ledger.counts == {"faulted": 4, "taken": 1}
    assert sandbox.workspace.people.get(id="bob") is None


async def test_a_block_may_drop_the_connection(call, faults, ledger):
    faults.block(lambda operation: operation.get("name") == "poison", None)
    with pytest.raises(DROPPED):
        await call.batch(event("ann", "a"), event("bob", "poison"))
    assert (await call.batch(event("ann", "a")))[0] == 200
    assert [request.status for request in ledger.requests] == [None, 200]


async def test_it_is_known_what_is_still_to_come(call, faults, clock):
    faults.answer(503, requests=1)
    faults.delay(1.0, seconds=5)
    assert faults.left == 2
    await call.entity(**event("ann", "a"))
    assert faults.left == 1
    clock.advance(5)
    await call.entity(**event("ann", "a"))
    assert faults.left == 0


async def test_a_changed_key_opens_and_the_one_before_no_more(call, sandbox):
    assert (await call.entity(**event("ann", "a")))[0] == 200
    sandbox.accept_key(site_id="site", track_api_key="new")
    assert (await call.entity(**event("ann", "a")))[0] == 401
    basic = {"Authorization": aiohttp.encode_basic_auth("site", "new")}
    assert (await call.send("POST", "/api/v2/entity", json=event("ann", "a"), headers=basic))[0] == 200


async def test_requests_under_way_are_counted_until_they_are_answered(session):
    clock = StoppedClock()
    faults = Faults(clock)
    sandbox = Sandbox(clock, faults, Ledger())
    call = Caller(session, await sandbox.start())
    faults.delay(1.0, requests=1)
    waiting = asyncio.create_task(call.entity(**event("ann", "a")))
    await clock.is_asleep.wait()
    assert sandbox.under_way == 1
    await call.entity(**event("ann", "b"))
    assert (sandbox.under_way, sandbox.under_way_max) == (1, 2)
    await sandbox.stop()
    await asyncio.gather(waiting, return_exceptions=True)
    assert sandbox.under_way == 0


async def test_a_delay_does_not_hold_up_the_stop(session):
    """The sandbox stops while it still owes an answer that would never come."""
    clock = StoppedClock()
    faults, ledger = Faults(clock), Ledger()
    sandbox = Sandbox(clock, faults, ledger)
    faults.delay(1.0)
    waiting = asyncio.create_task(Caller(session, await sandbox.start()).entity(**event("ann", "a")))
    await clock.is_asleep.wait()
    await sandbox.stop()
    with pytest.raises(DROPPED):
        await waiting
    assert ledger.counts == {"taken": 1}


async def test_a_stopped_sandbox_may_start_again(call, sandbox, session, ledger):
    await call.entity(**event("ann", "a"))
    await sandbox.stop()
    with pytest.raises(DROPPED):
        await call.entity(**event("ann", "b"))
    await Caller(session, await sandbox.start()).entity(**event("ann", "c"))
    assert [arrival.body["name"] for arrival in ledger.arrivals] == ["a", "c"]
