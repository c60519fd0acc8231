"""What an entry costs the store, in and out, at backlogs of different depth.

Drives the product's own store as its writer does, in one thread: claims between transactions, and in each transaction
as many entries appended as settled, so that the backlog stays as deep as it is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
from msgspec import Struct

from cio_buffer.outbox.claims import Claims
from cio_buffer.outbox.contract import Room
from cio_buffer.outbox.entry import Delivered, Entry, NewEntry, Settled
from tests.bench.backlog import entries, fill, open_store
from tests.bench.plan import Plan
from tests.bench.report import Failed, Goal, Outcome, Row

BATCH_ENTRIES = 500
BATCHES = 80
"""In a round: enough for the WAL to reach its checkpoint about once."""

RATIO_MIN = 0.8
ROOM = Room(main_entries=BATCH_ENTRIES, main_bytes=2**30, parked_entries=0, parked_bytes=0, parked_v1_entries=0)


class Round(Struct, frozen=True, kw_only=True):
    """What one entry cost in one round, in and out, checkpoints and all. `claim_cpu_us` is part of `cpu_us`."""

    cpu_us: float
    claim_cpu_us: float
    wall_us: float


class Backlog:
    """A store file with so many entries pending."""

    def __init__(self, path: Path, pool: Sequence[NewEntry], pending: int) -> None:
        self.pending = pending
        self._store, self._db = open_store(path)
        fill(self._store, self._db, pool, pending)
        self._claims = Claims(self._store)
        self._appends = [[entry] for entry in pool[:BATCH_ENTRIES]]  # one for each call, as HTTP brings them

    def close(self) -> None:
        self._store.close()

    def round(self, batches: int = BATCHES) -> Round:
        claim_cpu_s = 0.0
        cpu_began_s, wall_began_s = time.thread_time(), time.perf_counter()
        for _ in range(batches):
            before_s = time.thread_time()
            claimed = self._claim()
            claim_cpu_s += time.thread_time() - before_s
            self._in_and_out(claimed)
        cpu_s, wall_s = time.thread_time() - cpu_began_s, time.perf_counter() - wall_began_s
        us = 1e6 / (batches * BATCH_ENTRIES)
        return Round(cpu_us=cpu_s * us, claim_cpu_us=claim_cpu_s * us, wall_us=wall_s * us)

    def check(self) -> None:
        """Raise Failed if the backlog is not as deep as at first."""
        found = self._db.execute("SELECT count(*) FROM event").fetchone()[0]
        if found != self.pending:
            raise Failed(f"{found} entries are pending, not {self.pending}")

    def _claim(self) -> list[Entry]:
        return [met.entry for met in self._claims.claim(self._db, ROOM, now_ms()).main]

    def _in_and_out(self, claimed: Sequence[Entry]) -> None:
        """One transaction, on disk when this returns."""
        settled = [Settled(entry, Delivered(), 1) for entry in claimed]
        self._db.execute("BEGIN IMMEDIATE")
        self._store.insert(self._db, self._appends)
        self._claims.settle(self._db, settled, now_ms=now_ms(), died_at_ms=now_ms())
        self._store.before_commit(self._db)
        self._db.execute("COMMIT")
        self._store.after_commit(self._db)


def now_ms() -> int:
    return int(time.time() * 1000)


def run(plan: Plan, folder: Path) -> Outcome:
    with ExitStack() as stack:
        backlogs = list(opened(plan, folder, stack))
        for backlog in backlogs:
            backlog.round(BATCHES // 4)
        rounds: dict[int, list[Round]] = {backlog.pending: [] for backlog in backlogs}
        for turn in range(plan.store_rounds):
            first = turn % len(backlogs)
            for backlog in (*backlogs[first:], *backlogs[:first]):
                rounds[backlog.pending].append(backlog.round())
        for backlog in backlogs:
            backlog.check()
    note = (
        f"store: one thread, {BATCH_ENTRIES} in and {BATCH_ENTRIES} out in each durable transaction; "
        f"{plan.store_rounds} rounds of {BATCHES} transactions for each depth, in turn, all files open"
    )
    return Outcome(rows(rounds), [note, *details(rounds)])


def opened(plan: Plan, folder: Path, stack: ExitStack) -> Iterator[Backlog]:
    pool = entries()
    for pending in plan.store_pending:
        click.echo(f"  filling a store with {pending:,} entries", err=True)
        backlog = Backlog(folder / str(pending) / "outbox.db", pool, pending)
        stack.callback(backlog.close)
        yield backlog


def rows(rounds: dict[int, list[Round]]) -> list[Row]:
    """Entries per CPU second at each depth, against the shallowest; the goal is the deepest one's."""
    rates = {pending: [1e6 / one.cpu_us for one in seen] for pending, seen in rounds.items()}
    shallow, deep = min(rates), max(rates)
    return [
        Row(
            what=f"store, in + out, {pending:,} pending",
            unit="entries/CPU s",
            ours=median(seen),
            limit=None if pending == shallow else median(rates[shallow]),
            limit_is="" if pending == shallow else f"at {shallow:,}",
            goal=Goal(ratio_min=RATIO_MIN) if pending == deep else None,
            rounds={"ours": seen},
        )
        for pending, seen in rates.items()
    ]


def details(rounds: dict[int, list[Round]]) -> Iterator[str]:
    for pending, seen in rounds.items():
        cpu_us, claim_us, wall_us = (
            median(getattr(one, name) for one in seen) for name in ("cpu_us", "claim_cpu_us", "wall_us")
        )
        yield (
            f"store at {pending:,}: {cpu_us:.2f} µs of CPU an entry ({claim_us:.2f} of them to claim it), "
            f"{wall_us:.2f} µs of time: {1e6 / wall_us:,.0f} entries/s"
        )
