"""One soak: load, faults, looks at how much is used; then peace, and the questions."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import ClientError, ClientSession
from msgspec import Struct

from tests.bench.processes import Server, cpu_s, resident_mb, serving
from tests.soak.apps import App
from tests.soak.faults import Faults
from tests.soak.judging import HELD_STATES, grown, wrong_in
from tests.soak.report import Extent, Report, extent, waits
from tests.soak.vendor import Found, Mood
from tests.support.process import Daemon

APPS = 8
LOOK_EVERY_S = 2.0
AFTERWARDS_S = 5.0
"""So long after a fault its window lasts: the daemon has to come back, and to drain."""

DRAINED_WITHIN_S = 180.0
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
    fault_every_s: tuple[float, float] = (4.0, 12.0)  # from the end of one to the beginning of the next


class Use(NamedTuple):
    """What the daemon uses at a moment. `spent_s`: CPU seconds of the process that it is at that time."""

    resident_mb: float
    store_mb: float
    descriptors: float
    threads: float
    pid: int
    spent_s: float


USED = {"resident MB": "resident_mb", "store MB": "store_mb", "descriptors": "descriptors", "threads": "threads"}


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


async def soak(plan: Plan, folder: Path) -> Report:
    """Raises what a fault raises that is none: a daemon that does not start again, or does not end with 0."""
    with serving("tests.soak.vendor", str(plan.seed)) as vendor:
        async with Daemon(folder, vendor.url, store=STORE, more="requests_in_flight_max = 16") as daemon:
            return await soaked(plan, daemon, vendor)


async def soaked(plan: Plan, daemon: Daemon, vendor: Server) -> Report:
    chance = random.Random(plan.seed)
    apps = [app_of(plan, daemon, n) for n in range(APPS)]
    course = Course(apps, Faults(daemon, vendor.url, chance), Counter(), [], [])
    began = time.monotonic()
    until = began + plan.lasts_s
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
    lasted_s = time.monotonic() - began
    async with ClientSession() as session:
        async with session.get(f"{vendor.url}/found") as answer:
            found = msgspec.json.decode(await answer.read(), type=Found)
        missing = await count_missing(session, vendor.url, apps)
    spent = {"daemon": spent_s(course.seen), "vendor": cpu_s(vendor.pid), "apps": cpu_s(os.getpid())}
    return reported(plan, course, found, missing, lasted_s=lasted_s, cpu=spent, status=status)


def app_of(plan: Plan, daemon: Daemon, n: int) -> App:
    """Half of them come by the UNIX socket, half by HTTP."""
    chance = random.Random(f"{plan.seed}/{n}")
    return App(daemon, f"app{n}", plan.per_s / APPS, "tcp" if n % 2 else "unix", chance)


async def trouble(plan: Plan, course: Course, chance: random.Random, until: float) -> None:
    """Each kind once before any comes again."""
    kinds = course.faults.kinds
    wanted = [kind for kind in kinds if not is_left_out(kind, plan) and (not plan.faults or kind in plan.faults)]
    waiting: list[str] = []
    while time.monotonic() < until:
        await asyncio.sleep(min(chance.uniform(*plan.fault_every_s), max(until - time.monotonic(), 0.0)))
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


def is_left_out(kind: str, plan: Plan) -> bool:
    """`--without damage` is enough for "file damaged"."""
    return any(word in kind for word in plan.without)


async def look(daemon: Daemon, seen: list[Use]) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(OSError, IndexError, ValueError, StopIteration):  # it was killed just now
            assert daemon.process is not None
            seen.append(use_of(daemon.process.pid, daemon.store.parent))


def use_of(pid: int, store: Path) -> Use:
    """Raises OSError where it has just ended, and others where it ends meanwhile."""
    files = sum(file.stat().st_size for file in store.rglob("*") if file.is_file() and file.name != "foreign")
    descriptors, threads = (len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("fd", "task"))
    return Use(resident_mb(pid), files / 1e6, descriptors, threads, pid, cpu_s(pid))


def spent_s(seen: Iterable[Use]) -> float:
    """CPU seconds of all processes that the daemon has been, as far as they were seen."""
    return sum({use.pid: use.spent_s for use in seen}.values())


async def drained(daemon: Daemon, faults: Faults) -> dict[str, Any]:
    """Wait until nothing is held any more, and what was set aside is gone through; returns the status then."""
    deadline = time.monotonic() + DRAINED_WITHIN_S
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        await faults.clear_quarantine()
        with suppress(OSError, ClientError, TimeoutError):
            status = await daemon.status()
            ledger = status["ledger"]
            if not any(ledger[name] for name in HELD_STATES) and not status["outbox"]["quarantined"]:
                await asyncio.sleep(3.0)  # the background count has to come to it
                return await daemon.status()
        await asyncio.sleep(0.5)
    return status


async def count_missing(session: ClientSession, vendor_url: str, apps: Iterable[App]) -> int:
    """How many operations were acknowledged and never came, not even to be refused."""
    missing = 0
    for app in apps:
        for name, said in app.said.items():
            async with session.post(f"{vendor_url}/missing/{name}", data=bytes(said.acknowledged)) as answer:
                missing += int(await answer.read())
    return missing


def reported(
    plan: Plan,
    course: Course,
    found: Found,
    missing: int,
    *,
    lasted_s: float,
    cpu: dict[str, float],
    status: dict[str, Any],
) -> Report:
    apps, faults, used = course.apps, course.faults, extents(course.seen)
    in_peace, in_trouble = split(apps, course.windows)
    wrong = wrong_in(status, missing, faults.lost)
    return Report(
        seed=plan.seed,
        lasted_s=lasted_s,
        per_s=plan.per_s,
        offered=sum(app.offered for app in apps),
        acknowledged=sum(said.acknowledged.count(1) for app in apps for said in app.said.values()),
        not_acknowledged=sum(app.refused for app in apps),
        delivered=found.delivered,
        repeated=found.repeated,
        dead=found.dead,
        refused_upstream=found.refused,
        requests=found.requests,
        missing=missing,
        saved=faults.saved,
        lost=faults.lost,
        faults=dict(course.counts),
        in_peace=waits(in_peace),
        in_trouble=waits(in_trouble),
        used=used,
        cpu_s=cpu,
        violations=[*found.violations, *wrong, *grown(used, len(course.seen))],
    )


def extents(seen: Sequence[Use]) -> dict[str, Extent]:
    return {name: extent([getattr(use, field) for use in seen]) for name, field in USED.items()} if seen else {}


def split(apps: Iterable[App], windows: Sequence[Window]) -> tuple[list[float], list[float]]:
    """How long acknowledged calls took that were asked outside of all windows, and inside of one."""
    outside: list[float] = []
    inside: list[float] = []
    for at, took in (latency for app in apps for latency in app.latencies):
        (inside if any(one.begins <= at <= one.ends for one in windows) else outside).append(took)
    return outside, inside
