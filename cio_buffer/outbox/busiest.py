"""Which lanes most of what waits touches: counted while little waits, else judged by a sample of bounded size.

No index leads from a lane to what waits in the main lane. Entries are read by the hundred: each row of a result has to
win the interpreter's lock from the event loop, and beside a busy one 20,000 of them would take minutes.
"""

import heapq
import json
import random
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter

from msgspec import Struct, field

from cio_buffer.outbox.archive import BusyLane
from cio_buffer.outbox.places import Place, spread

EXACT_MAX = 50_000
"""Up to so many entries of a table are counted: 40 ms."""

SAMPLE_ENTRIES = 20_000
"""Beyond, so many are looked at. A lane with a tenth of them is told within a twentieth of itself, nearly always."""

LANES_MAX = 120_000
"""Reading ends where so many are known: calls that touch a thousand lanes each would fill the memory."""

SEEN_IN_MIN = 5
"""Places of a sample in which a lane is met before anything is said of it: one place is one burst."""

SEED = 0
"""A view that is drawn again should not flicker by chance alone."""

ROWS_AT_ONCE, PLACES_AT_ONCE, ROWS_OF_A_PLACE_MAX = 200, 20, 1_000


class Seen(Struct):
    """What was met: how many entries, how many of them touch each lane, and in how many places of a sample that was."""

    is_sample: bool = False
    entries: int = 0
    lanes: Counter[int] = field(default_factory=Counter)
    places: Counter[int] = field(default_factory=Counter)

    def add(self, packed: str) -> None:
        """One place: its entries' lanes in hexadecimal, with a blank between any two entries."""
        lanes = unpack_hex(packed)
        self.entries += packed.count(" ") + 1
        self.lanes.update(lanes)
        if self.is_sample:
            self.places.update(set(lanes))

    @property
    def is_full(self) -> bool:
        return len(self.lanes) >= LANES_MAX


def busiest(db: sqlite3.Connection, count: int, chance: random.Random | None = None) -> list[BusyLane]:
    """The `count` lanes that most of what waits touches, the busiest first; to be called within one read snapshot.

    Of more than EXACT_MAX entries in a table it looks at some SAMPLE_ENTRIES, and says nothing of lanes that it met in
    few places. Without `chance` these are the same while the table is. Takes 40 ms with 1 million entries in the page
    cache and with 10 million, 2 MB, and at most 20 MB (measured).
    """
    chance = chance or random.Random(SEED)
    total: Counter[int] = Counter()
    is_estimate = False
    for table, entries in waiting(db).items():
        seen = look_at(db, table, entries, chance)
        is_estimate |= seen.is_sample
        total = merged(total, scaled(seen, entries))
    ranked = heapq.nlargest(count, total.items(), key=itemgetter(1))
    return [BusyLane(lane, entries, is_estimate) for lane, entries in ranked]


def lane_sample(
    db: sqlite3.Connection, lane: int, chance: random.Random | None = None
) -> tuple[bytes, str | None] | None:
    """Body and call of one waiting entry that touches `lane`; None where none is found, which of a lane that few touch
    may be so although there are some. Takes 20 ms at most, however much waits."""
    held = "SELECT body, call FROM parked WHERE seq = (SELECT min(seq) FROM parked_lane WHERE lane = ?)"
    found: tuple[bytes, str | None] | None = db.execute(held, (lane,)).fetchone()
    return found or sample_of_main(db, lane, chance or random.Random(SEED))


def sample_of_main(db: sqlite3.Connection, lane: int, chance: random.Random) -> tuple[bytes, str | None] | None:
    entries = waiting(db)["event"]
    if entries <= EXACT_MAX:
        places: list[Place] = [(0, 2**63 - 1)]
    else:
        places = spread(db, "event", entries, wanted=SAMPLE_ENTRIES, chance=chance)
    wanted = struct.pack("<q", lane)
    for some in batched_places(places):
        row: tuple[bytes, str | None] | None = db.execute(
            """SELECT body, call
               FROM json_each(?) AS place
               CROSS JOIN event ON seq BETWEEN json_extract(place.value, '$[0]') AND json_extract(place.value, '$[1]')
               WHERE instr(lanes, ?) LIMIT 1""",  # across two hashes it is found as rarely as two are the same
            (json.dumps(some), wanted),
        ).fetchone()
        if row:
            return row
    return None


def waiting(db: sqlite3.Connection) -> dict[str, int]:
    """How many entries wait in each table, as the ledger has it: a count of ten million takes a second."""
    entries, parked = db.execute(
        "SELECT accepted + replayed - delivered - dead_lettered - purged, parked FROM ledger"
    ).fetchone()
    return {"event": entries - parked, "parked": parked}


def look_at(db: sqlite3.Connection, table: str, entries: int, chance: random.Random) -> Seen:
    """All of a table if it is small, else some of it."""
    if entries <= EXACT_MAX and (seen := whole(db, table)):
        return seen
    return sampled(db, table, spread(db, table, entries, wanted=SAMPLE_ENTRIES, chance=chance))


def whole(db: sqlite3.Connection, table: str) -> Seen | None:
    """All that is in a table; None where that is too much."""
    seen, after = Seen(), 0
    while not seen.is_full:
        packed, last = db.execute(
            f"""SELECT group_concat(hex(lanes), ' '), max(seq)
                FROM (SELECT seq, lanes FROM {table} WHERE seq > ? ORDER BY seq LIMIT {ROWS_AT_ONCE})""",
            (after,),
        ).fetchone()
        if last is None:
            return seen
        seen.add(packed)
        after = last
    return None


def sampled(db: sqlite3.Connection, table: str, places: Sequence[Place]) -> Seen:
    """What is at `places`, or at the first of them if there is very much."""
    seen = Seen(is_sample=True)
    for some in batched_places(places):
        [packed] = db.execute(
            f"""SELECT group_concat(found, '|') FROM (SELECT (
                    SELECT group_concat(hex(lanes), ' ') FROM (
                        SELECT lanes FROM {table}
                        WHERE seq BETWEEN json_extract(place.value, '$[0]') AND json_extract(place.value, '$[1]')
                        LIMIT {ROWS_OF_A_PLACE_MAX})
                ) AS found FROM json_each(?) AS place)""",
            (json.dumps(some),),
        ).fetchone()
        for place in () if packed is None else packed.split("|"):
            seen.add(place)
            if seen.is_full or seen.entries > 2 * SAMPLE_ENTRIES:
                return seen
    return seen


def batched_places(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """So many at a time that what is read of them takes some megabytes at the worst."""
    for start in range(0, len(places), PLACES_AT_ONCE):
        yield places[start : start + PLACES_AT_ONCE]


def scaled(seen: Seen, entries: int) -> Counter[int]:
    """How many of all `entries` touch each lane, if the rest are like those seen."""
    if not seen.is_sample:
        return seen.lanes
    often = [lane for lane, places in seen.places.items() if places >= SEEN_IN_MIN]
    return Counter({lane: round(seen.lanes[lane] * entries / seen.entries) for lane in often})


def merged(one: Counter[int], other: Counter[int]) -> Counter[int]:
    """Both together, in the place of the larger."""
    larger, smaller = sorted((one, other), key=len, reverse=True)
    larger.update(smaller)
    return larger


def unpack_hex(packed: str) -> tuple[int, ...]:
    """The hashes in hexadecimal, whatever blanks stand between them."""
    lanes = bytes.fromhex(packed)
    return struct.unpack(f"<{len(lanes) // 8}q", lanes)
