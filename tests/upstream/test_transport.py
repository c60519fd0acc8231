"""Whatever comes back, `send` returns and says what is known: an answer, or which trouble took its place."""

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cio_buffer.upstream.transport import REPLY_MAX_BYTES, Reply, Request, TrackTransport
from tests.support.stranger import Serve, Stranger, hangs_up, make_certificate, resets, says, says_at_once, says_nothing

ASKED = Request(method="POST", path="/api/v2/batch", body=b'{"batch":[]}')
CONNECT_TIMEOUT_S, TIMEOUT_S = 0.3, 0.6
TEN_MB = 10_000_000
GZIP = b"Content-Encoding: gzip\r\n"
NAME_TOO_LONG = ".".join(["track" * 12] * 5) + ".invalid"  # no resolver is asked for a name of 300 characters


@asynccontextmanager
async def transport_to(url: str) -> AsyncIterator[TrackTransport]:
    transport = TrackTransport(
        url, site_id="site", api_key="key", connect_timeout_s=CONNECT_TIMEOUT_S, request_timeout_s=TIMEOUT_S
    )
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def ask(serve: Serve, request: Request = ASKED) -> Reply:
    async with Stranger(serve) as stranger, transport_to(stranger.url) as transport:
        return await asyncio.wait_for(transport.send(request), 10 * TIMEOUT_S)


def with_body(body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), headers, body)


def deflated(data: bytes, encoding: bytes) -> bytes:
    packed = gzip.compress(data) if encoding == b"gzip" else zlib.compress(data)
    return with_body(packed, headers=b"Content-Encoding: %s\r\n" % encoding)


TROUBLE: dict[str, tuple[Serve, str]] = {
    "hangs up": (hangs_up, "torn"),
    "resets": (resets, "torn"),
    "says nothing": (says_nothing, "timeout"),
    "is no HTTP": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), "torn"),
    "is no text": (says(bytes(range(256)) * 40), "torn"),
    "a head without an end": (says(b"HTTP/1.1 200 OK\r\nContent-"), "torn"),
    "a head that stalls": (says(b"HTTP/1.1 200 OK\r\nContent-", hangs_up=False), "timeout"),
    "a head byte by byte": (says(b"HTTP/1.1 200 OK\r\n" * 3, is_slow=True), "timeout"),
    "a head of 100 KB": (says(with_body(b"{}", headers=b"X: %s\r\n" % (b"x" * 100_000))), "torn"),
    "a status of text": (says(b"HTTP/1.1 fine OK\r\n\r\n"), "torn"),
    "a length of text": (says(b"HTTP/1.1 200 OK\r\nContent-Length: long\r\n\r\n{}"), "torn"),
    "a length below 0": (says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"), "torn"),
    "two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n"), "torn"),
    "a body that breaks off": (says(with_body(b"{}")[:-1]), "torn"),
    "a body that stalls": (says(with_body(b"{}")[:-1], hangs_up=False), "timeout"),
    "chunks of garbage": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), "torn"),
    "chunks without an end": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "torn"),
    "gzip that is none": (says(with_body(b"{}", headers=GZIP)), "torn"),
    "only a promise": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), "torn"),
}


