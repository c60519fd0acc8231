"""What needs a person, in sentences: what it is and what to do. Pure."""

import shlex
from collections.abc import Iterator

from cio_buffer.admin.durations import in_words
from cio_buffer.admin.status import DeadLettersStatus, OutboxStatus, QuarantinedStatus, Status
from cio_buffer.upstream.troubles import explained

FULL_SOON_S = 3_600.0
"""An outbox that is full in less than this will not be looked at in time by chance."""

V1_BEHIND_S = 600.0
"""Calls that leave alone catch up after a burst or an outage; behind for longer, they are too many for the rate."""

NEARLY_FULL = 0.8
MIB = 1_048_576

DEAD_BYTES_HINT = "raise outbox.keep_dead_bytes, of which at most a quarter of outbox.bytes_max counts"
EVICTED_HINT = (
    "look at dead letters while they are there (cio-buffer dead list), or "
    f"raise outbox.keep_dead_for_s if they were too old; if they were too many, {DEAD_BYTES_HINT}"
)

CHECKPOINTS_FAIL = (
    "the disk fails when the store's write-ahead log is copied into its file ({errors} times since the start): nothing "
    "is lost, but that log grows, and at 256 MiB operations are refused: look at the disk, and at the kernel's log"
)
SALVAGING = "nothing leaves while a damaged store is salvaged: what was accepted first has to leave first"
MAY_BE_SENT_AGAIN = "what was saved may have been delivered before; it is sent again under the same ids"

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
    yield from about_the_store(seen.outbox)
    if seen.upstream.hint and is_stuck(seen):
        yield seen.upstream.hint
    if seen.drain.v1_behind_s > V1_BEHIND_S and not seen.drain.paused:
        yield (
            f"for {in_words(seen.drain.v1_behind_s)} more calls that leave one by one (forms, segments, metrics) have "
            "come than may leave: raise drain.rate_max_per_s, or say in v2 what can be said in it"
        )
    if seen.outbox.is_stale:
        yield f"the oldest entry has waited for {in_words(seen.outbox.oldest_age_s or 0.0)}: {STALE_HINT}"
    yield from about_dead_letters(seen.dead_letters)
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


def about_the_store(outbox: OutboxStatus) -> Iterator[str]:
    if outbox.is_salvaging:
        yield SALVAGING
    if outbox.is_checkpoint_failing:
        yield CHECKPOINTS_FAIL.format(errors=f"{outbox.errors.get('checkpoint', 0):,}")
    yield from map(about_quarantined, outbox.quarantined)


def about_quarantined(one: QuarantinedStatus) -> str:
    """What happened to it, what became of what was in it, and how to be rid of it."""
    command = f"cio-buffer outbox quarantine remove {shlex.quote(one.name)}"
    match one.state:
        case "over":
            return (
                f"a damaged store was set aside, {one.name} ({one.why}): {saved_and_lost(one)}; {MAY_BE_SENT_AGAIN}; "
                f"once nobody needs that file any more: {command}"
            )
        case "failed":
            return (
                f"a damaged store was set aside, {one.name}, and salvaging it broke off ({one.why}): "
                f"{saved_and_lost(one)}; what is missing may still be in {one.path}; {MAY_BE_SENT_AGAIN}; "
                f"once nobody needs that file any more: {command}"
            )
    return f"a damaged store was set aside, {one.name} ({one.why}), and what can be read of it is being brought back"


def saved_and_lost(one: QuarantinedStatus) -> str:
    """Such as "99,740 operations and 3 dead letters are back, 260 and 0 are not"."""
    saved = f"{one.saved:,} operation{'' if one.saved == 1 else 's'} and {counted(one.dead_saved)} are back"
    if one.lost is None and one.dead_lost is None:
        return f"{saved}; how many are not, nobody knows"
    return f"{saved}, {perhaps(one.lost)} and {perhaps(one.dead_lost)} are not"


def perhaps(count: int | None) -> str:
    return "an unknown number" if count is None else f"{count:,}"


def about_dead_letters(dead: DeadLettersStatus) -> Iterator[str]:
    if dead.count:
        yield f"{counted(dead.count)}{by_reason(dead)}: cio-buffer dead list"
    if dead.evicted_lately:
        yield f"{counted(dead.evicted_lately)} thrown away by the quota in the last 24 hours: {EVICTED_HINT}"
    if dead.bytes_max and dead.bytes >= NEARLY_FULL * dead.bytes_max:
        yield (
            f"dead letters take {dead.bytes / MIB:.0f} of {dead.bytes_max / MIB:.0f} MiB; once that is full the oldest "
            f"are thrown away: replay or purge some, or {DEAD_BYTES_HINT}"
        )


def counted(letters: int) -> str:
    return f"{letters:,} dead letter{'' if letters == 1 else 's'}"


def by_reason(dead: DeadLettersStatus) -> str:
    """Such as " (2 refused, 1 expired)", the most frequent first; nothing while what was looked up is behind."""
    if sum(dead.by_reason.values()) != dead.count:
        return ""
    most_first = sorted(dead.by_reason.items(), key=lambda one: (-one[1], one[0]))
    return f" ({', '.join(f'{count:,} {reason}' for reason, count in most_first)})"


def is_stuck(seen: Status) -> bool:
    """Whether nothing leaves, for a reason that does not go away by itself."""
    trouble = explained(seen.upstream.trouble)
    return seen.drain.paused is not None and trouble is not None and trouble.needs_person
