"""Requests that are over, as a drain reports them."""

from collections.abc import Sequence

from msgspec import Struct

from cio_buffer.outbox.entry import Attempt, DeadLetter, Entry, Fate, Parked, Report, Settlement

AGAIN = Fate(what="again", reason="timeout", is_ambiguous=True)

Outcome = Settlement | Fate
"""What a request leads to for an entry in it: it is settled, or this befalls it and it stays in hand."""


class Request(Struct, frozen=True, kw_only=True):
    """One that was sent and what came back. Times are Unix milliseconds."""

    number: int
    sent_at_ms: int
    took_ms: int = 40
    is_v1: bool = False
    status: int | None = 207
    trouble: str | None = None


def fate_of(outcome: Outcome) -> Fate | None:
    """As the log has it: None of what was delivered."""
    match outcome:
        case Fate():
            return outcome
        case DeadLetter(reason=reason, vendor_reason=vendor_reason, field=field, message=message):
            return Fate(what="dead", reason=reason, vendor_reason=vendor_reason, field=field, message=message)
        case Parked(due_at_ms=due_at_ms, held_for=held_for):
            return Fate(what="held", reason=held_for or "timeout", until_ms=due_at_ms)
        case _:
            return None


def report_of(request: Request, entries: Sequence[Entry], fates: Sequence[Fate | None]) -> Report:
    """The report of a request with these in it, of which each met its fate."""
    places: dict[Fate, list[int]] = {}
    for place, fate in enumerate(fates):
        if fate:
            places.setdefault(fate, []).append(place)
    return Report(
        number=request.number,
        sent_at_ms=request.sent_at_ms,
        took_ms=request.took_ms,
        is_v1=request.is_v1,
        status=request.status,
        trouble=request.trouble,
        entries=entries,
        fates=[(fate, None if len(where) == len(entries) else where) for fate, where in places.items()],
    )


def attempt_of(request: Request, fate: Fate) -> Attempt:
    """The same request, as an entry keeps it that it did not deliver."""
    return Attempt(
        request=request.number,
        sent_at_ms=request.sent_at_ms,
        took_ms=request.took_ms,
        fate=fate,
        status=request.status,
        trouble=request.trouble,
    )
