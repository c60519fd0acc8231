"""What became of entries, and what may be done about those that died: the other half of the promise of an outbox.

An entry keeps the number (`seq`) under which it was accepted for as long as anybody knows of it, through replays too.
Whatever is asked here is answered from one snapshot, and never stops those who append and settle.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from cio_buffer.outbox.entry import Attempt, Fate, NewEntry


class Letters(Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: those for which all holds that is said. `lane` is a lane's hash, as stored.

    `since_ms`: they died then or later, Unix milliseconds.
    """

    seqs: frozenset[int] | None = None
    reason: str | None = None
    kind: str | None = None
    lane: int | None = None
    since_ms: int | None = None


EVERY_LETTER = Letters()

LETTER_BYTES = 300
"""What its quota counts for a dead letter beside body, history and message: roughly what it takes."""


class Dead(Struct, frozen=True, kw_only=True):
    """A dead letter, and why: `reason` in our word, what follows it in Customer.io's. Times are Unix milliseconds.

    `history`: the requests that it was in, the oldest first, as far as they were kept with it.
    """

    seq: int
    kind: str
    accepted_at_ms: int
    route: str | None
    traceparent: str | None
    died_at_ms: int
    reason: str
    vendor_reason: str
    field: str
    message: str
    status: int | None
    attempts: int
    replays: int
    call: str | None
    history: Sequence[Attempt]
    body: bytes


class Replayed(Struct, frozen=True):
    """`overtaken`: dead letters that were left as they are, because their lane has moved on since."""

    replayed: int
    overtaken: int


Place = Literal["main", "parked", "dead", "gone"]
What = Literal["sent", "replayed", "edited", "purged", "evicted", "forgotten", "salvaged", "stopped", "started"]


class Happening(Struct, frozen=True, kw_only=True):
    """One line of the delivery log, as it concerns one entry. Times are Unix milliseconds.

    Of a request: its number, how long it took, what came back, how many entries were in it, and the entry's `fate`,
    None where it was delivered. "started" and "stopped" concern every entry.
    """

    at_ms: int
    what: What
    request: int | None = None
    took_ms: int = 0
    status: int | None = None
    trouble: str | None = None
    is_v1: bool = False
    entries: int = 0
    fate: Fate | None = None


class Known(Struct, frozen=True, kw_only=True):
    """All that is known of one entry. `kind` and `route` are "" where they are not known any more.

    `place`: in which table it is; "gone" where only the log remembers it. `due_at_ms`: when what was held may leave.
    `happenings`: the log's, in order; `history`: what was kept with the entry, which outlasts the log.
    """

    seq: int
    kind: str
    route: str
    accepted_at_ms: int
    place: Place
    happenings: Sequence[Happening]
    attempts: int = 0
    replays: int = 0
    holds: int = 0
    held_for: str = ""
    due_at_ms: int | None = None
    traceparent: str | None = None
    history: Sequence[Attempt] = ()
    dead: Dead | None = None


class Found(Struct, frozen=True, kw_only=True):
    """What a search brought: `known`, ascending by `seq`; `is_more` if there were more, which are older.

    `log_since_ms`: how far back the log goes, None while there is none. `highest_seq`: the last number given out.
    """

    known: Sequence[Known]
    is_more: bool
    log_since_ms: int | None
    highest_seq: int = 0


class BusyLane(Struct, frozen=True):
    """How many of what waits touch a lane. `is_estimate`: by a sample."""

    lane: int
    entries: int
    is_estimate: bool


class Keeping(Struct, frozen=True, kw_only=True):
    """How much is kept of what is over. No log at all where `log_for_s` is 0."""

    log_for_s: float
    log_bytes: int
    dead_for_s: float
    dead_bytes: int


class Tidied(Struct, frozen=True):
    """What one step threw away; `is_done` when nothing is left to be thrown away."""

    requests: int
    letters_by_age: int
    letters_by_bytes: int
    is_done: bool


class Forgotten(Struct, frozen=True):
    """What was erased of a person: what waited, and dead letters. `in_hand`: what the drain has just now."""

    waiting: int
    dead: int
    in_hand: int


class Archive(Protocol):
    """Answers what became of entries. Each raises OutboxUnavailable where the store cannot be read, or is closing."""

    async def letters(self, wanted: Letters = EVERY_LETTER, *, after: int = 0, limit: int = 100) -> Sequence[Dead]:
        """Dead letters with a `seq` above `after`, ascending: in the order of their acceptance."""
        ...

    async def count_letters(self, wanted: Letters = EVERY_LETTER, *, limit: int | None = None) -> int:
        """How many there are, counted up to `limit`."""
        ...

    async def reasons(self) -> dict[str, int]:
        """How many dead letters there are for each reason."""
        ...

    async def replay(
        self, wanted: Letters, *, limit: int | None = None, after_newer: bool = False, is_dry: bool = False
    ) -> Replayed:
        """Put dead letters back at the tail, in the order of their acceptance, up to `limit` of them.

        Each keeps its body, id, accepted time and history; its attempts go on and its replays are counted. One that
        changes state (anything but an event) stays dead where a newer operation of its lanes has been accepted, unless
        `after_newer`: it would overwrite what is newer. That is looked up in the log, and assumed where the log does
        not go back to its death. `is_dry`: say only what would be done.
        """
        ...

    async def purge(self, wanted: Letters, *, limit: int | None = None, is_dry: bool = False) -> int:
        """Throw dead letters away; returns how many."""
        ...

    async def edit(self, seq: int, anew: NewEntry) -> bool:
        """Put another body, and what follows from it, in place of a dead letter's; False if there is none.

        It keeps its number, its accepted time and its history.
        """
        ...

    async def trace(self, seq: int) -> Found:
        """The story of one entry."""
        ...

    async def trace_lane(self, lanes: Sequence[int], *, limit: int) -> Found:
        """The stories of the latest entries that touch one of `lanes`."""
        ...

    async def trace_event(self, event_id: str, *, limit: int) -> Found:
        """The stories of the latest events with this id."""
        ...

    async def busiest_lanes(self, count: int = 10) -> Sequence[BusyLane]:
        """The lanes that most of what waits touches, the busiest first; exact while little waits."""
        ...

    async def lane_sample(self, lane: int) -> tuple[bytes, str | None] | None:
        """Body and call of one waiting entry that touches `lane`, by which its name can be told."""
        ...

    async def tidy(self, keeping: Keeping, *, now_ms: int) -> Tidied:
        """One small step of throwing away what need not be kept any longer."""
        ...

    async def forget(self, lanes: Sequence[int]) -> Forgotten:
        """Erase what touches one of `lanes`, wherever it is, but for what the drain has in hand."""
        ...
