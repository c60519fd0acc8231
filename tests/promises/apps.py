"""Apps that talk to the daemon through every door, and remember what they were told."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

from aiohttp import ClientError

from cio_buffer.sandbox import Sandbox
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.ledger import Arrival
from tests.support.process import Daemon, Door, until

DOORS: tuple[Door, ...] = ("unix", "tcp")


class Act(NamedTuple):
    """Something that an app says of a person: the `mark` tells it from all others, `lanes` whom it is about."""

    mark: str
    lanes: tuple[str, ...]
    v2: dict[str, Any]
    v1: tuple[str, str, dict[str, Any]] | None = None


def event(person: str, mark: str, *, kind: str = "id", **more: Any) -> Act:
    v2 = {"type": "person", "action": "event", "identifiers": {kind: person}, "name": "did"}
    v1 = {"name": "did", "data": {"mark": mark}, **more}
    path = f"/api/v1/customers/{person}/events"
    return Act(mark, (f"{kind}:{person}",), v2 | {"attributes": {"mark": mark}, **more}, ("POST", path, v1))


def identify(person: str, mark: str, **attributes: Any) -> Act:
    """Set attributes. An `email` or an `anonymous_id` among them is another name of the same person."""
    names = tuple(f"{kind}:{attributes[kind]}" for kind in ("email", "anonymous_id") if kind in attributes)
    said = {"mark": mark, **attributes}
    v2 = {"type": "person", "action": "identify", "identifiers": {"id": person}, "attributes": said}
    return Act(mark, (f"id:{person}", *names), v2, ("PUT", f"/api/v1/customers/{person}", said))


def merge(person: str, other: str, mark: str) -> Act:
    """Fold `other` into `person`. Customer.io leaves members alone that it does not know, such as the mark."""
    sides = {"primary": {"id": person}, "secondary": {"id": other}}
    return Act(mark, (f"id:{person}", f"id:{other}"), {"type": "person", "action": "merge", **sides, "mark": mark})


def only_in_v1(person: str, mark: str) -> Act:
    """An event with a member that v2 has no place for: it leaves in a request of its own."""
    _, path, body = event(person, mark).v1 or ("", "", {})
    return Act(mark, (f"id:{person}",), {}, ("POST", path, {**body, "extra": 1}))


def mark_of(arrival: Arrival) -> str:
    body = arrival.body
    for place in (body, body.get("attributes"), body.get("data")):
        if isinstance(place, dict) and "mark" in place:
            return str(place["mark"])
    raise AssertionError(f"whose is this? {arrival}")


def out_of_order(apps: "Apps", marks: Iterable[str]) -> dict[str, list[str]]:
    """The lanes in which these, each counted where it stands first, are not in the order in which they were said."""
    said = {mark: place for place, mark in enumerate(apps.said)}
    lanes: dict[str, list[str]] = {}
    for mark in dict.fromkeys(marks):
        for lane in apps.said[mark].lanes:
            lanes.setdefault(lane, []).append(mark)
    return {lane: told for lane, told in lanes.items() if told != sorted(told, key=said.__getitem__)}


def marks_in_effect(sandbox: Sandbox) -> list[str]:
    """What was processed upstream, in its order; what was processed twice stands there twice."""
    return [mark_of(arrival) for arrival in sandbox.ledger.in_effect()]


class Told(NamedTuple):
    """A call that was answered 200, and the Unix seconds between which it was."""

    asked_at: float
    answered_at: float


class Apps:
    """Several apps before one daemon."""

    def __init__(self, daemon: Daemon, chance: random.Random) -> None:
        self._daemon = daemon
        self._chance = chance
        self.acknowledged: dict[str, Told] = {}
        self.said: dict[str, Act] = {}

    async def say(self, acts: Sequence[Act]) -> bool:
        """Say it through any door that takes it; whether it was acknowledged. Nothing is said twice."""
        self.said.update((act.mark, act) for act in acts)
        asked_at = time.time()
        try:
            status, body = await self._call(acts)
        except (OSError, ClientError, TimeoutError):
            return False
        assert status == 200, (status, body)
        told = Told(asked_at, time.time())
        self.acknowledged.update((act.mark, told) for act in acts)
        return True

    def _call(self, acts: Sequence[Act]) -> Awaitable[tuple[int, bytes]]:
        door = self._chance.choice(DOORS)
        first = acts[0]
        if len(acts) > 1:
            return self._daemon.call("POST", "/api/v2/batch", {"batch": [act.v2 for act in acts]}, door=door)
        if first.v1 and (not first.v2 or self._chance.random() < 0.5):
            method, path, body = first.v1
            return self._daemon.call(method, path, body, door=door)
        if self._chance.random() < 0.5:
            return self._daemon.call("POST", "/api/v2/entity", first.v2, door=door)
        return self._daemon.call("POST", "/api/v2/batch", {"batch": [first.v2]}, door=door)

    async def talk(self, acts: Iterator[Act], is_over: asyncio.Event) -> None:
        """One app after the other word of `acts`: singly, or several in a batch. Waits for each answer."""
        waiting: list[Act] = []
        while not is_over.is_set():
            length = self._chance.choice([1, 1, 2, 5])
            waiting = [next(acts) for _ in range(length)]
            for words in in_calls(waiting):
                if not await self.say(words):
                    await asyncio.sleep(0.05)  # the daemon may be away, and needs the processor to come back


def in_calls(acts: Sequence[Act]) -> Iterator[list[Act]]:
    """Those that v2 has no words for by themselves, the others together, all in their order."""
    together: list[Act] = []
    for act in acts:
        if act.v2:
            together.append(act)
            continue
        if together:
            yield together
        together = []
        yield [act]
    if together:
        yield together


def events_of(person: str) -> Iterator[Act]:
    """One event after the other."""
    return (event(person, f"{person}/{n}") for n in count())


@asynccontextmanager
async def talking(apps: Apps, streams: Iterable[Iterator[Act]]) -> AsyncIterator[None]:
    """One app for each of `streams` talks for as long as this lasts."""
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for acts in streams:
            group.create_task(apps.talk(acts, is_over))
        yield
        is_over.set()


@asynccontextmanager
async def flapping(faults: Faults, chance: random.Random) -> AsyncIterator[None]:
    """Customer.io has trouble upon trouble for as long as this lasts."""
    trouble = asyncio.ensure_future(flap(faults, chance))
    try:
        yield
    finally:
        trouble.cancel()
        await asyncio.gather(trouble, return_exceptions=True)
        faults.clear()


async def flap(faults: Faults, chance: random.Random) -> None:
    """One fault after the other, with pauses, so that something comes through."""
    while True:
        match chance.randrange(8):
            case 0 | 1:
                faults.answer(503, requests=chance.randrange(1, 4))
            case 2:
                faults.answer(429, headers={"Retry-After": "1"}, requests=1)
            case 3 | 4:
                faults.tear(requests=chance.randrange(1, 3))
            case 5 | 6:
                faults.lose_answers(requests=chance.randrange(1, 3))
            case 7:
                faults.delay(0.05, requests=3)
        await asyncio.sleep(chance.uniform(0.02, 0.2))


async def kill_now_and_then(daemon: Daemon, apps: Apps, chance: random.Random, *, times: int, words: int) -> None:
    """`kill -9` at random moments, each after at least so many more acknowledged operations; then start again."""
    for _ in range(times):
        before = len(apps.acknowledged)
        await until(lambda before=before: len(apps.acknowledged) >= before + words)
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await daemon.kill()
        await daemon.start()
