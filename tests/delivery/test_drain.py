"""The loop, one step at a time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.contract import Room
from cio_buffer.outbox.entry import NewEntry, Report, Settled
from cio_buffer.upstream.transport import Reply
from tests.delivery.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await World(tmp_path).open()
    yield world
    await world.close()


def complaint(*indexes: int, field: str = "name") -> Reply:
    errors = [{"batch_index": i, "reason": "required", "field": field, "message": "what was missing"} for i in indexes]
    return Reply(status=207, body=json.dumps({"errors": errors}).encode())


async def test_what_is_appended_leaves_in_one_batch_in_order(world: World) -> None:
    await world.append(*(world.entry(n, f"id:{n % 3}") for n in range(10)))
    assert await world.step() == 1
    assert world.api.seen == [list(range(10))]
    assert world.outbox.ledger().delivered == 10


async def test_a_persons_later_event_never_overtakes_an_earlier_one(world: World) -> None:
    """Ann's first event meets an outage; her second waits for it."""
    world.api.will_answer(503)
    await world.append(world.entry(1, "id:ann"))
    await world.step()
    await world.append(world.entry(2, "id:ann"))
    assert await world.step() == 0  # nothing may leave yet
    await world.until_idle()
    assert world.api.taken == [1, 2]


async def test_a_207_is_read_per_operation(world: World) -> None:
    world.api.will_answer(lambda _: complaint(1, 3))
    await world.append(*(world.entry(n, "id:ann") for n in range(5)))
    await world.step()
    assert world.api.taken == [0, 2, 4]
    letters = await world.outbox.archive.letters()
    assert [(letter.reason, letter.field, letter.message, letter.status) for letter in letters] == [
        ("refused", "name", "what was missing", 207)
    ] * 2


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_batch_is_halved_until_the_culprit_stands_alone(world: World, status: int) -> None:
    def refuse_if_poisoned(operations: list[dict[str, object]]) -> Reply:
        return Reply(status=status) if any(one["n"] == 700 for one in operations) else Reply(status=200)

    world.api.otherwise = refuse_if_poisoned
    await world.append(*(world.entry(n, f"id:{n}") for n in range(1_000)))
    await world.until_idle()
    assert sorted(world.api.taken) == [n for n in range(1_000) if n != 700]
    assert len(world.api.seen) <= 1 + 2 * 10  # 2 · log2(1000) more than the first
    assert world.outbox.ledger().dead_lettered == 1


async def test_halving_keeps_a_persons_order(world: World) -> None:
    world.api.otherwise = lambda ops: Reply(status=400 if any(one["n"] == 5 for one in ops) else 200)
    await world.append(*(world.entry(n, "id:ann") for n in range(8)))
    await world.until_idle()
    assert world.api.taken == [0, 1, 2, 3, 4, 6, 7]


async def test_a_wrong_key_holds_everything_and_spends_no_attempt(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=401)
    await world.append(world.entry(1, "id:ann"))
    for _ in range(50):
        await world.step()
        world.clock.advance(100.0)
    assert world.drain.pacing.hold == "credentials"
    assert world.outbox.ledger().entries == 1
    world.api.otherwise = lambda _: complaint(0)
    await world.until_idle()
    (letter,) = await world.outbox.archive.letters()
    assert letter.attempts == 1


async def test_an_outage_is_probed_by_one_request_at_a_time_ever_more_rarely(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=503)
    await world.append(*(world.entry(n, f"id:{n}", v1=True) for n in range(50)))
    for _ in range(3_600):
        await world.step()
        world.clock.advance(1.0)
    assert len(world.api.seen) < 250  # with 60 s at most between tries, jittered: far from one a second
    assert all(len(request) == 1 for request in world.api.seen)


async def test_a_lost_answer_is_asked_again_with_the_same_bytes(world: World) -> None:
    world.api.will_answer(lambda _: Reply(trouble="torn"))
    await world.append(world.entry(1, "id:ann"))
    await world.until_idle()
    assert world.api.seen == [[1], [1]]


async def test_retry_after_is_kept(world: World) -> None:
    world.api.will_answer(lambda _: Reply(status=429, retry_after="120"))
    await world.append(world.entry(1, "id:ann"))
    await world.step()
    world.clock.advance(119.9)
    assert await world.step() == 0
    world.clock.advance(12.1)  # up to a tenth more, so that not everybody comes back at once
    assert await world.step() == 1


