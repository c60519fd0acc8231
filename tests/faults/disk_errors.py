"""The disk says no for a while: the daemon lives, refuses with 503, says so, and comes back by itself."""

import asyncio

from tests.faults.report import Finding
from tests.faults.scene import Scene, scene
from tests.faults.traced import Injection

NOTE = "x" * 3_000
"""In each event, so that a checkpoint comes soon: at 16 MiB of WAL."""

BUSY_BEFORE_S = 0.5
BURST_OVER_IN_S = 12.0
SLOW_SYNC_US = 20_000


def bursts(stage: Scene) -> list[Injection]:
    """Each of them for some calls in a row, from some call on."""
    return [
        burst(stage, "fdatasync", "EIO", first=20, longest=4),
        burst(stage, "pwrite64", "EIO", first=60, longest=4),
        burst(stage, "pwrite64", "ENOSPC", first=60, longest=4),
        burst(stage, "fdatasync", "ENOSPC", first=20, longest=4),
    ]


def burst(stage: Scene, call: str, error: str, *, first: int, longest: int) -> Injection:
    begin = stage.chance.randint(1, first)
    return Injection(call, f"error={error}:when={begin}..{begin + stage.chance.randrange(longest)}")


async def disk_errors(seed: int, times: int) -> Finding:
    """`times` bursts or more, on one store."""
    found = Finding("disk_errors")
    async with scene(seed) as stage:
        async with stage.busy():
            while found.tried.total() < times and not stage.violations:
                for injection in bursts(stage)[: times - found.tried.total()]:
                    await endure(stage, injection)
                    found.tried[f"{injection.calls} {injection.what.split(':')[0]}"] += 1
        found.told.append(f"errors {(await stage.daemon.status())['outbox']['errors']}, /readyz {dict(stage.reasons)}")
        await stage.until_ready()
        await stage.settle()
    found.take(stage, seed)
    return found


async def endure(stage: Scene, injection: Injection) -> None:
    """Under load until the disk has failed, and until it takes something in again."""
    await asyncio.sleep(BUSY_BEFORE_S)
    refused_before, errors_before = stage.daemon.refused, await errors(stage)
    unready_before = stage.seen_unready
    async with stage.daemon.befallen(injection):
        failed = await failed_within(stage, errors_before, BURST_OVER_IN_S)
        await stage.until_ready()
    stage.demand(stage.is_alive(), f"it died of {injection}")
    stage.demand(stage.healthz.keys() <= {200}, f"/healthz {dict(stage.healthz)} ({injection})")
    if failed:
        stage.demand(stage.daemon.refused > refused_before or stage.seen_unready == unready_before, "nobody was told")
    acknowledged = len(stage.apps.acknowledged)
    await stage.until(lambda _: len(stage.apps.acknowledged) > acknowledged, 20.0, f"200 again after {injection}")


async def errors(stage: Scene) -> int:
    seen: dict[str, int] = (await stage.daemon.status())["outbox"]["errors"]
    return sum(seen.values())


async def failed_within(stage: Scene, errors_before: int, seconds: float) -> bool:
    """Whether the daemon has met an error; the call may also have been somebody else's, who came along without it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline and stage.is_alive():
        if await errors(stage) > errors_before:
            return True
        await asyncio.sleep(0.02)
    return False


async def failing_checkpoints(seed: int, times: int) -> Finding:
    """Only the database's own sync fails, thus each checkpoint: the WAL has it all, so nobody is turned away."""
    found = Finding("checkpoints")
    async with scene(seed) as stage:
        stage.apps.pause_s = 0.0
        sync_fails = Injection("fdatasync", "error=EIO", stage.daemon.store)
        async with stage.busy(NOTE):
            for _ in range(times):
                async with stage.daemon.befallen(sync_fails):
                    await stage.until(is_checkpoint_failing, 90.0, "a checkpoint fails")
                    acknowledged = len(stage.apps.acknowledged)
                    await stage.until(lambda _, n=acknowledged: len(stage.apps.acknowledged) > n + 50, 20.0, "200")
                await stage.until(lambda seen: not is_checkpoint_failing(seen), 60.0, "checkpoints work again")
                found.tried["fdatasync of the database EIO"] += 1
        await stage.settle()
    found.take(stage, seed)
    return found


def is_checkpoint_failing(seen: dict[str, dict[str, bool]]) -> bool:
    return seen["outbox"]["is_checkpoint_failing"]


async def slow_syncs(seed: int, times: int) -> Finding:
    """Each sync takes 20 ms longer, for so many seconds."""
    found = Finding("slow_syncs")
    async with scene(seed) as stage:
        before = len(stage.apps.acknowledged)
        async with stage.daemon.befallen(Injection("fdatasync", f"delay_enter={SLOW_SYNC_US}")), stage.busy():
            await asyncio.sleep(times)
        found.told.append(f"{(len(stage.apps.acknowledged) - before) / times:.0f} acknowledged/s")
        stage.demand(stage.healthz.keys() == {200}, f"/healthz {dict(stage.healthz)}")
        stage.demand(not stage.seen_unready, f"/readyz {dict(stage.reasons)}")
        stage.demand(stage.daemon.refused == 0, f"{stage.daemon.refused} were refused")
        await stage.settle()
    found.tried["seconds"] = times
    found.take(stage, seed)
    return found
