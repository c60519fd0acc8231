"""A Customer.io for hours of load: checks each operation as it comes, and remembers four bytes of it.

Prints its address, then serves. `POST /mood` says how it answers from now on, `POST /away` for how many seconds nobody
can reach it, `POST /missing/NAME` counts what has not come of one person's, `GET /found` what it has found.
"""

import asyncio
import random
import socket
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
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
    """How a `share` of requests is answered: with `status`, after `delay_s`.

    `torn`: taken in, and the answer is lost. `cut`: the connection ends before anything is taken in.
    """

    status: int = 200
    share: float = 1.0
    delay_s: float = 0.0
    torn: bool = False
    cut: bool = False


class Found(Struct, frozen=True, kw_only=True):
    """Operations. `dead`: poisons, `refused`: how often one was refused. `violations`: the first of them, in words."""

    delivered: int
    repeated: int
    dead: int
    refused: int
    requests: int
    violations: list[str]


class Person:
    """What has come of one: for each of its operations a check of the event id, 0 while it has not come."""

    def __init__(self) -> None:
        self.ids = array("I", [0])
        self.highest = 0

    def take(self, n: int, event_id: str) -> str | None:
        """None for the first time, "" for a repeat; else what is wrong."""
        if n >= len(self.ids):
            self.ids.frombytes(bytes(self.ids.itemsize * (n + 1 - len(self.ids))))
        check = crc32(event_id.encode()) or 1
        known, self.ids[n] = self.ids[n], check
        if known:
            return "" if known == check else "came again under another id"
        if n < self.highest:
            return f"came after {self.highest}"
        self.highest = n
        return None

    def missing(self, acknowledged: bytes) -> int:
        """How many have not come of those that are not 0 there; the place is the number."""
        return sum(1 for n, told in enumerate(acknowledged) if told and (n >= len(self.ids) or not self.ids[n]))


class Vendor:
    def __init__(self, seed: int) -> None:
        self.mood = Mood()
        self._chance = random.Random(seed)
        self._people: dict[str, Person] = {}
        self._delivered = self._repeated = self._dead = self._refused = self._requests = 0
        self._violations: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        mood = self.mood
        body = await request.read()
        self._requests += 1
        if mood.delay_s:
            await asyncio.sleep(mood.delay_s)
        is_moody = self._chance.random() < mood.share
        if is_moody and mood.cut:
            return cut_off(request)
        if is_moody and mood.status != 200:
            return web.json_response({}, status=mood.status, headers={"Retry-After": "2"} if mood.status == 429 else {})
        bad = self._take_all(msgspec.json.decode(body, type=Batch).batch)
        if is_moody and mood.torn:
            return cut_off(request)
        if bad:
            errors = [{"batch_index": place, "reason": "invalid", "field": "", "message": "poison"} for place in bad]
            return web.json_response({"errors": errors}, status=207)
        return web.json_response({})

    def _take_all(self, operations: Sequence[Operation]) -> list[int]:
        """Which of them are refused."""
        bad = []
        for place, operation in enumerate(operations):
            is_new = self._take(operation)
            if operation.attributes.poison:
                bad.append(place)
                self._refused += 1
                self._dead += is_new
            else:
                self._delivered += is_new
                self._repeated += not is_new
        return bad

    def _take(self, operation: Operation) -> bool:
        """Whether it has not come before. What is refused keeps its place in the order too."""
        name = operation.identifiers["id"]
        wrong = self._people.setdefault(name, Person()).take(operation.attributes.n, operation.id)
        if wrong:
            self._violations.append(f"{name}: {operation.attributes.n} {wrong}")
        return wrong is None

    async def set_mood(self, request: web.Request) -> web.Response:
        self.mood = msgspec.json.decode(await request.read(), type=Mood)
        return web.json_response({})

    async def found(self, _: web.Request) -> web.Response:
        found = Found(
            delivered=self._delivered,
            repeated=self._repeated,
            dead=self._dead,
            refused=self._refused,
            requests=self._requests,
            violations=self._violations[:VIOLATIONS_TOLD],
        )
        return web.Response(body=msgspec.json.encode(found))

    async def missing(self, request: web.Request) -> web.Response:
        """Asked with a byte for each number of a person's, how many were acknowledged and have not come."""
        person = self._people.get(request.match_info["name"], Person())
        return web.json_response(person.missing(await request.read()))


def cut_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Place:
    """Where the vendor listens. The address stays its own while nobody answers there."""

    def __init__(self, vendor: Vendor, runner: web.AppRunner) -> None:
        self._vendor, self._runner = vendor, runner
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self._port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()

    async def leave(self, request: web.Request) -> web.Response:
        """Open connections end with their next request, new ones are refused; answered before that begins."""
        for_s = msgspec.json.decode(await request.read(), type=float)
        self._leaving = asyncio.ensure_future(self._stay_away(for_s))
        return web.json_response({})

    async def _stay_away(self, for_s: float) -> None:
        self._vendor.mood = Mood(cut=True)
        await self._site.stop()
        await asyncio.sleep(for_s)
        await self.open()
        self._vendor.mood = Mood()


async def serve(seed: int) -> None:
    vendor = Vendor(seed)
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    runner = web.AppRunner(app, access_log=None)
    place = Place(vendor, runner)
    app.router.add_post("/api/v2/batch", vendor.take)
    app.router.add_post("/mood", vendor.set_mood)
    app.router.add_post("/away", place.leave)
    app.router.add_get("/found", vendor.found)
    app.router.add_post("/missing/{name}", vendor.missing)
    await runner.setup()
    await place.open()
    print(place.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))
