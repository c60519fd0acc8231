"""A room behind the sockets, which answers when a test lets it."""

import asyncio

from aiohttp import web

from tests.support.process import until

BODY_MAX_BYTES = 1_000


class Room:
    """Answers with what it was asked, in the order in which it is let."""

    def __init__(self):
        self.asked = []
        self.given = None
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, given, body):
        self.given = given
        data = await body.read()
        self.asked.append((given.method, given.raw_path, data))
        self.was_asked.set()
        await self.may_answer.wait()
        if data == b"break":
            raise RuntimeError("broken by a test")
        return web.Response(body=data)

    async def until_it_has(self, size):
        """Wait until so many bytes of a body have come."""
        await until(lambda: self.given is not None and self.given.content.total_bytes == size)


def has_connections(server, count):
    return lambda: len(server._http.connections) == count
