"""Opens the sockets and hands each request, with its body, to whichever room answers it.

aiohttp's low-level server, not its Application: paths are split before they are decoded, which its router cannot.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from cio_buffer.errors import Refused
from cio_buffer.http.answers import refusal
from cio_buffer.http.body import Body
from cio_buffer.http.connection import HEADER_MAX_BYTES, HEADERS_MAX, Connection, connection_of
from cio_buffer.http.door import BUSY, Door, TurnedAway
from cio_buffer.server.sockets import bind_unix
from cio_buffer.server.tls import TlsDoor, listen
from cio_buffer.server.visitors import keep_browsers_out

BODY_READ_TIMEOUT_S = 30.0
KEEPALIVE_S = 3_600.0  # SDKs keep idle connections; ending one under a request would look like an outage
LINGER_S = 1.0  # how long the rest of a refused body is still read, so that its sender gets to see the answer
BACKLOG = 1_024  # a UNIX socket with a full backlog refuses at once; one SDK opens a connection for every call
READ_BYTES = 65_536
"""How much of a body is read ahead. 50 bodies of 2 MB at once took 57 MB more with aiohttp's own 256 KiB, 22 MB so."""

LOGGER = "cio_buffer.server"

Answer = Callable[[web.BaseRequest, Body], Awaitable[web.StreamResponse]]


class Server:
    """One or more sockets behind one `answer`, which is given a request and its body."""

    def __init__(
        self,
        answer: Answer,
        *,
        body_max_bytes: int,
        connections_max: int,
        body_timeout_s: float = BODY_READ_TIMEOUT_S,
    ) -> None:
        self._answer = answer
        self._body_max_bytes = body_max_bytes
        self._connections_max = connections_max
        self._body_timeout_s = body_timeout_s
        self._http = web.Server(self._handle, request_factory=self._request)
        self._logger = quiet_logger()
        self._listeners: list[asyncio.Server] = []
        self._tls_doors: list[TlsDoor] = []
        self._unix_paths: list[Path] = []

    async def listen_unix(self, path: Path, *, mode: int, group: str = "", users: frozenset[int] = frozenset()) -> None:
        """Open a UNIX socket. Raises OSError, also where somebody answers on a socket that is already there.

        `users`: the only ones who are let in, by number; none: whoever the file's permissions let in.
        """
        sock = bind_unix(path, mode=mode, group=group)
        self._unix_paths.append(path)
        loop = asyncio.get_running_loop()
        connect = partial(self._connection, Door(self._connections_max, users))
        self._listeners.append(await loop.create_unix_server(connect, sock=sock, backlog=BACKLOG))

    async def listen_tcp(self, host: str, port: int) -> tuple[str, int]:
        """Open a TCP socket; returns its address, which tells the port where `port` was 0."""
        loop = asyncio.get_running_loop()
        connect = partial(self._connection, Door(self._connections_max))
        listener = await loop.create_server(connect, host, port, reuse_address=True, backlog=BACKLOG)
        self._listeners.append(listener)
        address: tuple[str, int] = listener.sockets[0].getsockname()[:2]
        return address

    async def listen_tls(self, host: str, port: int, context: ssl.SSLContext) -> tuple[str, int]:
        """The same for a socket that speaks TLS."""
        sock = listen(host, port, BACKLOG)
        door = Door(self._connections_max)
        self._tls_doors.append(TlsDoor(sock, context, door, partial(self._open, door)))
        address: tuple[str, int] = sock.getsockname()[:2]
        return address

    async def close(self, grace_s: float) -> None:
        """Take no new connections, let requests that are under way end within `grace_s`."""
        for path in self._unix_paths:  # first: as soon as nobody listens, a successor may put its own there
            path.unlink(missing_ok=True)
        self._unix_paths.clear()
        for listener in self._listeners:
            listener.close()
        for door in self._tls_doors:
            door.close()
        self._http.pre_shutdown()
        await self._http.shutdown(grace_s / 2)  # it waits twice: for the answers, then for the connections

    def _connection(self, door: Door) -> asyncio.Protocol:
        return TurnedAway(door, BUSY) if door.is_full else self._open(door)

    def _open(self, door: Door) -> Connection:
        return Connection(
            self._http,
            door=door,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=self._logger,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            read_bufsize=READ_BYTES,
            max_line_size=HEADER_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
            auto_decompress=False,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = connection_of(request)
        connection.begin(request)
        try:
            keep_browsers_out(request)
            body = Body(request, max_bytes=self._body_max_bytes, timeout_s=self._body_timeout_s)
            return await self._answer(request, body)
        except Refused as refused:
            return refusal(request.raw_path, refused)
        finally:
            connection.end()


def quiet_logger() -> logging.Logger:
    """Where aiohttp reports what fails in an answer. Its complaints about bad HTTP would quote what was sent."""
    logger = logging.getLogger(LOGGER)
    logger.addFilter(tells_no_payload)
    return logger


def tells_no_payload(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))
