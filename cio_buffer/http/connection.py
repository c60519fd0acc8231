"""One connection: who half closes it still gets answers, and an answer that nobody heard is noticed."""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from cio_buffer.errors import Problem, Refused
from cio_buffer.http.answers import refusal
from cio_buffer.http.door import FORBIDDEN, Door, TurnedAway, peer_user, turned_away

LOOK_EVERY_S = 0.02
HEAD_TIMEOUT_S = 30.0
"""How long the head of a request may take, the first one from the moment of connecting."""

DOUBT_S = 1.0
"""A reset that comes later than this is not about the answer: whoever dies over an unread one resets at once."""

HEADER_MAX_BYTES, HEADERS_MAX = 32_768, 512
"""A path, or one header, and how many of these: far above what proxies and servers on the way take."""


def connection_of(request: web.BaseRequest) -> "Connection":
    """The connection that a request came by."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    return connection


def was_reset(sock: socket.socket) -> bool:
    """Whether what we sent last met nobody. Its reader's half being closed, nothing else would tell us."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


class Connection(RequestHandler):
    """aiohttp's, with three things that it does not do."""

    __slots__ = (
        "_answered_at",
        "_door",
        "_head_timer",
        "_is_mid_head",
        "_request",
        "has_left",
        "is_by_tcp",
        "on_heard",
        "on_unheard",
    )

    sentences: ClassVar[dict[int, str]] = {
        HTTPStatus.BAD_REQUEST: "This is not HTTP as we know it",
        HTTPStatus.INTERNAL_SERVER_ERROR: "Something here broke; the log says more",
    }

    def __init__(self, manager: web.Server, *, door: Door, **settings: Any) -> None:
        """`settings` are aiohttp's."""
        super().__init__(manager, **settings)
        self._door = door
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_mid_head = False
        self._answered_at = 0.0
        self._request: web.BaseRequest | None = None
        self.is_by_tcp = True
        """Whether it came by a port, where every process of this machine may call, and not by a UNIX socket."""
        self.has_left = False
        """Whether the other side has said its last: it may listen still, or be gone."""
        self.on_heard: Callable[[], object] | None = None
        self.on_unheard: Callable[[], object] | None = None
        """What to call if the answer that is given next turns out not to have been read. With both set, one who
        `has_left` is in doubt, and one of the two is called."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn away whom we are not to know."""
        if self._door.users and peer_user(transport.get_extra_info("socket")) not in self._door.users:
            stranger = TurnedAway(self._door, FORBIDDEN)
            cast(asyncio.Transport, transport).set_protocol(stranger)
            stranger.connection_made(transport)
            return
        self._door.inside += 1
        super().connection_made(transport)
        self.is_by_tcp = isinstance(self.sockname, tuple)
        self._expect_a_head()

    def data_received(self, data: bytes) -> None:
        """Where it is not yet a whole head, the rest of it must come soon."""
        super().data_received(data)
        if self._is_idle():
            self._is_mid_head = True
            if self._head_timer is None:
                self._expect_a_head()

    @property
    def is_gone(self) -> bool:
        """Whether nobody can listen any more."""
        return self.transport is None

    def begin(self, request: web.BaseRequest) -> None:
        """A request is being answered: whatever was answered before it has been heard, as far as can be told."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
            self._is_mid_head = False
        if self.has_left:
            self._settle_doubt()
        self.on_heard = self.on_unheard = None
        self._request = request
        if self.has_left:
            self._end_body()

    def end(self) -> None:
        """Its answer is being written."""
        self._request = None
        self._answered_at = self._loop.time()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own may say whether to keep the other half open
        """One who stops sending may still listen (`nc -N`, `shutdown(SHUT_WR)`): what was asked is answered."""
        self.has_left = True
        is_done = self._is_idle() and not self._is_in_doubt
        if is_done or self.ssl_context is not None:  # TLS knows no half of a connection
            self._settle_doubt()
            return False
        self._end_body()
        self._loop.call_later(LOOK_EVERY_S, self._close_when_idle)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """A reset says that something we sent was not read."""
        self._door.inside -= 1
        self.has_left = True
        if self._head_timer is not None:
            self._head_timer.cancel()
        is_about_the_answer = isinstance(exc, ConnectionError) and self._is_in_doubt
        on_unheard = self.on_unheard if self.on_heard or is_about_the_answer else None
        self.on_heard = self.on_unheard = self._request = None
        super().connection_lost(exc)
        if on_unheard:
            on_unheard()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's answer would be plain text, which some SDKs cannot read, and would quote what was sent."""
        super().handle_error(request, status, exc, message)
        sentence = self.sentences.get(status, HTTPStatus(status).phrase)
        problem = Problem(reason="invalid", field="", message=sentence)
        return refusal(request.raw_path, Refused(status, problem, closes=True))

    def _end_body(self) -> None:
        """What has not come of a body will not come any more."""
        if self._request is not None and not self._request.content.is_eof():
            self._request.content.set_exception(web.RequestPayloadError("the sender has left"))

    def _is_idle(self) -> bool:
        """Whether it waits for a request, as aiohttp tells it."""
        return self._waiter is not None and not self._waiter.done()

    def _close_when_idle(self) -> None:
        if self.transport is None:
            return
        if self._is_idle():
            self._settle_doubt()
            self.force_close()
        else:
            self._loop.call_later(LOOK_EVERY_S, self._close_when_idle)

    @property
    def _is_in_doubt(self) -> bool:
        """Whether a reset would say that the last answer was not read."""
        return self.on_unheard is not None and self._loop.time() - self._answered_at < DOUBT_S

    def _settle_doubt(self) -> None:
        """Whether one who has left heard the last answer; whoever has not left, and asks for more, did."""
        on_heard, on_unheard = self.on_heard, self.on_unheard
        self.on_heard = self.on_unheard = None
        if on_unheard is None:
            return
        if self.has_left and (self.transport is None or was_reset(self.transport.get_extra_info("socket"))):
            on_unheard()
        elif on_heard:
            on_heard()

    def _expect_a_head(self) -> None:
        self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def _give_up_head(self) -> None:
        if self.transport is None or not self._is_idle():
            return
        if self._is_mid_head:
            self.transport.write(turned_away(HTTPStatus.REQUEST_TIMEOUT, "The request was not whole in time"))
        self.force_close()
