"""The least that a server on aiohttp and uvloop can do: read the body, answer `{}`. Prints its address, then serves."""

import asyncio
import sys

import uvloop
from aiohttp import web

PATHS = {"answer": "/api/v1/customers/{id}/events", "send": "/v1/send/email"}
BODY_MAX_BYTES = 8_388_608


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({})


async def serve(kind: str) -> None:
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post(PATHS[kind], answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
