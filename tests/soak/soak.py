"""One soak: load, faults, looks at how much is used; then peace, and the questions."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import ClientError, ClientSession
from msgspec import Struct

from tests.bench.processes import resident_mb, serving
from tests.soak.apps import App
from tests.soak.faults import Faults
from tests.soak.vendor import Found, Mood
from tests.support.process import Daemon

APPS = 8
LOOK_EVERY_S = 2.0
FAULT_EVERY_S = (4.0, 12.0)
"""From the end of one to the beginning of the next."""

AFTERWARDS_S = 5.0
"""So long after a fault its window lasts: the daemon has to come back, and to drain."""

DRAINED_WITHIN_S = 180.0
GROWTH_MAX = 1.3
"""Of the median of the last third against that of the first: a leak of one byte an operation would be 2 MB."""

STORE = """bytes_max = 536_870_912
ballast_bytes = 33_554_432
keep_log_bytes = 33_554_432
"""


class Plan(Struct, frozen=True, kw_only=True):
    lasts_s: float
    per_s: float
    seed: int
    without: frozenset[str] = frozenset()
    faults: frozenset[str] = frozenset()  # none: all


class Outcome(Struct, frozen=True):
    text: str
    violations: list[str]


class Use(NamedTuple):
    """What the daemon uses at a moment."""

    at: float
    resident_mb: float
    store_mb: float
    descriptors: int


class Course(Struct):
    """What has been done and seen so far."""

    apps: Sequence[App]
    faults: Faults
    counts: Counter[str]
    windows: list["Window"]
    seen: list[Use]


class Window(NamedTuple):
    """When there was trouble, monotonic seconds."""

    begins: float
    ends: float


async def soak(plan: Plan, folder: Path) -> Outcome:
    """Raises what a fault raises that is none: a daemon that does not start again, or does not end with 0."""
    with serving("tests.soak.vendor", str(plan.seed)) as vendor:
        async with Daemon(folder, vendor.url, store=STORE, more="requests_in_flight_max = 16") as daemon:
            return await soaked(plan, daemon, vendor.url)


async def soaked(plan: Plan, daemon: Daemon, vendor_url: str) -> Outcome:
    chance = random.Random(plan.seed)
    apps = [App(daemon, f"app{n}", plan.per_s / APPS) for n in range(APPS)]
    course = Course(apps, Faults(daemon, vendor_url, chance), Counter(), [], [])
    until = time.monotonic() + plan.lasts_s
    looking = asyncio.ensure_future(look(daemon, course.seen))
    try:
        async with asyncio.TaskGroup() as group:
            for app in apps:
                group.create_task(app.talk(until))
            group.create_task(trouble(plan, course, chance, until))
        await course.faults.set_mood(Mood())
        status = await drained(daemon, course.faults)
    finally:
        looking.cancel()
    async with ClientSession() as session:
        async with session.get(f"{vendor_url}/found") as answer:
            found = msgspec.json.decode(await answer.read(), type=Found)
        missing = await count_missing(session, vendor_url, apps)
    violations = [*found.violations, *judged(status, missing, course.faults), *grown(course.seen)]
    return Outcome(told(plan, course, found, missing, violations), violations)


async def trouble(plan: Plan, course: Course, chance: random.Random, until: float) -> None:
    """Each kind once before any comes again."""
    kinds = course.faults.kinds
    wanted = [kind for kind in kinds if kind not in plan.without and (not plan.faults or kind in plan.faults)]
    waiting: list[str] = []
    while time.monotonic() < until:
        await asyncio.sleep(min(chance.uniform(*FAULT_EVERY_S), max(until - time.monotonic(), 0.0)))
        if time.monotonic() >= until:
            return
        waiting = waiting or chance.sample(wanted, len(wanted))
        kind = waiting.pop()
        print(f"{time.strftime('%H:%M:%S')} {kind}", flush=True)
        begins = time.monotonic()
        await kinds[kind]()
        await course.faults.clear_quarantine()
        course.counts[kind] += 1
        course.windows.append(Window(begins, time.monotonic() + AFTERWARDS_S))


async def look(daemon: Daemon, seen: list[Use]) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(OSError, IndexError, ValueError):  # it was killed just now
            assert daemon.process is not None
            pid = daemon.process.pid
            seen.append(use_of(pid, daemon.store.parent))


def use_of(pid: int, store: Path) -> Use:
    """Raises OSError where it has just ended."""
    files = sum(file.stat().st_size for file in store.iterdir() if file.name != "foreign")
    return Use(time.monotonic(), resident_mb(pid), files / 1e6, len(list(Path(f"/proc/{pid}/fd").iterdir())))


async def drained(daemon: Daemon, faults: Faults) -> dict[str, object]:
    """Wait until nothing is held any more, and what was set aside is gone through; returns the status then."""
    deadline = time.monotonic() + DRAINED_WITHIN_S
    status: dict[str, object] = {}
    while time.monotonic() < deadline:
        await faults.clear_quarantine()
        with suppress(OSError, ClientError, TimeoutError):
            seen = await daemon.status()
            status = seen
            ledger = seen["ledger"]
            if not any(ledger[name] for name in ("pending", "held", "in_flight")) and not seen["outbox"]["quarantined"]:
                await asyncio.sleep(3.0)  # the background count has to come to it
                return await daemon.status()
        await asyncio.sleep(0.5)
    return status


async def count_missing(session: ClientSession, vendor_url: str, apps: Iterable[App]) -> int:
    """How many operations were acknowledged and never came."""
    missing = 0
    for app in apps:
        for name, said in app.said.items():
            asked = msgspec.json.encode(said.acknowledged)
            async with session.post(f"{vendor_url}/missing/{name}", data=asked) as answer:
                missing += len(await answer.json())
    return missing


def judged(status: dict[str, object], missing: int, faults: Faults) -> list[str]:
    """What of the end is not as it should be."""
    ledger, outbox = status["ledger"], status["outbox"]
    assert isinstance(ledger, dict)
    assert isinstance(outbox, dict)
    wrong = []
    if held := {name: ledger[name] for name in ("pending", "held", "in_flight") if ledger[name]}:
        wrong.append(f"still held: {held}")
    if not ledger["balanced"]:
        wrong.append(f"the ledger does not agree with a real count: {ledger}")
    if outbox["order_violations"]:
        wrong.append(f"{outbox['order_violations']} left out of order")
    if faults.lost is not None and missing > faults.lost:
        wrong.append(
            f"{missing} acknowledged operations never came, {faults.lost} were said to be lost with damaged files"
        )
    return wrong


def grown(seen: Sequence[Use]) -> list[str]:
    """What is larger in the last third than in the first."""
    third = len(seen) // 3
    if third < 10:
        return []
    first, last = seen[:third], seen[-third:]
    wrong = []
    for name, least in (("resident_mb", 20.0), ("store_mb", 64.0), ("descriptors", 20.0)):
        before, after = (statistics.median(getattr(use, name) for use in part) for part in (first, last))
        if after > GROWTH_MAX * before and after - before > least:
            wrong.append(f"{name} has grown from {before:.0f} to {after:.0f}")
    return wrong


def told(plan: Plan, course: Course, found: Found, missing: int, violations: Sequence[str]) -> str:
    """All of it, for people."""
    apps, faults = course.apps, course.faults
    acknowledged = sum(len(said.acknowledged) + said.poison for app in apps for said in app.said.values())
    calls = [latency for app in apps for latency in app.latencies]
    inside = [took for at, took in calls if any(one.begins <= at <= one.ends for one in course.windows)]
    outside = [took for at, took in calls if not any(one.begins <= at <= one.ends for one in course.windows)]
    lost = "an unknown number" if faults.lost is None else f"{faults.lost:,}"
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(course.counts.items()))
    lines = [
        f"soak of {plan.lasts_s / 60:g} minutes at {plan.per_s:,.0f} operations/s, seed {plan.seed}",
        f"  offered {sum(app.offered for app in apps):,}   acknowledged {acknowledged:,}"
        f"   refused or cut off {sum(app.refused for app in apps):,}",
        f"  delivered {found.delivered:,}   again under the same id {found.repeated:,}"
        f"   poison refused {found.refused:,}   in {found.requests:,} requests",
        f"  faults: {sum(course.counts.values())}: {kinds}",
        f"  damaged files: {faults.saved:,} entries saved, {lost} lost; acknowledged and never delivered: {missing:,}",
        f"  p50, p99 of a call of 20: {quantiles(outside)} in peace, {quantiles(inside)} in trouble",
        *(used(unit, [getattr(use, name) for use in course.seen]) for name, unit in USED),
        *(f"  VIOLATION {one}" for one in violations),
        f"  violations: {len(violations)}",
    ]
    return "\n".join(lines)


USED = (("resident_mb", "MB resident"), ("store_mb", "MB of files"), ("descriptors", "descriptors"))


def used(unit: str, values: Sequence[float]) -> str:
    third = max(len(values) // 3, 1)
    if not values:
        return f"  {unit}: never seen"
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return f"  {unit}: median of the first third {first:.0f}, of the last {last:.0f}, at most {max(values):.0f}"


def quantiles(times_s: Sequence[float]) -> str:
    if len(times_s) < 2:
        return "none"
    cuts = statistics.quantiles(times_s, n=100)
    return f"{cuts[49] * 1000:.1f} ms, {cuts[98] * 1000:.1f} ms"
