"""Nothing ends uncounted: each accepted operation is delivered, or a dead letter with a reason, or still held."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientError

from cio_buffer.clock import SystemClock
from cio_buffer.outbox.contract import Audit
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.promises.apps import (
    Act,
    Apps,
    event,
    events_of,
    flapping,
    kill_now_and_then,
    marks_in_effect,
    only_in_v1,
    talking,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon, until

ONLY_GROW = ("accepted", "replayed", "delivered", "dead_lettered", "purged")
PEOPLE = [f"person-{n}" for n in range(4)]


class Books:
    """Every ledger that `status` has shown."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def hold(self, ledger: dict[str, Any]) -> None:
        """Each of them adds up, and takes nothing back that an earlier one said."""
        ended = ledger["delivered"] + ledger["dead_lettered"] + ledger["purged"]
        held = ledger["pending"] + ledger["held"] + ledger["in_flight"]
        assert ledger["accepted"] + ledger["replayed"] == ended + held, ledger
        assert ledger["balanced"], ledger
        if self.seen:
            before = self.seen[-1]
            assert all(ledger[name] >= before[name] for name in ONLY_GROW), (before, ledger)
        self.seen.append(ledger)


@asynccontextmanager
async def reading(daemon: Daemon, books: Books) -> AsyncIterator[None]:
    """Look at the ledger again and again for as long as this lasts."""

    async def look() -> None:
        while True:
            with suppress(OSError, ClientError):  # it was killed just now
                books.hold((await daemon.status())["ledger"])
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        yield
        looking.cancel()


def good_and_bad(person: str) -> Iterator[Act]:
    """Each tenth is one that Customer.io will refuse, each fifth one that leaves alone."""
    for n in count():
        if n % 10 == 9:
            yield event(person, f"{person}/bad/{n}")
        else:
            yield (only_in_v1 if n % 5 == 0 else event)(person, f"{person}/{n}")


async def count_on_disk(store: Path, copy: Path) -> Audit:
    """What is really in the files that a kill left behind, beside the ledger in them."""
    shutil.copytree(store.parent, copy)
    outbox = SqliteOutbox(copy / store.name, clock=SystemClock(), bytes_max=2**30, disk_free_min_bytes=0)
    await outbox.open()
    try:
        return await outbox.audit()
    finally:
        await outbox.close()
        shutil.rmtree(copy)


async def test_the_ledger_adds_up_at_every_moment_across_kills_and_dead_letters(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    upstream.faults.refuse(lambda body: "/bad/" in str(body))
    books = Books()
    async with (
        reading(daemon, books),
        talking(apps, map(good_and_bad, PEOPLE)),
    ):
        await kill_now_and_then(daemon, apps, chance, times=3, words=100)
    ledger = (await daemon.until_empty())["ledger"]
    books.hold(ledger)
    arrived = set(marks_in_effect(upstream))
    assert ledger["delivered"] == len(arrived)
    await daemon.stop()
    dead = await daemon.dead_letters()
    assert ledger["dead_lettered"] == len(dead) == ledger["accepted"] - len(arrived) > 0
    assert {(letter.reason, letter.message) for letter in dead} == {("refused", "refused by script")}
    assert sum("/bad/" in mark for mark in apps.acknowledged) <= len(dead)


async def test_the_ledger_adds_up_while_customer_io_flaps(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    books = Books()
    async with (
        reading(daemon, books),
        flapping(upstream.faults, chance),
        talking(apps, map(events_of, PEOPLE)),
    ):
        await until(lambda: len(apps.acknowledged) > 500)
    ledger = (await daemon.until_empty())["ledger"]
    assert ledger["accepted"] == ledger["delivered"] == len(apps.acknowledged) == len(set(marks_in_effect(upstream)))


async def test_what_a_kill_leaves_on_disk_adds_up(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """Counted by hand, with entries parked, dead and in flight."""
    upstream.faults.refuse(lambda body: "/bad/" in str(body))
    upstream.faults.delay(0.02)
    async with talking(apps, map(good_and_bad, PEOPLE)):
        for n in range(2):
            before = len(apps.acknowledged)
            await until(lambda before=before: len(apps.acknowledged) >= before + 100)
            await asyncio.sleep(chance.uniform(0.0, 0.1))
            await daemon.kill()
            audit = await count_on_disk(daemon.store, daemon.folder / f"copy-{n}")
            assert audit.is_balanced, audit
            assert audit.ledger.accepted >= len(apps.acknowledged)
            await daemon.start()


async def test_what_is_held_aside_is_neither_forgotten_nor_uncounted(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    """A flood of calls that leave one by one, while Customer.io is slow: more than are kept in hand."""
    upstream.faults.delay(0.5, seconds=1.5)
    upstream.faults.answer(503, requests=1, path_prefix="/api/v1/customers/unlucky/")
    said = [only_in_v1("unlucky", f"unlucky/{n}") for n in range(20)]
    said += [only_in_v1(f"p{n % 40}", f"p{n % 40}/{n}") for n in range(380)]
    async with asyncio.TaskGroup() as group:
        for act in said:
            group.create_task(apps.say([act]))
    await daemon.until(lambda seen: seen["ledger"]["held"] > 0)
    await daemon.kill()
    await daemon.start()
    ledger = (await daemon.until_empty())["ledger"]
    assert set(marks_in_effect(upstream)) == {act.mark for act in said}
    assert (ledger["accepted"], ledger["delivered"]) == (400, 400)


async def test_books_that_are_wrong_are_called_wrong(daemon: Daemon) -> None:
    """`balanced` is no ornament: it comes from a real count."""
    assert (await daemon.status())["ledger"]["balanced"]
    await daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute("UPDATE ledger SET accepted = accepted + 1")
    store.close()
    await daemon.start()
    await daemon.until(lambda seen: not seen["ledger"]["balanced"])
