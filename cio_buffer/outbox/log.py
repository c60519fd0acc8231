"""The delivery log: a line for each request that is over, and for what else befell entries. Functions of a connection.

A line holds its entries' numbers, trails and lanes packed, a few bytes for each, and no index for any of them: one by
number leads to the few lines that can hold an entry, and what touches a lane is found by reading all lanes there are,
a gigabyte a second.
"""

import sqlite3
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate

import msgspec
from msgspec import Struct

from cio_buffer.outbox.archive import What
from cio_buffer.outbox.entry import Entry, Fate, Report
from cio_buffer.outbox.letters import Leftover
from cio_buffer.outbox.trail import LANES_MAX, NO_MARK, TRAIL_BYTES, Trail, pack_trail, unpack_trail

SPAN_MAX = 4_095
"""Lines whose numbers lie so close together are found by their lowest number. With 65,535, a look-up among a million
requests of one entry each takes 5.5 ms, with this 1.1."""

LINE_BYTES = 150
"""What a line takes beside what it holds, roughly: its numbers, and its place in three indexes."""

NEVER_MS = 2**62
"""Since when there is a log, in Unix milliseconds, while none is kept."""

OFFSET_MAX, OFFSETS = 0xFFFF_FFFF, {4: "I", 8: "Q"}
FEW = 32
"""So many numbers are looked for one by one in a line's; more by taking the line's numbers apart, 20 µs a thousand."""

Fates = Sequence[tuple[Fate, Sequence[int] | None]]
FATES = msgspec.msgpack.Decoder(list[tuple[Fate, list[int] | None]])
COLUMNS = "at_ms, what, request, took_ms, status, trouble, is_v1, entries, first_seq, last_seq, fates, seqs, trails"


class Line(Struct, frozen=True, kw_only=True):
    """One line as it is stored; what is packed is unpacked by `numbers`, `trails` and `fates_of`."""

    at_ms: int
    what: What
    request: int | None
    took_ms: int
    status: int | None
    trouble: str | None
    is_v1: bool
    entries: int
    first_seq: int | None
    last_seq: int | None
    fates: bytes
    seqs: bytes
    trails: bytes

    def numbers(self) -> Sequence[int]:
        """The entries' numbers, in their order in the request."""
        return unpack_numbers(self.entries, self.first_seq or 0, self.seqs)

    def trail(self, place: int) -> Trail:
        """What is kept of the entry at that place."""
        return unpack_trail(self.trails[place * TRAIL_BYTES :][:TRAIL_BYTES])

    def lane_ends(self) -> list[int]:
        """Where each entry's lanes end among all the line's: counted in lanes."""
        if self.entries == 1:
            return [1 << 30]  # however many there are
        counts = self.trails[TRAIL_BYTES - 1 :: TRAIL_BYTES]
        return list(accumulate(counts))

    def unpacked_fates(self) -> Fates:
        return FATES.decode(self.fates) if self.fates else []


def line_of(report: Report) -> tuple[Line, bytes]:
    """A request as a line, and its lanes."""
    entries = report.entries
    seqs = [entry.first_seq for entry in entries]
    first, last = min(seqs), max(seqs)
    line = Line(
        at_ms=report.sent_at_ms,
        what="sent",
        request=report.number,
        took_ms=report.took_ms,
        status=report.status,
        trouble=report.trouble,
        is_v1=report.is_v1,
        entries=len(seqs),
        first_seq=first,
        last_seq=last,
        fates=msgspec.msgpack.encode(report.fates) if report.fates else b"",
        seqs=pack_numbers(seqs, first, last),
        trails=b"".join([entry.trail or trail_of_old(entry) for entry in entries]),
    )
    return line, b"".join([entry.packed_lanes for entry in entries])


def line_about(what: What, at_ms: int, letters: Sequence[Leftover]) -> tuple[Line, bytes]:
    """What befell dead letters as a line, and their lanes."""
    seqs = [letter.seq for letter in letters]
    first, last = min(seqs), max(seqs)
    line = Line(
        at_ms=at_ms,
        what=what,
        request=None,
        took_ms=0,
        status=None,
        trouble=None,
        is_v1=False,
        entries=len(seqs),
        first_seq=first,
        last_seq=last,
        fates=b"",
        seqs=pack_numbers(seqs, first, last),
        trails=b"".join([letter.trail or trail_of_old(letter) for letter in letters]),
    )
    return line, b"".join([letter.lanes for letter in letters])


