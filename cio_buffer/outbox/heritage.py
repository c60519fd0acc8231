"""What a store leaves to the one that takes its place when it is set aside."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cio_buffer.outbox import tables
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.quarantine import Before
from cio_buffer.outbox.salvage import remains
from cio_buffer.outbox.transaction import transaction


def ledger_of(counts: dict[str, int]) -> Ledger:
    """The ledger's row as the contract has it."""
    return Ledger(**{name: counts[name] for name in Ledger.__struct_fields__})


def lowest_next(now: float) -> int:
    """A number above what any store has come to by `now`, Unix seconds, for want of something better."""
    return int(now * 1_000_000)


def found_in(store: Path, why: str, now: float) -> Before:
    """What can be seen of a store that could not be opened."""
    found = remains(store)
    counts = found.counts
    return Before(
        why=why,
        store_id=found.store_id.hex(),
        highest_seq=max(found.highest_seq, lowest_next(now)),
        last_request=counts["last_request"] if counts else 0,
        waiting=ledger_of(counts).entries if counts else None,
        dead=counts["dead"] if counts else None,
    )


def inherit(db: sqlite3.Connection, heirlooms: Sequence[Before], now: float) -> None:
    """A store that follows a damaged one keeps its name, so that receipts stay good, and numbers above its.

    It is not to be handed out before that is written. One that holds anything has inherited already.
    """
    counts = tables.load_counts(db)
    if counts["accepted"] or counts["salvaged"]:
        return
    store_id = next((one.store_id for one in reversed(heirlooms) if one.store_id), "")
    with transaction(db):
        tables.inherit(
            db,
            bytes.fromhex(store_id),
            seq=max(one.highest_seq or lowest_next(now) for one in heirlooms),
            request=max(one.last_request for one in heirlooms),
        )
