"""Once in effect: an event keeps its id and its timestamp in every attempt, so that no repeat counts twice."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count

from ulid import ULID

from cio_buffer.sandbox.ledger import EVENT_KINDS, Arrival
from tests.promises.apps import (
    Act,
    Apps,
    event,
    flapping,
    identify,
    kill_now_and_then,
    mark_of,
    marks_in_effect,
    only_in_v1,
    talking,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon, until

PEOPLE = [f"person-{n}" for n in range(5)]
NAMED = {"id": "order-17", "timestamp": 1_700_000_000}


def days(person: str) -> Iterator[Act]:
    """Events through every door and in both words, an identify now and then."""
    for n in count():
        mark = f"{person}/{n}"
        if n % 7 == 3:
            yield identify(person, mark, plan="free")
        else:
            yield (only_in_v1 if n % 7 == 5 else event)(person, mark)


def arrivals_by_mark(upstream: Upstream) -> dict[str, list[Arrival]]:
    found = defaultdict(list)
    for arrival in upstream.ledger.arrivals:
        found[mark_of(arrival)].append(arrival)
    return found


async def test_repeats_are_the_same_to_the_last_value_and_count_once(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """Lost answers, torn connections and kills make repeats; each event is in effect once."""
    async with talking(apps, map(days, PEOPLE)):
        async with flapping(upstream.faults, chance):
            await kill_now_and_then(daemon, apps, chance, times=3, words=150)
        upstream.faults.lose_answers(requests=3)
        await until(lambda: upstream.ledger.counts["duplicate"] > 0)
    await daemon.until_empty()
    arrived = arrivals_by_mark(upstream)
    assert apps.acknowledged.keys() <= arrived.keys()
    for mark, same in arrived.items():
        assert all((one.path, one.body) == (same[0].path, same[0].body) for one in same), mark
    events = [mark_of(one) for one in upstream.ledger.in_effect() if one.kind in EVENT_KINDS]
    assert max(Counter(events).values()) == 1


async def test_a_lost_answer_and_a_kill_make_a_repeat_and_no_second_event(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    upstream.faults.lose_answers(requests=1)
    upstream.faults.delay(0.3, requests=2)
    assert await apps.say([event("ann", "first"), event("ann", "second")])
    await until(lambda: upstream.ledger.requests_total == 2)
    await daemon.kill()
    await daemon.start()
    await daemon.until_empty()
    assert marks_in_effect(upstream) == ["first", "second"]
    assert upstream.ledger.counts["duplicate"] >= 2  # both came again, however many shared a request
    assert len(upstream.workspace.people.everyone()[0].events) == 2


async def test_ids_are_ulids_and_timestamps_are_the_second_of_acceptance(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    """However late Customer.io gets them."""
    upstream.faults.answer(503, seconds=1.2)
    said = [
        make(person, f"{person}/{n}")
        for n in range(10)
        for person in PEOPLE
        for make in ([event, identify, only_in_v1][n % 3],)
    ]
    for n in range(0, 25):
        assert await apps.say([said[n]])
    assert await apps.say([act for act in said[25:] if act.v2])
    await daemon.until_empty()
    arrived = upstream.ledger.in_effect()
    for one in arrived:
        told = apps.acknowledged[mark_of(one)]
        assert int(told.asked_at) <= one.timestamp <= int(told.answered_at), one
        if one.kind in EVENT_KINDS:
            assert int(told.asked_at) <= ULID.from_str(one.event_id or "").timestamp <= told.answered_at
    ids = [one.event_id for one in arrived if one.event_id]
    assert len(set(ids)) == len(ids) > len(PEOPLE)


async def test_ids_stay_unique_across_kills(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    for n in range(2):
        async with asyncio.TaskGroup() as group:
            for k in range(100):
                group.create_task(apps.say([event("ann", f"{n}/{k}")]))
        await daemon.kill()
        await daemon.start()
    await daemon.until_empty()
    assert len({one.event_id for one in upstream.ledger.in_effect()}) == 200


async def test_an_id_and_a_timestamp_that_the_app_gave_are_never_changed(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.tear(requests=2)
    upstream.faults.lose_answers(requests=2)
    person = {"type": "person", "identifiers": {"id": "ann"}}
    v1 = {"name": "bought", "data": {"mark": "v1"}, **NAMED, "id": "order-16"}
    v1_only = {"name": "bought", "data": {"mark": "v1 only"}, **NAMED, "id": "order-18", "extra": True}
    entity = {**person, "action": "event", "name": "bought", "attributes": {"mark": "entity"}, **NAMED}
    update = {**person, "action": "identify", "attributes": {"mark": "update"}, "timestamp": 1_700_000_001}
    by_attribute = {"mark": "by attribute", "_timestamp": 1_700_000_002}
    for method, path, body in (
        ("POST", "/api/v1/customers/ann/events", v1),
        ("POST", "/api/v1/customers/ann/events", v1_only),
        ("POST", "/api/v2/entity", entity),
        ("POST", "/api/v2/batch", {"batch": [update]}),
        ("PUT", "/api/v1/customers/ann", by_attribute),
    ):
        assert (await daemon.call(method, path, body))[0] == 200
    await daemon.until_empty()
    seen = {mark_of(one): (one.event_id, one.timestamp) for one in upstream.ledger.arrivals}
    assert seen == {
        "v1": ("order-16", 1_700_000_000),
        "v1 only": ("order-18", 1_700_000_000),
        "entity": ("order-17", 1_700_000_000),
        "update": (None, 1_700_000_001),
        "by attribute": (None, 1_700_000_002),
    }
    assert {(one.event_id, one.timestamp) for one in upstream.ledger.arrivals} == set(seen.values())


async def test_an_app_that_says_the_same_event_again_counts_once_too(daemon: Daemon, upstream: Upstream) -> None:
    body = {"name": "bought", "data": {"mark": "bought"}, **NAMED}
    for door in ("unix", "tcp", "unix"):
        assert (await daemon.call("POST", "/api/v1/customers/ann/events", body, door=door))[0] == 200
    await daemon.until_empty()
    assert marks_in_effect(upstream) == ["bought"]
    assert upstream.ledger.counts["duplicate"] == 2