async def test_a_call_that_fails_alone_is_set_aside_and_the_others_pass(world: World) -> None:
    world.api.otherwise = lambda ops: Reply(status=500 if ops[0]["n"] == 1 else 200)
    await world.append(world.entry(1, "id:ann", v1=True), world.entry(2, "id:ann"), world.entry(3, "id:bob"))
    await world.step()
    world.clock.advance(1.0)
    await world.step()
    assert world.api.taken == [3]
    assert world.outbox.ledger().parked == 2
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert world.api.taken == [3, 1, 2]


@pytest.mark.parametrize("are_v1", [False, True])
async def test_whoever_fails_for_ever_holds_up_nobody_but_their_own_lanes(world: World, are_v1: bool) -> None:
    """Also at the head of the line after an outage, and with nothing else to compare with."""
    world.api.will_answer(503, 503, 503)
    world.api.otherwise = lambda ops: Reply(status=500 if any(one["n"] == 1 for one in ops) else 200)
    await world.append(*(world.entry(n, f"id:{n % 10}", v1=are_v1) for n in range(1, 41)))
    for _ in range(200):
        await world.step()
        world.clock.advance(1.0)
    assert sorted(world.api.taken) == [n for n in range(1, 41) if n % 10 != 1]
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert [n for n in world.api.taken if n % 10 == 1] == [1, 11, 21, 31]


@pytest.mark.parametrize(
    "refusal", [Reply(status=403), Reply(status=302), Reply(status=404), Reply(status=200, body=b"<html>no</html>")]
)
async def test_a_firewall_that_refuses_one_body_holds_up_that_person_alone(world: World, refusal: Reply) -> None:
    world.api.otherwise = lambda ops: refusal if any(one["n"] == 5 for one in ops) else Reply(status=200)
    await world.append(*(world.entry(n, f"id:{n % 10}") for n in range(40)))
    for _ in range(100):
        await world.step()
        world.clock.advance(1.0)
    assert sorted(world.api.taken) == [n for n in range(40) if n % 10 != 5]
    assert world.outbox.ledger().entries == 4


async def test_what_ties_a_visitor_to_a_person_waits_until_the_visitors_events_are_taken(world: World) -> None:
    """Refused for their identifier, they leave as v1, and still before it."""

    def visit(n: int) -> NewEntry:
        said = {"type": "person", "action": "page", "identifiers": {"anonymous_id": "a"}, "name": "x"}
        body = json.dumps(said | {"attributes": {"n": n}}).encode()
        return structs.replace(world.entry(n, "anonymous_id:a", kind="page"), body=body)

    world.api.will_answer(lambda ops: complaint(*range(len(ops)), field="identifiers.anonymous_id"))
    await world.append(visit(1), visit(2), world.entry(3, "anonymous_id:a", "id:ann"))
    await world.until_idle()
    assert world.api.seen == [[1, 2], [1], [2], [3]]
    assert world.drain.order.violations == 0


async def test_a_clock_that_was_set_back_holds_up_nobody(tmp_path: Path) -> None:
    world = await World(tmp_path, v1_max=1).open()
    await world.append(*(world.entry(n, f"id:{n}", v1=True) for n in range(10)))
    world.clock.jump(-3_600.0)
    for _ in range(30):
        await world.step()
    assert sorted(world.api.taken) == list(range(10))
    await world.close()


async def test_a_store_that_cannot_be_read_is_asked_again_but_not_without_a_pause(world: World) -> None:
    world.api.otherwise = lambda ops: Reply(status=500 if ops[0]["n"] == 1 else 200)
    await world.append(world.entry(1, "id:ann", v1=True))
    await world.step()
    await world.step()  # learns when what was set aside comes due
    assert world.drain._next_due_at_ms
    asked = 0

    class Unreadable:
        good_until = float("inf")

        def claim(self, room: Room, *, now_ms: int) -> None:
            nonlocal asked
            asked += 1
            raise OutboxUnavailable("not now")

    lease, world.drain._lease = world.drain._lease, Unreadable()
    world.clock.advance(60.0)
    for _ in range(10):
        await world.drain.step()
        assert world.drain._idle_s() == 1.0
    assert asked == 10
    world.drain._lease, world.api.otherwise = lease, lambda _: Reply(status=200)
    await world.until_idle()


