"""What needs a person, in sentences: what it is and what to do. Pure."""

from collections.abc import Iterator

from cio_buffer.admin.durations import in_words
from cio_buffer.admin.status import OutboxStatus, Status
from cio_buffer.upstream.troubles import explained

FULL_SOON_S = 3_600.0
"""An outbox that is full in less than this will not be looked at in time by chance."""

V1_BEHIND_S = 600.0
"""Calls that leave alone catch up after a burst or an outage; behind for longer, they are too many for the rate."""

STALE_HINT = (
    "no campaign starts any more for events older than 72 hours; "
    "they are still delivered, recorded and counted in segments"
)


def warnings(seen: Status) -> list[str]:
    """Empty while nobody has to do anything. An outage that ends by itself is none."""
    return [*found(seen)]


def found(seen: Status) -> Iterator[str]:
    if seen.state == "refusing":
        yield f"operations are refused: {', '.join(seen.reasons)}"
    else:
        yield from full_soon(seen.outbox)
    if seen.upstream.hint and is_stuck(seen):
        yield seen.upstream.hint
    if seen.drain.v1_behind_s > V1_BEHIND_S and not seen.drain.paused:
        yield (
            f"for {in_words(seen.drain.v1_behind_s)} more calls that leave one by one (forms, segments, metrics) have "
            "come than may leave: raise drain.rate_max_per_s, or say in v2 what can be said in it"
        )
    if seen.outbox.is_stale:
        yield f"the oldest entry has waited for {in_words(seen.outbox.oldest_age_s or 0.0)}: {STALE_HINT}"
    if not seen.ledger.balanced:
        yield "the ledger does not agree with a real count"
    if seen.outbox.order_violations:
        yield f"{seen.outbox.order_violations} operations left out of order"


def full_soon(outbox: OutboxStatus) -> Iterator[str]:
    if outbox.full_in_s is not None and outbox.full_in_s < FULL_SOON_S:
        yield (
            f"the outbox is full in {in_words(outbox.full_in_s)} at this inflow, and then refuses operations: "
            "raise outbox.bytes_max and restart, or see why so little leaves"
        )


def is_stuck(seen: Status) -> bool:
    """Whether nothing leaves, for a reason that does not go away by itself."""
    trouble = explained(seen.upstream.trouble)
    return seen.drain.paused is not None and trouble is not None and trouble.needs_person
