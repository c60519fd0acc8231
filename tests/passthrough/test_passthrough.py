"""App API calls: on their way as they came, once, and their answers as they were given."""

import asyncio
import gzip
import socket
import ssl
import subprocess

import pytest

from cio_buffer.callers import Callers
from cio_buffer.http import relay
from cio_buffer.telemetry import log
from tests.passthrough.conftest import BODY_MAX_BYTES
from tests.passthrough.upstream import HANG_UP, Upstream, saying
from tests.server.wire import ask, connect, is_closed, read_reply, request
from tests.support.clock import FakeClock
from tests.support.process import until

BEARER = ("Host: localhost", "Authorization: Bearer mine")
CHUNKED = (*BEARER, "Transfer-Encoding: chunked")
UNKNOWN = "the message may have been sent, and is not sent again"


def send(body=b'{"to":"ann@example.com"}', *headers, method="POST", path="/v1/send/email"):
    return request(method, path, body, *BEARER, *headers)


def head_of(received):
    """Request line, and headers without what is about the connection."""
    line, *headers = received[0].decode("latin-1").strip().split("\r\n")
    return line, [header for header in headers if not header.lower().startswith(("host:", "connection:"))]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/send/email",
        "/v1/customers/a%2Fb%20c/attributes?id_type=email&x=a+b%2B&x=%E4",
        "/v1//customers/../x;y=1?&",
        "/v1/?a=/v1/",
        "/v1/campaigns/1/triggers?;",
    ],
)
async def test_a_call_goes_on_as_it_came(address, upstream, method, path):
    body = b"" if method == "GET" else b'{"a": "\xff\x00 not even JSON"}'
    headers = ("content-TYPE: odd/one; x=1", "X-Workspace-Id: 7", "x-Odd: a", "X-odd: b", "Accept-Encoding: gzip, br")
    headers = (*headers, "User-Agent: an SDK/1.0", "X-Retry-Count: 1", "Cookie: a=b", "Content-Encoding: gzip")
    upstream.will_say(saying())
    assert (await ask(address, request(method, path, body, *BEARER, *headers))).status == 200
    ((line, given), sent) = head_of(upstream.received[0]), upstream.received[0][1]
    assert line == f"{method} {path} HTTP/1.1"
    headers = [header.replace("X-odd", "x-Odd") for header in headers]  # one name, spelled as at first
    assert given == ["Authorization: Bearer mine", *headers, f"Content-Length: {len(body)}"]
    assert sent == body


async def test_what_was_not_said_is_not_added(address, upstream):
    upstream.will_say(saying())
    await ask(address, b"DELETE /v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: sa_live_x\r\n\r\n")
    assert head_of(upstream.received[0])[1] == ["Authorization: sa_live_x"]


async def test_what_is_about_the_connection_stays_here(address, upstream):
    upstream.will_say(saying())
    own = (
        "Connection: keep-alive, X-Mine",
        "X-Mine: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Connection: x",
    )
    await ask(address, send(b"", *own))
    assert head_of(upstream.received[0])[1] == ["Authorization: Bearer mine", "Content-Length: 0"]


@pytest.mark.parametrize("path", ["/v1/\xe4", "/v1/x?\xff"])
async def test_bytes_that_no_path_has_are_a_bad_request(address, upstream, path):
    reply = await ask(address, request("GET", path.encode("latin-1").decode("ascii", "surrogateescape"), b"", *BEARER))
    assert (reply.status, upstream.received) == (400, [])


async def test_a_header_that_is_no_text_is_a_bad_request(address, upstream):
    reply = await ask(address, send(b"", "X-Name: \udcff"))
    assert (reply.status, upstream.received) == (400, [])