async def test_a_flood_of_calls_that_leave_alone_stops_nobody(tmp_path: Path) -> None:
    world = await World(tmp_path, v1_max=5).open()
    await world.append(*(world.entry(n, v1=True) for n in range(100)), world.entry(100, "id:ann"))
    for _ in range(4):
        await world.step()
        world.clock.advance(1.0)
    assert 100 in world.api.taken
    assert world.drain.v1_behind_s == 3.0  # known from the second claim on
    await world.until_idle()
    assert world.drain.v1_behind_s == 0.0
    assert sorted(world.api.taken) == list(range(101))
    await world.close()


async def test_a_half_empty_batch_waits_for_company_and_a_full_one_does_not(tmp_path: Path) -> None:
    world = await World(tmp_path, linger_s=0.05, entries_max=3).open()
    await world.append(world.entry(1, "id:1"))
    assert await world.step() == 0
    await world.append(world.entry(2, "id:2"), world.entry(3, "id:3"))
    assert await world.step() == 1
    await world.append(world.entry(4, "id:4"))
    assert await world.step() == 0
    world.clock.advance(0.06)
    assert await world.step() == 1
    await world.close()


async def test_one_lane_never_has_two_requests_under_way(tmp_path: Path) -> None:
    world = await World(tmp_path, same_lane=False).open()
    await world.append(*(world.entry(n, "id:ann") for n in range(4)))
    await world.until_idle()
    assert world.api.seen == [[0], [1], [2], [3]]
    await world.close()


async def test_an_old_entry_is_given_up_where_the_operator_sets_a_limit(tmp_path: Path) -> None:
    world = await World(tmp_path, keep_trying_for_s=3_600).open()
    world.api.otherwise = lambda _: Reply(status=503)
    await world.append(world.entry(1, "id:ann"))
    await world.until_idle()
    (letter,) = await world.outbox.archive.letters()
    assert (letter.reason, letter.status) == ("expired", 503)
    await world.close()


async def test_a_lost_lease_drops_what_is_in_hand_and_nothing_of_the_outbox(world: World) -> None:
    await world.append(*(world.entry(n, "id:ann") for n in range(3)))
    await world.drain.step()
    other = await world.outbox.acquire(now_ms=world.drain._now_ms(), wait_max_ms=300_000)
    assert other is not None
    await world.drain.flights()
    assert world.outbox.ledger().entries == 3
    await world.until_idle()
    assert world.outbox.ledger().delivered == 3


async def test_a_call_of_a_person_waits_for_the_batch_before_it_and_never_joins_it(world: World) -> None:
    await world.append(world.entry(1, "id:ann"), world.entry(2, "id:ann", v1=True), world.entry(3, "id:ann"))
    await world.until_idle()
    assert world.api.seen == [[1], [2], [3]]


async def test_a_request_keeps_its_slot_until_its_settlement_has_committed(tmp_path: Path) -> None:
    """Else a crash would send again more than what was under way."""
    world = await World(tmp_path, in_flight_max=1, entries_max=1).open()
    lease = await world.outbox.acquire(now_ms=world.drain._now_ms(), wait_max_ms=300_000)
    committed = asyncio.Event()

    class SlowLease:
        good_until, first_request = lease.good_until, lease.first_request
        claim = lease.claim

        async def settle(self, settled: Sequence[Settled], *, now_ms: int, report: Report | None = None) -> None:
            await committed.wait()
            await lease.settle(settled, now_ms=now_ms, report=report)

    world.drain._lease = SlowLease()
    await world.append(world.entry(1, "id:ann"), world.entry(2, "id:bob"))
    assert await world.drain.step() == 1
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.api.taken == [1]
    assert await world.drain.step() == 0
    committed.set()
    await world.drain.flights()
    assert await world.step() == 1
    await world.close()


async def test_what_comes_back_after_the_lease_was_lost_touches_nothing(world: World) -> None:
    for n in range(10, 14):  # so that there is room for more than one request
        await world.append(world.entry(n, f"id:{n}"))
        await world.until_idle()
    assert world.drain.pacing.in_flight_limit > 1
    world.api.seen.clear()
    world.api.gate = asyncio.Event()
    world.api.will_answer(503)
    await world.append(world.entry(1, "id:ann"))
    await world.drain.step()
    while not world.api.seen:
        await asyncio.sleep(0)
    await world.outbox.acquire(now_ms=world.drain._now_ms(), wait_max_ms=300_000)
    await world.append(world.entry(2, "id:ann"))
    await world.drain.step()  # finds that the lease is gone
    for _ in range(5):
        await world.drain.step()  # and waits: what is under way may be taken in after what would leave beside it
        await asyncio.sleep(0)
    assert world.api.seen == [[1]]
    world.api.gate.set()
    await world.drain.flights()
    await world.until_idle()
    assert world.api.seen == [[1], [1, 2]]


