"""A Customer.io that takes time: slow, down, throttling, refusing, by a script; and that remembers what it saw.

It knows nothing of our rules. What it remembers of a request is a few numbers, of an operation two bytes.
"""

import asyncio
import random
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Literal

import msgspec
from msgspec import Struct

from cio_buffer.upstream.transport import Reply, Request
from tests.simulation.traffic import CROWD, Kind, Told

REQUEST_TIMEOUT_S = 30.0
REFUSES_IN_S = 0.05
"""How quickly a connection is refused, or an answer comes that nobody had to think about."""


class Down(Struct, frozen=True):
    """Nothing is taken in. "torn" is worse: it is taken in, and the answer is lost."""

    how: Literal["connect", "timeout", "torn", "503"]


class WrongKey(Struct, frozen=True):
    """401 to everything."""


class Throttle(Struct, frozen=True):
    """429 to what is more than `per_s` in any second; `retry_after` as the header says it."""

    per_s: float
    retry_after: str = ""


class Slow(Struct, frozen=True):
    """Everything takes so many times as long."""

    factor: float


Trouble = Down | WrongKey | Throttle | Slow


class Phase(Struct, frozen=True):
    """Trouble for some time, in seconds since the run began."""

    from_s: float
    until_s: float
    trouble: Trouble


class Manners(Struct, frozen=True, kw_only=True):
    """How Customer.io is on a good day. `noise` is how much an answer's time varies, either way.

    `workers` serve requests, those that find none free wait in line; 0 for no such limit. `poison_by` is the status
    that tells of a poison: 207 names it, 400 refuses its whole request.
    """

    base_s: float = 0.04
    per_entry_s: float = 0.00002
    noise: float = 0.2
    workers: int = 0
    poison_by: Literal[207, 400] = 207

    def service_s(self, entries: int) -> float:
        """How long a request takes on average."""
        return self.base_s + self.per_entry_s * entries


class Recovery(Struct, frozen=True, kw_only=True):
    """A moment from which requests passed again, or passed for the first time. Seconds since the run began.

    `held_s`: since the first of the failures before it; infinite for the first time. `backlog` is what was accepted and
    not taken in then.
    """

    at_s: float
    held_s: float
    backlog: int
    failures: int


class Batch(Struct):
    batch: list[int]


BATCH = msgspec.json.Decoder(Batch)


