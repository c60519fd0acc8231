"""How fast a backlog is drained, beside the least that draining can be; how full its requests are; a lone operation.

**The span.** Both drain a copy of one store into a sink of the same kind, and both are timed by the same onlooker, who
reads in the store file how far they are: from the moment when a tenth of the entries is gone to that when nine tenths
are. Gone means durably deleted, so nobody gains by sending ahead of its commits. Beginning and end are left out because
they flatter us: by its first commit the daemon has read a window of 16,000 entries ahead, and has nothing left to read
while it sends the last of them. In between, both read as much as they delete.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from tests.bench import lone
from tests.bench.backlog import BODY_BYTES, write
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, ROOT, cpu_s, pid_of, sink
from tests.bench.report import Failed, Goal, Outcome, Row, compare, median_row
from tests.bench.sink import Taken, taken
from tests.support.process import Daemon

UNHURRIED = AS_SHIPPED | {"CIO_BUFFER__DRAIN__RATE_MAX_PER_S": "10000"}
RATIO_MIN, FULL_MIN_PERCENT = 0.60, 90.0
FLOOR = "bare loop"
ENTRIES_MAX, BYTES_MAX = 1_000, 500_000
"""What one request may have, as the daemon is shipped."""

BEGIN_AT, END_AT = 0.1, 0.9
PATIENCE_S, LOOK_EVERY_S = 120.0, 0.003


class Moment(Struct, frozen=True, kw_only=True):
    """`gone`: how many entries have left the file from its front; what left out of turn is not seen yet."""

    at_s: float
    cpu_s: float
    gone: int


class Round(Struct, frozen=True, kw_only=True):
    entries_per_s: float
    cpu_us: float
    full_percent: float


def run(plan: Plan, folder: Path) -> Outcome:
    backlog = write(folder / "backlog", plan.drain_entries)
    ours, floor = [], []
    for _ in range(plan.drain_rounds):
        floor.append(one_round(bare, backlog, folder / "round", plan.drain_entries))
        ours.append(one_round(daemon(UNHURRIED), backlog, folder / "round", plan.drain_entries))
    note = (
        f"drain: {plan.drain_rounds} rounds of {plan.drain_entries:,} entries, in turn, into an aiohttp handler that "
        "answers {} to batches; rate_max_per_s = 10000; timed while the middle eight tenths leave the store file"
    )
    return Outcome([*rows(plan, ours, floor), *lone.rows(plan, folder / "lone")], [note, lone.NOTE])


def rows(plan: Plan, ours: list[Round], floor: list[Round]) -> list[Row]:
    def row(what: str, unit: str, seen: Callable[[Round], float], goal: Goal | None = None) -> Row:
        return compare(what, unit, [*map(seen, ours)], [*map(seen, floor)], limit_is=FLOOR, goal=goal)

    what = f"drain of {plan.drain_entries:,}"
    full_percent = [one.full_percent for one in ours]
    return [
        row(what, "entries/s", lambda one: one.entries_per_s, Goal(ratio_min=RATIO_MIN)),
        row(f"{what}: CPU", "µs/entry", lambda one: one.cpu_us),
        median_row(f"{what}: requests that are full", "%", full_percent, Goal(ours_min=FULL_MIN_PERCENT)),
    ]


Drained = Callable[[Path, str, int], tuple[Moment, Moment]]
"""Drains the store of a folder into a URL, which takes so many entries; returns the span's beginning and end."""


def one_round(drained: Drained, backlog: Path, place: Path, entries: int) -> Round:
    """Drain a copy of `backlog`. Raises Failed unless the sink got each entry once."""
    copy(backlog, place)
    try:
        with sink() as server:
            begin, end = drained(place, server.url, entries)
            requests = asyncio.run(taken(server.url))
    finally:
        shutil.rmtree(place)
    if (arrived := sum(one.entries for one in requests)) != entries:
        raise Failed(f"{arrived} entries came to the sink, where {entries} were to be drained")
    gone = end.gone - begin.gone
    return Round(
        entries_per_s=gone / (end.at_s - begin.at_s),
        cpu_us=(end.cpu_s - begin.cpu_s) / gone * 1e6,
        full_percent=100 * sum(map(is_full, requests)) / len(requests),
    )


def copy(backlog: Path, place: Path) -> None:
    """On disk to the last byte, so that whoever syncs next does not sync the copy as well."""
    shutil.copytree(backlog, place)
    os.sync()


def is_full(request: Taken) -> bool:
    """Whether another entry would have been too much."""
    return request.entries >= ENTRIES_MAX or request.bytes + 1 + BODY_BYTES > BYTES_MAX


def daemon(environ: Mapping[str, str]) -> Drained:
    """`cio-buffer run` with these settings."""

    def drained(place: Path, url: str, entries: int) -> tuple[Moment, Moment]:
        async def run() -> tuple[Moment, Moment]:
            async with Daemon(place, url, environ=environ) as running:
                return watch(store(place), pid_of(running), entries)

        return asyncio.run(run())

    return drained


def bare(place: Path, url: str, entries: int) -> tuple[Moment, Moment]:
    command = [sys.executable, "-m", "tests.bench.bare_drain", str(store(place)), f"{url}/api/v2/batch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            return watch(store(place), process.pid, entries)
        finally:
            process.kill()


def store(place: Path) -> Path:
    return place / "store" / "outbox.db"


def watch(path: Path, pid: int, entries: int) -> tuple[Moment, Moment]:
    """Look on until nothing is left; returns the span's beginning and end. The daemon must have opened its store."""
    deadline = time.perf_counter() + PATIENCE_S
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        begin = until(db, pid, int(BEGIN_AT * entries), entries, deadline)
        end = until(db, pid, int(END_AT * entries), entries, deadline)
        until(db, pid, entries, entries, deadline)
    return begin, end


def until(db: sqlite3.Connection, pid: int, gone: int, entries: int, deadline: float) -> Moment:
    """The first look at which so many are gone. Raises Failed where it does not come about."""
    while (moment := look(db, pid, entries)).gone < gone:
        if moment.at_s > deadline:
            raise Failed(f"only {moment.gone} of {entries} entries were drained in {PATIENCE_S:g} s")
        time.sleep(LOOK_EVERY_S)
    return moment


def look(db: sqlite3.Connection, pid: int, entries: int) -> Moment:
    """Numbers begin with 1, and what a fresh backlog has is numbered without a gap."""
    (first,) = db.execute("SELECT min(seq) FROM event").fetchone()
    return Moment(at_s=time.perf_counter(), cpu_s=cpu_s(pid), gone=entries if first is None else first - 1)
