"""A 200 means it is on disk: whatever was acknowledged survives `kill -9` at any moment.

That the disk has synced before the answer leaves cannot be seen from outside, since a kill spares the kernel's
memory: the store's own tests cut the power. Here the whole path is at stake, from socket to Customer.io.
"""

import json
import random

from tests.promises.apps import (
    Apps,
    event,
    events_of,
    flapping,
    identify,
    kill_now_and_then,
    marks_in_effect,
    talking,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon, until

PRODUCERS = [f"app-{n}" for n in range(6)]


async def test_what_was_acknowledged_survives_kills_under_load(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """And under all kinds of trouble with Customer.io."""
    async with flapping(upstream.faults, chance), talking(apps, map(events_of, PRODUCERS)):
        await kill_now_and_then(daemon, apps, chance, times=5, words=100)
    await daemon.until_empty()
    assert apps.acknowledged.keys() <= set(marks_in_effect(upstream)) <= apps.said.keys()


async def test_it_survives_kills_while_customer_io_is_down_all_the_time(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    await upstream.go_down()
    async with talking(apps, map(events_of, PRODUCERS)):
        await kill_now_and_then(daemon, apps, chance, times=3, words=100)
        await daemon.kill()
    assert not upstream.ledger.arrivals
    await upstream.come_up()
    await daemon.start()
    await daemon.until_empty()
    assert apps.acknowledged.keys() <= set(marks_in_effect(upstream))


async def test_it_survives_being_killed_right_after_the_answer(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """No moment is left between the 200 and the kill in which something could still be written."""
    upstream.faults.answer(503)
    for n in range(3):
        assert await apps.say([event("ann", f"{n}.{k}") for k in range(n + 1)])
        await daemon.kill()
        await daemon.start()
    upstream.faults.clear()
    await daemon.until_empty()
    assert apps.acknowledged.keys() == set(marks_in_effect(upstream))


async def test_what_customer_io_refuses_is_kept_as_a_dead_letter_through_kills(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    assert await apps.say([identify("ann", "good"), identify("ann", "bad", note="x" * 1_500)])
    await until(lambda: "good" in marks_in_effect(upstream))
    await daemon.kill()
    await daemon.start()
    assert (await daemon.until_empty())["ledger"]["dead_lettered"] == 1
    await daemon.stop()
    (letter,) = await daemon.dead_letters()
    assert json.loads(letter.body)["attributes"]["mark"] == "bad"
    assert set(marks_in_effect(upstream)) == {"good"}
