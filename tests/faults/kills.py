"""`kill -9` at system calls drawn by chance: while it starts, while it works, while it stops."""

import asyncio
import random
import signal

from tests.faults.report import Finding
from tests.faults.scene import Scene, scene
from tests.faults.traced import Injection

AT_START = {
    "fdatasync": 6,
    "pwrite64": 40,
    "write": 12,
    "ftruncate": 2,
    "openat": 700,
    "unlink": 4,
    "fsync": 3,
    "rename": 2,
    "pread64": 200,
    "close": 500,
    "fcntl": 100,
}
AT_WORK = {"fdatasync": 40, "pwrite64": 300, "write": 40, "sendto": 30, "sendmsg": 30, "close": 10, "fcntl": 60}
AT_STOP = {"fdatasync": 6, "pwrite64": 40, "write": 10, "unlink": 3, "close": 20, "ftruncate": 1, "fcntl": 40}
"""At the latest at which call of that name it is killed: about as many as one of its threads makes then."""

SHARES = (35, 45, 20)
"""Of kills at start, at work and at stop."""

KILLS_PER_STORE = 50
LIVES_FOR_S = (0.1, 1.0)
"""If the call does not come, it is killed by hand after so long."""

STOPPED_IN_S = 15.0


async def kills(seed: int, times: int) -> Finding:
    """`times` kills, each `KILLS_PER_STORE` of them on one store, which has to be in order then."""
    found = Finding("kills")
    for number, first in enumerate(range(0, times, KILLS_PER_STORE)):
        async with scene(seed + number) as stage:
            async with stage.busy():
                for _ in range(min(KILLS_PER_STORE, times - first)):
                    found.tried[await kill_once(stage)] += 1
                    if stage.violations:
                        break
            if not stage.violations:
                await start_in_peace(stage)
                await stage.settle()
        found.take(stage, seed + number)
    return found


async def start_in_peace(stage: Scene) -> None:
    stage.demand(await stage.daemon.launch(), f"it does not start after a kill: {stage.daemon.process}")


async def kill_once(stage: Scene) -> str:
    """Start it, and have it killed on the way, at work, or while it stops; returns what happened."""
    if stage.is_alive():
        await stage.daemon.kill()
    where = stage.chance.choices(("start", "work", "stop"), weights=SHARES)[0]
    if where == "start":
        return await kill_at_start(stage)
    stage.demand(await stage.daemon.launch(), "it does not start after a kill")
    if stage.violations:
        return "nothing"
    return await (kill_at_work(stage) if where == "work" else kill_at_stop(stage))


async def kill_at_start(stage: Scene) -> str:
    injection = drawn(stage.chance, AT_START)
    if await stage.daemon.launch(injection):
        await ends_within(stage, stage.chance.uniform(*LIVES_FOR_S))
    return await ended(stage, f"{injection.calls} at start")


async def kill_at_work(stage: Scene) -> str:
    injection = drawn(stage.chance, AT_WORK)
    async with stage.daemon.befallen(injection):
        await ends_within(stage, stage.chance.uniform(*LIVES_FOR_S))
    return await ended(stage, injection.calls)


async def kill_at_stop(stage: Scene) -> str:
    await asyncio.sleep(stage.chance.uniform(0, 0.3))
    injection = drawn(stage.chance, AT_STOP)
    async with stage.daemon.befallen(injection):
        stage.daemon.signal(signal.SIGTERM)
        stage.demand(await ends_within(stage, STOPPED_IN_S), f"it does not stop ({injection})")
    if stage.daemon.process and stage.daemon.process.poll() == 0:
        return "stopped before that"
    return await ended(stage, f"{injection.calls} at stop")


async def ended(stage: Scene, at: str) -> str:
    """Only the kill may have ended it; where the call did not come, it is killed by hand."""
    assert stage.daemon.process
    if stage.is_alive():
        await stage.daemon.kill()
        return "by hand"
    code = stage.daemon.process.poll()
    stage.demand(code == -signal.SIGKILL, f"it ended by itself with {code} ({at})")
    return at


async def ends_within(stage: Scene, seconds: float) -> bool:
    deadline = asyncio.get_running_loop().time() + seconds
    while stage.is_alive():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def drawn(chance: random.Random, calls: dict[str, int]) -> Injection:
    """Some call, and at which of them: small numbers more often."""
    name = chance.choice(list(calls))
    return Injection(name, f"signal=KILL:when={max(1, round(calls[name] ** chance.random()))}")
