"""Apps that say what they have to say at a steady rate, and remember what they were told."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import msgspec
from aiohttp import ClientError
from msgspec import Struct

from tests.support.process import Daemon

TOGETHER = 20
"""Operations in a call."""

PEOPLE = 25
"""Of each app."""

POISON_EVERY = 2_000
GIVE_UP_S = 0.05  # after a call that nobody took, before the next


class Said(Struct):
    """One person's operations: how many, which were acknowledged, and which can never be delivered."""

    last: int = 0
    acknowledged: list[int] = []
    poison: int = 0


class App:
    """One connection, one call at a time."""

    def __init__(self, daemon: Daemon, name: str, per_s: float) -> None:
        self._daemon, self._name, self._per_s = daemon, name, per_s
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
            await self._say([next(numbers) for _ in range(TOGETHER)])
            if self.offered < due - 10 * self._per_s:  # what could not be said in time is not made up for
                began = time.monotonic() - self.offered / self._per_s

    def _numbers(self) -> Iterator[tuple[str, int]]:
        while True:
            for name, said in self.said.items():
                said.last += 1
                yield name, said.last

    async def _say(self, words: Sequence[tuple[str, int]]) -> None:
        self.offered += len(words)
        asked_at = time.monotonic()
        try:
            status, _ = await self._daemon.call("POST", "/api/v2/batch", raw=batch(words))
        except (OSError, ClientError, TimeoutError):
            status = 0
        if status != 200:
            self.refused += len(words)
            await asyncio.sleep(GIVE_UP_S)
            return
        self.latencies.append((asked_at, time.monotonic() - asked_at))
        for name, n in words:
            if is_poison(n):
                self.said[name].poison += 1
            else:
                self.said[name].acknowledged.append(n)


def is_poison(n: int) -> bool:
    return n % POISON_EVERY == POISON_EVERY - 1


def batch(words: Sequence[tuple[str, int]]) -> bytes:
    operations = [
        {
            "type": "person",
            "action": "event",
            "identifiers": {"id": name},
            "name": "did",
            "attributes": {"n": n, "poison": is_poison(n), "text": "x" * 150},
        }
        for name, n in words
    ]
    return msgspec.json.encode({"batch": operations})
