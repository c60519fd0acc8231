"""How fast calls are accepted over HTTP, each durable before its 200, against a handler that does nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tests.bench.load import Load, load
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, NOWHERE, Server, bare, cpu_s, pid_of
from tests.bench.report import Failed, Goal, Outcome, Row, compare
from tests.support.process import Daemon

WARM_UP_S = 1.0
SETTLE_S = 0.3
RATIO_MIN = 0.75
FLOOR = "bare aiohttp"


class Round(Struct, frozen=True):
    """One server under load."""

    load: Load
    cpu_us_per_request: float


def run(plan: Plan, folder: Path) -> Outcome:
    ours, floor = asyncio.run(measure(plan, folder))
    note = (
        f"accept: wrk with 1 thread, {plan.connections} connections, {plan.accept_rounds} rounds of "
        f"{plan.accept_round_s:g} s each, in turn; upstream out of reach; every 200 is in the daemon's ledger"
    )
    return Outcome(rows(ours, floor), [note])


async def measure(plan: Plan, folder: Path) -> tuple[list[Round], list[Round]]:
    """Rounds of ours and of the floor, in turn."""
    ours, floor = [], []
    with bare("answer") as aiohttp:
        async with Daemon(folder, NOWHERE, environ=AS_SHIPPED) as daemon:
            server = Server(await daemon.http_url(), pid_of(daemon))
            await loaded(aiohttp, plan, WARM_UP_S, is_watched=True)
            await accepted(daemon, server, plan, WARM_UP_S, is_watched=True)
            for _ in range(plan.accept_rounds):
                ours.append(await accepted(daemon, server, plan, plan.accept_round_s))
                floor.append(await loaded(aiohttp, plan, plan.accept_round_s))
    return ours, floor


async def loaded(server: Server, plan: Plan, for_s: float, *, is_watched: bool = False) -> Round:
    before_s = cpu_s(server.pid)
    seen = await load(server.url, for_s=for_s, connections=plan.connections, is_watched=is_watched)
    return Round(seen, (cpu_s(server.pid) - before_s) / seen.requests * 1e6)


async def accepted(daemon: Daemon, server: Server, plan: Plan, for_s: float, *, is_watched: bool = False) -> Round:
    """Load the daemon. Raises Failed unless its ledger counts what wrk did, and what was under way at the end."""
    before = await accepted_count(daemon)
    seen = await loaded(server, plan, for_s, is_watched=is_watched)
    await asyncio.sleep(SETTLE_S)
    uncounted = await accepted_count(daemon) - before - seen.load.requests
    if not 0 <= uncounted <= plan.connections:
        raise Failed(f"the ledger has {uncounted} operations more than wrk got answers, of {seen.load.requests}")
    return seen


async def accepted_count(daemon: Daemon) -> int:
    count: int = (await daemon.status())["ledger"]["accepted"]
    return count


def rows(ours: list[Round], floor: list[Round]) -> list[Row]:
    def row(what: str, unit: str, seen: Callable[[Round], float], goal: Goal | None = None) -> Row:
        return compare(what, unit, [*map(seen, ours)], [*map(seen, floor)], limit_is=FLOOR, goal=goal)

    return [
        row("accept, durable", "requests/s", lambda one: one.load.requests_per_s, Goal(ratio_min=RATIO_MIN)),
        row("accept: server CPU", "µs/request", lambda one: one.cpu_us_per_request),
        row("accept: p50", "ms", lambda one: one.load.p50_us / 1000),
        row("accept: p99", "ms", lambda one: one.load.p99_us / 1000),
    ]