class Vendor:
    """Keeps `upstream.transport.Transport`. Times are seconds since the run began."""

    def __init__(
        self, told: Told, manners: Manners, phases: Sequence[Phase], *, on_their_way: int, chance: random.Random
    ) -> None:
        """`on_their_way`: how many operations are, on a good day; more of them are a backlog."""
        self._told, self._manners, self._phases, self._chance = told, manners, phases, chance
        self._on_their_way = on_their_way
        self._loop = asyncio.get_running_loop()
        self._free_at = [0.0] * manners.workers
        self._let_in: deque[float] = deque()
        self._failing_since, self._failed_at, self._failures = -inf, -inf, 0
        self._in_flight = 0
        self.sent_at, self.sizes, self.statuses = array("d"), array("H"), array("h")
        self.in_flight = array("H")  # with it, when it was sent
        self.arrived = bytearray()
        self.taken = self.repeats = self.unheard = self.refused = 0
        self._latest = array("q", [-1]) * (told.persons + 1)
        self.overtaken: list[tuple[int, int]] = []
        self.recoveries: list[Recovery] = []
        self.behind_until_s = 0.0
        self.delays: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}  # in ms, by whether it left alone
        self.worst_by_second: Counter[int] = Counter()  # the same, the worst in each second

    async def send(self, request: Request) -> Reply:
        """Answer as the script says, when it is time to."""
        self._in_flight += 1
        try:
            return await self._send(request, self._loop.time())
        finally:
            self._in_flight -= 1

    async def _send(self, request: Request, sent_at: float) -> Reply:
        numbers = BATCH.decode(request.body).batch if request.path == "/api/v2/batch" else [int(request.body)]
        self.sent_at.append(sent_at)
        self.sizes.append(len(numbers))
        self.in_flight.append(self._in_flight)
        place = len(self.statuses)
        self.statuses.append(0)
        troubles = [phase.trouble for phase in self._phases if phase.from_s <= sent_at < phase.until_s]
        reply = await self._stopped(numbers, troubles, sent_at) or await self._served(numbers, troubles, sent_at)
        self.statuses[place] = reply.status or 0
        self._note(reply, sent_at)
        return reply

    async def _stopped(self, numbers: list[int], troubles: Sequence[Trouble], sent_at: float) -> Reply | None:
        """The answer of whoever stands before Customer.io, if it does not get there."""
        reply = next((reply for trouble in troubles if (reply := self._turned_away(trouble, sent_at))), None)
        if reply is None and Kind.BLOCKED in self._kinds(numbers):
            reply = Reply(status=403)
        if reply is None:
            return None
        await asyncio.sleep(REQUEST_TIMEOUT_S if reply.trouble == "timeout" else self._varied(REFUSES_IN_S))
        if reply.trouble == "torn":
            self._take(numbers)
            self.unheard += len(numbers)
        return reply

    def _turned_away(self, trouble: Trouble, now: float) -> Reply | None:
        match trouble:
            case Down("503"):
                return Reply(status=503)
            case Down(how):
                return Reply(trouble=how)
            case WrongKey():
                return Reply(status=401)
            case Throttle(per_s, retry_after):
                while self._let_in and self._let_in[0] <= now - 1.0:
                    self._let_in.popleft()
                if len(self._let_in) >= per_s:
                    return Reply(status=429, retry_after=retry_after)
                self._let_in.append(now)
        return None

    async def _served(self, numbers: list[int], troubles: Sequence[Trouble], sent_at: float) -> Reply:
        """Customer.io's own answer."""
        factor = max((trouble.factor for trouble in troubles if isinstance(trouble, Slow)), default=1.0)
        await asyncio.sleep(self._line_s(self._varied(factor * self._manners.service_s(len(numbers)))))
        poison = [index for index, kind in enumerate(self._kinds(numbers)) if kind == Kind.POISON]
        if not poison:
            self._take(numbers)
            return Reply(status=200, body=b"{}")
        if self._manners.poison_by == 400:
            self.refused += len(numbers) == 1
            return Reply(status=400, body=b'{"meta":{"error":"invalid"}}')
        self.refused += len(poison)
        self._take([number for number in numbers if self._told.kinds[number] != Kind.POISON])
        errors = [{"batch_index": index, "reason": "invalid", "message": "no"} for index in poison]
        return Reply(status=207, body=msgspec.json.encode({"errors": errors}))

    def _line_s(self, service_s: float) -> float:
        """How long until it is done, with those that came before."""
        if not self._free_at:
            return service_s
        worker = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        now = self._loop.time()
        self._free_at[worker] = max(self._free_at[worker], now) + service_s
        return self._free_at[worker] - now

    def _varied(self, mean_s: float) -> float:
        return mean_s * (1.0 + self._manners.noise * (2.0 * self._chance.random() - 1.0))

    def _kinds(self, numbers: list[int]) -> bytes:
        return bytes(map(self._told.kinds.__getitem__, numbers))

    def _take(self, numbers: list[int]) -> None:
        """They have their effect. Of one that came before, nothing more happens."""
        told, arrived, latest, crowd = self._told, self.arrived, self._latest, self._told.crowd
        arrived.extend(bytes(len(told) - len(arrived)))
        fresh = []
        for number in numbers:
            if arrived[number]:
                self.repeats += 1
                continue
            arrived[number] = 1
            fresh.append(number)
            person = 0 if told.kinds[number] == Kind.BUSY else crowd[number % CROWD]
            if latest[person] > number:
                self.overtaken.append((number, latest[person]))
            latest[person] = number
        self.taken += len(fresh)
        self._time(fresh)

    def _time(self, fresh: list[int]) -> None:
        """Note how long they were on their way."""
        now_ms, accepted_ms = self._loop.time() * 1000.0, self._told.accepted_ms
        delays = self.delays[len(fresh) == 1 and self._told.kinds[fresh[0]] == Kind.V1]
        second = int(now_ms / 1000.0)
        for at_ms, count in Counter(map(accepted_ms.__getitem__, fresh)).items():
            delay_ms = int(now_ms - at_ms)
            delays[delay_ms] += count
            self.worst_by_second[second] = max(self.worst_by_second[second], delay_ms)

    def _note(self, reply: Reply, sent_at: float) -> None:
        """Keep account of failing and recovering. A 403 is about one body, a 400 about one operation."""
        now = self._loop.time()
        if reply.trouble or reply.status in (401, 429, 503):
            if sent_at >= self._failed_at:  # of those that were under way together the first speaks
                self._failing_since = self._failing_since if self._failures else now
                self._failures, self._failed_at = self._failures + 1, now
        elif reply.status != 403 and sent_at >= self._failed_at and (self._failures or not self.recoveries):
            held_s = now - self._failing_since
            self.recoveries.append(Recovery(at_s=now, held_s=held_s, backlog=self._waiting(), failures=self._failures))
            self._failures = 0
        if self._waiting() > self._on_their_way:
            self.behind_until_s = now

    def _waiting(self) -> int:
        """What was accepted, and neither taken in nor refused for good."""
        return len(self._told) - self.taken - self.refused
