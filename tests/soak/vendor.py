"""A Customer.io for hours of load: checks each operation as it comes, and remembers two bytes of it.

Prints its address, then serves. `POST /mood` says how it answers from now on, `GET /found` what it has found.
"""

import asyncio
import random
import sys
from collections.abc import Sequence
from zlib import crc32

import msgspec
import uvloop
from aiohttp import web
from msgspec import Struct

BODY_MAX_BYTES = 2_000_000
VIOLATIONS_TOLD = 20


class Attributes(Struct, frozen=True):
    """`n` counts one person's operations from 1. A poison is always refused."""

    n: int
    poison: bool = False


class Operation(Struct, frozen=True):
    identifiers: dict[str, str]
    attributes: Attributes
    id: str = ""


class Batch(Struct, frozen=True):
    batch: list[Operation]


class Mood(Struct, frozen=True, kw_only=True):
    """How a `share` of requests is answered: with `status`, after `delay_s`; `torn`: taken in, and not answered."""

    status: int = 200
    share: float = 1.0
    delay_s: float = 0.0
    torn: bool = False


class Found(Struct, frozen=True, kw_only=True):
    """`delivered` and `repeated`: operations. `violations`: the first of them, in words."""

    delivered: int
    repeated: int
    refused: int
    requests: int
    violations: list[str]


class Person:
    """What has come of one: for each of its operations a check of the event id, 0 while it has not come."""

    def __init__(self) -> None:
        self.ids = [0]
        self.highest = 0

    def take(self, n: int, event_id: str) -> str | None:
        """None for the first time, "" for a repeat; else what is wrong."""
        self.ids.extend([0] * (n + 1 - len(self.ids)))
        check = crc32(event_id.encode()) or 1
        known, self.ids[n] = self.ids[n], check
        if known:
            return "" if known == check else "came again under another id"
        if n < self.highest:
            return f"came after {self.highest}"
        self.highest = n
        return None


class Vendor:
    def __init__(self, seed: int) -> None:
        self.mood = Mood()
        self._chance = random.Random(seed)
        self._people: dict[str, Person] = {}
        self._delivered = self._repeated = self._refused = self._requests = 0
        self._violations: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        mood = self.mood
        body = await request.read()
        self._requests += 1
        if mood.delay_s:
            await asyncio.sleep(mood.delay_s)
        is_moody = self._chance.random() < mood.share
        if is_moody and mood.status != 200:
            return web.json_response({}, status=mood.status, headers={"Retry-After": "2"} if mood.status == 429 else {})
        bad = self._take_all(msgspec.json.decode(body, type=Batch).batch)
        if is_moody and mood.torn:
            assert request.transport is not None
            request.transport.abort()
        if bad:
            errors = [{"batch_index": place, "reason": "invalid", "field": "", "message": "poison"} for place in bad]
            return web.json_response({"errors": errors}, status=207)
        return web.json_response({})

    def _take_all(self, operations: Sequence[Operation]) -> list[int]:
        bad = []
        for place, operation in enumerate(operations):
            if operation.attributes.poison:
                bad.append(place)
                self._refused += 1
            else:
                self._take(operation)
        return bad

    def _take(self, operation: Operation) -> None:
        name = operation.identifiers["id"]
        wrong = self._people.setdefault(name, Person()).take(operation.attributes.n, operation.id)
        if wrong:
            self._violations.append(f"{name}: {operation.attributes.n} {wrong}")
        if wrong == "":
            self._repeated += 1
        else:
            self._delivered += 1

    async def set_mood(self, request: web.Request) -> web.Response:
        self.mood = msgspec.json.decode(await request.read(), type=Mood)
        return web.json_response({})

    async def found(self, _: web.Request) -> web.Response:
        found = Found(
            delivered=self._delivered,
            repeated=self._repeated,
            refused=self._refused,
            requests=self._requests,
            violations=self._violations[:VIOLATIONS_TOLD],
        )
        return web.Response(body=msgspec.json.encode(found))

    async def missing(self, request: web.Request) -> web.Response:
        """Of one person's numbers, those that have not come."""
        numbers = msgspec.json.decode(await request.read(), type=list[int])
        person = self._people.get(request.match_info["name"], Person())
        return web.json_response([n for n in numbers if n >= len(person.ids) or not person.ids[n]])


async def serve(seed: int) -> None:
    vendor = Vendor(seed)
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post("/api/v2/batch", vendor.take)
    app.router.add_post("/mood", vendor.set_mood)
    app.router.add_get("/found", vendor.found)
    app.router.add_post("/missing/{name}", vendor.missing)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
