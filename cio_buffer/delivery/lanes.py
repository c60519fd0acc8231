"""Who may go next: the oldest of each lane, and never two requests of one lane at once.

The window holds what has been claimed. What is in it waits only for what is in it, so nothing waits in a circle. The
rules were model-checked; ARCHITECTURE.md, "Lanes", says what goes wrong without each.
"""

from collections import deque
from collections.abc import Iterable
from heapq import merge
from sys import maxsize

from msgspec import Struct

from cio_buffer.delivery.batching import BatchLimits, form_batch
from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.delivery.ready import ReadyQueue
from cio_buffer.outbox.contract import Claim, Room
from cio_buffer.outbox.entry import Entry, Parked, Released, Settlement

Leaving = list[tuple[Claimed, Settlement]]


class WindowLimits(Struct, frozen=True, kw_only=True):
    """How much is in hand at most: as much again for what was parked, so that neither keeps the other out.

    `v1_max` bounds the calls that leave alone; more of them are parked, so that a flood of them stops nobody.
    """

    entries_max: int
    bytes_max: int
    v1_max: int


class Ready(Struct, frozen=True):
    """The next batch as it stands. `since`: when its oldest was claimed, monotonic; None if nothing is ready.

    `is_full`: no more can come to it. Those under suspicion never wait for company.
    """

    is_full: bool
    since: float | None


NOTHING_READY = Ready(is_full=False, since=None)