def in_lines(found: Sequence[Leftover]) -> Iterator[Sequence[Leftover]]:
    """What goes in one line of the log each: whoever touches more lanes than a trail can count has one to itself."""
    start = 0
    for end, letter in enumerate(found):
        if len(letter.lanes) >= 8 * LANES_MAX:
            yield from (some for some in (found[start:end], [letter]) if some)
            start = end + 1
    if found[start:]:
        yield found[start:]


def line_of_life(what: What, at_ms: int) -> tuple[Line, bytes]:
    """That somebody began to drain, or ended it, as a line."""
    line = Line(
        at_ms=at_ms,
        what=what,
        request=None,
        took_ms=0,
        status=None,
        trouble=None,
        is_v1=False,
        entries=0,
        first_seq=None,
        last_seq=None,
        fates=b"",
        seqs=b"",
        trails=b"",
    )
    return line, b""


def pack_numbers(seqs: Sequence[int], first: int, last: int) -> bytes:
    """Numbers as they are stored: 4 bytes each, 8 if they lie far apart, and none if each follows upon the other."""
    if last - first + 1 == len(seqs) and all(map(int.__lt__, seqs, seqs[1:])):
        return b""
    return struct.pack(f"<{len(seqs)}{'I' if last - first <= OFFSET_MAX else 'Q'}", *[seq - first for seq in seqs])


def unpack_numbers(entries: int, first: int, packed: bytes) -> Sequence[int]:
    """What `pack_numbers` packed."""
    if not packed:
        return range(first, first + entries)
    return [first + offset for offset in struct.unpack(f"<{entries}{OFFSETS[len(packed) // entries]}", packed)]


def trail_of_old(entry: Entry | Leftover) -> bytes:
    """A trail for what was stored by a version that knew none: without the event's id, and without its route."""
    lanes = len(entry.lanes) // 8 if isinstance(entry, Leftover) else len(entry.lanes)
    return pack_trail(mark=NO_MARK, accepted_at_ms=entry.accepted_at_ms, kind=entry.kind, route="", lanes=lanes)


