"""From what the store and the drain know of an entry to its story. Pure."""

from collections.abc import Iterator, Sequence

from msgspec import structs

from cio_buffer.admin.happenings import Event, last_of, united, without_noise
from cio_buffer.admin.story import Death, Hold, Outcome, Sent, State, Step, Story, moment
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.errors import UnknownReceipt
from cio_buffer.outbox.archive import Dead, Found, Happening, Known
from cio_buffer.outbox.entry import Fate
from cio_buffer.outbox.names import Names, Receipt

GAPS = ("no_log", "log_begins", "restarted")
"""Steps that say that requests may be missing."""

NO_WORDS = Fate(what="again", reason="")
"""For what was delivered: nobody complained."""


def tell(known: Known, found: Found, whereabouts: Whereabouts | None, *, names: Names, now_ms: int) -> Story:
    """The story of one entry. `whereabouts`: where the drain has it, None for what it has not in hand."""
    happenings = united(known)
    flight = flight_of(known, happenings, whereabouts)
    steps = [*steps_of(known, found, happenings), *under_way(flight, now_ms)]
    requests = [step.sent for step in steps if step.sent]
    state: State = "in_flight" if flight else state_of(known, happenings, whereabouts)
    is_lost = any(one.is_ambiguous for one in requests) or any(step.what == "restarted" for step in steps)
    return Story(
        receipt=names.receipt(known.seq, known.accepted_at_ms),
        kind=known.kind,
        route=known.route,
        state=state,
        accepted_at=moment(known.accepted_at_ms),
        ended_at=ended_at(known, state, happenings),
        attempts=max(known.attempts, len(requests)),
        replays=max(known.replays, sum(step.what == "replayed" for step in steps)),
        is_whole=not any(step.what in GAPS for step in steps),
        is_ambiguous=state != "delivered" and (is_lost or state in ("ended", "in_flight")),
        held=hold_of(known) if state == "held" else None,
        dead=death_of(known.dead) if state == "dead" and known.dead else None,
        traceparent=known.traceparent,
        steps=steps,
    )


def tell_by_receipt(receipt: Receipt, found: Found, *, names: Names) -> Story:
    """The story of an entry of which nothing is left but that it was accepted, which its receipt says.

    Raises UnknownReceipt for a number that this store has not given out yet.
    """
    if receipt.seq > found.highest_seq:
        raise UnknownReceipt("this store has not accepted so many operations: was it put back to an older copy?")
    known = Known(
        seq=receipt.seq, kind="", route="", accepted_at_ms=receipt.accepted_at_ms, place="gone", happenings=()
    )
    return structs.replace(tell(known, found, None, names=names, now_ms=0), is_whole=False)


def steps_of(known: Known, found: Found, happenings: Sequence[Happening]) -> Iterator[Step]:
    """From its acceptance on. Its requests are counted until the first that may be missing."""
    accepted_at_ms, begins_at_ms = known.accepted_at_ms, found.log_since_ms
    yield Step(at=moment(accepted_at_ms), what="accepted")
    if begins_at_ms is None:
        yield Step(at=moment(accepted_at_ms), what="no_log")
    is_whole = begins_at_ms is not None and begins_at_ms <= accepted_at_ms
    beginning = [] if begins_at_ms is None or is_whole else [Step(at=moment(begins_at_ms), what="log_begins")]
    attempts = 0
    for event in without_noise(happenings, accepted_at_ms=accepted_at_ms, log_since_ms=begins_at_ms):
        if begins_at_ms is not None and event.of.at_ms >= begins_at_ms:
            yield from beginning
            beginning = []
        is_whole &= event.what != "restarted"
        attempts += event.what == "sent"
        yield step_of(event, attempts if is_whole else None)
    yield from beginning


def step_of(event: Event, attempt: int | None) -> Step:
    at = moment(event.of.at_ms)
    return Step(at=at, what=event.what, sent=sent(event.of, attempt) if event.what == "sent" else None)


def sent(happening: Happening, attempt: int | None) -> Sent:
    """A request that is over, as it is told."""
    outcome: Outcome = happening.fate.what if happening.fate else "delivered"
    fate, is_kept = happening.fate or NO_WORDS, happening.entries == 0
    return Sent(
        number=happening.request or 0,
        attempt=attempt,
        entries=None if is_kept else happening.entries,
        is_v1=None if is_kept else happening.is_v1,
        status=happening.status,
        trouble=happening.trouble,
        took_s=happening.took_ms / 1000,
        outcome=outcome,
        reason=fate.reason,
        is_ambiguous=fate.is_ambiguous,
        vendor_reason=fate.vendor_reason,
        field=fate.field,
        message=fate.message,
        until=None if fate.until_ms is None else moment(fate.until_ms),
    )


def flight_of(known: Known, happenings: Sequence[Happening], where: Whereabouts | None) -> Whereabouts | None:
    """`where`, if it is in a request just now that is not over for the store."""
    is_over = known.place not in ("main", "parked")
    if where is None or where.state != "in_flight" or is_over:
        return None
    return None if where.request in {one.request for one in happenings if one.what == "sent"} else where


def under_way(flight: Whereabouts | None, now_ms: int) -> Iterator[Step]:
    """The request that it is in just now."""
    if flight is None or flight.request is None:
        return
    since_ms = now_ms if flight.since_ms is None else flight.since_ms
    told = Sent(
        number=flight.request,
        attempt=None,
        entries=None,
        is_v1=None,
        status=None,
        trouble=None,
        took_s=max(now_ms - since_ms, 0) / 1000,
        outcome="under_way",
    )
    yield Step(at=moment(since_ms), what="sent", sent=told)


def state_of(known: Known, happenings: Sequence[Happening], where: Whereabouts | None) -> State:
    """How it is, unless a request of it is under way."""
    if known.place == "dead":
        return "dead"
    if known.place == "gone":
        return end_of(last_of(happenings))
    is_aside = known.place == "parked" or (where is not None and where.state == "parking")
    return "held" if is_aside else "pending"


def end_of(last: Happening | None) -> State:
    """What became of one that is gone: what befell it last, if that is an end."""
    if last is None:
        return "ended"
    if last.what == "sent" and last.fate is None:
        return "delivered"
    match last.what:
        case "purged" | "evicted" | "forgotten" as end:
            return end
    return "ended"


def ended_at(known: Known, state: State, happenings: Sequence[Happening]) -> str | None:
    """When it came to be in `state`, if that is an end that is known."""
    if state == "dead" and known.dead:
        return moment(known.dead.died_at_ms)
    last = last_of(happenings)
    if last is None or state not in ("delivered", "purged", "evicted", "forgotten"):
        return None
    return moment(last.at_ms + last.took_ms)


def hold_of(known: Known) -> Hold:
    return Hold(None if known.due_at_ms is None else moment(known.due_at_ms), known.held_for, known.holds)


def death_of(dead: Dead) -> Death:
    return Death(
        at=moment(dead.died_at_ms),
        reason=dead.reason,
        vendor_reason=dead.vendor_reason,
        field=dead.field,
        message=dead.message,
        status=dead.status,
    )
