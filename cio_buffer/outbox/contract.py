"""The promises that every storage backend keeps. Whoever holds an `Outbox` need not know which one it is.

Many hosts may append to one outbox; one of them at a time holds the lease and drains it for all.

Entries are numbered (`seq`) in the order in which they were stored. They wait in the main lane, where a claim meets
them in that order, or are *parked*: moved aside with everything behind them in their lanes, so that others pass.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from cio_buffer.outbox.archive import Archive
from cio_buffer.outbox.entry import AppCall, Entry, NewEntry, Report, Settled
from cio_buffer.outbox.names import Names


class Room(Struct, frozen=True, kw_only=True):
    """How much the drain can still hold. A budget admits an entry while it is above 0, so a big one never starves."""

    main_entries: int
    main_bytes: int
    parked_entries: int
    parked_bytes: int
    parked_v1_entries: int


class FromMain(Struct, frozen=True, gc=False):
    """An entry met in the main lane. `is_behind`: an unclaimed parked entry stands before it in one of its lanes."""

    entry: Entry
    is_behind: bool


class Claim(Struct, frozen=True, kw_only=True):
    """What the drain now has in hand; each list ascends by `seq`.

    `is_at_end`: nothing more was committed in the main lane. `is_v1_due`: parked calls for which v1 had no room are
    due. `next_due_at_ms`: when the next parked entry comes due that was not claimed, None if none waits for a time.
    """

    parked: Sequence[Entry]
    main: Sequence[FromMain]
    is_at_end: bool
    is_v1_due: bool
    next_due_at_ms: int | None


class Ledger(Struct, frozen=True, kw_only=True):
    """Counts since the store was made, and what it holds now, as of one commit.

    accepted + replayed + salvaged = delivered + dead_lettered + purged + waiting + parked
    dead_lettered = replayed + dead_purged + dead_evicted + dead

    `purged`: erased while it waited. `dead_purged`: dead letters that a person threw away, `dead_evicted`: their quota.
    `salvaged`: taken over from a damaged store; of these a dead letter counts as dead lettered too.
    """

    accepted: int = 0
    replayed: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    purged: int = 0
    parked: int = 0
    dead: int = 0
    dead_purged: int = 0
    dead_evicted: int = 0
    salvaged: int = 0

    @property
    def entries(self) -> int:
        """What is stored and not settled."""
        return self.accepted + self.replayed + self.salvaged - self.delivered - self.dead_lettered - self.purged


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is kept of what is over: what can be long of dead letters, and the delivery log."""

    dead_bytes: int = 0
    log_lines: int = 0
    log_bytes: int = 0


class Condition(Struct, frozen=True, kw_only=True):
    """How the store is. `refusing` is "", "outbox_full", "disk_low" or "store_unwritable".

    `bytes_used` counts what is stored, what is on its way into the file, and what was set aside. `errors`: by what the
    store was doing ("commit", "checkpoint", "read"), since the start. `is_salvaging`: nothing leaves until it is over.
    """

    refusing: str
    bytes_used: int
    bytes_max: int
    errors: dict[str, int] = {}
    is_salvaging: bool = False


class SetAside(Struct, frozen=True, kw_only=True):
    """A damaged store that was set aside. It is kept, with all that is in it, until a person removes it.

    `name` is when that was, UTC. `state`: "waiting" to be salvaged, "salvaging", "over", or "failed" (`why`: then what
    was not saved stays in it). `saved` and `dead_saved`: entries that waited, and dead letters, that are back. `lost`
    and `dead_lost`: those that are not; None where it is not known how many there were. Any of what was saved may have
    been delivered before, and then is delivered again under the same ids.
    """

    name: str
    path: str
    bytes: int
    state: Literal["waiting", "salvaging", "over", "failed"]
    why: str = ""
    saved: int = 0
    dead_saved: int = 0
    lost: int | None = None
    dead_lost: int | None = None


class Lease(Protocol):
    """The right to claim and settle. Whoever acquires it next takes it away; then each call raises LeaseLost.

    Due times are on the clock of whoever drains, which need not agree with the store's: `now_ms` says what it shows.
    """

    @property
    def good_until(self) -> float:
        """Monotonic seconds: start no request that might end later. Infinite where one process owns the store."""
        ...

    @property
    def first_request(self) -> int:
        """Requests are numbered from here on: above all that were ever logged."""
        ...

    def claim(self, room: Room, *, now_ms: int) -> Awaitable[Claim]:
        """Take what has not been claimed, up to `room`. Nothing is written: a crash gives it back by itself.

        The main lane comes in order of `seq`, each entry once. A parked entry comes once the main lane has been
        claimed past its `seq` and either it is due and first in each of its lanes, or each parked entry before it
        in its lanes has been claimed; due ones in the order of their time. Nothing comes along with one that was held
        for its own trouble: that leaves alone.
        Only committed entries are seen, and all settlements that were asked for before this claim.
        Raises OutboxUnavailable, with nothing claimed, when the store cannot be read.
        """
        ...

    def settle(self, settled: Sequence[Settled], *, now_ms: int, report: Report | None = None) -> Awaitable[None]:
        """Record what became of claimed entries; returns once all of it is durable, or none of it is.

        `report`: the request by which that came about, for the log; there may be one of a request that settled nobody.
        `now_ms` is on the clock of `claim`. What may now leave is due by then at the latest, whenever it was accepted.
        Keeps trying while the store cannot be written. One that is repeated, with its `now_ms`, changes nothing.
        """
        ...

    def bring_forward(self, *, latest_ms: int) -> Awaitable[None]:
        """Have nothing parked be due later than that, on the clock of `claim`. What waits for its turn goes on waiting.

        Raises OutboxUnavailable when the store closes first.
        """
        ...


