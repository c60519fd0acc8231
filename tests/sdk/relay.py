"""A wire between an SDK and the daemon: it writes down what goes over it, and can lose an answer."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from msgspec import Struct

HEAD_END = b"\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""For SO_LINGER: whoever sent us what we have not read is told so."""


class Exchange(Struct):
    """The head of a request, and of the answer that the SDK got to it; None: it was lost, or has not come yet."""

    asked: str
    answered: str | None = None

    @property
    def status(self) -> int | None:
        return int(self.answered.split(" ", 2)[1]) if self.answered else None


def header(head: str | None, name: str) -> str | None:
    """What the head of a request or an answer says there."""
    lines = (line.partition(": ") for line in (head or "").split("\r\n")[1:])
    return next((value for key, _, value in lines if key.lower() == name.lower()), None)


class Relay:
    """Passes requests on to `target`, each over a connection of its own."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = (place.hostname, place.port)
        self.url = ""
        self.exchanges: list[Exchange] = []
        self.answers_to_lose = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_message(reader):
                exchange = Exchange(asked=head_of(request))
                self.exchanges.append(exchange)
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    await self._lose(request)
                    return
                answer = await self._ask(request)
                exchange.answered = head_of(answer)
                writer.write(answer)
        except ConnectionError:
            pass  # the SDK has gone
        finally:
            writer.close()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(request)
            return await read_message(reader)
        finally:
            writer.close()

    async def _lose(self, request: bytes) -> None:
        """Wait until it is answered, and hang up without having read that."""
        loop = asyncio.get_running_loop()
        with socket.create_connection(self._target) as sock:
            sock.sendall(request)
            answered = asyncio.Event()
            loop.add_reader(sock, answered.set)
            try:
                await answered.wait()
            finally:
                loop.remove_reader(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def head_of(message: bytes) -> str:
    return message.partition(HEAD_END)[0].decode()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One request or answer, whose length its head tells; nothing where the other side has ended."""
    try:
        head = await reader.readuntil(HEAD_END)
    except asyncio.IncompleteReadError:
        return b""
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


@asynccontextmanager
async def relay_to(target: str) -> AsyncIterator[Relay]:
    relay = Relay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    relay.url = f"http://{host}:{port}"
    try:
        yield relay
    finally:
        server.close()
        await server.wait_closed()
