"""Which entries share a request."""

from heapq import heappop, heappush

from msgspec import Struct

from cio_buffer.delivery.claimed import Claimed, State
from cio_buffer.delivery.ready import ReadyQueue, like_of
from cio_buffer.upstream.track import batch_bytes

Joinable = list[tuple[int, Claimed]]
"""A heap by `seq` of those that wait only for members of the batch."""


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How much rides together. `same_lane`: several operations of one person may, in their order."""

    entries_max: int
    bytes_max: int
    same_lane: bool


def form_batch(ready: ReadyQueue, limits: BatchLimits) -> list[Claimed]:
    """Take from `ready`, who are all alike, what leaves in one request, in order of acceptance.

    What waits only for entries of this very batch joins it behind them.
    """
    batch: list[Claimed] = []
    joinable: Joinable = []
    size = batch_bytes(0, 1)
    while True:
        candidate = ready.first
        is_joining = bool(joinable) and (candidate is None or joinable[0][0] < candidate.seq)
        if is_joining:
            candidate = joinable[0][1]
        if candidate is None:
            break
        if batch and not fits(batch, size + len(candidate.body), limits):
            break
        size += len(candidate.body) + 1
        batch.append(heappop(joinable)[1] if is_joining else ready.pop())
        if candidate.followers and limits.same_lane:
            free_followers(candidate, joinable)
    for member in batch:
        member.state = State.IN_FLIGHT
        for follower in member.followers:
            follower.joined_by = 0
    return batch


def fits(batch: list[Claimed], size: int, limits: BatchLimits) -> bool:
    """Whether one more may join, with which the request would have so many bytes."""
    count = len(batch)
    return count < limits.entries_max and count < batch[0].company_max and size <= limits.bytes_max


def free_followers(member: Claimed, joinable: Joinable) -> None:
    """Let those join that now wait for nothing outside the batch.

    Behind an anonymous event only its like: v2 may refuse them all, and then they leave as v1 before anything else.
    Whoever is under suspicion rides with their like, in the company that is left to them.
    """
    is_anonymous = member.is_anonymous
    for follower in member.followers:
        if is_anonymous and not follower.is_anonymous:
            continue
        follower.joined_by += 1
        is_like = follower.call is None and like_of(follower) == like_of(member)
        if follower.joined_by == follower.waits_for and is_like and follower.state is State.WAITING:
            heappush(joinable, (follower.seq, follower))
