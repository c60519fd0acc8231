"""An app and a drain at once: they ask the store for things at random, and note what they ask for and are told."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from cio_buffer.outbox.archive import Letters
from cio_buffer.outbox.entry import Delivered, NewEntry, Parked
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import NOW_MS, REFUSED, WAIT_MAX_MS, Hand, operation
from tests.outbox.requests import AGAIN, Outcome
from tests.powercut.judge import BYTES_MAX, STORE, name_in
from tests.powercut.recorder import Recorder
from tests.powercut.told import Place, Told
from tests.support.clock import FakeClock

LANES = tuple(f"person {n}" for n in range(6))


class Lives:
    """Keeps `backends.Backend`: outboxes that are recorded, one after the other, on one disk."""

    def __init__(self, recorder: Recorder, told: Told, clock: FakeClock, *, ballast_bytes: int) -> None:
        self._recorder, self._told, self._clock, self._ballast_bytes = recorder, told, clock, ballast_bytes

    async def open(self) -> SqliteOutbox:
        self._outbox = SqliteOutbox(
            self._recorder.root / STORE,
            clock=self._clock,
            bytes_max=BYTES_MAX,
            disk_free_min_bytes=0,
            ballast_bytes=self._ballast_bytes,
            connect=self._recorder.connect,
        )
        await self._outbox.open()
        return self._outbox

    async def crash(self) -> SqliteOutbox:
        await self.die()
        return await self.open()

    async def die(self) -> None:
        """What the one that is gone still does is neither recorded nor heard."""
        self._recorder.crash()
        self._told.life += 1
        await self._outbox.close()

    async def close(self) -> None:
        await self._outbox.close()


class Day:
    """What is done to a store, at random, and what is said of it."""

    def __init__(self, recorder: Recorder, told: Told, rng: random.Random) -> None:
        clock = FakeClock()
        ballast_bytes = rng.choice((0, 0, 16_384))
        self.recorder, self.told, self.rng = recorder, told, rng
        self.lives = Lives(recorder, told, clock, ballast_bytes=ballast_bytes)
        self.hand = Hand(self.lives, clock)
        self.letters: dict[str, int] = {}
        self._names = len(told.names)

    async def open(self) -> None:
        await self.hand.open()

    async def crash(self) -> None:
        """In the middle of a few calls."""
        calls = [asyncio.ensure_future(self.append()) for _ in range(self.rng.randint(0, 3))]
        if self.rng.random() < 0.5:
            await asyncio.sleep(0)
        await self.lives.die()
        await asyncio.gather(*calls, return_exceptions=True)
        await self.hand.open()

    async def restart(self) -> None:
        await self.hand.reopen()

    async def append(self) -> None:
        """One call of an app."""
        await self._append([self._new_entry() for _ in range(self.rng.choice((1, 1, 1, 2, 3, 8)))])

    async def _append(self, entries: Sequence[NewEntry]) -> None:
        names = [name_in(entry.body) for entry in entries]
        with self.told.asking(dict.fromkeys(names, "main"), is_append=True):
            seqs = await self.hand.append(*entries)
            self.told.seqs.update(zip(names, seqs, strict=True))

    def _new_entry(self, size: int | None = None) -> NewEntry:
        self._names += 1
        lanes = self.rng.sample(LANES, self.rng.choice((1, 1, 2)))
        size = self.rng.choice((40, 300, 300, 1_500, 6_000)) if size is None else size
        call = "POST /api/v1/events" if self.rng.random() < 0.1 else None
        return operation(f'"entry {self._names}"', *lanes, kind="event", call=call, size=size)

    async def append_little(self) -> None:
        """So little that no page is added, and so the first one stays out of the WAL."""
        await self._append([self._new_entry(size=0)])

    async def group(self) -> None:
        """Calls of several apps at once."""
        await asyncio.gather(*(self.append() for _ in range(self.rng.randint(2, 8))))

    async def deliver(self) -> None:
        await self._settle(delivered=1.0, parked=0.0)

    async def bad_request(self) -> None:
        await self._settle(delivered=0.3, parked=0.4)

    async def _settle(self, *, delivered: float, parked: float) -> None:
        """A request with all that can be claimed, and in it the one or the other fate."""
        rng, hand = self.rng, self.hand
        await hand.take(now_ms=NOW_MS + WAIT_MAX_MS)
        is_v1 = rng.random() < 0.3
        names = [name for name, entry in hand.held.items() if (entry.call is not None) == is_v1 or rng.random() < 0.1]
        outcomes: dict[str, Outcome] = {}
        places: dict[str, Place] = {}
        for name in names[: rng.randint(1, 40)]:
            chance = rng.random()
            if chance < delivered:
                outcomes[name], places[name] = Delivered(), "nowhere"
            elif chance < delivered + parked:
                outcomes[name], places[name] = Parked(NOW_MS + 60_000, holds=1, held_for="timeout"), "parked"
            elif chance < 0.9:
                outcomes[name], places[name] = REFUSED, "dead"
            else:
                outcomes[name] = AGAIN
        if not outcomes:
            return
        with self.told.asking(places):
            await hand.request(outcomes)
        for name, place in places.items():
            if place == "dead":
                self.letters[name] = hand.held[name].first_seq
            del hand.held[name]

    async def replay(self) -> None:
        """Some dead letters go back to the tail."""
        await self._end_letters("main", lambda seqs: self.hand.replay(*seqs))

    async def purge(self) -> None:
        await self._end_letters("nowhere", lambda seqs: self.hand.outbox.archive.purge(Letters(seqs=frozenset(seqs))))

    async def _end_letters(self, place: Place, how: Callable[[Sequence[int]], Awaitable[int]]) -> None:
        names = [name for name in self.letters if self.rng.random() < 0.6]
        if names:
            with self.told.asking(dict.fromkeys(names, place)):
                await how([self.letters.pop(name) for name in names])

    async def learn(self) -> None:
        self.hand.outbox.note_learnt(self.rng.randbytes(100))


Doing = Callable[[Day], Awaitable[None]]

Chances = Mapping[Doing, int]

INGEST: Chances = {Day.append: 3, Day.group: 6, Day.deliver: 1}
SETTLING: Chances = {Day.group: 4, Day.deliver: 4, Day.learn: 1}
TROUBLE: Chances = {Day.group: 4, Day.bad_request: 5, Day.replay: 1, Day.purge: 1, Day.deliver: 1}
RESTARTS: Chances = {
    **{Day.group: 3, Day.append: 2, Day.deliver: 1, Day.bad_request: 1},
    **{Day.crash: 2, Day.restart: 2},
}


async def live(day: Day, chances: Chances, steps: int) -> None:
    """So many things at random."""
    for doing in day.rng.choices(list(chances), list(chances.values()), k=steps):
        await doing(day)
