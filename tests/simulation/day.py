"""One run: apps, the outbox, the drain as the daemon builds it, and Customer.io, for as long as the scenario lasts."""

import asyncio
import logging
import os
import random
import sqlite3
import tempfile
import time
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import structlog
from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.config import Config
from cio_buffer.daemon import build_drain
from cio_buffer.delivery.drain import Drain
from cio_buffer.outbox.contract import Audit, Outbox
from tests.simulation.store import VirtualOutbox
from tests.simulation.traffic import TICK_S, Apps, Flow, Told
from tests.simulation.vendor import Manners, Phase, Vendor
from tests.simulation.virtual import VirtualClock, run

PATIENCE_S = 7_200.0
"""How long after the last call everything may take to leave before we look at what is wrong."""

SAMPLE_S = 1.0


class Scenario(Struct, frozen=True, kw_only=True):
    """A day, or part of one. Times are seconds since the run begins; apps speak until `until_s`.

    `is_held`: some of it stays in the outbox for ever. `drain` names what empties a backlog (`drains.DRAINS`),
    `drain_margin` how many times as long as need be that may take.
    `others_wait_max_s` bounds what may ride in batches; None where all of it has to wait.
    """

    name: str
    says: str
    persons: int
    flows: Sequence[Flow]
    until_s: float
    phases: Sequence[Phase] = ()
    manners: Manners = Manners()
    is_held: bool = False
    drain: str | None = None
    drain_margin: float = 1.10
    others_wait_max_s: float | None = None
    tick_s: float = TICK_S

    @property
    def on_their_way(self) -> int:
        """How many operations are on their way on a good day, at most: two ticks of them, and their delivery."""
        last_s = self.until_s - self.tick_s
        per_s = sum(flow.per_s for flow in self.flows if flow.from_s <= last_s < flow.until_s)
        return round(2.5 * self.tick_s * per_s)


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of it all. `backlog` has a sample each SAMPLE_S; `dead` and `left` are numbers of operations."""

    scenario: Scenario
    seed: int
    told: Told
    vendor: Vendor
    config: Config
    backlog: "array[int]"
    dead: set[int]
    left: set[int]
    audit: Audit
    violations: int
    ended_s: float
    cpu_s: float


def live(scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario. The same seed makes the same run, to the last request."""
    with tempfile.TemporaryDirectory(prefix="cio-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        return run(Day(scenario, seed, Path(folder)).live())


class Day:
    """A scenario under way."""

    def __init__(self, scenario: Scenario, seed: int, folder: Path) -> None:
        self._scenario, self._seed, self._folder = scenario, seed, folder
        self._backlog = array("I")

    async def live(self) -> Outcome:
        began = time.process_time()
        scenario, seed = self._scenario, self._seed
        clock = VirtualClock(asyncio.get_running_loop())
        told = Told(scenario.persons, random.Random(f"{seed} crowd"))
        vendor = Vendor(
            told,
            scenario.manners,
            scenario.phases,
            on_their_way=scenario.on_their_way,
            chance=random.Random(f"{seed} vendor"),
        )
        config = Config()
        outbox = VirtualOutbox(self._folder, clock=clock)
        await outbox.open()
        drain = build_drain(
            config, outbox, vendor, clock=clock, chance=random.Random(f"{seed} drain"), logger=quiet_logger()
        )
        apps = Apps(outbox, told, scenario.flows, clock=clock, tick_s=scenario.tick_s)
        await self._drain_until_done(drain, outbox, apps, clock)
        ended_s = clock.monotonic()
        outcome = Outcome(
            scenario=scenario,
            seed=seed,
            told=told,
            vendor=vendor,
            config=config,
            backlog=self._backlog,
            dead={int(letter.body) for letter in await outbox.archive.letters(limit=1 << 31)},
            audit=await outbox.audit(),
            left=numbers_left(self._folder / "outbox.db"),
            violations=drain.order.violations,
            ended_s=ended_s,
            cpu_s=time.process_time() - began,
        )
        await outbox.close()
        return outcome

    async def _drain_until_done(self, drain: Drain, outbox: Outbox, apps: Apps, clock: Clock) -> None:
        """Let all of them work until nothing is left, or patience is. Raises what the drain raises."""
        draining = asyncio.ensure_future(drain.run())
        watching = asyncio.ensure_future(self._watch(outbox, clock))
        speaking = asyncio.ensure_future(self._speak(outbox, apps, clock))
        done, _ = await asyncio.wait({draining, watching, speaking}, return_when=asyncio.FIRST_COMPLETED)
        for task in (speaking, watching, draining):
            task.cancel()
        await asyncio.gather(draining, watching, speaking, return_exceptions=True)
        await drain.give_up()
        for task in done:
            task.result()

    async def _speak(self, outbox: Outbox, apps: Apps, clock: Clock) -> None:
        await apps.speak(self._scenario.until_s)
        patience_s = self._scenario.until_s + PATIENCE_S
        while outbox.ledger().entries and clock.monotonic() < patience_s:
            if self._scenario.is_held and outbox.ledger().entries == outbox.ledger().parked:
                return
            await clock.sleep(1.0)

    async def _watch(self, outbox: Outbox, clock: Clock) -> None:
        while True:
            self._backlog.append(outbox.ledger().entries)
            await clock.sleep(SAMPLE_S)


def quiet_logger() -> structlog.typing.FilteringBoundLogger:
    """Says nothing, and so costs nothing."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )
    return logger


def numbers_left(store: Path) -> set[int]:
    """The operations that are still stored."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as db:
        return {int(body) for (body,) in db.execute("SELECT body FROM event UNION ALL SELECT body FROM parked")}
