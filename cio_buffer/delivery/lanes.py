"""Who may go next: the oldest of each lane, and never two requests of one lane at once.

The window holds what has been claimed. What is in it waits only for what is in it, so nothing waits in a circle. The
rules were model-checked; ARCHITECTURE.md, "Lanes", says what goes wrong without each.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import merge
from sys import maxsize

from msgspec import Struct

from cio_buffer.delivery.batching import BatchLimits, form_batch
from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.delivery.ready import ReadyQueues
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
        self._ready, self._ready_v1 = ReadyQueues(), ReadyQueues()
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
        admitted: list[Claimed] = []
        v1_room = -1 if claim.is_v1_due else self._limits.v1_max - self._v1  # others may have waited longer
        for entry, is_from_parked, is_behind in in_order(claim):
            claimed = take_in_hand(entry, is_from_parked=is_from_parked, now=now)
            admitted.append(claimed)
            v1_room -= entry.call is not None
            is_overflow = v1_room < 0 and entry.call is not None
            is_blocked = self._going_aside > 0 and self._is_blocked_by_parking(entry)
            if is_blocked or (not is_from_parked and (is_behind or is_overflow)):
                leaving.append(self._send_aside(claimed, Released() if is_from_parked else Parked()))
            self._enter(claimed)
        self._count(admitted, +1)
        return leaving

    def take_batch(self, limits: BatchLimits, *, only_newcomers: bool = False) -> list[Claimed]:
        """Put the oldest that may share a request in flight; empty if none may leave."""
        queue = self._ready.next(only_newcomers=only_newcomers)
        if queue is None:
            return []
        batch = form_batch(queue, limits)
        self._ready.tidy(batch[0])
        return batch

    def take_v1(self, *, only_newcomers: bool = False) -> list[Claimed]:
        """Put the oldest call that leaves alone in flight; empty if there is none."""
        queue = self._ready_v1.next(only_newcomers=only_newcomers)
        if queue is None:
            return []
        claimed = queue.pop()
        self._ready_v1.tidy(claimed)
        claimed.state = State.IN_FLIGHT
        return [claimed]

    def give_back(self, batch: Iterable[Claimed], *, is_tried: bool) -> None:
        """What was in flight is to be sent again; where it was tried in vain, after all that was not, in `retry`.

        What has gone aside meanwhile, behind another of the batch, stays there.
        """
        for claimed in batch:
            if claimed.state is State.PARKING:
                continue
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
    def is_crowded(self) -> bool:
        """Whether what is in hand keeps everybody else out."""
        return self._entries[False] >= self._limits.entries_max or self._bytes[False] >= self._limits.bytes_max

    @property
    def has_untried(self) -> bool:
        """Whether anything may leave that has not been tried in vain."""
        return bool(self._ready or self._ready_v1)

    @property
    def has_newcomer(self) -> bool:
        """Whether anything may leave that has not failed."""
        return self._ready.has_newcomers or self._ready_v1.has_newcomers

    @property
    def has_tried(self) -> bool:
        """Whether anything waits for `retry`."""
        return bool(self._tried)

    def park(self, claimed: Claimed, wish: Parked) -> Leaving:
        """Move an entry aside, and with it all that waits for it, also indirectly.

        They go on closing their lanes until `leave`, when the store has them aside.
        """
        leaving = [self._send_aside(claimed, wish)]
        to_visit = deque(claimed.followers)
        while to_visit:
            follower = to_visit.popleft()
            if follower.state is not State.PARKING:
                leaving.append(self._send_aside(follower, Released() if follower.is_from_parked else Parked()))
                to_visit.extend(follower.followers)
        return sorted(leaving, key=lambda pair: pair[0].entry.seq)

    def leave(self, settled: Sequence[Claimed]) -> None:
        """The store has settled these: what waited for them may go."""
        lanes = self._lanes
        self._count(settled, -1)
        for claimed in settled:
            for lane in claimed.entry.lanes:
                queue = lanes[lane]
                if len(queue) == 1:
                    del lanes[lane]
                else:
                    queue.remove(claimed)  # mostly the first; not so what was moved aside from behind others
            for follower in claimed.followers:
                follower.waits_for -= 1
                self._make_ready(follower)

    def ready_batch(self, limits: BatchLimits, *, only_newcomers: bool = False) -> Ready:
        """How the next batch stands."""
        queue = self._ready.next(only_newcomers=only_newcomers)
        if queue is None or (first := queue.first) is None:
            return NOTHING_READY
        is_full = len(queue) >= limits.entries_max or queue.bytes >= limits.bytes_max
        return Ready(is_full or first.company_max < limits.entries_max, first.claimed_at)

    def has_v1(self, *, only_newcomers: bool) -> bool:
        """Whether a call that leaves alone may leave."""
        return self._ready_v1.has_newcomers if only_newcomers else bool(self._ready_v1)

    def _enter(self, claimed: Claimed) -> None:
        """Stand behind the last of each lane, and be the last."""
        lanes = self._lanes
        for lane in claimed.entry.lanes:
            queue = lanes.get(lane)
            if queue is None:
                lanes[lane] = [claimed]
            else:
                queue[-1].followers.append(claimed)
                claimed.waits_for += 1
                queue.append(claimed)
        self._make_ready(claimed)

    def _make_ready(self, claimed: Claimed) -> None:
        if claimed.waits_for or claimed.state is not State.WAITING:
            return
        claimed.state = State.READY
        if claimed.call is None:
            self._ready.push(claimed)
        else:
            self._ready_v1.push(claimed)

    def _send_aside(self, claimed: Claimed, settlement: Settlement) -> tuple[Claimed, Settlement]:
        claimed.state = State.PARKING
        self._going_aside += 1
        return claimed, settlement

    def _is_blocked_by_parking(self, entry: Entry) -> bool:
        queues = (self._lanes.get(lane) for lane in entry.lanes)
        return any(queue and queue[-1].state is State.PARKING for queue in queues)

    def _count(self, changed: Sequence[Claimed], sign: int) -> None:
        """These come into hand, or leave it."""
        for is_from_parked in (False, True):
            sizes = [len(one.entry.body) for one in changed if one.is_from_parked is is_from_parked]
            self._entries[is_from_parked] += sign * len(sizes)
            self._bytes[is_from_parked] += sign * sum(sizes)
        self._v1 += sign * sum([one.entry.call is not None for one in changed])
        if sign < 0 and self._going_aside:
            self._going_aside -= sum(one.state is State.PARKING for one in changed)


def take_in_hand(entry: Entry, *, is_from_parked: bool, now: float) -> Claimed:
    return Claimed(
        entry=entry,
        seq=entry.seq,
        is_from_parked=is_from_parked,
        claimed_at=now,
        attempts=entry.attempts,
        body=entry.body,
        call=entry.call,
        company_max=1 if entry.holds else maxsize,  # who failed alone fails nobody else again
        trouble=entry.held_for,
    )


def in_order(claim: Claim) -> Iterable[tuple[Entry, bool, bool]]:
    """What a claim brings, by `seq`: (entry, is_from_parked, is_behind)."""
    main = ((met.entry, False, met.is_behind) for met in claim.main)
    if not claim.parked:
        return main
    parked = ((entry, True, False) for entry in claim.parked)
    return merge(parked, main, key=lambda met: met[0].seq)