@pytest.mark.parametrize("name", TROUBLE)
async def test_what_is_no_answer_is_called_by_its_trouble(name: str) -> None:
    """And it is one that leaves open whether the request was taken in: it was sent."""
    serve, trouble = TROUBLE[name]
    assert await ask(serve) == Reply(trouble=trouble)


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "a plain one": (with_body(b"{}\n"), 200, b"{}\n"),
    "without a body": (with_body(b""), 200, b""),
    "without a length": (b"HTTP/1.1 200 OK\r\n\r\n{}", 200, b"{}"),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n{}", 200, b"{}"),
    "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    "packed": (deflated(b"{}", b"gzip"), 200, b"{}"),
    "packed, and cut behind its words": (with_body(gzip.compress(b"{}")[:-8], headers=GZIP), 200, b"{}"),
    "after a promise": (b"HTTP/1.1 100 Continue\r\n\r\n" + with_body(b"{}"), 200, b"{}"),
    "of a proxy": (with_body(b"<html>", status="502 Bad Gateway"), 502, b"<html>"),
    "with a status of its own": (with_body(b"", status="999 No"), 999, b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "a redirect to nowhere": (with_body(b"", status="301 Moved", headers=b"Location: \r\n"), 301, b""),
    "cookies without sense": (with_body(b"{}", headers=b"Set-Cookie: ;;=;a=\r\n"), 200, b"{}"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_given_back_with_its_body(name: str) -> None:
    said, status, body = ANSWERS[name]
    reply = await ask(says(said))
    assert (reply.status, reply.body, reply.trouble) == (status, body, None)


@pytest.mark.parametrize("encoding", [b"", b"gzip", b"deflate"])
async def test_of_a_huge_answer_only_the_beginning_is_read(encoding: bytes) -> None:
    """However small it was on its way: 10 MB of zeros are 10 KB of gzip."""
    zeros = b"0" * TEN_MB
    reply = await ask(says(deflated(zeros, encoding) if encoding else with_body(zeros)))
    assert (reply.status, reply.trouble) == (200, None)
    assert REPLY_MAX_BYTES <= len(reply.body) < REPLY_MAX_BYTES + 600_000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_redirect_is_not_followed(method: str) -> None:
    async with Stranger(says(with_body(b"{}"))) as elsewhere:
        location = b"Location: %s/\r\n" % elsewhere.url.encode()
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            said = says(with_body(b"", status=status, headers=location))
            reply = await ask(said, Request(method=method, path="/api/v1/customers/a", body=b"{}"))
            assert reply.status == int(status[:3])
        assert elsewhere.connections == 0


async def test_what_comes_unasked_is_no_answer() -> None:
    """A second answer behind the first is not taken for that to the next request."""
    twice = says(with_body(b"1") + with_body(b"2"), hangs_up=False)
    async with Stranger(twice) as stranger, transport_to(stranger.url) as transport:
        bodies = [(await transport.send(ASKED)).body for _ in range(3)]
    assert bodies == [b"1"] * 3
    assert stranger.connections == 3


async def test_nobody_listens() -> None:
    async with Stranger(hangs_up) as stranger:
        url = stranger.url
    async with transport_to(url) as transport:
        assert await transport.send(ASKED) == Reply(trouble="connect")


async def test_a_name_that_means_nothing() -> None:
    async with transport_to(f"https://{NAME_TOO_LONG}") as transport:
        assert await transport.send(ASKED) == Reply(trouble="dns")


@pytest.mark.parametrize("host", ["track..invalid", "a" * 64 + ".invalid"])
async def test_a_name_that_cannot_be_one(host: str) -> None:
    async with transport_to(f"https://{host}") as transport:
        assert await transport.send(ASKED) == Reply(trouble="dns")


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path, "nobody")
    async with Stranger(says(with_body(b"{}")), tls=tls) as stranger, transport_to(stranger.url) as transport:
        assert await transport.send(ASKED) == Reply(trouble="tls")


@pytest.mark.parametrize("serve", [says_at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n"), hangs_up, says_nothing])
async def test_where_tls_is_expected_and_something_else_is_spoken(serve: Serve) -> None:
    """Nothing was sent, so nothing can have been taken in."""
    async with Stranger(serve) as stranger, transport_to(stranger.url.replace("http:", "https:")) as transport:
        assert (await transport.send(ASKED)).trouble in ("tls", "connect")


async def test_a_proxy_that_refuses_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's answer is not Customer.io's."""
    async with Stranger(says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        monkeypatch.setenv("https_proxy", proxy.url)
        async with transport_to("https://track.invalid") as transport:
            assert await transport.send(ASKED) == Reply(trouble="connect")
    assert proxy.connections == 1


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_no_connection_stays_behind() -> None:
    before = open_files()
    for serve in (says_nothing, hangs_up, says(with_body(b"0" * TEN_MB)), says(with_body(b"{}")[:-1])):
        for _ in range(3):
            await ask(serve)
    assert open_files() <= before + 2
