"""Erases what touches a lane, piece by piece, so that nobody waits long: functions of a connection."""

import sqlite3
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from msgspec import Struct

from cio_buffer.outbox import log
from cio_buffer.outbox.entry import pack_hash
from cio_buffer.outbox.log import Line
from cio_buffer.outbox.search import touching
from cio_buffer.outbox.trail import TRAIL_BYTES


class Traces(Struct, frozen=True, kw_only=True):
    """Where something is to be erased: `seq`s as they stand in each table, and ids of lines."""

    event: list[int]
    parked: list[int]
    dead: list[int]
    lines: list[int]


def find(db: sqlite3.Connection, lane: int) -> Traces:
    """All that touches a lane."""
    packed = pack_hash(lane)

    def column(statement: str, value: object) -> list[int]:
        return [one for (one,) in db.execute(statement, (value,)).fetchall()]

    return Traces(
        event=column("SELECT seq FROM event WHERE instr(lanes, ?) ORDER BY seq", packed),
        parked=column("SELECT seq FROM parked_lane WHERE lane = ? ORDER BY seq", lane),
        dead=column("SELECT seq FROM dead WHERE instr(lanes, ?) ORDER BY seq", packed),
        lines=column("SELECT id FROM log_lanes WHERE instr(lanes, ?) ORDER BY id", packed),
    )


def blank(db: sqlite3.Connection, line_id: int, lane: int) -> tuple[int, int]:
    """Take what touches a lane out of one line; returns by how many lines and bytes the log has shrunk."""
    row = db.execute(f"SELECT {log.COLUMNS} FROM log WHERE id = ?", (line_id,)).fetchone()
    if row is None:
        return 0, 0
    line = log.read_line(row)
    (lanes,) = db.execute("SELECT lanes FROM log_lanes WHERE id = ?", (line_id,)).fetchone()
    erased = touching(line, lanes, pack_hash(lane))
    kept = [place for place, seq in enumerate(line.numbers()) if seq not in erased]
    before = size(line, lanes)
    if not kept:
        db.execute("DELETE FROM log WHERE id = ?", (line_id,))
        db.execute("DELETE FROM log_lanes WHERE id = ?", (line_id,))
        return 1, before
    anew, lanes_left = only(line, lanes, kept)
    names = ", ".join(f"{name} = ?" for name in Line.__struct_fields__)
    values = [getattr(anew, name) for name in Line.__struct_fields__]
    db.execute(f"UPDATE log SET {names} WHERE id = ?", (*values, line_id))
    db.execute("UPDATE log_lanes SET lanes = ? WHERE id = ?", (lanes_left, line_id))
    return 0, before - size(anew, lanes_left)


def only(line: Line, lanes: bytes, kept: Sequence[int]) -> tuple[Line, bytes]:
    """A line with these of its entries alone, and their lanes."""
    bounds = list(pairwise([0, *line.lane_ends()]))
    anew_at = {place: index for index, place in enumerate(kept)}
    numbers = line.numbers()
    seqs = [numbers[place] for place in kept]
    first, last = min(seqs), max(seqs)
    fates = [
        (fate, places if places is None else [anew_at[place] for place in places if place in anew_at])
        for fate, places in line.unpacked_fates()
    ]
    left = [(fate, places) for fate, places in fates if places is None or places]
    anew = msgspec.structs.replace(
        line,
        entries=len(kept),
        first_seq=first,
        last_seq=last,
        fates=msgspec.msgpack.encode(left) if left else b"",
        seqs=log.pack_numbers(seqs, first, last),
        trails=b"".join([line.trails[place * TRAIL_BYTES :][:TRAIL_BYTES] for place in kept]),
    )
    return anew, b"".join([lanes[8 * bounds[place][0] : 8 * bounds[place][1]] for place in kept])


def size(line: Line, lanes: bytes) -> int:
    """As the ledger counts the log's bytes."""
    return len(lanes) + len(line.fates) + len(line.seqs) + len(line.trails)