def write(db: sqlite3.Connection, line: Line, lanes: bytes) -> int | None:
    """Add a line; returns how many bytes the log has grown by, None if it has the request already."""
    values = [getattr(line, name) for name in Line.__struct_fields__]
    written = db.execute(f"INSERT OR IGNORE INTO log ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
    if not written.rowcount:
        return None
    db.execute("INSERT INTO log_lanes (id, lanes) VALUES (?, ?)", (written.lastrowid, lanes))
    return len(lanes) + len(line.fates) + len(line.seqs) + len(line.trails)


def prune(db: sqlite3.Connection, *, before_ms: int, excess_bytes: int, limit: int, bytes_max: int) -> tuple[int, int]:
    """Throw away the oldest lines: those from before `before_ms`, and as many as hold `excess_bytes`.

    Up to `limit` lines, and only until `bytes_max` are freed.

    Returns how many lines, and how many bytes by the ledger's count.
    """
    rows = db.execute(
        """SELECT id, at_ms, length(fates) + length(seqs) + length(trails) + (SELECT length(lanes) FROM log_lanes
           WHERE log_lanes.id = log.id) FROM log ORDER BY id LIMIT ?""",
        (limit,),
    ).fetchall()
    last, lines, freed = None, 0, 0
    for row, at_ms, size in rows:
        if (at_ms >= before_ms and excess_bytes <= 0) or freed >= bytes_max:
            break
        last, lines, freed = row, lines + 1, freed + size
        excess_bytes -= size + LINE_BYTES
    if last is not None:
        db.execute("DELETE FROM log WHERE id <= ?", (last,))
        db.execute("DELETE FROM log_lanes WHERE id <= ?", (last,))
    return lines, freed


def ids_with(db: sqlite3.Connection, seqs: Collection[int]) -> dict[int, list[int]]:
    """For each of these numbers the ids of the lines in which its entry is, oldest first.

    Nothing but numbers is read. Lines that are wide are read once for all: each of them may hold any.
    """
    ids = {seq: ids_near(db, seq) for seq in seqs}
    wide = db.execute(
        f"""SELECT id, entries, first_seq, seqs FROM log
            WHERE last_seq - first_seq > {SPAN_MAX} AND first_seq <= ? AND last_seq >= ?""",
        (max(seqs, default=0), min(seqs, default=0)),
    )
    for line_id, *packed in wide:
        for seq in numbers_among(seqs, *packed):
            ids[seq].append(line_id)
    return {seq: sorted(found) for seq, found in ids.items()}


def ids_near(db: sqlite3.Connection, seq: int) -> list[int]:
    """Ids of the lines with that number, but for wide ones."""
    rows = db.execute(
        f"""SELECT id, entries, first_seq, seqs FROM log
            WHERE first_seq BETWEEN ? AND ? AND last_seq BETWEEN ? AND first_seq + {SPAN_MAX}""",
        (seq - SPAN_MAX, seq, seq),
    )
    return [line_id for line_id, *packed in rows if numbers_among([seq], *packed)]


def numbers_among(seqs: Collection[int], entries: int, first: int, packed: bytes) -> Collection[int]:
    """Those of `seqs` that are among a line's numbers. A few are looked for in what is packed: that takes 0.5 µs."""
    if packed and len(seqs) <= FEW:
        size = len(packed) // entries
        bound = first + (1 << 8 * size)
        return [
            seq for seq in seqs if first <= seq < bound and places(packed, (seq - first).to_bytes(size, "little"), size)
        ]
    return set(seqs).intersection(unpack_numbers(entries, first, packed))


def read_line(row: Sequence[object]) -> Line:
    """One row of COLUMNS."""
    return Line(**dict(zip(Line.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


def line(db: sqlite3.Connection, line_id: int) -> Line:
    return read_line(db.execute(f"SELECT {COLUMNS} FROM log WHERE id = ?", (line_id,)).fetchone())


def lives(db: sqlite3.Connection) -> list[tuple[int, Line]]:
    """When somebody began to drain, and ended it, each with the line's id."""
    rows = db.execute(f"SELECT id, {COLUMNS} FROM log WHERE what IN ('started', 'stopped') ORDER BY id")
    return [(row[0], read_line(row[1:])) for row in rows.fetchall()]


def lines_that_touch(db: sqlite3.Connection, packed_lane: bytes) -> Iterable[tuple[int, int]]:
    """Ids and highest numbers of the lines in which an entry touches a lane; those with the highest come first.

    Not fetched at once: one person may be in all of a million lines.
    """
    return db.execute(
        """SELECT id, last_seq FROM log_lanes CROSS JOIN log USING (id) WHERE instr(log_lanes.lanes, ?)
           ORDER BY last_seq DESC""",
        (packed_lane,),
    )


def lines_marked(db: sqlite3.Connection, mark: bytes) -> Iterable[tuple[int, int]]:
    """The same of the lines in which an event has a mark."""
    return db.execute("SELECT id, last_seq FROM log WHERE instr(trails, ?) ORDER BY last_seq DESC", (mark,))


def lanes_of_line(db: sqlite3.Connection, line_id: int) -> bytes:
    lanes: bytes = db.execute("SELECT lanes FROM log_lanes WHERE id = ?", (line_id,)).fetchone()[0]
    return lanes


def places(haystack: bytes, needle: bytes, step: int) -> list[int]:
    """At which places of `step` bytes each `needle` begins."""
    found, at = [], haystack.find(needle)
    while at >= 0:
        if at % step == 0:
            found.append(at // step)
        at = haystack.find(needle, at + 1)
    return found


def begins_at_ms(db: sqlite3.Connection) -> int | None:
    """How far back the log goes without a hole; None while there is none."""
    return since(db, "at_ms")


def since(db: sqlite3.Connection, moment: str) -> int | None:
    """A moment of the first line, or a later one, before which no log was kept."""
    row = db.execute(f"SELECT max({moment}, log_since_ms), log_since_ms FROM log, ledger ORDER BY log.id LIMIT 1")
    found = row.fetchone()
    return found[0] if found and found[1] < NEVER_MS else None


def is_whole_since_ms(db: sqlite3.Connection) -> int | None:
    """From when on the log has every request that was over then or later; None while it is empty.

    Later than it begins: its first line may have been long under way, and others that were over before it are gone.
    """
    return since(db, "at_ms + took_ms")
