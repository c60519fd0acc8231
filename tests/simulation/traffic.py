"""What apps ask for: operations, each a number and nothing else, in the order in which they are accepted."""

import random
from array import array
from collections.abc import Sequence
from enum import IntEnum
from math import floor

from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.outbox.contract import Outbox
from cio_buffer.outbox.entry import NewEntry, pack_lanes

TICK_S = 1.0
"""How often apps speak, all of them at once: what is asked for in between is appended together."""

CROWD = 262_139
"""After so many operations the same persons come in the same order: a prime, far above what is ever in hand."""

V1_CALL = "POST /api/v1/forms/1/submit"


class Kind(IntEnum):
    """What is special about an operation."""

    PLAIN = 0
    POISON = 1  # Customer.io refuses it
    BLOCKED = 2  # a firewall before Customer.io refuses any request with it
    V1 = 3  # leaves alone
    BUSY = 4  # of the one person who does more than all the others


class Flow(Struct, frozen=True, kw_only=True):
    """So many operations a second, for some time. `odd`: what every `odd_every`-th of them is; 0 for none."""

    per_s: float
    from_s: float
    until_s: float
    kind: Kind = Kind.PLAIN
    odd: Kind = Kind.POISON
    odd_every: int = 0

    def until(self, at_s: float) -> int:
        """How many of its operations have been asked for by then, rounded down."""
        return floor(self.per_s * max(min(at_s, self.until_s) - self.from_s, 0.0) + 1e-6)

    def kinds(self, from_s: float, until_s: float) -> bytearray:
        """What is asked for between the two, in order: the kind of each operation."""
        first, last = self.until(from_s), self.until(until_s)
        kinds = bytearray([self.kind]) * (last - first)
        if self.odd_every:
            for place in range((self.odd_every // 2 - first) % self.odd_every, len(kinds), self.odd_every):
                kinds[place] = self.odd
        return kinds


class Told:
    """All that was accepted, by number: a few bytes each, because there may be millions.

    Person 0 is the busy one; the others come in an order that is drawn once.
    """

    def __init__(self, persons: int, chance: random.Random) -> None:
        self.persons = persons
        self.crowd = array("I", chance.choices(range(1, persons + 1), k=CROWD))
        self.accepted_ms = array("I")  # since the run began
        self.kinds = bytearray()

    def __len__(self) -> int:
        return len(self.kinds)

    def person(self, number: int) -> int:
        return 0 if self.kinds[number] == Kind.BUSY else self.crowd[number % CROWD]

    def numbers(self, kind: Kind) -> set[int]:
        """All operations of one kind."""
        return {number for number, its in enumerate(self.kinds) if its == kind}


class Apps:
    """Ask for what the flows say, tick by tick. An outbox that is full is no part of this."""

    def __init__(self, outbox: Outbox, told: Told, flows: Sequence[Flow], *, clock: Clock, tick_s: float) -> None:
        self._outbox, self._told, self._flows = outbox, told, flows
        self._clock, self._tick_s = clock, tick_s
        self._lanes = [pack_lanes([f"id:{person}"]) for person in range(told.persons + 1)]
        self._began = clock.monotonic()

    async def speak(self, until_s: float) -> None:
        """Go on until then, seconds since the run began."""
        ticks = round(until_s / self._tick_s)
        for tick in range(ticks):
            wait_s = self._began + tick * self._tick_s - self._clock.monotonic()
            if wait_s > 0.0:
                await self._clock.sleep(wait_s)
            if entries := self._entries(tick * self._tick_s, (tick + 1) * self._tick_s):
                await self._outbox.append(entries)

    def _entries(self, from_s: float, until_s: float) -> list[NewEntry]:
        """What is asked for in a tick; several flows come one after the other."""
        told, first = self._told, len(self._told)
        for flow in self._flows:
            told.kinds += flow.kinds(from_s, until_s)
        accepted_at_ms = int(self._clock.now() * 1000)
        told.accepted_ms.extend([int(from_s * 1000)] * (len(told) - first))
        return [
            NewEntry(
                kind="event",
                lanes=self._lanes[told.person(number)],
                body=b"%d" % number,
                accepted_at_ms=accepted_at_ms,
                call=V1_CALL if told.kinds[number] == Kind.V1 else None,
            )
            for number in range(first, len(told))
        ]