class Outbox(Protocol):
    """Keeps entries from acceptance to settlement."""

    @property
    def names(self) -> Names:
        """What its entries and lanes are called to the outside."""
        ...

    @property
    def archive(self) -> Archive:
        """What became of entries."""
        ...

    def append(self, entries: Sequence[NewEntry], call: AppCall | None = None) -> Awaitable[Sequence[int]]:
        """Store all of `entries` or none; returns their `seq`s, ascending, once they would survive a power cut.

        `call`, which brought them, is stored in the same commit, until a later commit finds it answered or old.
        Calls made one after the other are numbered in that order, whether or not the first was awaited.
        Raises OutboxFull (nothing stored) or OutboxUnavailable (perhaps stored).
        """
        ...

    def unanswered(self) -> Sequence[AppCall]:
        """Calls of the last minute that this daemon stored before it ended, and whose answers nobody may have got."""
        ...

    def note_answers(self) -> None:
        """Have it written down which calls were answered, if that is not so already. Does not wait for it."""
        ...

    def note_loss(self, call: AppCall) -> None:
        """Have it stored again that `call`, which counted as answered, may not have been. Does not wait for it."""
        ...

    def learnt(self) -> bytes:
        """What was noted last of Customer.io's ways, before a restart too; b"" if nothing ever was."""
        ...

    def note_learnt(self, learnt: bytes) -> None:
        """Have it written down with the next commit; does not wait, and makes no commit of its own.

        Closing writes it as well; a crash before the next commit leaves what was written before. Each commit
        carries it, so it should be small: hundreds of bytes.
        """
        ...

    async def acquire(self, *, now_ms: int, wait_max_ms: int) -> Lease:
        """Wait for the right to drain. Nothing counts as claimed in a new lease.

        Nothing that is parked is due later than `now_ms` + `wait_max_ms`: a clock that was set back while we were away
        must not hold anybody for hours. Raises OutboxUnavailable when the store closes first.
        """
        ...

    def watch(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, in the event loop, when claiming may have become worthwhile. May be spurious."""
        ...

    def ledger(self) -> Ledger:
        """The running totals as of the last commit that we know of."""
        ...

    def sizes(self) -> Sizes:
        """The same for what is kept of what is over."""
        ...

    def condition(self) -> Condition:
        """Whether an append made now would be taken."""
        ...

    def set_aside(self) -> Sequence[SetAside]:
        """The damaged stores that are still there, oldest first. A store that cannot be damaged has none."""
        ...

    async def remove_set_aside(self, name: str) -> bool:
        """Delete one for good; False if there is none of that name, or it has not been salvaged yet.

        Raises OutboxUnavailable where it cannot be deleted.
        """
        ...

    async def oldest_at_ms(self) -> int | None:
        """When the oldest entry was accepted, Unix milliseconds; None if nothing waits."""
        ...

    async def audit(self) -> "Audit":
        """Count what is really there, in one snapshot, and hold it against the ledger.

        Raises OutboxUnavailable where it cannot be counted just now.
        """
        ...

    async def is_answering(self) -> bool:
        """Whether whatever does the store's work still takes requests; False means a restart would help."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and let go. What is not settled stays."""
        ...


class Audit(Struct, frozen=True, kw_only=True):
    """A real count (`waiting` in the main lane, `parked`, `dead`, `measured`) beside the totals of one snapshot."""

    waiting: int
    parked: int
    dead: int
    measured: Sizes
    ledger: Ledger
    sizes: Sizes

    @property
    def is_balanced(self) -> bool:
        """Whether both of the ledger's sums come out, and each of its parts is what was counted."""
        told = self.ledger
        ended = told.replayed + told.dead_purged + told.dead_evicted + told.dead
        counted = (self.waiting + self.parked, self.parked, self.dead, self.measured)
        return told.dead_lettered == ended and counted == (told.entries, told.parked, told.dead, self.sizes)
