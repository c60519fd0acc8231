"""One host that calls are forwarded to, and what is said where its answer does not come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from structlog.typing import FilteringBoundLogger
from yarl import URL

from cio_buffer.clock import Clock
from cio_buffer.errors import Problem, Refused
from cio_buffer.http.body import Body
from cio_buffer.http.connection import HEADER_MAX_BYTES, HEADERS_MAX
from cio_buffer.http.relay import Answer, Relayed
from cio_buffer.passthrough.upload import Upload, forwarded, invalid, is_bare, tell_when_begun
from cio_buffer.telemetry import log
from cio_buffer.upstream.transport import FreshConnector, proxy_for, trouble_of

TRIES_MAX, AGAIN_AFTER_S = 3, 0.2
"""How often a connection is tried, and the rest in between. Only what could not be opened is tried again."""

RETRY_AFTER_S = 1
MAIL_UNKNOWN = "the message may have been sent, and is not sent again"
READ_WHOLE_BYTES = 65_536
"""An answer up to this is read to its end before any of it is given back: if it breaks off, that can still be said."""

NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add by itself."""

REDIRECTS = {301, 302, 303, 307, 308}
"""Not 304: that answers a question about what the app has already."""

NEVER_OPENED = {"connect", "dns", "tls"}


class Passthrough:
    """Talks to one host, over connections of its own: it waits behind nothing."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        clock: Clock,
        logger: FilteringBoundLogger,
        unknown: str = MAIL_UNKNOWN,
    ) -> None:
        """`unknown` says what follows where nobody knows whether a call was carried out."""
        self._unknown = unknown
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).hostname
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._logger = logger
        self._session: aiohttp.ClientSession | None = None
        self.requests = self.failed = 0

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            connector=FreshConnector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_WHOLE_BYTES,
            max_line_size=HEADER_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
            skip_auto_headers=NOT_ADDED,
            proxy=proxy_for(self._base_url),
            trace_configs=[tell_when_begun()],
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def forward(self, request: web.BaseRequest, body: Body, authorization: str | None) -> web.StreamResponse:
        """The answer to `request`, which goes on with `authorization`.

        Raises Refused: 424 where nobody knows whether it was carried out, 503 where it certainly was not, 421 for a
        redirect that would take a key of ours along, and what is wrong with the body.
        """
        if request.method == "CONNECT":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, invalid("No tunnel is made here"), closes=True)
        self.requests += 1
        began, upload = self._clock.monotonic(), Upload(body, is_bare=is_bare(request))
        headers = forwarded(request, authorization)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(request, headers, upload)
                upload.is_being_answered = True
                answer = await self._begin_reading(response)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as problem:
            raise self._failure(problem, upload) from None
        if answer.status in REDIRECTS:
            self._on_redirect(request, response, authorization)
        took_s = round(self._clock.monotonic() - began, 3)
        self._logger.debug(log.PASSTHROUGH_FORWARDED, method=request.method, status=answer.status, took_s=took_s)
        return Relayed(answer)

    async def _send(
        self, request: web.BaseRequest, headers: CIMultiDict[str], upload: Upload
    ) -> aiohttp.ClientResponse:
        """Send it, again only if no connection could be opened; returns when the answer's head has come."""
        assert self._session is not None, "opened by the daemon"
        url = URL(self._base_url + request.raw_path, encoded=True)
        whole = await upload.body.read() if upload.body.is_whole else None
        for tries in range(1, TRIES_MAX + 1):
            try:
                return await self._session.request(
                    request.method,
                    url,
                    data=upload.parts() if whole is None else whole or None,
                    headers=headers,
                    allow_redirects=False,
                    middlewares=[upload.once],
                    trace_request_ctx=upload,
                )
            except aiohttp.ClientError as problem:
                if trouble_of(problem) not in NEVER_OPENED or tries == TRIES_MAX:
                    raise
            await self._clock.sleep(AGAIN_AFTER_S)
        raise AssertionError("the last try returns or raises")

    async def _begin_reading(self, response: aiohttp.ClientResponse) -> Answer:
        """Read the answer to its end if it is small, else its beginning."""
        beginning = bytearray()
        is_whole = False
        try:
            while len(beginning) < READ_WHOLE_BYTES and not is_whole:
                part = await response.content.readany()
                beginning += part
                is_whole = not part
        except BaseException:
            response.close()
            raise
        return Answer(
            status=response.status,
            reason=response.reason or "",
            headers=response.raw_headers,
            beginning=bytes(beginning),
            rest=None if is_whole else Remainder(response, self._timeout_s, self._count_failure),
        )

    def _on_redirect(
        self, request: web.BaseRequest, response: aiohttp.ClientResponse, authorization: str | None
    ) -> None:
        """The wrong region, most likely. One SDK follows it, with the credentials that it was given for here.

        Raises Refused where it was sent with a key of ours: what the app would take along is not good there.
        """
        self._count_failure("redirected")
        if authorization != request.headers.get("Authorization"):
            response.close()
            sentence = f"Customer.io redirects this call ({response.status}); is upstream.region the workspace's?"
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, Problem(reason="redirected", field="", message=sentence))

    def _failure(self, problem: Exception, upload: Upload) -> Refused:
        """Why there is no answer, in words that say what became of the call."""
        if upload.refused:
            return upload.refused
        trouble = trouble_of(problem)
        if isinstance(problem, TimeoutError) and not upload.has_begun:
            trouble = "connect"
        if trouble == "timeout" and upload.waits_for_app and not upload.is_being_answered:
            sentence = f"The body was not whole within {self._timeout_s:g} s, so nothing was carried out"
            return Refused(HTTPStatus.REQUEST_TIMEOUT, invalid(sentence), closes=True)
        self._count_failure(trouble)
        if trouble in NEVER_OPENED:
            sentence = f"Customer.io cannot be reached ({trouble}); nothing was sent, so it may be sent again"
            return Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                Problem(reason="unreachable", field="", message=sentence),
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        what = f"did not answer within {self._timeout_s:g} s" if trouble == "timeout" else "broke off"
        sentence = f"Customer.io {what}; {self._unknown}"
        return Refused(HTTPStatus.FAILED_DEPENDENCY, Problem(reason="unknown", field="", message=sentence))

    def _count_failure(self, trouble: str) -> None:
        self.failed += 1
        self._logger.warning(log.PASSTHROUGH_FAILED, host=self._host, trouble=trouble)


class Remainder:
    """What comes of a large answer after its beginning, for as long as it keeps coming."""

    def __init__(self, response: aiohttp.ClientResponse, timeout_s: float, tell: Callable[[str], None]) -> None:
        """`timeout_s` is for each part; `tell` is told what broke it off."""
        self._response, self._timeout_s, self._tell = response, timeout_s, tell

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                part = await self._response.content.readany()
        except (TimeoutError, aiohttp.ClientError) as problem:
            self._tell(trouble_of(problem))
            raise ConnectionResetError("the answer broke off") from None
        if not part:
            raise StopAsyncIteration
        return part

    def close(self) -> None:
        self._response.close()
