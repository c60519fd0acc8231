"""Apps, the daemon and Customer.io, something that befalls them, and what has to be true afterwards."""

import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientError

from tests.faults.mounts import is_mounted
from tests.faults.traced import TracedDaemon
from tests.promises.apps import Act, Apps, event, flapping, identify, mark_of, only_in_v1, out_of_order, talking
from tests.promises.conftest import Upstream
from tests.support.process import HELD_STATES

PEOPLE = [f"person-{n}" for n in range(5)]
DRAINED_IN_S = 90.0
RECOVERED_IN_S = 30.0
ARRIVALS_KEPT = 5_000_000
SHOWN = 5


class Callers(Apps):
    """Apps that take a 503 for what it is, and leave some of the processor to the daemon."""

    pause_s = 0.005

    async def say(self, acts: Sequence[Act]) -> bool:
        """Whether it was acknowledged; False too where the answer was 503, with when to come again."""
        await asyncio.sleep(self.pause_s)
        refused_before = self._daemon.refused  # type: ignore[attr-defined]
        try:
            return await super().say(acts)
        except AssertionError:
            if self._daemon.refused == refused_before:  # type: ignore[attr-defined]
                raise
            return False


def words_of(person: str, note: str = "") -> Iterator[Act]:
    """What a person does: mostly events, some of them in v1 only, some that Customer.io refuses, and a few names."""
    more = {"note": note} if note else {}
    for n in count():
        if n % 10 == 9:
            yield event(person, f"{person}/bad/{n}")
        elif n % 17 == 16:
            yield identify(person, f"{person}/name/{n}")
        elif n % 5 == 4:
            yield only_in_v1(person, f"{person}/{n}")
        else:
            act = event(person, f"{person}/{n}")
            act.v2["attributes"].update(more)
            yield act


