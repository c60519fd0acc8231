"""`kill -9` at system calls drawn by chance: while it starts, while it works, while it stops."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import suppress

from tests.faults.report import Finding
from tests.faults.scene import Scene, scene
from tests.faults.traced import Injection

CALLS = {
    # name: how often a thread makes it in a second or two of this work, roughly
    "fdatasync": 150,
    "pwrite64": 3_000,
    "write": 300,
    "sendto": 400,
    "sendmsg": 400,
    "ftruncate": 3,
    "openat": 900,
    "unlink": 6,
    "fsync": 6,
    "rename": 2,
    "pread64": 300,
    "fallocate": 2,
    "close": 900,
    "fcntl": 500,
}
AT_STOP = {"fdatasync": 12, "pwrite64": 60, "write": 10, "unlink": 4, "close": 30, "ftruncate": 2, "fcntl": 60}
KILLS_PER_STORE = 50
STOPS_SHARE = 0.15
LIVES_FOR_S = (0.1, 1.2)
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
    """Kill what runs, and start it again so that it is killed at some call; returns what happened."""
    if stage.chance.random() < STOPS_SHARE and stage.is_alive():
        return await kill_at_stop(stage)
    if stage.is_alive():
        await stage.daemon.kill()
    name = stage.chance.choice(list(CALLS))
    is_up = await stage.daemon.launch(Injection(name, f"signal=KILL:when={draw(stage.chance, CALLS[name])}"))
    if not is_up:
        return ended(stage, f"{name} at start")
    if await ends_within(stage, stage.chance.uniform(*LIVES_FOR_S)):
        return ended(stage, name)
    await stage.daemon.kill()
    return "by hand"


async def kill_at_stop(stage: Scene) -> str:
    """Asked to stop, it is killed at some call on the way."""
    name = stage.chance.choice(list(AT_STOP))
    injection = Injection(name, f"signal=KILL:when={draw(stage.chance, AT_STOP[name])}")
    with suppress(ProcessLookupError):
        async with stage.daemon.befallen(injection):
            stage.daemon.signal(signal.SIGTERM)
            is_over = await ends_within(stage, STOPPED_IN_S)
            stage.demand(is_over, f"it does not stop ({injection})")
    if stage.daemon.process and stage.daemon.process.poll() == 0:
        return "stopped in time"
    return ended(stage, f"{name} at stop")


def ended(stage: Scene, at: str) -> str:
    """Only the kill may have ended it."""
    assert stage.daemon.process
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


def draw(chance: random.Random, high: int) -> int:
    """A number from 1 to `high`, small ones more often."""
    return max(1, round(high ** chance.random()))


def summed(tried: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in tried.most_common())
