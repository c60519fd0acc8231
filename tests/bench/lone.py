"""How soon an operation leaves that comes alone: no other will fill its request, and nothing hurries it."""

import asyncio
import time
from math import ceil
from pathlib import Path

from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, sink
from tests.bench.report import Failed, Goal, Row
from tests.bench.sink import taken
from tests.support.process import Daemon

P99_MAX_S = 0.1
EVENTS = "/api/v1/customers/lone/events"
EVENT = {"name": "order_completed", "data": {"order_id": "b7f1c2d4-5e6f-4a8b-9c0d-1e2f3a4b5c6d", "total": 129.95}}
NOTE = (
    "drain, a lone operation: from the app's sending it to an idle daemon, as shipped, to its being whole at the sink; "
    "the next is sent when the store is empty again"
)


def rows(plan: Plan, folder: Path) -> list[Row]:
    folder.mkdir()
    seen_s = asyncio.run(measure(plan.lone_operations, folder))
    return [
        Row(what="drain, a lone operation: p50", unit="s", ours=percentile(seen_s, 50), rounds={"ours": seen_s}),
        Row(what="drain, a lone operation: p99", unit="s", ours=percentile(seen_s, 99), goal=Goal(ours_max=P99_MAX_S)),
    ]


async def measure(operations: int, folder: Path) -> list[float]:
    """Seconds that each of some operations took. Raises Failed unless each came, and came alone."""
    began_s = []
    with sink() as server:
        async with Daemon(folder, server.url, environ=AS_SHIPPED) as daemon:
            for _ in range(operations):
                began_s.append(time.monotonic())
                status, said = await daemon.call("POST", EVENTS, EVENT)
                if status != 200:
                    raise Failed(f"the daemon answered {status}: {said!r}")
                await daemon.until_empty()
        requests = await taken(server.url)
    if [one.entries for one in requests] != [1] * operations:
        raise Failed(f"{operations} lone operations came in {len(requests)} requests")
    return [one.at_s - began for one, began in zip(requests, began_s, strict=True)]


def percentile(seen: list[float], percent: float) -> float:
    """The smallest of those seen that so many percent do not exceed."""
    return sorted(seen)[ceil(len(seen) * percent / 100) - 1]
