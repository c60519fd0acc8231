"""Whether what is in a store adds up: its ledger, and the lanes of what is parked."""

import sqlite3
from collections.abc import Iterator

from cio_buffer.outbox.contract import Audit
from cio_buffer.outbox.entry import unpack_lanes

LEDGER_PROBLEM = "the ledger says {told:,} {what}, and {found:,} are there"


def imbalances(audit: Audit) -> Iterator[str]:
    """Where the ledger and a real count disagree. Empty where it is balanced."""
    told, sizes, measured = audit.ledger, audit.sizes, audit.measured
    for what, says, found in (
        ("entries wait", told.entries, audit.waiting + audit.parked),
        ("of them are parked", told.parked, audit.parked),
        ("dead letters are kept", told.dead, audit.dead),
        ("bytes of dead letters are kept", sizes.dead_bytes, measured.dead_bytes),
        ("lines of log are kept", sizes.log_lines, measured.log_lines),
        ("bytes of log are kept", sizes.log_bytes, measured.log_bytes),
    ):
        if says != found:
            yield LEDGER_PROBLEM.format(told=says, what=what, found=found)
    ended = told.replayed + told.dead_purged + told.dead_evicted + told.dead
    if told.dead_lettered != ended:
        yield f"the ledger says {told.dead_lettered:,} were dead lettered, and accounts for {ended:,}"


def lanes_astray(db: sqlite3.Connection) -> Iterator[str]:
    """Whether each parked entry keeps its lanes closed, and nothing else does."""
    wanted = missing = 0
    for seq, packed in db.execute("SELECT seq, lanes FROM parked"):
        if len(packed) % 8:
            yield f"the lanes of parked entry {seq} make no sense"
            continue
        lanes = set(unpack_lanes(packed))
        wanted += len(lanes)
        missing += sum(not is_closed(db, lane, seq) for lane in lanes)
    (kept,) = db.execute("SELECT count(*) FROM parked_lane").fetchone()
    if missing:
        yield f"{missing:,} lanes of parked entries are not kept closed: what comes later may overtake them"
    if kept > wanted - missing:
        yield f"{kept - (wanted - missing):,} lanes are kept closed by entries that are not parked"


def is_closed(db: sqlite3.Connection, lane: int, seq: int) -> bool:
    return db.execute("SELECT 1 FROM parked_lane WHERE lane = ? AND seq = ?", (lane, seq)).fetchone() is not None
