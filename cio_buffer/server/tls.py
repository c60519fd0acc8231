"""A port that speaks TLS. We accept by ourselves: who has not yet agreed on it counts as a connection, and may not
take for ever. The event loop's own server would hold any number of them for a minute each."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from cio_buffer.http.door import Door

HANDSHAKE_TIMEOUT_S = 5.0
NO_DESCRIPTORS_REST_S = 0.1


class TlsDoor:
    """Lets in whoever speaks TLS, while there is room for them."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        door: Door,
        connect: Callable[[], asyncio.Protocol],
    ) -> None:
        """`sock` listens, and does not block."""
        self._sock, self._context = sock, context
        self._door, self._connect = door, connect
        self._agreeing: set[asyncio.Task[None]] = set()
        self._serving = asyncio.ensure_future(self._serve())

    def close(self) -> None:
        """Accept nobody any more. Those inside stay."""
        for task in (self._serving, *self._agreeing):
            task.cancel()
        self._sock.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._sock)
            except OSError:  # no descriptor is left: some will be
                await asyncio.sleep(NO_DESCRIPTORS_REST_S)
                continue
            if self._door.is_full:
                accepted.close()
                continue
            self._door.agreeing += 1
            task = loop.create_task(self._agree(accepted))
            self._agreeing.add(task)
            task.add_done_callback(self._agreeing.discard)

    async def _agree(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connect, accepted, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except OSError:  # not TLS, not in time, or gone; an SSLError is one too
            accepted.close()
        finally:
            self._door.agreeing -= 1


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A TCP socket that listens. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=backlog)
    sock.setblocking(False)
    return sock
