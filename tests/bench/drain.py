"""How fast a backlog is drained into an upstream that takes everything at once. For the record: upstream is slower."""

import asyncio
import time
from pathlib import Path
from statistics import median

from msgspec import Struct

from tests.bench.backlog import write
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, bare, cpu_s, pid_of
from tests.bench.report import Failed, Outcome, Row
from tests.support.process import Daemon

UNHURRIED = AS_SHIPPED | {"CIO_BUFFER__DRAIN__RATE_MAX_PER_S": "10000"}
PATIENCE_S, POLL_S = 120.0, 0.03


class Moment(Struct, frozen=True, kw_only=True):
    at_s: float
    cpu_s: float
    delivered: int


def run(plan: Plan, folder: Path) -> Outcome:
    rates_per_s, cpu_us = [], []
    with bare("sink") as sink:
        for turn in range(plan.drain_rounds):
            place = write(folder / str(turn), plan.drain_entries)
            first, last = asyncio.run(drained(place, sink.url, plan.drain_entries))
            delivered = last.delivered - first.delivered
            rates_per_s.append(delivered / (last.at_s - first.at_s))
            cpu_us.append((last.cpu_s - first.cpu_s) / delivered * 1e6)
    what = f"drain of {plan.drain_entries:,}"
    return Outcome(
        [
            Row(what=what, unit="entries/s", ours=median(rates_per_s), rounds={"ours": rates_per_s}),
            Row(what=f"{what}: CPU", unit="µs/entry", ours=median(cpu_us), rounds={"ours": cpu_us}),
        ],
        ["drain: into an aiohttp handler that answers {} to batches, rate_max_per_s = 10000, from the first delivery"],
    )


async def drained(folder: Path, url: str, entries: int) -> tuple[Moment, Moment]:
    """Drain all of it; returns how it stood when the first had left, and when the last had."""
    async with Daemon(folder, url, environ=UNHURRIED) as daemon:
        first = last = await look(daemon)
        while last.delivered < entries:
            if time.perf_counter() - first.at_s > PATIENCE_S:
                raise Failed(f"only {last.delivered} of {entries} entries were drained in {PATIENCE_S:g} s")
            await asyncio.sleep(POLL_S)
            last = await look(daemon)
            first = first if first.delivered else last
        return first, last


async def look(daemon: Daemon) -> Moment:
    delivered = (await daemon.status())["ledger"]["delivered"]
    return Moment(at_s=time.perf_counter(), cpu_s=cpu_s(pid_of(daemon)), delivered=delivered)
