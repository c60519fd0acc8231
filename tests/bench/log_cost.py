"""What the delivery log costs a drain: the daemon with it, as shipped, beside the daemon without, in turn.

Spans are timed as in `drain.py`. A full request is one line of the log, so is one with ten entries in it: that is as
dear as it gets while there is a backlog.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from tests.bench.backlog import write
from tests.bench.drain import UNHURRIED, Drained, Moment, Round, daemon, one_round, store
from tests.bench.plan import Plan
from tests.bench.report import Failed, Goal, Outcome, Row, compare

RATIO_MIN = 0.90
WITHOUT_LOG = {"CIO_BUFFER__OUTBOX__KEEP_LOG_FOR_S": "0"}
SMALL_ENTRIES = 10
IN_SMALL_BATCHES = {"CIO_BUFFER__DRAIN__BATCH_MAX_ENTRIES": str(SMALL_ENTRIES)}
FLOOR = "without"


class Pair(Struct, frozen=True):
    """Rounds with the log, and without."""

    logged: list[Round]
    unlogged: list[Round]


def run(plan: Plan, folder: Path) -> Outcome:
    full = measure(folder / "full", plan.drain_entries, plan.drain_rounds, UNHURRIED)
    small = measure(folder / "small", plan.small_batch_entries, plan.drain_rounds, UNHURRIED | IN_SMALL_BATCHES)
    note = (
        f"drain, logged: {plan.drain_rounds} rounds with the delivery log as shipped, and as many with "
        "keep_log_for_s = 0, in turn; otherwise as in drain; the log has a line for each request and all entries in it"
    )
    return Outcome(
        [
            *rows(f"drain of {plan.drain_entries:,}, logged", full, Goal(ratio_min=RATIO_MIN)),
            *rows(f"drain by {SMALL_ENTRIES} to a request, logged", small),
        ],
        [note],
    )


def rows(what: str, pair: Pair, goal: Goal | None = None) -> list[Row]:
    def row(what: str, unit: str, seen: Callable[[Round], float], goal: Goal | None = None) -> Row:
        return compare(what, unit, [*map(seen, pair.logged)], [*map(seen, pair.unlogged)], limit_is=FLOOR, goal=goal)

    return [
        row(what, "entries/s", lambda one: one.entries_per_s, goal),
        row(f"{what}: CPU", "µs/entry", lambda one: one.cpu_us),
    ]


def measure(folder: Path, entries: int, rounds: int, environ: Mapping[str, str]) -> Pair:
    """Rounds in turn; each pair the other way round than the one before it."""
    backlog, place = write(folder / "backlog", entries), folder / "round"
    with_log, without = checked(daemon(environ), entries), checked(daemon({**environ, **WITHOUT_LOG}), 0)
    pair = Pair([], [])
    for turn in range(rounds):
        both = [(pair.logged, with_log), (pair.unlogged, without)]
        for seen, drained in both if turn % 2 else reversed(both):
            seen.append(one_round(drained, backlog, place, entries))
    return pair


def checked(drained: Drained, logged: int) -> Drained:
    """Raises Failed unless the log has so many entries afterwards."""

    def look(place: Path, url: str, entries: int) -> tuple[Moment, Moment]:
        span = drained(place, url, entries)
        with closing(sqlite3.connect(store(place))) as db:
            (found,) = db.execute("SELECT coalesce(sum(entries), 0) FROM log WHERE what = 'sent'").fetchone()
        if found != logged:
            raise Failed(f"the delivery log has {found} entries, where {logged} were to be kept")
        return span

    return look
