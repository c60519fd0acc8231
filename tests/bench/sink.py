"""An upstream that takes every batch at once, and remembers of each when it came and how much was in it.

Prints its address, then serves. `GET /taken` tells what it remembers. It counts after it has answered, so that nobody
waits for that.
"""

import asyncio
import time

import msgspec
import uvloop
from aiohttp import ClientSession, web
from msgspec import Struct

from tests.bench.backlog import IN_EACH
from tests.bench.bare import BODY_MAX_BYTES


class Taken(Struct, frozen=True):
    """One request. `at_s` is when it had come whole, on the clock that all processes of a machine share."""

    at_s: float
    entries: int
    bytes: int


class Sink:
    def __init__(self) -> None:
        self._taken: list[Taken] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        asyncio.get_running_loop().call_soon(self._remember, body, time.monotonic())
        return web.json_response({})

    async def tell(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._taken))

    def _remember(self, body: bytes, at_s: float) -> None:
        self._taken.append(Taken(at_s, body.count(IN_EACH), len(body)))


async def taken(url: str) -> list[Taken]:
    """What the sink at `url` remembers, in the order in which it came."""
    async with ClientSession() as session, session.get(f"{url}/taken") as answer:
        return msgspec.json.decode(await answer.read(), type=list[Taken])


async def serve() -> None:
    sink = Sink()
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post("/api/v2/batch", sink.take)
    app.router.add_get("/taken", sink.tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