class Window:
    """What the drain has in hand, in order."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._lanes: dict[int, list[Claimed]] = {}  # in order; never empty
        self._ready: dict[int, ReadyQueue] = {}  # by company_max; never empty
        self._ready_v1 = ReadyQueue()
        self._tried: list[Claimed] = []
        self._entries = {True: 0, False: 0}  # by is_from_parked
        self._bytes = {True: 0, False: 0}
        self._v1 = 0
        self._going_aside = 0

    def __len__(self) -> int:
        return self._entries[True] + self._entries[False]

    def room(self) -> Room:
        """What the next claim may bring."""
        return Room(
            main_entries=self._limits.entries_max - self._entries[False],
            main_bytes=self._limits.bytes_max - self._bytes[False],
            parked_entries=self._limits.entries_max - self._entries[True],
            parked_bytes=self._limits.bytes_max - self._bytes[True],
            parked_v1_entries=self._limits.v1_max - self._v1,
        )

    def admit(self, claim: Claim, *, now: float) -> Leaving:
        """Take in a claim; returns what must be moved aside at once, or given back. `now` is monotonic."""
        leaving: Leaving = []
        for entry, is_from_parked, is_behind in in_order(claim):
            claimed = self._add(entry, is_from_parked=is_from_parked, now=now)
            if is_from_parked:
                if self._going_aside and self._is_blocked_by_parking(entry):
                    leaving.append(self._send_aside(claimed, Released()))
            elif (
                is_behind
                or (entry.call is not None and self._is_overflow(claim))
                or (self._going_aside and self._is_blocked_by_parking(entry))
            ):
                leaving.append(self._send_aside(claimed, Parked()))
            self._enter(claimed)
        return leaving

    def take_batch(self, limits: BatchLimits) -> list[Claimed]:
        """Put the oldest that may share a request in flight; empty if none may leave."""
        if not self._ready:
            return []
        company_max = self._oldest_company()
        batch = form_batch(self._ready[company_max], limits)
        if not self._ready[company_max]:
            del self._ready[company_max]
        return batch

    def take_v1(self) -> Claimed:
        """Put the oldest call that leaves alone in flight; there is one where `has_v1`."""
        claimed = self._ready_v1.pop()
        claimed.state = State.IN_FLIGHT
        return claimed

    def give_back(self, batch: Iterable[Claimed], *, is_tried: bool) -> None:
        """What was in flight is to be sent again; where it was tried in vain, after all that was not, in `retry`."""
        for claimed in batch:
            claimed.state = State.WAITING
            if is_tried and not claimed.waits_for:
                self._tried.append(claimed)
            else:
                self._make_ready(claimed)

    def retry(self) -> None:
        """Begin anew with all that was tried in vain, in order."""
        tried, self._tried = self._tried, []
        for claimed in tried:
            self._make_ready(claimed)

    @property
    def has_untried(self) -> bool:
        """Whether anything may leave that has not been tried in vain."""
        return bool(self._ready or self._ready_v1)

    @property
    def has_tried(self) -> bool:
        """Whether anything waits for `retry`."""
        return bool(self._tried)

    def park(self, claimed: Claimed, due_at_ms: int, holds: int) -> Leaving:
        """Move an entry aside until then, and with it all that waits for it, also indirectly.

        They go on closing their lanes until `leave`, when the store has them aside.
        """
        leaving = [self._send_aside(claimed, Parked(due_at_ms, holds))]
        to_visit = deque(claimed.followers)
        while to_visit:
            follower = to_visit.popleft()
            if follower.state is not State.PARKING:
                leaving.append(self._send_aside(follower, Released() if follower.is_from_parked else Parked()))
                to_visit.extend(follower.followers)
        return sorted(leaving, key=lambda pair: pair[0].entry.seq)

    def leave(self, settled: Iterable[Claimed]) -> None:
        """The store has settled these: what waited for them may go."""
        lanes = self._lanes
        for claimed in settled:
            self._count(claimed, -1)
            for lane in claimed.entry.lanes:
                queue = lanes[lane]
                if len(queue) == 1:
                    del lanes[lane]
                else:
                    queue.remove(claimed)  # mostly the first; not so what was moved aside from behind others
            for follower in claimed.followers:
                follower.waits_for -= 1
                self._make_ready(follower)

    def ready_batch(self, limits: BatchLimits) -> Ready:
        """How the next batch stands."""
        if not self._ready:
            return NOTHING_READY
        company_max = self._oldest_company()
        queue = self._ready[company_max]
        is_full = len(queue) >= limits.entries_max or queue.bytes >= limits.bytes_max
        return Ready(is_full or company_max < limits.entries_max, queue.first.claimed_at)

    def _oldest_company(self) -> int:
        """Which of the ready queues begins with what was accepted first."""
        return min(self._ready, key=lambda company_max: self._ready[company_max].first.seq)

    @property
    def has_v1(self) -> bool:
        return bool(self._ready_v1)

    def _add(self, entry: Entry, *, is_from_parked: bool, now: float) -> Claimed:
        claimed = Claimed(
            entry=entry,
            seq=entry.seq,
            is_from_parked=is_from_parked,
            claimed_at=now,
            attempts=entry.attempts,
            body=entry.body,
            call=entry.call,
            company_max=1 if entry.holds else maxsize,  # who failed alone fails nobody else again
            has_failed=entry.holds > 0,
        )
        self._count(claimed, +1)
        return claimed

    def _enter(self, claimed: Claimed) -> None:
        """Stand behind the last of each lane, and be the last."""
        for lane in claimed.entry.lanes:
            queue = self._lanes.setdefault(lane, [])
            if queue:
                queue[-1].followers.append(claimed)
                claimed.waits_for += 1
            queue.append(claimed)
        self._make_ready(claimed)

    def _make_ready(self, claimed: Claimed) -> None:
        if claimed.waits_for or claimed.state is not State.WAITING:
            return
        claimed.state = State.READY
        if claimed.call is None:
            queue = self._ready.get(claimed.company_max)
            if queue is None:
                queue = self._ready[claimed.company_max] = ReadyQueue()
            queue.push(claimed)
        else:
            self._ready_v1.push(claimed)

    def _is_overflow(self, claim: Claim) -> bool:
        """Whether a call that leaves alone finds no room, or others of its kind that have waited longer."""
        return claim.is_v1_due or self._v1 > self._limits.v1_max

    def _send_aside(self, claimed: Claimed, settlement: Settlement) -> tuple[Claimed, Settlement]:
        claimed.state = State.PARKING
        self._going_aside += 1
        return claimed, settlement

    def _is_blocked_by_parking(self, entry: Entry) -> bool:
        queues = (self._lanes.get(lane) for lane in entry.lanes)
        return any(queue and queue[-1].state is State.PARKING for queue in queues)

    def _count(self, claimed: Claimed, sign: int) -> None:
        self._entries[claimed.is_from_parked] += sign
        self._bytes[claimed.is_from_parked] += sign * len(claimed.entry.body)
        self._v1 += sign * (claimed.entry.call is not None)
        if sign < 0 and claimed.state is State.PARKING:
            self._going_aside -= 1


def in_order(claim: Claim) -> Iterable[tuple[Entry, bool, bool]]:
    """What a claim brings, by `seq`: (entry, is_from_parked, is_behind)."""
    main = ((met.entry, False, met.is_behind) for met in claim.main)
    if not claim.parked:
        return main
    parked = ((entry, True, False) for entry in claim.parked)
    return merge(parked, main, key=lambda met: met[0].seq)
