"""The loop: claim → batch → send → judge → settle. Every rule it follows is in a file beside it."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from math import inf

from msgspec import Struct, structs
from structlog.typing import FilteringBoundLogger

from cio_buffer.clock import Clock, SteadyTime
from cio_buffer.delivery.batching import BatchLimits
from cio_buffer.delivery.claimed import Claimed
from cio_buffer.delivery.flight import ABANDONED, Fates, Flight, carrying, fate, report, took_ms
from cio_buffer.delivery.lanes import Leaving, Window, WindowLimits
from cio_buffer.delivery.order import OrderWatch
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.record import Record
from cio_buffer.delivery.retry import Again, Circumstances, HeldBack, InV1, RetryPolicy
from cio_buffer.delivery.verdict import DELIVERED, Verdict, judge
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.errors import LeaseLost, OutboxUnavailable
from cio_buffer.outbox.contract import Lease, Outbox, Room
from cio_buffer.outbox.entry import Delivered, Parked, Report, Settled
from cio_buffer.upstream.track import batch_request, v1_request
from cio_buffer.upstream.transport import Reply, Request, Transport

CLAIM_ENTRIES_MAX = 2_000
"""How many are asked for at a time: while they are read, 0.7 µs each, the store's thread commits nothing."""

SETTLED_MAX = 2_000
"""How many settlements go in one commit: to park one entry takes 40 µs, and apps wait for their 200 meanwhile."""

COMPANY_S = 1.0
"""How long a batch with room waits for company from the store at most, while others are under way."""

CLAIM_RETRY_S = 1.0
TAKEN_IN = Delivered()


class DrainLimits(Struct, frozen=True, kw_only=True):
    """What the drain keeps to. `linger_s`: how long a half-empty batch waits for company."""

    batch: BatchLimits
    window: WindowLimits
    linger_s: float
    request_timeout_s: float


