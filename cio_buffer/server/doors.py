"""Opens the sockets, reads whole requests, and hands them to whichever room answers them.

aiohttp's low-level server, not its Application: paths are split before they are decoded, which its router cannot.
"""

import asyncio
import grp
import logging
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from cio_buffer.errors import UnknownGroup

BODY_READ_TIMEOUT_S = 30.0
KEEPALIVE_S = 3_600.0  # SDKs keep idle connections; ending one under a request would look like an outage
LINGER_S = 1.0  # how long the rest of a refused body is still read, so that its sender gets to see the answer
BACKLOG = 1_024  # a UNIX socket with a full backlog refuses at once; one SDK opens a connection for every call
HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?")
BUSY_BODY = b'{"meta":{"error":"Too many connections"}}\n'
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BUSY_BODY), BUSY_BODY)
)

Answer = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


class Server:
    """One or more sockets behind one `answer`, which is given a request and its whole body."""

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
        self._http = web.Server(
            self._handle,
            request_factory=self._request,
            access_log=None,
            logger=quiet_logger(),
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self._listeners: list[asyncio.Server] = []
        self._unix_paths: list[Path] = []

    async def listen_unix(self, path: Path, *, mode: int, group: str = "") -> None:
        """Open a UNIX socket. Raises OSError, also where somebody answers on a socket that is already there."""
        sock = bind_unix(path, mode=mode, group=group)
        self._unix_paths.append(path)
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(self._connection, sock=sock, backlog=BACKLOG))

    async def listen_tcp(self, host: str, port: int) -> tuple[str, int]:
        """Open a TCP socket; returns its address, which tells the port where `port` was 0."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self._connection, host, port, reuse_address=True, backlog=BACKLOG)
        self._listeners.append(listener)
        address: tuple[str, int] = listener.sockets[0].getsockname()[:2]
        return address

    async def close(self, grace_s: float) -> None:
        """Take no new connections, let requests that are under way end within `grace_s`."""
        for path in self._unix_paths:  # first: as soon as nobody listens, a successor may put its own there
            path.unlink(missing_ok=True)
        for listener in self._listeners:
            listener.close()
        self._http.pre_shutdown()
        await self._http.shutdown(grace_s / 2)  # it waits twice: for the answers, then for the connections

    def _connection(self) -> asyncio.Protocol:
        if len(self._http.connections) >= self._connections_max:
            return TurnedAway()
        return self._http()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._body_max_bytes)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if is_from_a_browser(request):
            return complain(HTTPStatus.FORBIDDEN, "Browsers and foreign hosts are kept out of this port")
        if "Content-Encoding" in request.headers:  # no SDK compresses; half a gzip stream would pass for an empty body
            return complain(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Bodies are taken uncompressed only")
        try:
            body = await self._read_body(request)
        except web.HTTPRequestEntityTooLarge:
            return complain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has at most {self._body_max_bytes} bytes")
        except TimeoutError:
            return complain(HTTPStatus.REQUEST_TIMEOUT, f"The body was not whole within {self._body_timeout_s:g} s")
        except (HttpProcessingError, web.RequestPayloadError, ConnectionError):
            return complain(HTTPStatus.BAD_REQUEST, "The body broke off, or its chunks or its compression are damaged")
        return await self._answer(request, body)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        """The whole body. Raises TimeoutError if it does not end, HTTPRequestEntityTooLarge if it is too long."""
        content = request.content
        if content.is_eof() and content.total_bytes <= self._body_max_bytes:
            return content.read_nowait()  # it came in one piece with its head, as most do: no timer, no waiting, 5 µs
        declared = request.content_length or 0
        if declared > self._body_max_bytes:
            raise web.HTTPRequestEntityTooLarge(self._body_max_bytes, declared)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(self._body_timeout_s):
            return await request.read()


class TurnedAway(asyncio.Protocol):
    """What a connection meets that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(BUSY)
        transport.close()


def is_from_a_browser(request: web.BaseRequest) -> bool:
    """No SDK sends `Origin`. A page on a foreign name that resolves to us (DNS rebinding) is told by its `Host`."""
    if "Origin" in request.headers:
        return True
    transport = request.transport
    if transport is None or not isinstance(transport.get_extra_info("sockname"), tuple):
        return False  # a UNIX socket: its permissions say who may come
    return not all(map(is_local, request.headers.getall("Host", ())))


@lru_cache(maxsize=64)
def is_local(host: str) -> bool:
    """Whether a `Host` header, with or without a port, names this machine."""
    found = HOST.fullmatch(host)
    name = (found[1] or found[2] or "").lower() if found else ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def quiet_logger() -> logging.Logger:
    """Where aiohttp reports what fails in an answer. Its complaints about bad HTTP would quote what was sent."""
    logger = logging.getLogger(__name__)
    logger.addFilter(tells_no_payload)
    return logger


def tells_no_payload(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))


def complain(status: int, sentence: str) -> web.Response:
    """An error in the shape that most SDKs can read."""
    body = msgspec.json.encode({"meta": {"error": sentence}}) + b"\n"
    response = web.Response(status=status, body=body, content_type="application/json", charset="utf-8")
    response.force_close()
    return response


def bind_unix(path: Path, *, mode: int, group: str) -> socket.socket:
    """Bind a UNIX socket that nobody can reach before its permissions are right.

    A file that a crash left behind is replaced; one on which somebody answers is not (OSError).
    """
    group_id = find_group(group) if group else -1
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.path.lexists(path):
        replace_leftover(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bind_privately(sock, path)
        try:
            os.chown(path, -1, group_id)
            path.chmod(mode)
        except BaseException:
            path.unlink()
            raise
    except BaseException:
        sock.close()
        raise
    return sock


def bind_privately(sock: socket.socket, path: Path) -> None:
    umask = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(umask)


def find_group(name: str) -> int:
    """The number of a group. Raises UnknownGroup."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownGroup(f"there is no group {name!r}") from None


def replace_leftover(path: Path) -> None:
    """Remove a socket that nobody serves any more. Raises OSError for anything else."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionRefusedError):
        probe.settimeout(1.0)  # where nobody accepts any more, a full backlog would hold us for good
        probe.connect(str(path))
        raise FileExistsError(f"somebody else serves {path}")
    path.unlink()