ODD_HEADERS = ("x-ODD: 1", "Set-Cookie: a=1", "Set-Cookie: b=2", "Retry-After: 7", "X-Latin: \xe4", "Server: theirs")


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Fine", "301 Moved", "400 Bad Request", "429 Slow", "500 Oops", "503 "]
)
async def test_an_answer_comes_back_as_it_was(address, upstream, status):
    answer = saying(b"<html>\xff", status, *ODD_HEADERS, "Location: https://api-eu.customer.io/v1/x")
    upstream.will_say(answer)
    async with connect(address) as (reader, writer):
        writer.write(send())
        assert await reader.readexactly(len(answer)) == answer
    assert len(upstream.received) == 1  # a redirect is not followed


async def test_a_packed_answer_stays_packed(address, upstream):
    packed = gzip.compress(b"{}" * 50)
    upstream.will_say(saying(packed, "200 OK", "Content-Encoding: gzip"))
    reply = await ask(address, send())
    assert (reply.body, reply.headers["content-encoding"]) == (packed, "gzip")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"]
)
async def test_an_answer_without_a_body_has_none(address, upstream, answer):
    upstream.will_say(answer, saying(b"next"))
    async with connect(address) as (reader, writer):
        writer.write(send())
        assert await reader.readuntil(b"\r\n\r\n") == answer
        writer.write(send())
        assert (await read_reply(reader)).body == b"next"


async def test_a_head_keeps_the_length_that_it_promises(address, upstream):
    upstream.will_say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", saying(b"next"))
    async with connect(address) as (reader, writer):
        writer.write(send(b"", method="HEAD"))
        assert (await read_reply(reader, has_body=False)).headers["content-length"] == "9"
        writer.write(send())
        assert (await read_reply(reader)).body == b"next"


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nhello world"


@pytest.mark.parametrize("answer", [CHUNKS, UNTIL_CLOSED])
async def test_a_small_answer_without_a_length_gets_one(address, upstream, answer):
    upstream.will_say(answer, saying(b"next"))
    async with connect(address) as (reader, writer):
        writer.write(send())
        reply = await read_reply(reader)
        assert (reply.body, reply.headers["x"]) == (b"hello world", "y")
        writer.write(send())
        assert (await read_reply(reader)).body == b"next"


LARGE = bytes(range(256)) * 1_000


async def test_a_large_answer_is_passed_on_as_it_comes(address, upstream):
    upstream.will_say(saying(LARGE), saying(b"next"))
    async with connect(address) as (reader, writer):
        writer.write(send())
        assert (await read_reply(reader)).body == LARGE
        writer.write(send())
        assert (await read_reply(reader)).body == b"next"


async def test_a_large_answer_of_unknown_length_comes_in_chunks(address, upstream):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.will_say(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE), saying(b"next"))
    async with connect(address) as (reader, writer):
        writer.write(send())
        assert b"transfer-encoding: chunked" in (await reader.readuntil(b"\r\n\r\n")).lower()
        received = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            received += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        assert received == LARGE
        writer.write(send())
        assert (await read_reply(reader)).body == b"next"


async def test_an_old_client_reads_a_large_answer_until_the_end(address, upstream):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.will_say(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE))
    async with connect(address) as (reader, writer):
        writer.write(b"GET /v1/exports/1 HTTP/1.0\r\nAuthorization: Bearer x\r\n\r\n")
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert body == LARGE


async def test_a_body_in_chunks_goes_on_part_by_part(address, upstream):
    upstream.will_say(saying())
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/v1/x", b"", *CHUNKED))
        for part in (b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read_reply(reader)).status == 200
    assert upstream.received[0][1] == b"hello world"


async def test_a_large_body_goes_on_with_its_length(address, upstream):
    upstream.will_say(saying())
    body = b"x" * BODY_MAX_BYTES
    assert (await ask(address, send(body))).status == 200
    assert f"Content-Length: {BODY_MAX_BYTES}" in head_of(upstream.received[0])[1]
    assert upstream.received[0][1] == body


