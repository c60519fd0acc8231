"""How much memory the daemon takes: idle, with a deep backlog, after load."""

import asyncio
from pathlib import Path

from tests.bench.backlog import write
from tests.bench.load import load
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, NOWHERE, pid_of, resident_mb
from tests.bench.report import Failed, Goal, Outcome, Row
from tests.support.process import Daemon

IDLE_MAX_MB, PENDING_MAX_MB = 70.0, 120.0
LOOK_EVERY_S, LOOKS, LOOKS_MAX = 0.5, 4, 60
STEADY_MB = 0.1


def run(plan: Plan, folder: Path) -> Outcome:
    (folder / "idle").mkdir()
    write(folder / "pending", plan.pending_entries)
    idle_mb = asyncio.run(measure_idle(folder / "idle"))
    pending_mb, loaded_mb, peak_mb = asyncio.run(measure_pending(plan, folder / "pending"))
    pending = f"{plan.pending_entries:,} pending"
    return Outcome(
        [
            row("memory, idle", idle_mb, Goal(ours_max=IDLE_MAX_MB)),
            row(f"memory, {pending}", pending_mb, Goal(ours_max=PENDING_MAX_MB)),
            row(f"memory, {pending}, after {plan.memory_load_s:g} s of load", loaded_mb),
            row(f"memory, {pending}, at most under load", peak_mb),
        ],
        ["memory: resident, MB of 10^6 bytes; upstream out of reach, so that the drain's window is full"],
    )


def row(what: str, resident_mb: float, goal: Goal | None = None) -> Row:
    return Row(what=what, unit="MB", ours=resident_mb, goal=goal)


async def measure_idle(folder: Path) -> float:
    async with Daemon(folder, NOWHERE, environ=AS_SHIPPED) as daemon:
        return await steady_mb(pid_of(daemon))


async def measure_pending(plan: Plan, folder: Path) -> tuple[float, float, float]:
    """Resident MB with the backlog, after load, and at most."""
    async with Daemon(folder, NOWHERE, environ=AS_SHIPPED) as daemon:
        pid = pid_of(daemon)
        pending_mb = await steady_mb(pid)
        await check(daemon, plan.pending_entries)
        await load(await daemon.http_url(), for_s=plan.memory_load_s, connections=plan.connections)
        return pending_mb, await steady_mb(pid), resident_mb(pid, "VmHWM")


async def check(daemon: Daemon, entries: int) -> None:
    """Raise Failed unless all is pending, and a request was tried: what fills the window comes before that."""
    status = await daemon.status()
    if status["outbox"]["entries"] != entries or not status["upstream"]["recent"]:
        raise Failed(f"the daemon does not hold {entries} entries against an upstream out of reach: {status}")


async def steady_mb(pid: int) -> float:
    """Resident MB as soon as it has not changed for a while."""
    seen: list[float] = []
    while len(seen) < LOOKS_MAX:
        await asyncio.sleep(LOOK_EVERY_S)
        seen.append(resident_mb(pid))
        if len(seen) >= LOOKS and max(seen[-LOOKS:]) - min(seen[-LOOKS:]) <= STEADY_MB:
            break
    return seen[-1]
