"""A way in: how many may come by it, and how others are turned away so that they hear it."""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import cast

import msgspec
from msgspec import Struct

PEER = struct.Struct("iII")
"""The kernel's `struct ucred`: process, user, group."""

HEAR_S = 1.0


class Door(Struct):
    """A way in: how many are inside, of how many at most, and by a UNIX socket which users (none: everybody).

    `agreeing` are those who have yet to agree on TLS, `leaving` those who were turned away and are being told so.
    """

    connections_max: int
    users: frozenset[int] = frozenset()
    inside: int = 0
    agreeing: int = 0
    leaving: int = 0

    @property
    def is_full(self) -> bool:
        """Those who are agreeing on TLS count too."""
        return self.inside + self.agreeing >= self.connections_max


def turned_away(status: HTTPStatus, sentence: str, *headers: str) -> bytes:
    """An answer for one who is not let in, whatever they may ask."""
    body = msgspec.json.encode({"meta": {"error": sentence}}) + b"\n"
    lines = (
        f"HTTP/1.1 {status} {status.phrase}",
        "Content-Type: application/json; charset=utf-8",
        *headers,
        "Connection: close",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


BUSY = turned_away(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections", "Retry-After: 1")
FORBIDDEN = turned_away(HTTPStatus.FORBIDDEN, "This user may not call here")


class TurnedAway(asyncio.Protocol):
    """What one meets who is not let in: `answer`, and time to hear it.

    To close at once would reset the connection under a request that is being sent, and the answer would go with it.
    """

    def __init__(self, door: Door, answer: bytes) -> None:
        self._door, self._answer = door, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writing = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._door.leaving += 1
        writing.write(self._answer)
        wait_s = HEAR_S if self._door.leaving <= self._door.connections_max else 0.0
        self._closing = asyncio.get_running_loop().call_later(wait_s, writing.close)
        self._transport = writing

    def data_received(self, data: bytes) -> None:
        """It has asked, so it will read."""
        self._transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._closing.cancel()
        self._door.leaving -= 1


def peer_user(sock: socket.socket) -> int:
    """The number of the user at the other end of a UNIX socket."""
    _, user, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(user)