async def test_whoever_waits_to_be_asked_for_the_body_is_asked(address, upstream):
    upstream.will_say(saying())
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/v1/x", b"", *BEARER, "Content-Length: 4", "Expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await read_reply(reader)).status == 200
    assert upstream.received[0][1] == b"body"
    assert not any("expect" in header.lower() for header in head_of(upstream.received[0])[1])


@pytest.mark.parametrize(
    "sent",
    [
        request("POST", "/v1/x", b"", *BEARER, f"Content-Length: {BODY_MAX_BYTES + 1}"),
        request("POST", "/v1/x", b"", *CHUNKED) + b"%x\r\n%b\r\n" % (BODY_MAX_BYTES + 1, b"x" * (BODY_MAX_BYTES + 1)),
    ],
)
async def test_a_body_has_a_most_and_what_is_longer_is_not_sent(address, upstream, sent):
    reply = await ask(address, sent)
    assert (reply.status, reply.json) == (413, {"meta": {"error": f"A body has at most {BODY_MAX_BYTES} bytes"}})
    assert upstream.received == []


async def test_a_body_that_breaks_off_is_not_sent(address, upstream):
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/v1/x", b"half", *BEARER, "Content-Length: 9"))
        writer.write_eof()
        reply = await read_reply(reader)
    assert (reply.status, upstream.received) == (400, [])
    assert "broke off" in reply.json["meta"]["error"]


async def test_a_body_that_does_not_end_is_not_sent(build, upstream):
    _, address, _ = await build(upstream.url, timeout_s=0.05)
    reply = await ask(address, request("POST", "/v1/x", b"half", *BEARER, "Content-Length: 9"))
    assert (reply.status, upstream.received) == (408, [])
    assert reply.json == {"meta": {"error": "The body was not whole within 0.05 s, so nothing was carried out"}}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_what_is_not_answered_in_time_is_unknown_and_not_sent_again(build, upstream, logger, method):
    passthrough, address, _ = await build(upstream.url, timeout_s=0.1)
    upstream.holds.clear()
    reply = await ask(address, send(b"{}", method=method))
    assert reply.status == 424
    assert reply.json == {"meta": {"error": f"Customer.io did not answer within 0.1 s; {UNKNOWN}"}}
    assert (len(upstream.received), passthrough.requests, passthrough.failed) == (1, 1, 1)
    assert logger.told == [(log.PASSTHROUGH_FAILED, {"host": "127.0.0.1", "trouble": "timeout"})]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "answer", [HANG_UP, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf"]
)
async def test_what_breaks_off_is_unknown_and_not_sent_again(build, upstream, method, answer):
    _, address, _ = await build(upstream.url, timeout_s=0.2)
    upstream.will_say(answer)
    reply = await ask(address, send(b"{}", method=method))
    assert (reply.status, len(upstream.received)) == (424, 1)
    assert UNKNOWN in reply.json["meta"]["error"]


async def test_what_is_no_http_is_unknown(address, upstream):
    upstream.will_say(b"SSH-2.0-OpenSSH_9.2\r\nConnection: close\r\n\r\n")
    reply = await ask(address, send())
    assert (reply.status, reply.headers["content-type"]) == (424, "application/json; charset=utf-8")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_connection_that_breaks_when_it_is_used_again_is_no_reason_to_send_twice(address, upstream, method):
    upstream.will_say(saying(), HANG_UP, saying())
    assert (await ask(address, send(b"{}"))).status == 200
    assert (await ask(address, send(b"{}", method=method))).status == 424
    assert (len(upstream.received), upstream.connections) == (2, 1)


async def test_a_large_answer_that_breaks_off_ends_the_connection(address, upstream):
    answer = saying(LARGE)[:-1]
    upstream.will_say(answer[:100_000] + b"Connection: close" + answer[100_000:200_000])
    async with connect(address) as (reader, writer):
        writer.write(send())
        received = await reader.read()
    assert 65_536 < len(received) < len(answer)


