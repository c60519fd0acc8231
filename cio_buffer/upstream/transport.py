"""Request → Reply: the only outgoing socket on the Track side."""

import asyncio
from functools import partial
from typing import Literal, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from msgspec import Struct
from yarl import URL

REPLY_MAX_BYTES = 1_048_576
"""More than this of an answer is not read: a full batch of complaints fits."""

IDLE_S = 5.0
"""How long a connection is kept for the next request: shorter than upstream is likely to keep it, because a request on
one that upstream has just closed may or may not have been taken in."""

KEY_REFUSED = (401, 403)
"""Answers that may be about the key."""

Trouble = Literal["connect", "dns", "tls", "timeout", "torn"]


class Request(Struct, frozen=True, kw_only=True):
    """What to ask of the Track API. `path` is raw, percent-encoded already."""

    method: str
    path: str
    body: bytes


class Reply(Struct, frozen=True, kw_only=True):
    """What came back: a status with its body, or the trouble that took its place.

    `connect`, `dns` and `tls`: certainly not taken in. `timeout` and `torn`: perhaps taken in.
    """

    status: int | None = None
    body: bytes = b""
    retry_after: str = ""
    trouble: Trouble | None = None


class Transport(Protocol):
    async def send(self, request: Request) -> Reply:
        """Ask once. Never raises for what the network or Customer.io does.

        aiohttp itself repeats a PUT or DELETE whose connection broke; both may be repeated.
        """
        ...


class Fresh(ResponseHandler):
    """A connection that is used again only if nothing has come on it meanwhile.

    What comes unasked (a proxy's 408 before it hangs up, say) would be taken for the answer to the next request:
    delivered, though it never arrived. aiohttp looks only whether the connection is still open.
    """

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close


class FreshConnector(aiohttp.TCPConnector):
    """Connections to one host, as many as are asked for. To be made in the event loop."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=IDLE_S)
        kind: type[ResponseHandler] = Fresh
        self._factory = partial(kind, loop=asyncio.get_running_loop())


class TrackTransport:
    """Talks to one Track API host, with a key that may change meanwhile. `authorization` is what it shows now."""

    def __init__(
        self, base_url: str, *, site_id: str, api_key: str, connect_timeout_s: float, request_timeout_s: float
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self.use_key(site_id, api_key)
        self._timeout = aiohttp.ClientTimeout(
            total=request_timeout_s,
            connect=connect_timeout_s,  # the look-up of the name too, which the next does not bound
            sock_connect=connect_timeout_s,
        )
        self._session: aiohttp.ClientSession | None = None

    def use_key(self, site_id: str, api_key: str) -> None:
        """Show this key from the next request on."""
        self.authorization = aiohttp.encode_basic_auth(site_id, api_key)

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            headers={"Content-Type": "application/json"},
            timeout=self._timeout,
            connector=FreshConnector(),  # the drain bounds requests in flight
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy_for(self._base_url),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> Reply:
        """Ask once; once more where a key was refused that is no longer ours: that says nothing about the one we have.

        What answers so has taken nothing in.
        """
        shown = self.authorization
        reply = await self._send(request, shown)
        is_outdated = reply.status in KEY_REFUSED and shown != self.authorization
        return await self._send(request, self.authorization) if is_outdated else reply

    async def _send(self, request: Request, authorization: str) -> Reply:
        assert self._session is not None, "opened by the daemon"
        try:
            async with self._session.request(
                request.method,
                URL(self._base_url + request.path, encoded=True),
                data=request.body,
                headers={"Authorization": authorization},
                allow_redirects=False,  # most ways to follow one lose the method, the body or the credentials
            ) as response:
                body = await read_up_to(response.content, REPLY_MAX_BYTES)
                return Reply(status=response.status, body=body, retry_after=response.headers.get("Retry-After", ""))
        except (TimeoutError, aiohttp.ClientError, ConnectionError, UnicodeError) as problem:
            return Reply(trouble=trouble_of(problem))


def trouble_of(problem: Exception) -> Trouble:
    """What went wrong on the way. Only `timeout` and `torn` leave it open whether the request was taken in."""
    match problem:
        case aiohttp.ClientConnectorDNSError() | UnicodeError():  # a name that no resolver could even be asked for
            return "dns"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.ClientHttpProxyError():
            return "connect"
        case TimeoutError():
            return "timeout"
        case _:
            return "torn"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`. Not aiohttp's own look-up: it reads .netrc at each request, and
    refuses to send where that has credentials too."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


async def read_up_to(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    """A body, or the beginning of one that is absurdly long."""
    parts = []
    async for part in content.iter_chunked(65_536):
        parts.append(part)
        max_bytes -= len(part)
        if max_bytes <= 0:
            break
    return b"".join(parts)
