"""Entries as the store knows them, and an archive that has what a test gives it."""

from collections.abc import Sequence

from msgspec import structs

from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import Dead, Found, Happening, Known
from cio_buffer.outbox.entry import Attempt, Fate
from cio_buffer.outbox.names import Names

NAMES = Names(b"a store's own id")
ACCEPTED_MS = 1_795_576_364_120
"""2026-11-25 03:12:44.120 UTC."""

AGAIN = Fate(what="again", reason="unavailable")
LOST = Fate(what="again", reason="timeout", is_ambiguous=True)
REFUSED = Fate(
    what="dead", reason="refused", vendor_reason="invalid", field="identifiers.id", message="must be an email"
)


def at(ms: int) -> int:
    """So many milliseconds after it was accepted."""
    return ACCEPTED_MS + ms


def sent(request: int, ms: int, fate: Fate | None = None, *, status: int | None = 503, **more) -> Happening:
    """A request in the log; of ten, unless it is said otherwise."""
    status = 200 if fate is None and status == 503 else status
    told = {"took_ms": 200, "entries": 10, "trouble": None if status else "timeout"} | more
    return Happening(at_ms=at(ms), what="sent", request=request, status=status, fate=fate, **told)


def kept(request: int, ms: int, fate: Fate = AGAIN, *, status: int | None = 503) -> Attempt:
    """The same as it is kept with the entry."""
    trouble = None if status else "timeout"
    return Attempt(request=request, sent_at_ms=at(ms), took_ms=200, fate=fate, status=status, trouble=trouble)


def happened(what: str, ms: int) -> Happening:
    return Happening(at_ms=at(ms), what=what)  # type: ignore[arg-type]


def dead(ms: int, *, reason: str = "refused", history: Sequence[Attempt] = (), replays: int = 0) -> Dead:
    return Dead(
        seq=7,
        kind="event",
        accepted_at_ms=ACCEPTED_MS,
        route="v1",
        traceparent=None,
        died_at_ms=at(ms),
        reason=reason,
        vendor_reason="invalid",
        field="identifiers.id",
        message="must be an email",
        status=400,
        attempts=1,
        replays=replays,
        call=None,
        history=history,
        body=b"never shown",
    )


def known(*happenings: Happening, place="gone", seq: int = 7, **more) -> Known:
    """An event, accepted by v1."""
    told = {"kind": "event", "route": "v1", "accepted_at_ms": ACCEPTED_MS} | more
    return Known(seq=seq, place=place, happenings=happenings, **told)


def found(*entries: Known, log_since: int | None = -1_000, is_more: bool = False, highest_seq: int = 1_000) -> Found:
    """`log_since`: milliseconds after the acceptance."""
    since_ms = None if log_since is None else at(log_since)
    return Found(known=entries, is_more=is_more, log_since_ms=since_ms, highest_seq=highest_seq)


class Stories:
    """Keeps the part of `archive.Archive` that traces. What it was asked for is in `asked`."""

    def __init__(self, *entries: Known, log_since: int | None = -1_000, highest_seq: int = 1_000) -> None:
        self.entries, self.log_since, self.highest_seq = list(entries), log_since, highest_seq
        self.is_readable, self.is_more = True, False
        self.asked: list[object] = []

    async def trace(self, seq: int) -> Found:
        self.asked.append(seq)
        return self._found([entry for entry in self.entries if entry.seq == seq])

    async def trace_lane(self, lanes: Sequence[int], *, limit: int) -> Found:
        self.asked.append((tuple(lanes), limit))
        return structs.replace(self._found(self.entries[:limit]), is_more=self.is_more)

    async def trace_event(self, event_id: str, *, limit: int) -> Found:
        self.asked.append((event_id, limit))
        return self._found(self.entries[:limit])

    def _found(self, entries: Sequence[Known]) -> Found:
        if not self.is_readable:
            raise OutboxUnavailable("it cannot be read")
        return found(*entries, log_since=self.log_since, highest_seq=self.highest_seq)