@pytest.fixture
async def nobody():
    """An address that nobody listens on."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


async def test_where_no_connection_opens_nothing_was_sent_and_it_may_be_repeated(build, nobody, logger):
    passthrough, address, _ = await build(nobody)
    reply = await ask(address, send())
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    sentence = "Customer.io cannot be reached (connect); nothing was sent, so it may be sent again"
    assert reply.json == {"meta": {"error": sentence}}
    assert (passthrough.requests, passthrough.failed) == (1, 1)
    assert logger.told == [(log.PASSTHROUGH_FAILED, {"host": "127.0.0.1", "trouble": "connect"})]


@pytest.mark.parametrize("is_whole", [True, False])
async def test_where_a_connection_opens_at_the_last_try_it_is_sent_once(build, upstream, nobody, is_whole):
    """The second rest brings upstream up; the body may come only then."""
    _, address, _ = await build(nobody, clock=(clock := RousingClock(upstream, nobody, after=2)))
    upstream.will_say(saying())
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/v1/x", b"body" if is_whole else b"", *BEARER, "Content-Length: 4"))
        await until(lambda: clock.rests == 2)
        writer.write(b"" if is_whole else b"body")
        assert (await read_reply(reader)).status == 200
    assert [body for _, body in upstream.received] == [b"body"]


class RousingClock(FakeClock):
    """Lets an upstream come up at an address after so many rests."""

    def __init__(self, upstream, url, *, after):
        super().__init__()
        self._upstream, self._url, self._after = upstream, url, after
        self.rests = 0

    async def sleep(self, seconds):
        self.rests += 1
        if self.rests == self._after:
            await self._upstream.start_at(int(self._url.rpartition(":")[2]))


async def test_a_name_that_nobody_knows_is_told(build, logger):
    _, address, _ = await build("http://nobody.invalid")
    assert (await ask(address, send())).status == 503
    assert logger.told[0][1]["trouble"] == "dns"


async def test_an_upstream_that_nobody_vouches_for_gets_nothing(build, logger, tmp_path):
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    make += ["-subj", "/CN=localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"]
    subprocess.run(make, check=True, capture_output=True)  # noqa: ASYNC221 - a few milliseconds
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    impostor = Upstream()
    await impostor.start(ssl=context)
    _, address, _ = await build(impostor.url)
    reply = await ask(address, send())
    assert (reply.status, impostor.received) == (503, [])
    assert logger.told[0][1]["trouble"] == "tls"
    await impostor.stop()


@pytest.mark.parametrize(
    ("door", "shown", "sent"),
    [
        ("tcp", "Bearer mine", "Bearer mine"),
        ("tcp", "bearer local", "Bearer real"),
        ("tcp", "Basic bWluZQ==", "Basic bWluZQ=="),
        ("tcp", "anything at all", "anything at all"),
        ("tcp", None, None),
        ("unix", "Bearer mine", "Bearer mine"),
        ("unix", "Bearer local", "Bearer real"),
        ("unix", None, "Bearer real"),
    ],
)
async def test_whoever_shows_the_local_key_gets_the_real_one(build, upstream, door, shown, sent):
    _, tcp, unix = await build(upstream.url)
    upstream.will_say(saying())
    headers = ["Host: localhost", "X-First: 1", *([f"Authorization: {shown}"] if shown else []), "X-Last: 1"]
    reply = await ask(tcp if door == "tcp" else unix, request("GET", "/v1/x", b"", *headers))
    if sent is None:
        assert (reply.status, upstream.received) == (401, [])
        assert reply.headers["www-authenticate"].startswith("Bearer")
        return
    kept = [header for header in head_of(upstream.received[0])[1] if "Length" not in header]
    place = slice(1, 2) if shown else slice(2, 3)
    assert kept[place] == [f"Authorization: {sent}"]
    assert len(kept) == 3


async def test_calls_sent_all_at_once_are_answered_in_order(address, upstream):
    upstream.will_say(*(saying(b"%d" % number) for number in range(20)))
    async with connect(address) as (reader, writer):
        writer.writelines(send() for _ in range(20))
        assert [(await read_reply(reader)).body for _ in range(20)] == [b"%d" % number for number in range(20)]


async def test_many_at_once_wait_for_nobody(address, upstream):
    """Each on a connection of its own: one that hangs holds up no other."""
    upstream.holds.clear()
    upstream.will_say(*[saying()] * 60)
    asking = [asyncio.ensure_future(ask(address, send())) for _ in range(60)]
    await until(lambda: len(upstream.received) == 60)
    upstream.holds.set()
    assert {(await one).status for one in asking} == {200}


async def test_one_who_leaves_harms_nobody(build, upstream, caplog):
    passthrough, address, _ = await build(upstream.url)
    upstream.holds.clear()
    upstream.will_say(saying(LARGE), saying(b"next"))
    async with connect(address) as (_, writer):
        writer.write(send())
        await until(lambda: len(upstream.received) == 1)
        writer.transport.abort()
    upstream.holds.set()
    assert (await ask(address, send())).body == b"next"
    assert (passthrough.failed, caplog.messages) == (0, [])


async def test_one_who_half_closes_gets_the_answer(address, upstream):
    upstream.will_say(saying(b"heard"))
    async with connect(address) as (reader, writer):
        writer.write(send())
        writer.write_eof()
        assert (await read_reply(reader)).body == b"heard"
        assert await is_closed(reader)


async def test_nothing_of_a_call_is_logged(address, upstream, logger):
    upstream.will_say(saying(b"{}", "400 Secret"))
    await ask(address, send(b"secret", path="/v1/customers/secret/attributes?secret=1"))
    ((event, fields),) = logger.told
    assert (event, sorted(fields)) == (log.PASSTHROUGH_FORWARDED, ["method", "status", "took_s"])
    assert "secret" not in str(fields).lower()


def redirecting(*headers):
    return saying(b'{"errors":[]}', "301 Moved Permanently", "Location: https://api-eu.customer.io/v1/x", *headers)


async def test_a_redirect_is_told_to_the_operator_and_does_not_take_our_key_along(build, upstream, logger):
    """One SDK follows it within .customer.io, with the credentials that it was given for here."""
    passthrough, address, _ = await build(upstream.url)
    upstream.will_say(redirecting(), redirecting())
    assert (await ask(address, send())).headers["location"] == "https://api-eu.customer.io/v1/x"
    reply = await ask(address, request("GET", "/v1/x", b"", "Host: localhost", "Authorization: Bearer local"))
    assert (reply.status, "location" in reply.headers) == (421, False)
    assert "upstream.region" in reply.json["meta"]["error"]
    assert [fields["trouble"] for event, fields in logger.told if event == log.PASSTHROUGH_FAILED] == ["redirected"] * 2
    assert passthrough.failed == 2


async def test_what_has_not_changed_is_no_redirect(build, upstream, logger):
    passthrough, address, _ = await build(upstream.url)
    upstream.will_say(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
    reply = await ask(address, request("GET", "/v1/x", b"", "Host: localhost", "Authorization: Bearer local"))
    assert (reply.status, reply.headers["etag"], passthrough.failed) == (304, "x", 0)
    assert [event for event, _ in logger.told] == [log.PASSTHROUGH_FORWARDED]


async def test_a_body_that_upstream_does_not_take_is_its_trouble_and_unknown(build, logger):
    """The app has said it all, or would, were it let: nobody may tell it that nothing was sent."""
    stuck = asyncio.Event()

    async def never_read(reader, writer):
        await stuck.wait()
        writer.close()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0, limit=1)
    passthrough, address, _ = await build(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.3, body_max_bytes=64_000_000
    )
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/v1/x", b"", *BEARER, "Content-Length: 60000000"))
        writing = asyncio.ensure_future(keep_writing(writer))
        reply = await read_reply(reader)
        writing.cancel()
    assert (reply.status, passthrough.failed) == (424, 1)
    assert UNKNOWN in reply.json["meta"]["error"]
    stuck.set()
    server.close()


async def keep_writing(writer):
    for _ in range(600):
        writer.write(b"x" * 100_000)
        await writer.drain()


async def test_an_app_that_does_not_read_a_large_answer_is_given_up(address, upstream, monkeypatch):
    monkeypatch.setattr(relay, "WRITE_TIMEOUT_S", 0.05)
    upstream.will_say(saying(LARGE * 60))
    async with connect(address) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(send())
        await until(lambda: len(upstream.received) == 1)
        await asyncio.sleep(0.3)  # what is in the sockets' buffers has to fill up
        writer.transport.resume_reading()
        received = await reader.read()
    assert len(received) < len(LARGE) * 60


@pytest.mark.parametrize("size", [9_000, 30_000])
async def test_long_paths_and_headers_pass_both_ways(address, upstream, size):
    upstream.will_say(saying(b"{}", "200 OK", f"X-Long: {'y' * size}"))
    reply = await ask(address, send(b"", f"X-Long: {'x' * size}", path=f"/v1/x?{'q' * size}"))
    assert (reply.status, len(reply.headers["x-long"])) == (200, size)
    line, headers = head_of(upstream.received[0])
    assert (len(line) > size, f"X-Long: {'x' * size}" in headers) == (True, True)


@pytest.mark.parametrize("shown", [None, "Bearer local"])
async def test_who_may_not_call_is_told_to_the_operator(build, upstream, logger, shown):
    _, address, _ = await build(upstream.url, callers=Callers(site_id="site", keys=(), local_key="local"))
    headers = ["Host: localhost", *([f"Authorization: {shown}"] if shown else [])]
    assert (await ask(address, request("GET", "/v1/x", b"", *headers))).status == 401
    assert (logger.told, upstream.received) == ([(log.OPERATION_REFUSED, {"reason": "unauthorized"})], [])


async def test_what_comes_unasked_is_not_taken_for_the_next_answer(address, upstream):
    """A proxy's 408 before it hangs up, say."""
    upstream.will_say(saying(b"first") + saying(b"unasked", "408 Request Timeout"), saying(b"second"))
    assert (await ask(address, send())).body == b"first"
    assert (await ask(address, send())).body == b"second"
    assert (len(upstream.received), upstream.connections) == (2, 2)


