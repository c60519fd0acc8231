"""The story of an operation, from its acceptance to its end. The field names are public: scripts lean on them.

Moments are ISO 8601, UTC, to the millisecond ("2026-11-25T03:12:44.120Z").
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

State = Literal["pending", "in_flight", "held", "dead", "delivered", "purged", "evicted", "forgotten", "ended"]
"""How it is. "ended": neither waiting nor dead, and the log does not say what became of it."""

What = Literal[
    "accepted",
    "no_log",
    "log_begins",
    "sent",
    "died",
    "replayed",
    "edited",
    "purged",
    "evicted",
    "forgotten",
    "salvaged",
    "stopped",
    "started",
    "restarted",
]
"""One step. "log_begins": of requests before it only what was kept with the operation is told; "no_log": so it is with
all. "died": in a request of which no more is known. "purged" by a person, "evicted" by the quota. "salvaged" from a
damaged file, of whose log nothing is left: it may have been delivered before. "restarted": the
daemon had ended without a word; a request that was under way then is not among the steps."""

Outcome = Literal["delivered", "again", "held", "in_v1", "dead", "under_way"]

EPOCH = datetime.fromtimestamp(0, UTC)
LAST_MS = 253_402_300_799_999
"""The end of the year 9999, after which ISO 8601 has no name for a moment."""


class Sent(Struct, frozen=True, kw_only=True):
    """A request that it was in.

    `attempt`: which of its own it was, null where earlier ones may be missing. `entries`: how many were in it, and
    `is_v1`: whether it was a v1 call; null where only what was kept with the operation is known. `status`: what
    Customer.io answered; where no answer came, `trouble` says why not. `outcome` is the operation's own; unless it was
    delivered, `reason` says why in our word, `vendor_reason`, `field` and `message` in Customer.io's. `is_ambiguous`:
    no answer came, but it may have been taken in. `until`: what was held might leave again then.
    """

    number: int
    attempt: int | None
    entries: int | None
    is_v1: bool | None
    status: int | None
    trouble: str | None
    took_s: float
    outcome: Outcome
    reason: str = ""
    is_ambiguous: bool = False
    vendor_reason: str = ""
    field: str = ""
    message: str = ""
    until: str | None = None


class Step(Struct, frozen=True, kw_only=True):
    """What befell it, and when; `sent` says more where that is a request."""

    at: str
    what: What
    sent: Sent | None = None


class Hold(Struct, frozen=True):
    """`until`: when it may leave; null while it waits for an earlier operation of the same person or object.

    `reason`: its own trouble, for which it is held for the `holds`-th time; "" and 0 if it has none.
    """

    until: str | None
    reason: str
    holds: int


class Death(Struct, frozen=True, kw_only=True):
    """Why it is a dead letter: `reason` in our word, what follows it in Customer.io's."""

    at: str
    reason: str
    vendor_reason: str
    field: str
    message: str
    status: int | None


class Story(Struct, frozen=True, kw_only=True):
    """One operation. `kind` and `route` are "" where nothing tells them any more.

    `ended_at`: when it was delivered, died, or was thrown away; null while it waits, and if nobody knows.
    `attempts`: the requests that are known of. `is_whole`: none can be missing from `steps`. `is_ambiguous`: by what
    they tell it is not certain whether Customer.io took it in.
    """

    receipt: str
    kind: str
    route: str
    state: State
    accepted_at: str
    ended_at: str | None
    attempts: int
    replays: int
    is_whole: bool
    is_ambiguous: bool
    held: Hold | None
    dead: Death | None
    traceparent: str | None
    steps: Sequence[Step]


class Traced(Struct, frozen=True, kw_only=True):
    """What a search brought, the oldest first, as of `at`. `is_more`: there are more than were asked for.

    `log_since`: how far back the log goes; null if there is none.
    """

    stories: Sequence[Story]
    is_more: bool
    log_since: str | None
    at: str


def moment(unix_ms: int) -> str:
    """A moment as it is written here. What lies beyond the years 1970 to 9999 becomes their first or last."""
    told = EPOCH + timedelta(milliseconds=min(max(unix_ms, 0), LAST_MS))
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_moment(written: str) -> datetime:
    """What `moment` wrote."""
    return datetime.fromisoformat(written)
