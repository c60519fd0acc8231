"""Stores whose delivery log is long, and a person to be found in it.

The store's own code packs some requests; copies of these, under other numbers, are the crowd. The requests of those who
are looked for are reported one by one, as the drain does.
"""

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from operator import itemgetter
from pathlib import Path

from msgspec import Struct, structs

from cio_buffer.outbox.entry import Entry, Fate, Report, pack_lanes, unpack_lanes
from cio_buffer.outbox.log import Line, line_of, pack_numbers
from cio_buffer.outbox.names import Names
from cio_buffer.outbox.store import Store
from cio_buffer.outbox.trail import MARK_BYTES, mark_of, pack_trail
from tests.bench.backlog import open_store

FULL_ENTRIES, SMALL_ENTRIES = 1_000, 10
TEMPLATES, OUT_OF_ORDER = 20, 10
"""Of so many packed requests all others are copies; one in ten is not in the order of acceptance, so its numbers take
room too."""

PERSON, CROWD = "id:needle", "id:crowd"
FOUND_AT = (0.1, 0.5, 0.9)
"""How far into the log the person's events stand. What finds fewer than it may looks through all of it."""

CROWD_AT, CROWD_ENTRIES = 0.7, 1_000
REFUSALS = 2
"""Before its last request each of the person's events was in so many that were refused."""

REFUSED = Fate(what="again", reason="upstream_error")
LOG_S = 40_000
"""From the first request to now: a log that is kept for a day keeps all of it."""

LINES_TOGETHER = 500

Packed = tuple[Line, bytes]
"""A line of the log, and its lanes."""


class Shape(Struct, frozen=True, kw_only=True):
    """How many entries, in which requests: those of `small_share` are in small ones, all others in full ones. To go
    into them without a rest.

    `is_wide`: each full request carries an entry that is much older than all others in it, as after an outage. An index
    of its own leads to such.
    """

    entries: int
    full_entries: int = FULL_ENTRIES
    small_share: float = 0.05
    is_wide: bool = False


class Logged(Struct, frozen=True, kw_only=True):
    """A daemon's folder, and what its log is to be asked about. `receipt` and `event_id` are of the person's first."""

    folder: Path
    receipt: str
    event_id: str
    lines: int
    bytes: int


def write(folder: Path, shape: Shape, seed: int) -> Logged:
    """Make `folder` for a daemon that has delivered all of it, in the hours before now."""
    store, db = open_store(folder / "store" / "outbox.db")
    try:
        writing = Writing(store, db, shape, random.Random(seed))
        writing.all()
        seq, at_ms = writing.found[0]
        return Logged(
            folder=folder,
            receipt=Names(store.store_id).receipt(seq, at_ms),
            event_id=event_id(seq),
            lines=store.counts["log_lines"],
            bytes=store.counts["log_bytes"],
        )
    finally:
        store.close()


