"""A drain, its outbox and a Customer.io of a few lines, all in one process, with time that only tests advance."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import structlog

from cio_buffer.delivery.batching import BatchLimits
from cio_buffer.delivery.drain import Drain, DrainLimits
from cio_buffer.delivery.lanes import WindowLimits
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.retry import Backoff, RetryPolicy
from cio_buffer.outbox.entry import NewEntry, pack_lanes
from cio_buffer.outbox.sqlite import SqliteOutbox
from cio_buffer.upstream.track import complaints
from cio_buffer.upstream.transport import Reply, Request
from tests.support.clock import FakeClock

Answer = Callable[[list[dict[str, object]]], Reply]
OK = Reply(status=200, body=b"{}")


class TrackApi:
    """Answers as it is told, takes in what it answers 200 for, and remembers in which order it saw what."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.otherwise: Answer = lambda operations: OK
        self.seen: list[list[int]] = []  # the `n` of each operation, request by request
        self.taken: list[int] = []
        self.paths: list[str] = []
        self.gate: asyncio.Event | None = None

    def will_answer(self, *answers: Answer | int) -> None:
        for answer in answers:
            self.answers.append((lambda _, status=answer: Reply(status=status)) if isinstance(answer, int) else answer)

    async def send(self, request: Request) -> Reply:
        body = json.loads(request.body)
        is_batch = request.path == "/api/v2/batch"
        operations = body["batch"] if is_batch else [body]
        assert not (is_batch and any(operation.get("is_v1") for operation in operations))
        self.seen.append([number_of(operation) for operation in operations])
        self.paths.append(request.path)
        reply = (self.answers.pop(0) if self.answers else self.otherwise)(operations)
        if self.gate:
            await self.gate.wait()
        refused = {one.index for one in complaints(reply.body) or []} if reply.status == 207 else set()
        is_page = reply.body.startswith(b"<")
        if (reply.status in (200, 207) and not is_page) or reply.trouble == "torn":
            self.taken += [number_of(operation) for index, operation in enumerate(operations) if index not in refused]
        return reply


def number_of(operation: dict[str, object]) -> int:
    """What the test calls an operation: on v2 among the attributes of an event, on v1 in its data."""
    return next(
        part["n"] for part in (operation, operation.get("attributes"), operation.get("data")) if part and "n" in part
    )


class World:
    """One host: append, step, look."""

    def __init__(self, folder: Path, *, seed: int = 0, **limits: object) -> None:
        self.clock = FakeClock()
        self.api = TrackApi()
        self.folder = folder
        self.chance = random.Random(seed)
        self.limits = {
            "entries_max": 1_000,
            "linger_s": 0.0,
            "in_flight_max": 4,
            "v1_max": 100,
            "window": 1_000,
        } | limits

    async def open(self) -> "World":
        self.outbox = SqliteOutbox(
            self.folder / "outbox.db", clock=self.clock, bytes_max=1 << 32, disk_free_min_bytes=0
        )
        await self.outbox.open()
        backoff = Backoff(first_s=1.0, max_s=60.0)
        limits = self.limits
        self.drain = Drain(
            self.outbox,
            self.api,
            pacing=Pacing(rate_max_per_s=1_000_000, in_flight_max=limits["in_flight_max"], backoff=backoff),
            retry=RetryPolicy(backoff=backoff, keep_trying_for_s=limits.get("keep_trying_for_s", 0)),
            limits=DrainLimits(
                batch=BatchLimits(
                    entries_max=limits["entries_max"],
                    bytes_max=limits.get("bytes_max", 500_000),
                    same_lane=limits.get("same_lane", True),
                ),
                window=WindowLimits(entries_max=limits["window"], bytes_max=1 << 25, v1_max=limits["v1_max"]),
                linger_s=limits["linger_s"],
                request_timeout_s=30.0,
            ),
            clock=self.clock,
            chance=self.chance,
            logger=structlog.get_logger(),
        )
        return self

    async def close(self) -> None:
        await self.drain.give_up()
        await self.outbox.close()

    async def crash(self) -> None:
        """Forget all that is in memory. What is under way is abandoned; what is on disk stays."""
        await self.close()
        await self.open()

    def entry(self, n: int, *lanes: str, v1: bool = False, kind: str = "identify") -> NewEntry:
        return NewEntry(
            kind=kind,
            lanes=pack_lanes(lanes),
            body=json.dumps({"n": n, "is_v1": v1}).encode(),
            accepted_at_ms=int(self.clock.now() * 1000),
            call="POST /api/v1/events" if v1 else None,
        )

    async def append(self, *entries: NewEntry) -> None:
        await self.outbox.append(entries)

    async def step(self) -> int:
        """One step, and what it sent is settled."""
        sent = await self.drain.step()
        await self.drain.flights()
        return sent

    async def until_idle(self, *, patience: int = 10_000) -> None:
        """Step, and let time pass where nothing else happens, until nothing is left. Fails if that never comes."""
        for _ in range(patience):
            if not await self.step():
                if self.outbox.ledger().entries == 0:
                    return
                self.clock.advance(1.0)
        raise AssertionError(f"stuck with {self.outbox.ledger()}")