async def test_a_stop_still_sends_what_was_being_claimed_when_it_came(world: World) -> None:
    await world.drain.step()
    running = asyncio.ensure_future(world.drain.run())
    await asyncio.sleep(0)
    await world.append(world.entry(1, "id:ann"))
    await asyncio.sleep(0)
    world.drain.stop(5.0)
    await running
    assert world.api.taken == [1]


async def test_a_stop_does_not_wait_for_an_upstream_that_is_down(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=503)
    await world.append(*(world.entry(n, f"id:{n}") for n in range(3)))
    world.drain.stop(5.0)
    await world.drain.run()
    assert len(world.api.seen) == 1
    assert world.outbox.ledger().entries == 3


async def test_an_anonymous_event_that_v2_refuses_for_its_identifier_is_said_in_v1(world: World) -> None:
    said = {
        "type": "person",
        "action": "event",
        "identifiers": {"anonymous_id": "a"},
        "name": "x",
        "attributes": {"n": 1},
    }
    await world.append(structs.replace(world.entry(1, "anonymous_id:a", kind="event"), body=json.dumps(said).encode()))
    world.api.will_answer(lambda _: complaint(0, field="identifiers.anonymous_id"))
    await world.until_idle()
    assert world.api.paths == ["/api/v2/batch", "/api/v1/events"]
    assert world.outbox.ledger().delivered == 1


async def test_one_failure_holds_up_nobody_else(world: World) -> None:
    """What failed waits out its backoff; the others go on leaving meanwhile."""
    world.api.will_answer(503)
    await world.append(world.entry(1, "id:ann"), world.entry(2, "id:ann"))
    await world.step()
    for n in range(3, 6):
        await world.append(world.entry(n, "id:bob"))
        await world.step()
    assert world.api.taken == [3, 4, 5]
    assert world.drain.pacing.hold is None
    await world.until_idle()
    assert world.api.taken == [3, 4, 5, 1, 2]


async def test_a_404_for_one_call_is_a_dead_letter_once_others_passed(world: World) -> None:
    """A segment that is gone; its complaint is kept."""
    gone = Reply(status=404, body=b'{"meta":{"error":"no such segment"}}')
    world.api.otherwise = lambda ops: gone if ops[0]["n"] == 1 else Reply(status=200)
    await world.append(world.entry(1, "id:ann", v1=True), world.entry(2, "id:bob", v1=True))
    await world.until_idle()
    (letter,) = await world.outbox.archive.letters()
    assert (letter.seq, letter.reason, letter.message) == (1, "refused", "no such segment")
    assert world.api.seen.count([1]) == 2  # once more than its verdict needed


@pytest.mark.parametrize("status", [400, 405])
async def test_a_web_page_that_refuses_everything_buries_nobody(world: World, status: int) -> None:
    """A proxy's or a firewall's page is not Customer.io's word, until others pass."""
    page = Reply(status=status, body=b"<html>Bad Request</html>")
    world.api.otherwise = lambda _: page
    await world.append(*(world.entry(n, f"id:{n}", v1=n % 2 == 0) for n in range(20)))
    for _ in range(100):
        await world.step()
        world.clock.advance(10.0)
    assert world.drain.pacing.trouble == "not_customer_io"
    world.api.otherwise = lambda ops: page if any(one["n"] == 5 for one in ops) else Reply(status=200)
    await world.until_idle()
    (letter,) = await world.outbox.archive.letters()
    assert json.loads(letter.body)["n"] == 5
    assert sorted(world.api.taken) == [n for n in range(20) if n != 5]


async def test_404_for_everything_holds_everything_and_buries_nobody(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=404)
    await world.append(*(world.entry(n, f"id:{n}", v1=True) for n in range(20)))
    for _ in range(300):
        await world.step()
        world.clock.advance(10.0)
    assert (world.drain.pacing.hold, world.drain.pacing.trouble) == ("outage", "not_found")
    assert (await world.outbox.audit()).ledger.dead_lettered == 0
    assert len(world.api.seen) < 300
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert sorted(world.api.taken) == list(range(20))


async def test_a_web_page_in_place_of_an_answer_delivers_nothing(world: World) -> None:
    world.api.will_answer(*[lambda _: Reply(status=200, body=b"<html>please sign in</html>")] * 5)
    await world.append(world.entry(1, "id:ann"), world.entry(2, "id:bob", v1=True))
    for _ in range(3):
        await world.step()
        world.clock.advance(1.0)
    assert (world.outbox.ledger().delivered, world.drain.pacing.trouble) == (0, "not_customer_io")
    await world.until_idle()
    assert world.outbox.ledger().delivered == 2


