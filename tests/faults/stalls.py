"""The process is stopped for a while, or gets no more memory."""

import asyncio
import resource
import signal
from pathlib import Path

from tests.faults.report import Finding
from tests.faults.scene import Scene, scene
from tests.promises.apps import event

ROOM_BYTES = 256 << 20
"""What it may map beyond what it has at the start: the drain's window of 32 MiB, what is sent of it, and 64 MiB for
each thread in which malloc begins a heap. With 96 MiB it gets stuck on a MemoryError: alive, and deaf."""

PEOPLE, EVENT_BYTES, TOGETHER = 50, 2_000, 100


async def frozen(seed: int, seconds: int) -> Finding:
    """SIGSTOP for so long, then SIGCONT, under load."""
    found = Finding("frozen")
    async with scene(seed) as stage:
        async with stage.busy():
            await asyncio.sleep(0.5)
            stage.daemon.signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            acknowledged = len(stage.apps.acknowledged)
            stage.daemon.signal(signal.SIGCONT)
            await stage.until(lambda _: len(stage.apps.acknowledged) > acknowledged + 20, 20.0, "200 after SIGCONT")
        stage.demand(stage.healthz.keys() == {200}, f"/healthz {dict(stage.healthz)}")
        await stage.settle()
    found.tried["seconds"] = seconds
    found.take(stage, seed)
    return found


async def little_memory(seed: int, thousands: int) -> Finding:
    """So many thousand events wait on disk, and RLIMIT_AS is in force: it drains them all the same."""
    found = Finding("little_memory")
    async with scene(seed) as stage:
        await stage.upstream.go_down()
        limit(stage)
        await pile_up(stage, thousands * 1_000)
        # a start has to do with it too
        stage.demand(await stage.daemon.stop() == 0, "it did not stop well")
        stage.demand(await stage.daemon.launch(), "it did not start")
        limit(stage)
        await stage.upstream.come_up()
        await stage.until(lambda seen: seen["ledger"]["delivered"] >= thousands * 1_000, 120.0, "it drains")
        async with stage.busy():
            await asyncio.sleep(1)
        found.told.append(f"peak {peak_bytes(stage) >> 20} MiB resident, backlog {thousands * EVENT_BYTES // 1000} MB")
        await stage.settle()
    found.tried["thousand events"] = thousands
    found.take(stage, seed)
    return found


async def pile_up(stage: Scene, wanted: int) -> None:
    for first in range(0, wanted, TOGETHER):
        acts = [event(f"p-{n % PEOPLE}", f"p-{n % PEOPLE}/{n}") for n in range(first, first + TOGETHER)]
        for act in acts:
            act.v2["attributes"]["note"] = "x" * EVENT_BYTES
        stage.demand(await stage.apps.say(acts), "a batch was refused")


def limit(stage: Scene) -> None:
    """From now on it may map `ROOM_BYTES` more than it has."""
    assert stage.daemon.process
    most = numbers_of(stage)["VmSize"] + ROOM_BYTES
    resource.prlimit(stage.daemon.process.pid, resource.RLIMIT_AS, (most, most))


def peak_bytes(stage: Scene) -> int:
    return numbers_of(stage)["VmHWM"]


def numbers_of(stage: Scene) -> dict[str, int]:
    """Of /proc/PID/status, those in bytes."""
    assert stage.daemon.process
    lines = Path(f"/proc/{stage.daemon.process.pid}/status").read_text().splitlines()
    parts = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(number) << 10 for name, number, _ in parts}