class Scene:
    """One store and all that happens to it. `violations`: what was not as promised."""

    def __init__(self, folder: Path, upstream: Upstream, daemon: TracedDaemon, chance: random.Random) -> None:
        self.folder, self.upstream, self.daemon, self.chance = folder, upstream, daemon, chance
        self.apps = Callers(daemon, chance)
        self.violations: list[str] = []
        self.seen_unready = 0
        self.reasons: Counter[str] = Counter()
        self.healthz: Counter[int] = Counter()
        self.is_checked = False

    @asynccontextmanager
    async def busy(self, note: str = "") -> AsyncIterator[None]:
        """Several apps talk, Customer.io flaps a little, and somebody looks on, for as long as this lasts."""
        watching = asyncio.ensure_future(self._watch())
        self.refuse_bad()
        try:
            async with flapping(self.upstream.faults, self.chance):
                self.refuse_bad()
                async with talking(self.apps, [words_of(person + self._round(), note) for person in PEOPLE]):
                    yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self.refuse_bad()

    def refuse_bad(self) -> None:
        self.upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))

    def _round(self) -> str:
        self._rounds = getattr(self, "_rounds", 0) + 1
        return f".{self._rounds}"

    async def _watch(self) -> None:
        while True:
            with suppress(OSError, ClientError, TimeoutError, json.JSONDecodeError):  # it may be away just now
                self.look(await self.daemon.status())
                ready, said = await self.daemon.admin("/readyz")
                if ready != 200:
                    self.seen_unready += 1
                    self.reasons.update(json.loads(said)["reasons"])
                self.healthz[(await self.daemon.admin("/healthz"))[0]] += 1
            await asyncio.sleep(0.1)

    def look(self, seen: dict[str, Any]) -> None:
        """What has to be true at any moment."""
        self.demand(bool(seen["ledger"]["balanced"]), f"the ledger does not balance: {seen['ledger']}")
        self.demand(seen["outbox"]["order_violations"] == 0, "operations left out of order")
        self.demand(not seen["outbox"]["quarantined"], f"a store was set aside: {seen['outbox']['quarantined']}")

    def demand(self, is_so: bool, complaint: str) -> None:
        if not is_so and complaint not in self.violations:
            self.violations.append(complaint)

    async def until(self, is_so: Callable[[dict[str, Any]], bool], within_s: float, what: str) -> dict[str, Any]:
        """Wait for the status to be such; a violation if it does not come about in time, or if the daemon ends."""
        deadline = time.monotonic() + within_s
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline and self.is_alive():
            with suppress(OSError, ClientError, TimeoutError):
                if is_so(seen := await self.daemon.status()):
                    return seen
            await asyncio.sleep(0.05)
        told = {name: seen.get(name) for name in ("state", "reasons", "ledger")}
        self.demand(False, f"{what}: not within {within_s:.0f} s, alive={self.is_alive()}, {told}")
        return seen

    def is_alive(self) -> bool:
        return self.daemon.process is not None and self.daemon.process.poll() is None

    async def until_ready(self) -> None:
        await self.until(lambda seen: not seen["reasons"], RECOVERED_IN_S, "it takes in operations again")

    async def settle(self) -> None:
        """Everything is calm: it drains, stops, and what it was told is where it has to be."""
        self.is_checked = True
        seen = await self.until(
            lambda seen: not any(seen["ledger"][state] for state in HELD_STATES), DRAINED_IN_S, "it drains"
        )
        if not self.is_alive():
            return
        self.look(seen)
        code = await self.daemon.stop()
        self.demand(code == 0, f"it stopped with {code}")
        self._judge({mark_of_body(letter.body) for letter in await self.daemon.dead_letters()})

    def _judge(self, dead: set[str]) -> None:
        arrivals = self.upstream.ledger.in_effect()
        marks = [mark_of(arrival) for arrival in arrivals]
        delivered, acknowledged = set(marks), self.apps.acknowledged.keys()
        lost = sorted(acknowledged - delivered - dead)
        self.demand(not lost, f"{len(lost)} acknowledged operations were lost: {lost[:SHOWN]}")
        unknown = sorted((delivered | dead) - self.apps.said.keys())
        self.demand(not unknown, f"nobody said {unknown[:SHOWN]}")
        wrong = sorted(mark for mark in dead if "/bad/" not in mark)
        self.demand(not wrong, f"dead without reason: {wrong[:SHOWN]}")
        twice = sorted(mark for mark, times in Counter(marks).items() if times > 1 and "/name/" not in mark)
        self.demand(not twice, f"{len(twice)} in effect more than once: {twice[:SHOWN]}")
        swapped = out_of_order(self.apps, marks)
        self.demand(not swapped, f"out of order: {list(swapped)[:SHOWN]}")


def mark_of_body(body: bytes) -> str:
    said = json.loads(body)
    return str((said.get("attributes") or said.get("data"))["mark"])


@asynccontextmanager
async def scene(
    seed: int, *, disk: Callable[[Path], AbstractContextManager[None]] | None = None, starts: bool = True, **more: Any
) -> AsyncIterator[Scene]:
    """A daemon that runs, if it `starts`. `disk` mounts what its store lives on. At the end nothing is left behind."""
    upstream = Upstream()
    upstream.ledger.arrivals = deque(maxlen=ARRIVALS_KEPT)
    try:
        with tempfile.TemporaryDirectory(prefix="cio-") as name:
            folder = Path(name)
            with disk(folder / "store") if disk else nullcontext():
                daemon = TracedDaemon(folder, upstream.url, **more)
                async with AsyncExitStack() as stack:
                    await upstream.come_up()
                    stack.push_async_callback(upstream.go_down)
                    if starts:
                        await stack.enter_async_context(daemon)
                    stage = Scene(folder, upstream, daemon, random.Random(seed))
                    try:
                        yield stage
                    except BaseException:
                        print(f"(seed {seed}) the daemon said: {daemon.log.read_text()[-3000:]}" if starts else "")
                        raise
                    if stage.violations:
                        print(f"(seed {seed}) the daemon said: {daemon.log.read_text()[-3000:]}")
            left = [pid for pid in processes() if name in command_of(pid)]
            stage.demand(not left, f"processes left behind: {left}")
            stage.demand(not is_mounted(folder), "a mount was left behind")
    finally:
        upstream.let_go()


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