class Writing:
    """One store, as it is written. `found`: number and time of acceptance of the person's events."""

    def __init__(self, store: Store, db: sqlite3.Connection, shape: Shape, chance: random.Random) -> None:
        self.found: list[tuple[int, int]] = []
        self._store, self._db, self._shape, self._chance = store, db, shape, chance
        self._now_ms = int(time.time() * 1000)
        self._full, self._small = self._templates(shape.full_entries), self._templates(SMALL_ENTRIES)
        crowd = [(CROWD_AT, self._crowd)] * (CROWD_ENTRIES // shape.full_entries)
        ahead = [*((at, self._person) for at in FOUND_AT), *crowd, (inf, self._crowd)]
        self._ahead = [(at * shape.entries, who) for at, who in sorted(ahead, key=itemgetter(0))]

    def all(self) -> None:
        numbers = spans(self._shape)
        while some := list(islice(numbers, LINES_TOGETHER)):
            self._db.execute("BEGIN IMMEDIATE")
            for seqs in some:
                self._write(seqs)
            self._end(some[-1].stop)

    def _end(self, next_seq: int) -> None:
        delivered = next_seq - self._store.next_seq
        self._store.next_seq = next_seq
        self._store.counts["accepted"] += delivered
        self._store.counts["delivered"] += delivered
        self._store.before_commit(self._db)
        self._db.execute("COMMIT")
        self._store.after_commit(self._db)

    def _write(self, seqs: range) -> None:
        is_full = len(seqs) == self._shape.full_entries
        if is_full and self._ahead[0][0] < seqs.stop:
            self._ahead.pop(0)[1](seqs)
        else:
            self._copy(seqs)

    def _person(self, seqs: range) -> None:
        """One of the person's events, in the midst of others'."""
        seq = seqs[len(seqs) // 2]
        self.found.append((seq, self._at_ms(seq)))
        for _ in range(REFUSALS):
            self._report(seqs, {seq: PERSON}, is_refused=True)
        self._report(seqs, {seq: PERSON})

    def _crowd(self, seqs: range) -> None:
        """All of it are another person's."""
        self._report(seqs, dict.fromkeys(seqs, CROWD))

    def _report(self, seqs: range, lanes: Mapping[int, str], *, is_refused: bool = False) -> None:
        self._store.report(self._db, self._request(seqs, lanes, is_refused=is_refused))

    def _copy(self, seqs: range) -> None:
        templates = self._full if len(seqs) == self._shape.full_entries else self._small
        line, lanes = self._chance.choice(templates)
        number = self._next_request()
        self._store.counts["last_request"] = number
        is_wide = self._shape.is_wide and len(seqs) == self._shape.full_entries
        placed = structs.replace(line, request=number, at_ms=self._at_ms(seqs[0]), first_seq=seqs[0], last_seq=seqs[-1])
        self._store.note(self._db, widened(placed, number) if is_wide else placed, lanes)

    def _templates(self, size: int) -> list[Packed]:
        """Packed requests of that size, of people who are nobody."""
        packed = []
        for count in range(TEMPLATES):
            seqs = range(1, size + 1)
            is_out_of_order = count % OUT_OF_ORDER == 0
            order = self._chance.sample(seqs, size) if is_out_of_order else seqs
            packed.append(line_of(self._request(order, {})))
        return packed

    def _request(self, seqs: Sequence[int], lanes: Mapping[int, str], *, is_refused: bool = False) -> Report:
        """Of events of nobody, but for those that have a lane by their number."""
        return Report(
            number=self._next_request(),
            sent_at_ms=self._at_ms(seqs[0]) + 1_000,
            took_ms=45,
            is_v1=False,
            status=503 if is_refused else 200,
            trouble=None,
            entries=[self._event(seq, lanes.get(seq)) for seq in seqs],
            fates=[(REFUSED, None)] if is_refused else (),
        )

    def _next_request(self) -> int:
        return self._store.counts["last_request"] + 1

    def _event(self, seq: int, lane: str | None) -> Entry:
        """Somebody's who is not looked for has a lane and a mark by chance."""
        packed_lanes = pack_lanes([lane]) if lane else self._chance.randbytes(8)
        mark = mark_of(event_id(seq)) if lane else self._chance.randbytes(MARK_BYTES)
        at_ms = self._at_ms(seq)
        return Entry(
            seq=seq,
            first_seq=seq,
            lanes=unpack_lanes(packed_lanes),
            packed_lanes=packed_lanes,
            kind="event",
            accepted_at_ms=at_ms,
            tried_since_ms=at_ms,
            call=None,
            attempts=0,
            replays=0,
            traceparent=None,
            trail=pack_trail(mark=mark, accepted_at_ms=at_ms, kind="event", route="v1", lanes=1),
            body=b"",
        )

    def _at_ms(self, seq: int) -> int:
        """Ever later, up to now."""
        return self._now_ms - LOG_S * 1000 + int(LOG_S * 1000 * seq / self._shape.entries)


def spans(shape: Shape) -> Iterator[range]:
    """The numbers of each request's entries, one request after the other."""
    first, last, small = 1, shape.entries, 0
    while first <= last:
        is_small = small < shape.small_share * first or last - first + 1 < shape.full_entries
        size = SMALL_ENTRIES if is_small else shape.full_entries
        small += size if is_small else 0
        yield range(first, first + size)
        first += size


def widened(line: Line, old_seq: int) -> Line:
    """With an entry of long ago in the place of its first."""
    assert line.first_seq is not None
    assert line.last_seq is not None
    seqs = [old_seq, *range(line.first_seq + 1, line.last_seq + 1)]
    return structs.replace(line, first_seq=old_seq, seqs=pack_numbers(seqs, old_seq, line.last_seq))


def event_id(seq: int) -> str:
    """What the app gave an event as its id."""
    return f"01JDB3V9Q4Z6R8T0{seq:010d}"
