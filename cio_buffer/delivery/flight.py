"""A request that is under way, and what is reported of it when it is over."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from cio_buffer.delivery.claimed import Claimed
from cio_buffer.delivery.retry import HeldBack, InV1, Outcome
from cio_buffer.delivery.verdict import Meaning, Verdict
from cio_buffer.outbox.entry import Attempt, DeadLetter, Fate, Report
from cio_buffer.outbox.history import FIRST_KEPT, LAST_KEPT
from cio_buffer.upstream.transport import Reply

FATE_MESSAGE_MAX_CHARACTERS = 200
"""Of Customer.io's words in the log: a thousand operations may be refused in one request, each with a long one."""

ABANDONED = Fate(what="again", reason="abandoned", is_ambiguous=True)
"""We stopped before the answer came."""


class Flight(Struct, eq=False, kw_only=True):
    """`number` names it in the log. `sent_at` is monotonic, `sent_at_ms` Unix milliseconds."""

    number: int
    batch: Sequence[Claimed]
    sent_at: float
    sent_at_ms: int
    numbers: frozenset[int] = frozenset()

    def carries(self, first_seq: int) -> bool:
        """Whether the entry that was accepted under that number is in it."""
        if not self.numbers:
            self.numbers = frozenset(claimed.entry.first_seq for claimed in self.batch)
        return first_seq in self.numbers


class Fates:
    """What becomes of those of a flight that were not delivered, as it is decided."""

    def __init__(self, flight: Flight, reply: Reply, *, now: float) -> None:
        """`now` is monotonic: when the answer came, or could come no more."""
        self._flight, self._reply = flight, reply
        self._took_ms = took_ms(flight, now)
        self._places: dict[Fate, list[int]] = {}
        self._attempts: dict[Fate, Attempt] = {}

    def note(self, place: int, claimed: Claimed, fate: Fate) -> None:
        """The entry at `place` in the batch meets this fate, which becomes part of its history."""
        self._places.setdefault(fate, []).append(place)
        if (attempt := self._attempts.get(fate)) is None:
            attempt = self._attempts[fate] = self._attempt(fate)
        claimed.history = shortened((*claimed.history, attempt))

    def report(self) -> Report:
        """The request, for the log."""
        count = len(self._flight.batch)
        fates = [(fate, None if len(places) == count else places) for fate, places in self._places.items()]
        return report(self._flight, self._reply.status, self._reply.trouble, fates, took_ms=self._took_ms)

    def _attempt(self, fate: Fate) -> Attempt:
        return Attempt(
            request=self._flight.number,
            sent_at_ms=self._flight.sent_at_ms,
            took_ms=self._took_ms,
            fate=fate,
            status=self._reply.status,
            trouble=self._reply.trouble,
        )


def report(
    flight: Flight,
    status: int | None,
    trouble: str | None,
    fates: Sequence[tuple[Fate, Sequence[int] | None]],
    *,
    took_ms: int,
) -> Report:
    return Report(
        number=flight.number,
        sent_at_ms=flight.sent_at_ms,
        took_ms=took_ms,
        is_v1=flight.batch[0].call is not None,
        status=status,
        trouble=trouble,
        entries=[claimed.entry for claimed in flight.batch],
        fates=fates,
    )


def took_ms(flight: Flight, now: float) -> int:
    return round((now - flight.sent_at) * 1000)


def fate(verdict: Verdict, outcome: Outcome) -> Fate:
    """What a verdict that did not deliver it came to, for one entry."""
    match outcome:
        case DeadLetter():
            what = "dead"
        case HeldBack():
            what = "held"
        case InV1():
            what = "in_v1"
        case _:
            what = "again"
    return Fate(
        what=what,  # type: ignore[arg-type]
        reason=outcome.reason if isinstance(outcome, DeadLetter) else verdict.reason,
        is_ambiguous=verdict.meaning is Meaning.AMBIGUOUS,
        vendor_reason=verdict.vendor_reason,
        field=verdict.field,
        message=verdict.message[:FATE_MESSAGE_MAX_CHARACTERS],
        until_ms=outcome.until_ms if isinstance(outcome, HeldBack) else None,
    )


def shortened(history: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The first and the last of an entry that has been tried all night."""
    too_many = len(history) > FIRST_KEPT + LAST_KEPT
    return (*history[:FIRST_KEPT], *history[-LAST_KEPT:]) if too_many else history


def carrying(flights: Iterable[Flight], first_seq: int) -> Flight | None:
    """The request that an entry is in just now."""
    return next((flight for flight in flights if flight.carries(first_seq)), None)
