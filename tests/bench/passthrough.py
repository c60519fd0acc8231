"""What a send costs that goes through us, against the same send straight to Customer.io: in turn, call by call."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median, quantiles

import msgspec
from aiohttp import ClientSession, TCPConnector

from tests.bench.memory import steady_mb
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, bare, pid_of, resident_mb
from tests.bench.report import Failed, Goal, Outcome, Row
from tests.support.process import Daemon

P50_MORE_MAX_MS, P99_MORE_MAX_MS, ATTACHED_RATIO_MAX, GROWTH_MAX_MB = 1.0, 5.0, 1.5, 40.0
SEND = "/v1/send/email"
HEADERS = {"Authorization": "Bearer app-key", "Content-Type": "application/json"}
ATTACHED_BYTES = 2_000_000
AT_ONCE, ROUNDS_AT_ONCE = 50, 3
WARM_UP_CALLS = 50
SMALL = {"transactional_message_id": "3", "to": "ann@example.com", "identifiers": {"id": "ann"}}


def run(plan: Plan, folder: Path) -> Outcome:
    return asyncio.run(measure(plan, folder))


async def measure(plan: Plan, folder: Path) -> Outcome:
    content = b64encode(Random(1).randbytes(ATTACHED_BYTES)).decode()
    small, large = (msgspec.json.encode(SMALL | more) for more in ({}, {"attachments": {"report.pdf": content}}))
    with bare("send") as sink:
        async with (
            Daemon(folder, sink.url, environ=AS_SHIPPED | {"CIO_BUFFER__UPSTREAM__APP_URL": sink.url}) as daemon,
            ClientSession(headers=HEADERS, connector=TCPConnector(limit=0)) as session,
        ):
            ours, straight = await daemon.http_url() + SEND, sink.url + SEND
            rows = latency_rows(*await in_turn(session, (ours, straight), small, plan.sends))
            rows.append(attached_row(*await in_turn(session, (ours, straight), large, plan.attached_sends)))
            rows.append(await memory_row(session, pid_of(daemon), ours, large))
    note = f"passthrough: {plan.sends:,} small sends and {plan.attached_sends} of 2 MB each way, one at a time, in turn"
    return Outcome(rows, [note])


async def in_turn(session: ClientSession, urls: Sequence[str], body: bytes, calls: int) -> list[list[float]]:
    """Milliseconds of each call, by URL: one call to each, again and again."""
    for url in urls * WARM_UP_CALLS:
        await call_ms(session, url, body)
    turns = [[await call_ms(session, url, body) for url in urls] for _ in range(calls)]
    return [list(seen) for seen in zip(*turns, strict=True)]


async def call_ms(session: ClientSession, url: str, body: bytes) -> float:
    began = time.perf_counter()
    async with session.post(url, data=memoryview(body)) as answer:
        await answer.read()
        if answer.status != 200:
            raise Failed(f"{url} answered {answer.status}")
    return (time.perf_counter() - began) * 1000


def latency_rows(ours: list[float], straight: list[float]) -> list[Row]:
    def row(what: str, mine: float, theirs: float, most_ms: float) -> Row:
        return Row(
            what=f"passthrough, small send: {what} more than straight",
            unit="ms",
            ours=mine - theirs,
            goal=Goal(ours_max=most_ms),
            rounds={"ours": [mine], "straight": [theirs]},
        )

    return [
        row("p50", median(ours), median(straight), P50_MORE_MAX_MS),
        row("p99", p99(ours), p99(straight), P99_MORE_MAX_MS),
    ]


def p99(seen: list[float]) -> float:
    return quantiles(seen, n=100)[98]


def attached_row(ours: list[float], straight: list[float]) -> Row:
    return Row(
        what="passthrough, 2 MB attached",
        unit="ms",
        ours=median(ours),
        limit=median(straight),
        limit_is="straight",
        goal=Goal(ratio_max=ATTACHED_RATIO_MAX),
        rounds={"ours": ours, "straight": straight},
    )


async def memory_row(session: ClientSession, pid: int, url: str, body: bytes) -> Row:
    """By how much the daemon grows at most while many send 2 MB at once."""
    before_mb = await steady_mb(pid)
    for _ in range(ROUNDS_AT_ONCE):
        await asyncio.gather(*(call_ms(session, url, body) for _ in range(AT_ONCE)))
    grown_mb = resident_mb(pid, "VmHWM") - before_mb
    return Row(
        what=f"passthrough, {AT_ONCE} x 2 MB at once ({AT_ONCE * len(body) / 1e6:.0f} MB on their way): memory",
        unit="MB",
        ours=grown_mb,
        goal=Goal(ours_max=GROWTH_MAX_MB),
    )
