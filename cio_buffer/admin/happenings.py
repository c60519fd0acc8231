"""What befell an entry, from the store's two sources, in one order. Pure.

The log has more of each request; what was kept with the entry reaches further back. The same request in both is told
once.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from cio_buffer.admin.story import What
from cio_buffer.outbox.archive import Dead, Happening, Known
from cio_buffer.outbox.entry import Attempt, Fate

LIVES = ("started", "stopped")


class Event(Struct, frozen=True):
    """A happening, and the word for it in the story."""

    what: What
    of: Happening


def united(known: Known) -> Sequence[Happening]:
    """All that befell it, in order. A death that no request tells of is a request without a number."""
    logged = {happening.request for happening in known.happenings}
    kept = [as_happening(attempt) for attempt in known.history if attempt.request not in logged]
    happenings = merged(known.happenings, kept)
    return happenings if known.dead is None else with_death(happenings, known.dead)


def merged(logged: Sequence[Happening], kept: Sequence[Happening]) -> list[Happening]:
    """Both in their own order; between them requests are in the order of their numbers, all else by time."""
    told: list[Happening] = []
    rest = list(reversed(kept))
    for happening, following in zip(logged, next_requests(logged), strict=True):
        while rest and comes_before(rest[-1], happening, following):
            told.append(rest.pop())
        told.append(happening)
    return told + rest[::-1]


def next_requests(logged: Sequence[Happening]) -> list[int | None]:
    """For each of them its own request, or the next one's; None where there is none."""
    following: list[int | None] = []
    number = None
    for happening in reversed(logged):
        number = number if happening.request is None else happening.request
        following.append(number)
    return following[::-1]


def comes_before(kept: Happening, logged: Happening, following: int | None) -> bool:
    """By numbers, as far as they tell: a clock may have been set."""
    if kept.request is not None and following is not None and (kept.request > following or logged.request is not None):
        return kept.request < following
    return kept.at_ms < logged.at_ms


def with_death(happenings: Sequence[Happening], dead: Dead) -> Sequence[Happening]:
    """With its death, if the last request does not tell of it: behind that, and else by time."""
    last = max((place for place, one in enumerate(happenings) if one.what in ("sent", "replayed")), default=-1)
    if last >= 0 and (fate := happenings[last].fate) and fate.what == "dead":
        return happenings
    place = last + 1
    while place < len(happenings) and happenings[place].at_ms <= dead.died_at_ms:
        place += 1
    return [*happenings[:place], as_request(dead), *happenings[place:]]


def as_happening(attempt: Attempt) -> Happening:
    """What was kept with the entry does not say how many were in the request: 0 stands for that."""
    return Happening(
        at_ms=attempt.sent_at_ms,
        what="sent",
        request=attempt.request,
        took_ms=attempt.took_ms,
        status=attempt.status,
        trouble=attempt.trouble,
        fate=attempt.fate,
    )


def as_request(dead: Dead) -> Happening:
    return Happening(at_ms=dead.died_at_ms, what="sent", fate=Fate(what="dead", reason=dead.reason))


def without_noise(happenings: Sequence[Happening], *, accepted_at_ms: int, log_since_ms: int | None) -> Iterator[Event]:
    """All of its own; the daemon's starts and stops only while it waited, because they are nothing to one that is dead.

    A start without a stop before it is "restarted", unless the log begins with it: then nobody knows.
    """
    last_life = None
    is_waiting, is_stop_told = True, False
    for happening in happenings:
        if happening.what not in LIVES:
            is_waiting = is_waiting_after(happening, is_waiting)
            yield Event(word_for(happening), happening)
            continue
        is_told = is_waiting and happening.at_ms >= accepted_at_ms
        begins_the_log = last_life is None and happening.at_ms == log_since_ms
        if happening.what == "stopped":
            is_stop_told = is_told
            if is_told:
                yield Event("stopped", happening)
        elif last_life == "stopped":
            if is_told and is_stop_told:
                yield Event("started", happening)
        elif is_told and not begins_the_log:
            yield Event("restarted", happening)
        last_life = happening.what


def word_for(happening: Happening) -> What:
    return "died" if happening.what == "sent" and happening.request is None else happening.what


def is_waiting_after(happening: Happening, was_waiting: bool) -> bool:
    if happening.what == "sent":
        return happening.fate is not None and happening.fate.what != "dead"
    return happening.what == "replayed" or (was_waiting and happening.what == "edited")


def last_of(happenings: Sequence[Happening]) -> Happening | None:
    """The last that befell the entry itself."""
    return next((one for one in reversed(happenings) if one.what not in LIVES), None)
