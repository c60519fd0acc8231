"""One person, one order: a person's operations leave in the order in which they were accepted."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import count

from tests.promises.apps import (
    Act,
    Apps,
    event,
    flapping,
    identify,
    kill_now_and_then,
    marks_in_effect,
    merge,
    only_in_v1,
    talking,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon, until

PEOPLE = [f"person-{n}" for n in range(8)]


def life(person: str, chance: random.Random) -> Iterator[Act]:
    """What one person does, under several names: `mark` counts it."""
    email = f"{person}@example.com"
    for n in count():
        mark, other = f"{person}/{n:06}", f"{person}-old-{chance.randrange(3)}"
        match chance.randrange(10):
            case 0:
                yield identify(person, mark, email=email)
            case 1:
                yield identify(person, mark, anonymous_id=f"visitor-{person}")
            case 2:
                yield event(email, mark, kind="email")
            case 3:
                yield event(email.upper(), mark, kind="email")._replace(lanes=(f"email:{email}",))
            case 4:
                yield event(f"visitor-{person}", mark, kind="anonymous_id")._replace(v1=None)
            case 5:
                yield merge(person, other, mark)
            case 6:
                yield event(other, mark)
            case 7:
                yield only_in_v1(person, mark)
            case _:
                yield event(person, mark)


def disorder(apps: Apps, marks: list[str]) -> dict[str, list[str]]:
    """The lanes in which first arrivals are not in the order in which they were said."""
    lanes = defaultdict(list)
    for mark in dict.fromkeys(marks):
        for lane in apps.said[mark].lanes:
            lanes[lane].append(mark)
    assert len(lanes) > len(PEOPLE)
    return {lane: told for lane, told in lanes.items() if told != sorted(told)}


async def test_a_persons_operations_take_effect_in_order_whatever_happens(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """Through all doors, under several names, with an upstream that flaps and a daemon that is killed."""
    async with (
        flapping(upstream.faults, chance),
        talking(apps, (life(person, random.Random(person)) for person in PEOPLE)),
    ):
        await kill_now_and_then(daemon, apps, chance, times=3, words=200)
    status = await daemon.until_empty()
    assert disorder(apps, marks_in_effect(upstream)) == {}
    assert apps.acknowledged.keys() <= set(marks_in_effect(upstream))
    assert status["outbox"]["order_violations"] == 0


async def test_a_backlog_leaves_in_order(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """All that gathered in an outage, in full batches and with a kill before it ends."""
    upstream.faults.answer(503)
    async with talking(apps, (life(person, random.Random(person)) for person in PEOPLE)):
        await until(lambda: len(apps.acknowledged) > 1_500)
    await daemon.kill()
    upstream.faults.clear()
    await daemon.start()
    status = await daemon.until_empty()
    assert disorder(apps, marks_in_effect(upstream)) == {}
    assert apps.acknowledged.keys() == set(marks_in_effect(upstream))
    assert status["outbox"]["order_violations"] == 0


async def test_a_flood_that_has_to_step_aside_keeps_its_order(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """More calls that leave alone than are kept in hand, one person's with trouble of their own, batches between."""
    upstream.faults.delay(0.1, seconds=3)
    for n in range(6):
        upstream.faults.answer(503, requests=2, path_prefix=f"/api/v1/customers/{PEOPLE[n]}/")

    async def tell(person: str) -> None:
        for n in range(60):
            act = only_in_v1 if chance.random() < 0.7 else event
            assert await apps.say([act(person, f"{person}/{n:06}")])

    async with asyncio.TaskGroup() as group:
        for person in [*PEOPLE, "ann"]:
            group.create_task(tell(person))
    status = await daemon.until_empty()
    assert disorder(apps, marks_in_effect(upstream)) == {}
    assert apps.acknowledged.keys() == set(marks_in_effect(upstream))
    assert status["outbox"]["order_violations"] == 0


async def test_one_persons_trouble_after_an_outage_does_not_hold_up_another(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    """Customer.io is back, but for Ann, who is the first in line."""
    upstream.faults.answer(503, requests=3)
    upstream.faults.answer(503, path_prefix="/api/v1/customers/ann/")
    for n in range(3):
        assert await apps.say([only_in_v1("ann", f"ann/{n}")])
        assert await apps.say([only_in_v1("bob", f"bob/{n}")])
    await until(lambda: len(upstream.ledger.in_effect()) == 3)
    assert marks_in_effect(upstream) == ["bob/0", "bob/1", "bob/2"]
    upstream.faults.clear()
    await daemon.until_empty()
    assert marks_in_effect(upstream)[3:] == ["ann/0", "ann/1", "ann/2"]