async def test_lost_answers_are_counted(world: World) -> None:
    world.api.will_answer(lambda _: Reply(trouble="timeout"), lambda _: Reply(trouble="connect"))
    await world.append(*(world.entry(n, f"id:{n}") for n in range(3)))
    await world.until_idle()
    assert world.drain.record.ambiguous == 3


async def test_who_was_held_for_their_own_trouble_comes_back_alone(world: World) -> None:
    """So that they fail nobody else again, whatever a restart forgets."""

    def fail_with_company_of_1(operations: list[dict[str, object]]) -> Reply:
        return Reply(status=500 if any(one["n"] == 1 for one in operations) else 200)

    world.api.otherwise = fail_with_company_of_1
    await world.append(*(world.entry(n, f"id:{n}") for n in range(4)))
    for _ in range(20):
        await world.step()
        world.clock.advance(1.0)
    await world.crash()
    for n in range(4, 200):
        await world.append(world.entry(n, f"id:{n}"))
        await world.step()
        world.clock.advance(1.0)
    assert sorted(world.api.taken) == [0, *range(2, 200)]
    assert all(1 not in request or request == [1] for request in world.api.seen[10:])
    assert 3 < world.api.seen.count([1]) < 20


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
async def test_a_clock_that_jumps_makes_nobody_wait_and_nobody_hurry(world: World, jump_s: float) -> None:
    world.api.otherwise = lambda ops: Reply(status=500 if ops[0]["n"] == 1 else 200)
    await world.append(world.entry(1, "id:ann", v1=True), world.entry(2, "id:bob"))
    tries = []
    for second in range(600):
        if second == 100:
            world.clock.jump(jump_s)
        seen = world.api.seen.count([1])
        await world.step()
        tries += [second] * (world.api.seen.count([1]) - seen)
        world.clock.advance(1.0)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert max(waits) <= 62  # the longest backoff, and a step
    assert 5 <= len(tries) <= 40
    await world.append(world.entry(3, "id:eve"))
    world.clock.advance(1.0)
    await world.step()
    assert 3 in world.api.taken  # and who comes new waits no longer than after a first failure
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()


async def test_a_clock_that_was_set_back_while_we_were_away_holds_nobody_for_long(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=500)
    await world.append(world.entry(1, "id:ann", v1=True))
    for _ in range(30):
        await world.step()
        world.clock.advance(5.0)
    assert world.outbox.ledger().parked == 1
    await world.close()
    world.clock.jump(-86_400.0)
    await world.open()
    world.api.otherwise = lambda _: Reply(status=200)
    for _ in range(310):
        await world.step()
        world.clock.advance(1.0)
    assert world.api.taken == [1]


async def test_what_was_learnt_survives_a_restart(tmp_path: Path) -> None:
    world = await World(tmp_path, in_flight_max=16, entries_max=1).open()
    await world.append(*(world.entry(n, f"id:{n}") for n in range(200)))
    await world.until_idle()
    assert world.drain.pacing.in_flight_limit == 16
    learnt = world.drain.pacing.learnt()
    await world.crash()
    await world.drain.step()
    assert world.drain.pacing.learnt() == learnt
    assert world.drain.pacing.in_flight_limit == 1  # and yet it begins gently
    await world.close()


async def test_while_there_is_more_a_batch_waits_to_be_full(tmp_path: Path) -> None:
    """What is under way makes room for more: the linger is for when there is nothing else."""
    world = await World(tmp_path, entries_max=10, window=20, linger_s=0.0, in_flight_max=4).open()
    chance = random.Random(7)
    await world.append(*(world.entry(n, f"id:{chance.randrange(40)}") for n in range(2_000)))
    await world.until_idle()
    sizes = [len(request) for request in world.api.seen]
    assert sum(size == 10 for size in sizes) >= 0.9 * len(sizes), sizes
    await world.close()


async def test_whoever_mends_something_wakes_what_was_held_aside_too(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=500)
    await world.append(world.entry(1, "id:ann", v1=True))
    for _ in range(30):
        await world.step()
        world.clock.advance(3.0)
    await world.step()
    assert world.outbox.ledger().parked == 1
    world.api.otherwise = lambda _: Reply(status=200)
    world.drain.try_now()
    await world.step()
    assert world.api.taken == [1]