class Drain:
    """Empties the outbox into Customer.io, for as long as it holds the lease."""

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        *,
        pacing: Pacing,
        retry: RetryPolicy,
        limits: DrainLimits,
        clock: Clock,
        chance: random.Random,
        logger: FilteringBoundLogger,
    ) -> None:
        self._outbox, self._transport = outbox, transport
        self._retry, self._limits = retry, limits
        self._clock, self._chance = clock, chance
        self._steady = SteadyTime(clock)
        self._lease: Lease | None = None
        self._window = Window(limits.window)
        self._flights: set[asyncio.Task[None]] = set()
        self._under_way: dict[int, Flight] = {}
        self._next_request = 1
        self._wake = asyncio.Event()
        self._may_claim, self._is_at_end = True, False
        self._problem: BaseException | None = None
        self._next_due_at_ms: int | None = None
        self._was_v1 = False
        self._stop_at: float | None = None
        self.pacing = pacing
        self.order = OrderWatch()
        self.in_flight_entries = self.in_flight_parked = 0
        self._v1_behind_since: float | None = None
        self._is_mended = False
        self._batches_in_flight, self._batch_left_at = 0, -inf
        self.record = Record(clock, logger, outbox.names)
        outbox.watch(self._on_change)

    async def run(self) -> None:
        """Drain until stopped. Raises what `step` raises."""
        while True:
            await self.step()
            if self._is_finished():
                return
            await self._clock.wait(self._wake, self._idle_s())
            self._wake.clear()

    def stop(self, within_s: float) -> None:
        """Have `run` make a last effort and return: without waiting for company, or for an upstream that is down."""
        self._stop_at = self._clock.monotonic() + within_s
        self._wake.set()

    async def give_up(self) -> None:
        """Abandon what is under way: it stays in the outbox, and is sent again under the same ids."""
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)

    async def step(self) -> int:
        """Claim what there is room for and send what may leave now; returns how many requests left.

        Raises what went wrong with an earlier request in a way that no rule foresees.
        """
        if self._problem:
            raise self._problem
        try:
            await self._claim()
        except LeaseLost:
            self._start_over()
        except OutboxUnavailable:
            self._may_claim = True  # the store cannot be read just now; `_idle_s` says when to ask again
        if self._window.has_tried and not self._others_come_first() and not self.pacing.retry_wait_s(self._now()):
            self._window.retry()
        sent = 0
        while self._lease and self._may_start(self._lease) and (batch := self._next()):
            self._start(batch, self._lease)
            sent += 1
        return sent

    def try_now(self) -> None:
        """Something was mended: do not wait any longer to find out, neither for everything nor for one lane."""
        self.pacing.try_now(self._now())
        self._is_mended = True
        self._on_change()

    @property
    def v1_behind_s(self) -> float:
        """For how long there have been more calls that leave alone than could leave; 0 while there are not."""
        return 0.0 if self._v1_behind_since is None else self._now() - self._v1_behind_since

    def whereabouts(self, first_seq: int) -> Whereabouts | None:
        """The request that the entry accepted under that number is in just now; None if it is in none."""
        if (flight := carrying(self._under_way.values(), first_seq)) is None:
            return None
        return Whereabouts(state="in_flight", request=flight.number, since_ms=flight.sent_at_ms)

    async def flights(self) -> None:
        """Wait until nothing is under way."""
        while self._flights:
            await asyncio.wait(self._flights)

    def __len__(self) -> int:
        """How many entries are in hand."""
        return len(self._window)

    def _is_finished(self) -> bool:
        """Whether the last effort is over: its time, or all that could be sent."""
        if self._stop_at is None:
            return False
        is_vain = self.pacing.hold is not None or (self.pacing.is_failing and not self._window.has_untried)
        is_done = not self._flights and (is_vain or not len(self._window))
        return is_done or self._now() >= self._stop_at

    def _on_change(self) -> None:
        self._may_claim = True
        self._wake.set()

    def _start_over(self) -> None:
        """Somebody else drains now, or the store is another one. What is under way may still arrive: see `_claim`."""
        self._lease = None
        self.order.start_over()
        self._window = Window(self._limits.window)
        self.in_flight_entries = self.in_flight_parked = self._batches_in_flight = 0
        self._on_change()

    async def _claim(self) -> None:
        if self._lease is None:
            if self._flights:
                return  # of a lease that was lost: what is claimed anew must not leave beside it
            self._lease = await self._outbox.acquire(now_ms=self._now_ms(), wait_max_ms=self._retry.wait_max_ms)
            self._next_request = max(self._next_request, self._lease.first_request)
            self.pacing.recall(self._outbox.learnt())
        if self._is_mended:
            await self._lease.bring_forward(latest_ms=self._now_ms())
            self._is_mended = False
        if self._next_due_at_ms is not None and self._now_ms() >= self._next_due_at_ms:
            self._may_claim, self._next_due_at_ms = True, None
        while self._may_claim and (room := self._room()):
            self._may_claim = False
            claim = await self._lease.claim(room, now_ms=self._now_ms())
            self._is_at_end = claim.is_at_end
            is_v1_behind = claim.is_v1_due and not self.pacing.hold
            self._v1_behind_since = (self._v1_behind_since or self._now()) if is_v1_behind else None
            self._may_claim |= bool(claim.main) and not claim.is_at_end
            self._next_due_at_ms = claim.next_due_at_ms
            leaving = self._window.admit(claim, now=self._now())
            if leaving:
                self._spawn(self._write(leaving, self._lease))

    def _room(self) -> Room | None:
        """What to ask for at a time; None while what is in hand is enough."""
        room = self._window.room()
        has_parked = self._outbox.ledger().parked > 0
        if room.main_entries <= 0 and not (has_parked and room.parked_entries > 0):
            return None
        return structs.replace(
            room,
            main_entries=min(room.main_entries, CLAIM_ENTRIES_MAX),
            parked_entries=min(room.parked_entries, CLAIM_ENTRIES_MAX),
        )

    def _now(self) -> float:
        return self._clock.monotonic()

    def _now_ms(self) -> int:
        """Unix milliseconds as the drain counts them: whoever sets the clock makes nobody wait, and nobody hurry."""
        return int(self._steady.now() * 1000)

    def _others_come_first(self) -> bool:
        """Whether, of all that may leave, what has not failed yet is to be tried before what has."""
        return self.pacing.is_failing and self._window.has_untried

    def _may_start(self, lease: Lease) -> bool:
        now = self._now()
        return self._wait_s(now) == 0.0 and now + self._limits.request_timeout_s < lease.good_until

    def _wait_s(self, now: float) -> float:
        return self.pacing.wait_s(now, has_newcomer=self._only_newcomers())

    def _only_newcomers(self) -> bool:
        """While nothing passes, whatever nobody suspects is tried before the suspects."""
        return self.pacing.is_failing and self._window.has_newcomer

    def _next(self) -> list[Claimed]:
        """What leaves in the next request. Calls that leave alone take turns with batches."""
        only = self._only_newcomers()
        is_batch_due = self._batch_due_in_s() <= 0.0
        self._was_v1 = self._window.has_v1(only_newcomers=only) and not (self._was_v1 and is_batch_due)
        if self._was_v1:
            return self._window.take_v1(only_newcomers=only)
        return self._window.take_batch(self._limits.batch, only_newcomers=only) if is_batch_due else []

    def _batch_due_in_s(self) -> float:
        """When the next batch may leave: at once if it is full, else when it has waited long enough for company.

        While the store has more than is in hand, company is likely: batches under way make room for it.
        """
        ready = self._window.ready_batch(self._limits.batch, only_newcomers=self._only_newcomers())
        if ready.since is None:
            return inf
        if ready.is_full or self._stop_at is not None:
            return 0.0
        due_at = ready.since + self._limits.linger_s
        if self._batches_in_flight and not self._is_at_end:
            due_at = max(due_at, self._batch_left_at + COMPANY_S)
        return max(due_at - self._now(), 0.0)

    def _idle_s(self) -> float | None:
        """How long nothing can happen by itself: until a batch has lingered, the rate allows, or a lane comes due."""
        now = self._now()
        has_v1 = self._window.has_v1(only_newcomers=self._only_newcomers())
        due_in_s = 0.0 if has_v1 else self._batch_due_in_s()
        waits = [max(self._wait_s(now), due_in_s)]
        if self._window.has_tried and not self._others_come_first():
            waits.append(max(self._wait_s(now), self.pacing.retry_wait_s(now)))
        if self._next_due_at_ms is not None:
            waits.append(max((self._next_due_at_ms - self._now_ms()) / 1000, 0.0))
        if self._may_claim:
            waits.append(CLAIM_RETRY_S)
        if self._stop_at is not None:
            waits.append(max(self._stop_at - now, 0.0))
        shortest = min(waits)
        return None if shortest == inf else shortest

    def _start(self, batch: list[Claimed], lease: Lease) -> None:
        now = self._now()
        self.pacing.started(now)
        self._count_in_flight(batch, +1)
        if batch[0].call is None:
            self._batch_left_at = now
        self.order.sent([claimed.entry for claimed in batch])
        flight = Flight(number=self._next_request, batch=batch, sent_at=now, sent_at_ms=int(self._clock.now() * 1000))
        self._next_request += 1
        self._under_way[flight.number] = flight
        self._spawn(self._fly(flight, request_for(batch), lease))

    def _jitter(self) -> float:
        return self._chance.random()

    def _count_in_flight(self, batch: Sequence[Claimed], sign: int) -> None:
        self.in_flight_entries += sign * len(batch)
        self.in_flight_parked += sign * sum(claimed.is_from_parked for claimed in batch)
        self._batches_in_flight += sign * (batch[0].call is None)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._flights.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flights.discard(task)
        if not task.cancelled():
            self._problem = self._problem or task.exception()
        self._on_change()

    async def _fly(self, flight: Flight, request: Request, lease: Lease) -> None:
        """One request, from its sending until its entries are settled: until then it keeps its slot and its lanes."""
        batch = flight.batch
        try:
            reply = await self._send(flight, request, lease)
            fates = Fates(flight, reply, now=self._now())
            verdicts = judge(
                reply,
                entries=len(batch),
                is_v1=batch[0].call is not None,
                trouble_before=batch[0].trouble if self.pacing.others_pass else "",
                now=self._clock.now(),
            )
            at = Circumstances(
                company=len(batch),
                is_held=self.pacing.hold is not None,
                is_its_own=not self._others_come_first(),
                others_pass=self.pacing.others_pass,
                is_crowded=self._window.is_crowded,
                now=self._steady.now(),
                wall_now=self._clock.now(),
            )
            self._learn(reply, verdicts[0], flight)
            await self._settle(batch, verdicts, fates, lease, at)
        finally:
            del self._under_way[flight.number]
            self.pacing.ended()
            if lease is self._lease:
                self._count_in_flight(batch, -1)

    async def _send(self, flight: Flight, request: Request, lease: Lease) -> Reply:
        """Send it, and hear the answer. Who gives that up has to say so in the log: it may have been taken in."""
        try:
            return await self._transport.send(request)
        except BaseException:
            told = report(flight, None, "abandoned", [(ABANDONED, None)], took_ms=took_ms(flight, self._now()))
            writing = asyncio.ensure_future(lease.settle([], now_ms=self._now_ms(), report=told))
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def _settle(
        self,
        batch: Sequence[Claimed],
        verdicts: Sequence[Verdict],
        fates: Fates,
        lease: Lease,
        at: Circumstances,
    ) -> None:
        """Turn verdicts into settlements, and have those that end a claim written, with the report of the request."""
        leaving: Leaving = []
        again: list[Claimed] = []
        aside: list[tuple[Claimed, HeldBack]] = []
        for place, (claimed, verdict) in enumerate(zip(batch, verdicts, strict=True)):
            if verdict is DELIVERED:  # as nearly all are: what follows takes 2 µs an entry
                leaving.append((claimed, TAKEN_IN))
                continue
            claimed.attempts += not verdict.is_blameless
            claimed.trouble = verdict.reason if verdict.casts_suspicion else claimed.trouble
            outcome = self._retry.settle(claimed, verdict, at, jitter=self._jitter())
            if place == 0 and isinstance(outcome, Again) and verdict.casts_suspicion:
                outcome = self._retry.make_room(claimed, at, self._jitter()) or outcome
            fates.note(place, claimed, fate(verdict, outcome))
            match outcome:
                case HeldBack():
                    aside.append((claimed, outcome))
                case Again(company_max):
                    claimed.company_max = company_max
                    again.append(claimed)
                case InV1(call, body):
                    claimed.call, claimed.body = call, body
                    again.append(claimed)
                case _:
                    leaving.append((claimed, outcome))
        if lease is not self._lease:
            return
        for claimed, held in aside:
            leaving += self._window.park(claimed, Parked(held.until_ms, held.holds, claimed.trouble))
            self.record.held_back(claimed.entry, claimed.trouble)
        self._window.give_back(again, is_tried=verdicts[0].is_trouble)
        await self._write(leaving, lease, fates.report())

    async def _write(self, leaving: Leaving, lease: Lease, told: Report | None = None) -> None:
        """Have settlements written, so many to a commit, and only then let go of what they settle."""
        for start in range(0, max(len(leaving), 1), SETTLED_MAX):
            await self._write_together(leaving[start : start + SETTLED_MAX], lease, None if start else told)

    async def _write_together(self, leaving: Leaving, lease: Lease, told: Report | None) -> None:
        settled = [Settled(claimed.entry, outcome, claimed.attempts, claimed.history) for claimed, outcome in leaving]
        try:
            await lease.settle(settled, now_ms=self._now_ms(), report=told)
        except LeaseLost:
            if lease is self._lease:
                self._start_over()
            return
        except OutboxUnavailable:
            return  # the store is closing; what it did not write, it still has
        self.order.delivered([one.entry for one in settled if one.settlement is TAKEN_IN])
        if lease is self._lease:
            self._window.leave([claimed for claimed, _ in leaving])
        self.record.settled(settled)

    def _learn(self, reply: Reply, verdict: Verdict, flight: Flight) -> None:
        """Let a reply slow us down or speed us up, and remember that."""
        batch = flight.batch
        self.record.heard(reply, verdict, request=flight.number, entries=len(batch))
        self.pacing.answered(
            verdict,
            sent_at=flight.sent_at,
            now=self._now(),
            jitter=self._jitter(),
            is_suspect=bool(batch[0].trouble),
            is_alone=len(batch) == 1,
        )
        self.record.look_at_hold(self.pacing, reply)
        if self.pacing.hold:
            self._v1_behind_since = None  # that is not the rate's doing
        self._outbox.note_learnt(self.pacing.learnt())


def request_for(batch: Sequence[Claimed]) -> Request:
    """What to ask of Customer.io for these."""
    if batch[0].call is not None:
        return v1_request(batch[0].call, batch[0].body)
    return batch_request([claimed.body for claimed in batch])
