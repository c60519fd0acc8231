"""Which entries share a request."""

from heapq import heappop, heappush

from msgspec import Struct

from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.upstream.track import batch_bytes

Queue = list[tuple[int, Claimed]]
"""A heap by `seq`: first accepted, first sent."""


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How much rides together. `same_lane`: several operations of one person may, in their order."""

    entries_max: int
    bytes_max: int
    same_lane: bool


def form_batch(ready: Queue, limits: BatchLimits) -> list[Claimed]:
    """Take from `ready` what leaves in one request, in order of acceptance.

    What waits only for entries of this very batch joins it behind them. Those whose last company was refused ride
    with their like, in the company that is left to them.
    """
    batch: list[Claimed] = []
    joinable: Queue = []
    bodies_bytes = 0
    while source := first_of(ready, joinable):
        candidate = source[0][1]
        bodies_bytes += len(candidate.body)
        if batch and not fits(candidate, batch, bodies_bytes, limits):
            break
        heappop(source)
        batch.append(candidate)
        if limits.same_lane:
            free_followers(candidate, joinable)
    for member in batch:
        member.state = State.IN_FLIGHT
        for follower in member.followers:
            follower.joined_by = 0
    return batch


def first_of(ready: Queue, joinable: Queue) -> Queue | None:
    """The queue whose head was accepted first."""
    if ready and joinable:
        return min(ready, joinable)
    return ready or joinable or None


def fits(candidate: Claimed, batch: list[Claimed], bodies_bytes: int, limits: BatchLimits) -> bool:
    company_max = batch[0].company_max
    return (
        candidate.company_max == company_max
        and len(batch) < min(limits.entries_max, company_max)
        and batch_bytes(bodies_bytes, len(batch) + 1) <= limits.bytes_max
    )


def free_followers(member: Claimed, joinable: Queue) -> None:
    """Let those join that now wait for nothing outside the batch.

    Behind an anonymous event only its like: v2 may refuse them all, and then they leave as v1 before anything else.
    """
    is_anonymous = member.is_anonymous
    for follower in member.followers:
        if is_anonymous and not follower.is_anonymous:
            continue
        follower.joined_by += 1
        if follower.joined_by == follower.waits_for and follower.call is None and follower.state is State.WAITING:
            heappush(joinable, (follower.entry.seq, follower))
