"""Where to look in a table that is too large to be read whole: places spread evenly over its entries.

Numbers have gaps: each start leaves up to a million of them unused, what was delivered leaves holes. So a place is a
range of numbers, not so many entries from some number on: of those, what stands behind a gap would be met more often.
With ranges of one width each entry is met as probably as any other.
"""

import json
import random
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

Place = tuple[int, int]
"""The first and the last number of a range."""

PLACES = 2_000
"""Where each of them holds 10 entries, reading takes half as long again as where 40 hold 500 each (22 instead of 14 ms,
measured), and what came in one burst is met in as many places as it fills."""

SPANS = 128
"""A gap is left out if it is wider than such a part of what is not known to be one."""

SPLITS_MAX = 12


def spread(db: sqlite3.Connection, table: str, entries: int, *, wanted: int, chance: random.Random) -> list[Place]:
    """Places in which some `wanted` of the `entries` of `table` stand, shuffled: the first of them are a sample too.

    Takes a few hundred look-ups of a number, 3,000 at most, whatever the table holds.
    """
    spans = inhabited(db, table)
    numbers = sum(last - first + 1 for first, last in spans)
    if not numbers:
        return []
    width = max(-(-wanted * numbers // (PLACES * max(entries, 1))), 1)
    starts = [int((place + chance.random()) * numbers / PLACES) for place in range(PLACES)]
    chance.shuffle(starts)
    ends = list(accumulate(last - first + 1 for first, last in spans))
    return [place for start in starts for place in cut(spans, ends, start, min(width, numbers))]


def inhabited(db: sqlite3.Connection, table: str) -> list[Place]:
    """The numbers of `table` without its widest gaps: halves what is wide, and leaves out the gap in which it cuts."""
    first, last = db.execute(f"SELECT (SELECT min(seq) FROM {table}), (SELECT max(seq) FROM {table})").fetchone()
    spans: list[Place] = [] if first is None else [(first, last)]
    for _ in range(SPLITS_MAX):
        limit = sum(last - first + 1 for first, last in spans) // SPANS
        wide = [span for span in spans if span[1] - span[0] > limit]
        if not wide:
            break
        halves = halve(db, table, wide)
        spans = sorted([*(span for span in spans if span[1] - span[0] <= limit), *halves])
    return spans


def halve(db: sqlite3.Connection, table: str, spans: Sequence[Place]) -> list[Place]:
    """Two for each of `spans`, which have more than one number and an entry at either end. In one statement: each has
    to win the interpreter's lock."""
    middles = json.dumps([(first + last + 1) // 2 for first, last in spans])
    cuts = db.execute(
        f"""SELECT (SELECT max(seq) FROM {table} WHERE seq < value), (SELECT min(seq) FROM {table} WHERE seq >= value)
            FROM json_each(?) ORDER BY key""",
        (middles,),
    ).fetchall()
    return [
        half
        for (first, last), (below, above) in zip(spans, cuts, strict=True)
        for half in ((first, below), (above, last))
    ]


def cut(spans: Sequence[Place], ends: Sequence[int], start: int, width: int) -> Iterator[Place]:
    """`width` numbers of `spans`, counted through without the gaps, from `start` on; the first follows on the last."""
    at = bisect_right(ends, start)
    while width > 0:
        first, last = spans[at]
        first = last + 1 - (ends[at] - start)
        taken = min(width, last + 1 - first)
        yield first, first + taken - 1
        width -= taken
        start = (start + taken) % ends[-1]
        at = (at + 1) % len(spans)
