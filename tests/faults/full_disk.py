"""The disk is full, or may not be written: refused while it lasts, drained, and accepted again by itself."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from tests.faults.mounts import fill, make_read_only, small_ext4, small_tmpfs
from tests.faults.report import Finding
from tests.faults.scene import RECOVERED_IN_S, Scene, scene

NOTE = "x" * 20_000
DISK_MB = 120
SMALL_DISK_MB = 80
"""Less than `outbox.bytes_max` can be, so that it is the disk that is full first."""
BALLAST = "ballast_bytes = 33_554_432"
FLOOR_BYTES = 32 << 20
APPS_FILL_BYTES = 4 << 20
DISK_IS_FULL_IN_S = 60.0
UNUSABLE = 74
REFUSES_FOR = {"disk_low", "store_unwritable", "outbox_full"}

Disk = Callable[[Path], AbstractContextManager[None]]


async def full(
    name: str, disk: Disk, seed: int, times: int, *, floor_bytes: int = 0, is_greedy: bool = False
) -> Finding:
    """`times` disks are filled, by the backlog and by somebody else's file at a bad moment.

    What that file leaves, the apps fill: up to `APPS_FILL_BYTES`, or down to some way below the floor if there is one,
    which then has to refuse before SQLite meets the end of the disk. `is_greedy`: that somebody comes again and takes
    what the daemon has given up.
    """
    found = Finding(name)
    for seed_here in range(seed, seed + times):
        async with scene(seed_here, disk=disk, store=BALLAST, floor_bytes=floor_bytes) as stage:
            foreign = stage.folder / "store" / "foreign"
            async with stage.busy(NOTE):
                await stage.upstream.go_down()
                await asyncio.sleep(stage.chance.uniform(0.5, 4.0))
                taken = await asyncio.to_thread(fill, foreign, left_to(stage, floor_bytes))
                await stage.until(is_refusing, DISK_IS_FULL_IN_S, "it refuses")
                if is_greedy:
                    taken += await asyncio.to_thread(fill, foreign.with_name("more"))
                await asyncio.sleep(0.5)
            found.told.append(f"the file took {taken >> 20} MiB, /readyz {dict(stage.reasons)}")
            stage.demand(stage.daemon.refused > 0, "nobody was refused")
            if floor_bytes:
                stage.demand(stage.reasons.keys() == {"disk_low"}, f"the floor was not first: {dict(stage.reasons)}")
            await stage.upstream.come_up()
            if not is_greedy:
                await stage.until(is_empty, 60.0, "it drains while the disk is full")
            foreign.unlink()
            foreign.with_name("more").unlink(missing_ok=True)
            await stage.until(lambda seen: not seen["reasons"], RECOVERED_IN_S, "it accepts again")
            async with stage.busy():
                await asyncio.sleep(0.5)
            await stage.settle()
        found.tried["disks"] += 1
        found.take(stage, seed_here)
    return found


async def full_of_ours(name: str, seed: int, times: int, *, floor_bytes: int = 0) -> Finding:
    """The backlog alone fills the disk, and is gone: nobody else comes or goes, and the file never shrinks."""
    found = Finding(name)
    for seed_here in range(seed, seed + times):
        async with scene(seed_here, disk=on_small_tmpfs, store=BALLAST, floor_bytes=floor_bytes) as stage:
            await stage.upstream.go_down()
            async with stage.busy(NOTE):
                await stage.until(is_refusing, DISK_IS_FULL_IN_S, "it refuses")
                await asyncio.sleep(0.5)
            stage.demand(stage.daemon.refused > 0, "nobody was refused")
            await stage.upstream.come_up()
            await stage.until(is_empty, 60.0, "it drains while the disk is full")
            await stage.until(lambda seen: not seen["reasons"], RECOVERED_IN_S, "it accepts again")
            async with stage.busy():
                await asyncio.sleep(0.5)
            await stage.settle()
            found.told.append(f"/readyz {dict(stage.reasons)}")
        found.tried["disks"] += 1
        found.take(stage, seed_here)
    return found


def left_to(stage: Scene, floor_bytes: int) -> int:
    """Above half of the floor, so that nothing but the floor is met; else little or nothing."""
    return floor_bytes * 3 // 4 if floor_bytes else stage.chance.randrange(APPS_FILL_BYTES)


def is_refusing(seen: dict[str, list[str]]) -> bool:
    return bool(REFUSES_FOR & set(seen["reasons"]))


def is_empty(seen: dict[str, dict[str, int]]) -> bool:
    return not sum(seen["ledger"][state] for state in ("pending", "held", "in_flight"))


async def read_only(seed: int, times: int) -> Finding:
    """It ends with 74 and says why, and is as it was once the disk may be written."""
    found = Finding("read_only")
    async with scene(seed, disk=partial(small_tmpfs, megabytes=DISK_MB)) as stage:
        async with stage.busy():
            await asyncio.sleep(0.5)
        await stage.daemon.stop()
        for _ in range(times):
            await refuse_to_start(stage, found)
        stage.demand(await stage.daemon.launch(), "it does not start when it may write again")
        await stage.settle()
    found.take(stage, seed)
    return found


async def refuse_to_start(stage: Scene, found: Finding) -> None:
    store = stage.folder / "store"
    make_read_only(store)
    try:
        said_before = stage.daemon.log.stat().st_size
        stage.demand(not await stage.daemon.launch(), "it started on a read-only filesystem")
        code = await stage.daemon.ended()
        said = stage.daemon.log.read_text()[said_before:]
    finally:
        make_read_only(store, is_over=True)
    found.tried["starts"] += 1
    found.told = [" / ".join(line.strip() for line in said.strip().splitlines())]
    stage.demand(code == UNUSABLE, f"it ended with {code}")
    stage.demand("read-only" in said.lower() or "readonly" in said.lower(), f"it does not say why: {said}")
    stage.demand("Traceback" not in said, f"it said {said}")


on_tmpfs = partial(small_tmpfs, megabytes=DISK_MB)
on_small_tmpfs = partial(small_tmpfs, megabytes=SMALL_DISK_MB)
on_ext4 = partial(small_ext4, megabytes=DISK_MB)