async def test_probing_stays_gentle_whoever_comes_new(world: World) -> None:
    """Newcomers are tried before those that failed, and the waits grow with each of them."""
    world.api.otherwise = lambda _: Reply(status=503)
    await world.append(*(world.entry(n, f"id:{n}") for n in range(300)))
    for second in range(7_200):
        if second % 60 == 0:
            await world.append(world.entry(1_000 + second, f"id:{1_000 + second}"))
        await world.step()
        world.clock.advance(1.0)
    assert len(world.api.seen) < 7_200 / 30 * 2 + 20  # full jitter up to 60 s
    world.api.seen.clear()
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert len(world.api.seen) < 60  # and the outage has taken little apart


async def test_a_newcomer_is_tried_before_what_failed_and_soon(world: World) -> None:
    world.api.otherwise = lambda _: Reply(status=403)
    await world.append(*(world.entry(n, f"id:{n}") for n in range(5)))
    for _ in range(300):
        await world.step()
        world.clock.advance(1.0)
    world.api.seen.clear()
    await world.append(world.entry(99, "id:99"))
    waited_s = 0
    while not world.api.seen:
        await world.step()
        world.clock.advance(0.5)
        waited_s += 0.5
    assert world.api.seen == [[99]]
    assert waited_s <= 1.5


async def test_one_that_was_held_before_is_no_busy_loop_when_the_network_goes(world: World) -> None:
    world.api.will_answer(500)
    await world.append(world.entry(1, "id:ann"))
    await world.step()
    await world.append(world.entry(2, "id:bob"))
    await world.step()
    world.api.otherwise = lambda _: Reply(trouble="connect")
    for _ in range(1_000):
        await world.step()
        world.clock.advance(0.1)
    assert len(world.api.seen) < 20
    assert (world.drain.pacing.hold, world.drain.pacing.trouble) == ("outage", "connect")


async def test_403_all_night_lets_nobody_die_of_age(tmp_path: Path) -> None:
    world = await World(tmp_path, keep_trying_for_s=3_600).open()
    world.api.otherwise = lambda _: Reply(status=403)
    await world.append(*(world.entry(n, f"id:{n}") for n in range(20)))
    for _ in range(3_600):
        await world.step()
        world.clock.advance(10.0)
    assert world.outbox.ledger().entries == 20
    assert world.drain.pacing.hold == "credentials"
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert world.outbox.ledger().delivered == 20
    await world.close()


@pytest.mark.parametrize(
    ("refusal", "is_v1"),
    [
        (Reply(status=404), True),
        (Reply(status=400, body=b"<html>no</html>"), True),
        (Reply(status=400, body=b"<html>no</html>"), False),
        (Reply(status=503), False),
        (Reply(status=403), False),
        (Reply(status=302), True),
    ],
)
async def test_one_that_heads_a_lane_which_fills_the_window_keeps_nobody_out(
    tmp_path: Path, refusal: Reply, is_v1: bool
) -> None:
    world = await World(tmp_path, window=20).open()
    world.api.otherwise = lambda ops: refusal if any(one["n"] == 0 for one in ops) else Reply(status=200)
    await world.append(world.entry(0, "id:hot", v1=is_v1), *(world.entry(n, "id:hot") for n in range(1, 30)))
    await world.append(*(world.entry(n, f"id:{n}") for n in range(100, 120)))
    for _ in range(120):
        await world.step()
        world.clock.advance(1.0)
    assert set(range(100, 120)) <= set(world.api.taken)
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert [n for n in world.api.taken if 0 < n < 100] == list(range(1, 30))
    await world.close()


async def test_a_hot_person_with_a_poison_somewhere_keeps_nobody_out_for_long(tmp_path: Path) -> None:
    world = await World(tmp_path, window=1_000).open()
    world.api.otherwise = lambda ops: Reply(status=503 if any(one["n"] == 3 for one in ops) else 200)
    await world.append(*(world.entry(n, "id:hot") for n in range(1_100)))
    await world.append(*(world.entry(n, f"id:{n}") for n in range(2_000, 2_050)))
    waited_s = 0
    while not set(range(2_000, 2_050)) <= set(world.api.taken):
        await world.step()
        world.clock.advance(1.0)
        waited_s += 1
    assert waited_s < 30
    world.api.otherwise = lambda _: Reply(status=200)
    await world.until_idle()
    assert [n for n in world.api.taken if n < 2_000] == list(range(1_100))
    assert world.drain.order.violations == 0
    await world.close()
