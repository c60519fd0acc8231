"""An entry that the drain has in hand."""

from enum import Enum
from sys import maxsize

from msgspec import Struct

from cio_buffer.outbox.entry import Attempt, Entry

EVENT_KINDS = frozenset({"event", "page", "screen"})


class State(Enum):
    """WAITING for others of its lanes, READY to leave, IN_FLIGHT, or PARKING: on its way aside."""

    WAITING = 1
    READY = 2
    IN_FLIGHT = 3
    PARKING = 4


class Claimed(Struct, eq=False, kw_only=True, weakref=False):
    """An entry and what is known of it while it is in hand; a crash forgets that without harm.

    `waits_for` counts, lane by lane, the entries next before it; `followers` are those next behind it. `company_max`
    is how many may share its next request: halved when a batch is refused and nobody knows whose fault it is.
    `history`: the requests that it was in, in this hand, and that did not deliver it.
    `trouble`: what the last request it was in met, as a verdict's reason, if nobody knows whose it is; else "".
    """

    entry: Entry
    seq: int
    is_from_parked: bool
    claimed_at: float
    attempts: int
    body: bytes
    call: str | None
    state: State = State.WAITING
    waits_for: int = 0
    joined_by: int = 0
    company_max: int = maxsize
    trouble: str = ""
    history: tuple[Attempt, ...] = ()
    followers: list["Claimed"] = []

    @property
    def is_anonymous(self) -> bool:
        """Whether it is an event of somebody who has no name yet."""
        return self.entry.kind in EVENT_KINDS and b'"anonymous_id"' in self.body
