"""Apps that say what they have to say at a steady rate, and remember what they were told."""

import asyncio
import random
import time
from collections.abc import Awaitable, Iterator, Sequence
from zlib import crc32

import msgspec
from aiohttp import ClientError
from msgspec import Struct

from tests.support.process import Daemon, Door

TOGETHER = 20
"""Operations in a v2 batch: single calls at the same rate would take more processor than a small machine has."""

V1_SHARE = 0.2
"""Of the calls; each of these is one v1 event."""

PEOPLE = 10
"""Of each app: fewer than in a batch, so that one call has several of the same person in order."""

POISON_EVERY = 2_000
GIVE_UP_S = 0.05  # after a call that nobody took, before the next


class Said(Struct):
    """One person's operations: the last number given out, and a byte for each, which is 1 once it was acknowledged."""

    last: int = 0
    acknowledged: bytearray = bytearray()

    def next(self) -> int:
        self.last += 1
        self.acknowledged.extend(bytes(self.last + 1 - len(self.acknowledged)))
        return self.last


class App:
    """One connection to one door, one call at a time."""

    def __init__(self, daemon: Daemon, name: str, per_s: float, door: Door, chance: random.Random) -> None:
        self._daemon, self._per_s, self._door, self._chance = daemon, per_s, door, chance
        self.said = {f"{name}-{k}": Said() for k in range(PEOPLE)}
        self.latencies: list[tuple[float, float]] = []  # (when, how long), of what was acknowledged
        self.offered = self.refused = 0

    async def talk(self, until: float) -> None:
        began = time.monotonic()
        numbers = self._numbers()
        while (now := time.monotonic()) < until:
            due = int((now - began) * self._per_s)
            if self.offered >= due:
                await asyncio.sleep(TOGETHER / self._per_s / 2)
                continue
            together = 1 if self._chance.random() < V1_SHARE else TOGETHER
            await self._say([next(numbers) for _ in range(together)])
            if self.offered < due - 10 * self._per_s:  # what could not be said in time is not made up for
                began = time.monotonic() - self.offered / self._per_s

    def _numbers(self) -> Iterator[tuple[str, int]]:
        while True:
            for name, said in self.said.items():
                yield name, said.next()

    async def _say(self, words: Sequence[tuple[str, int]]) -> None:
        self.offered += len(words)
        asked_at = time.monotonic()
        try:
            status, _ = await self._call(words)
        except (OSError, ClientError, TimeoutError):
            status = 0
        if status != 200:
            self.refused += len(words)
            await asyncio.sleep(GIVE_UP_S)
            return
        self.latencies.append((asked_at, time.monotonic() - asked_at))
        for name, n in words:
            self.said[name].acknowledged[n] = 1

    def _call(self, words: Sequence[tuple[str, int]]) -> Awaitable[tuple[int, bytes]]:
        if len(words) > 1:
            return self._daemon.call("POST", "/api/v2/batch", raw=batch(words), door=self._door)
        name, n = words[0]
        body = msgspec.json.encode({"name": "did", "data": attributes(name, n)})
        return self._daemon.call("POST", f"/api/v1/customers/{name}/events", raw=body, door=self._door)


def is_poison(name: str, n: int) -> bool:
    """Each person's come at another time, so that a batch has one among the good."""
    return (n + crc32(name.encode())) % POISON_EVERY == 0


def attributes(name: str, n: int) -> dict[str, int | bool | str]:
    return {"n": n, "poison": is_poison(name, n), "text": "x" * 150}


def batch(words: Sequence[tuple[str, int]]) -> bytes:
    operations = [
        {
            "type": "person",
            "action": "event",
            "identifiers": {"id": name},
            "name": "did",
            "attributes": attributes(name, n),
        }
        for name, n in words
    ]
    return msgspec.json.encode({"batch": operations})