async def test_what_comes_unasked_later_is_not_either(address, upstream):
    upstream.will_say(saying(b"first"), saying(b"second"))
    assert (await ask(address, send())).body == b"first"
    await upstream.say_unasked(saying(b"unasked"))
    await asyncio.sleep(0.05)  # it has to cross the network
    assert (await ask(address, send())).body == b"second"


async def test_no_tunnel_is_made(address, upstream):
    reply = await ask(address, request("CONNECT", "/v1/x", b"", *BEARER))
    assert (reply.status in (400, 405), upstream.received) == (True, [])


async def test_what_an_answer_says_of_its_connection_stays_there(address, upstream):
    upstream.will_say(saying(b"{}", "200 OK", "Connection: keep-alive, X-Theirs", "X-Theirs: 1", "X-Ours: 1"))
    reply = await ask(address, send())
    assert ("x-theirs" in reply.headers, reply.headers["x-ours"]) == (False, "1")


async def test_an_answer_that_stalls_while_the_body_still_comes_is_unknown(build, upstream):
    """It has begun to be answered, so it may have been carried out."""

    async def answer_early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer_early, "127.0.0.1", 0)
    _, address, _ = await build(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.2)
    reply = await ask(address, request("POST", "/v1/x", b"some", *BEARER, "Content-Length: 9"))
    assert reply.status == 424
    server.close()
