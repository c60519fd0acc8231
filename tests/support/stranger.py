"""A server that is not Customer.io, or no longer: it does to each connection what a test says."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Stranger:
    """Listens for as long as the `async with` lasts; then its connections are cut. Port 0 is any that is free."""

    def __init__(self, serve: Serve, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._serve, self._port, self._tls = serve, port, tls
        self._open: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._welcome, "127.0.0.1", self._port, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await task
        self._open.discard(task)
        writer.close()


def says(answer: bytes, *, hangs_up: bool = True, is_slow: bool = False) -> Serve:
    """Answers each request with these bytes, then hangs up or waits for the next. `is_slow`: byte by byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in [answer[n : n + 1] for n in range(len(answer))] if is_slow else [answer]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.1 if is_slow else 0)
            if hangs_up:
                return

    return serve


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the connection, reads what comes, and never answers."""
    while await reader.read(65_536):
        pass


def says_at_once(words: bytes) -> Serve:
    """Speaks first, whatever is asked, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()

    return serve


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the connection and closes it."""


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the request and resets the connection."""
    await read_request(reader)
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The next request, head and body. Raises IncompleteReadError when none comes."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


def make_certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a new certificate for 127.0.0.1, which is `folder`/`name`.crt. Nobody signed it."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    make += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
