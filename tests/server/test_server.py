"""The sockets: who may come in, how long a body may take, and how it all ends."""

import asyncio
import grp
import os
import socket
import stat
import zlib

import pytest

from cio_buffer.errors import UnknownGroup, UnknownUser
from cio_buffer.http import connection
from cio_buffer.http.door import BUSY
from cio_buffer.server import find_users
from cio_buffer.server.visitors import is_local
from tests.support.process import until

from .rooms import BODY_MAX_BYTES, has_connections
from .wire import ask, connect, is_closed, read_reply, request


async def test_the_room_gets_the_raw_path_and_the_whole_body(port, path, room):
    for address in (port, path):
        reply = await ask(address, request("PUT", "/a%2Fb?c=%20+", b"body"))
        assert (reply.status, reply.body) == (200, b"body")
    assert room.asked == [("PUT", "/a%2Fb?c=%20+", b"body")] * 2


async def test_a_body_may_come_in_pieces(port, room):
    async with connect(port) as (reader, writer):
        pieces = (request("POST", "/", b"", "Host: localhost", "Content-Length: 4"), b"bo", b"dy")
        for piece, size in zip(pieces, (0, 2, 4), strict=True):
            writer.write(piece)
            await room.until_it_has(size)
        assert (await read_reply(reader)).body == b"body"


CHUNKED = request("POST", "/", b"", "Host: localhost", "Transfer-Encoding: chunked")


async def test_a_body_may_come_in_chunks(port, room):
    async with connect(port) as (reader, writer):
        for piece, size in zip((CHUNKED, b"2\r\nbo\r\n", b"2\r\ndy\r\n0\r\n\r\n"), (0, 2, 4), strict=True):
            writer.write(piece)
            await room.until_it_has(size)
        assert (await read_reply(reader)).body == b"body"


async def test_a_compressed_body_is_the_rooms_to_judge(port, room):
    """Half a stream would pass for an empty body, so it is not unpacked here."""
    packed = zlib.compress(b"body" * 10)
    reply = await ask(port, request("POST", "/", packed, "Host: localhost", "Content-Encoding: deflate"))
    assert (reply.status, reply.body) == (200, packed)
    assert room.asked == [("POST", "/", packed)]


@pytest.mark.parametrize(
    "head", [request("POST", "/", b"", "Host: localhost", "Content-Length: 9"), CHUNKED + b"2\r\n"]
)
async def test_a_body_that_never_ends_is_given_up(hasty_port, room, head):
    reply = await ask(hasty_port, head)
    assert (reply.status, reply.headers["connection"]) == (408, "close")
    assert reply.json == {"meta": {"error": "The body was not whole within 0.02 s"}}
    assert room.asked == []


async def test_a_body_that_drips_is_given_up_all_the_same(hasty_port, room):
    """The time is for the whole of it, not for each piece."""
    async with connect(hasty_port) as (reader, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 1000"))
        replied = asyncio.ensure_future(read_reply(reader))
        while not replied.done():
            writer.write(b"x")
            await asyncio.wait({replied}, timeout=0.001)
        assert replied.result().status == 408
    assert room.asked == []


@pytest.mark.parametrize("api", ["/api/v2/batch", "/api/v2/x"])
async def test_v2_hears_of_a_bad_body_in_its_own_words(port, hasty_port, api):
    late = await ask(hasty_port, request("POST", api, b"", "Host: localhost", "Content-Length: 9"))
    big = await ask(port, request("POST", api, b"x" * (BODY_MAX_BYTES + 1)))
    for reply, status, message in (
        (late, 408, "The body was not whole within 0.02 s"),
        (big, 413, "A body has at most 1000 bytes"),
    ):
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert reply.headers["content-type"] == "application/json; charset=utf-8"
        assert reply.json == {"errors": [{"reason": "invalid", "field": "", "message": message}]}


async def test_a_body_has_a_most(port):
    assert (await ask(port, request("POST", "/", b"x" * BODY_MAX_BYTES))).status == 200
    too_much = b"x" * (BODY_MAX_BYTES + 1)
    for sent in (
        request("POST", "/", too_much),
        CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(too_much), too_much),
    ):
        async with connect(port) as (reader, writer):
            writer.write(sent)
            reply = await read_reply(reader)
            assert reply.status == 413
            assert reply.json == {"meta": {"error": "A body has at most 1000 bytes"}}
            assert await is_closed(reader)


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(port):
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 1001", "Expect: 100-continue"))
        assert (await read_reply(reader)).status == 413
        writer.write(b"x" * 1001)
        assert await is_closed(reader)


async def test_a_body_without_end_is_refused_as_soon_as_it_is_too_large(port):
    async with connect(port) as (reader, writer):
        writer.writelines([CHUNKED, *[b"200\r\n%b\r\n" % (b"x" * 512)] * 3])
        assert (await read_reply(reader)).status == 413
        writer.write(b"0\r\n\r\n")
        assert await is_closed(reader)


async def test_whoever_waits_to_be_asked_for_the_body_is_asked(port):
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 4", "Expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await read_reply(reader)).body == b"body"


async def test_requests_are_answered_in_order(port):
    async with connect(port) as (reader, writer):
        writer.writelines(request("POST", "/", b"%d" % number) for number in range(50))
        assert [(await read_reply(reader)).body for _ in range(50)] == [b"%d" % number for number in range(50)]


async def test_one_who_hangs_up_in_the_middle_harms_nobody(port, room, caplog):
    async with connect(port) as (_, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 9") + b"half")
        await room.until_it_has(4)
    assert (await ask(port, request("POST", "/", b"next"))).status == 200
    assert [body for _, _, body in room.asked] == [b"next"]
    assert caplog.messages == []


JSON = "application/json; charset=utf-8"


@pytest.fixture
def hasty_heads(monkeypatch):
    """Nobody waits long for the head of a request."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.02)


@pytest.mark.usefixtures("hasty_heads")
@pytest.mark.parametrize("sent", [b"POST / HT", b"P", request("POST", "/", b"body")[:-6], b"\r\n"])
async def test_a_head_that_never_ends_is_given_up(port, path, room, sent):
    for address in (port, path):
        async with connect(address) as (reader, writer):
            writer.write(sent)
            reply = await read_reply(reader)
            assert (reply.status, reply.headers["content-type"], reply.headers["connection"]) == (408, JSON, "close")
            assert reply.json.keys() == {"meta"}
            assert await is_closed(reader)
    assert room.asked == []


@pytest.mark.usefixtures("hasty_heads")
async def test_one_who_says_nothing_at_all_is_hung_up_on(port, path):
    """A connection opened ahead of its first request: an answer to no request would be taken for the next one's."""
    for address in (port, path):
        async with connect(address) as (reader, _):
            assert await is_closed(reader)


@pytest.mark.usefixtures("hasty_heads")
async def test_a_later_head_that_never_ends_is_given_up_too(port, room):
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"body"))
        assert (await read_reply(reader)).status == 200
        writer.write(b"POST / HT")
        assert (await read_reply(reader)).status == 408
        assert await is_closed(reader)


@pytest.mark.usefixtures("hasty_heads")
async def test_one_who_keeps_a_connection_for_later_is_not_hurried(port, room):
    async with connect(port) as (reader, writer):
        for _ in range(3):
            writer.write(request("POST", "/", b"body"))
            assert (await read_reply(reader)).status == 200
            async with connect(port) as (other, _):
                await other.read()  # one who says nothing is given up


@pytest.mark.usefixtures("hasty_heads")
async def test_a_slow_body_is_no_slow_head(port, room):
    room.may_answer.clear()
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 4") + b"bo")
        await room.until_it_has(2)
        async with connect(port) as (other, _):
            await other.read()
        writer.write(b"dy")
        await room.was_asked.wait()
        async with connect(port) as (other, _):
            await other.read()
        room.may_answer.set()
        assert (await read_reply(reader)).body == b"body"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 secret\r\n\r\n",
        b"secret\r\n\r\n",
        b"POST secret HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nsecret\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: secret\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsecret",
        b"POST /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nX: " + b"secret" * 10_000 + b"\r\n\r\n",
        CHUNKED + b"secret\r\n",
    ],
)
async def test_garbage_is_a_bad_request_and_is_not_logged(port, room, caplog, garbage):
    async with connect(port) as (reader, writer):
        writer.write(garbage)
        reply = await read_reply(reader)
        assert reply.status == 400
        assert (reply.headers["content-type"], reply.json.keys()) == (JSON, {"meta"})
        assert "secret" not in reply.json["meta"]["error"]
        assert await is_closed(reader)
    assert (await ask(port, request("POST", "/", b"next"))).status == 200
    assert [body for _, _, body in room.asked] == [b"next"]
    assert caplog.messages == []


async def test_garbage_in_the_middle_of_a_body_is_as_good_as_no_end(hasty_port, room, caplog):
    async with connect(hasty_port) as (reader, writer):
        writer.write(CHUNKED)
        await room.until_it_has(0)
        writer.write(b"secret\r\n")
        reply = await read_reply(reader)
        assert reply.status in (400, 408)
        assert (reply.headers["content-type"], reply.json.keys()) == (JSON, {"meta"})
    assert (room.asked, caplog.messages) == ([], [])


async def test_what_breaks_in_a_room_is_a_500_and_logged(port, caplog):
    reply = await ask(port, request("POST", "/", b"break"))
    assert reply.status == 500
    assert "broken by a test" in caplog.text
    assert (reply.headers["content-type"], reply.headers["connection"]) == (JSON, "close")
    assert reply.json == {"meta": {"error": "Something here broke; the log says more"}}
    in_v2 = await ask(port, request("POST", "/api/v2/batch", b"break"))
    assert (in_v2.status, in_v2.json["errors"][0]["reason"]) == (500, "invalid")


async def test_one_connection_too_many_is_turned_away(server, port):
    async with connect(port) as (reader, writer), connect(port), connect(port):
        await until(has_connections(server, 3))
        async with connect(port) as (turned_away, too_many):
            too_many.write(request("POST", "/", b"body"))
            reply = await read_reply(turned_away)
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert reply.json == {"meta": {"error": "Too many connections"}}
            assert await is_closed(turned_away)
        writer.write(request("POST", "/", b"body"))
        assert (await read_reply(reader)).status == 200
    await until(has_connections(server, 0))
    assert (await ask(port, request("POST", "/", b"body"))).status == 200


def test_what_is_said_to_one_too_many_has_the_length_that_it_says():
    head, _, body = BUSY.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8246", ""])
async def test_pages_in_a_browser_are_kept_out(port, path, room, origin):
    for address in (port, path):
        reply = await ask(address, request("POST", "/", b"body", "Host: localhost", f"Origin: {origin}"))
        assert (reply.status, reply.headers["connection"]) == (403, "close")
    assert room.asked == []


async def test_a_foreign_host_is_kept_out_of_the_port_only(port, path):
    sent = request("POST", "/", b"body", "Host: evil.example")
    assert (await ask(port, sent)).status == 403
    assert (await ask(path, sent)).status == 200


async def test_no_host_is_no_foreign_host(port):
    assert (await ask(port, b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody")).body == b"body"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost:8246", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8246", True),
        ("127.0.0.2:1", True),
        ("[::1]", True),
        ("[::1]:8246", True),
        ("", False),
        (":8246", False),
        ("::1", False),
        ("[::1", False),
        ("[::2]:8246", False),
        ("10.0.0.1", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8246", False),
        ("localhost:80:80", False),
        ("localhost:evil", False),
        ("evil.example", False),
        ("localhost@evil.example", False),
        ("localhost\nevil.example", False),
    ],
)
def test_a_host_is_local_or_foreign(host, expected):
    assert is_local(host) is expected


async def test_a_socket_file_has_the_mode_that_was_asked_for(server, tmp_path):
    for mode in (0o600, 0o660, 0o666):
        path = tmp_path / "new" / f"{mode}.sock"
        await server.listen_unix(path, mode=mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode


async def test_a_socket_file_has_the_group_that_was_asked_for(server, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "chown", lambda *to: asked.append(to))
    group = grp.getgrgid(os.getgid())
    await server.listen_unix(tmp_path / "a.sock", mode=0o660, group=group.gr_name)
    assert asked == [(tmp_path / "a.sock", -1, group.gr_gid)]


async def test_an_unknown_group_is_said_before_anything_is_opened(server, tmp_path):
    with pytest.raises(UnknownGroup, match="no group 'nobody-knows'"):
        await server.listen_unix(tmp_path / "a.sock", mode=0o660, group="nobody-knows")
    assert not (tmp_path / "a.sock").exists()


async def test_only_those_who_are_named_come_in(server, tmp_path, room):
    own, others = frozenset({os.getuid()}), frozenset({os.getuid() + 1})
    await server.listen_unix(tmp_path / "ours.sock", mode=0o600, users=own | others)
    await server.listen_unix(tmp_path / "theirs.sock", mode=0o600, users=others)
    assert (await ask(str(tmp_path / "ours.sock"), request("POST", "/", b"body"))).body == b"body"
    async with connect(str(tmp_path / "theirs.sock")) as (reader, _):
        reply = await read_reply(reader)
        assert (reply.status, reply.headers["content-type"]) == (403, JSON)
        assert reply.json == {"meta": {"error": "This user may not call here"}}
        assert await is_closed(reader)
    assert len(room.asked) == 1


def test_users_are_found_by_name_and_by_number():
    assert find_users(["root", "12345"]) == {0, 12345}
    assert find_users([]) == frozenset()
    with pytest.raises(UnknownUser, match="no user 'nobody-knows'"):
        find_users(["nobody-knows"])


async def test_what_a_crash_left_behind_is_replaced(server, tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    await server.listen_unix(path, mode=0o600)
    assert (await ask(str(path), request("POST", "/", b"body"))).status == 200


async def test_a_socket_that_somebody_serves_is_not_replaced(server, tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(FileExistsError, match="somebody else serves"):
            await server.listen_unix(path, mode=0o600)
    assert path.exists()


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("elsewhere")])
async def test_what_is_no_socket_is_not_replaced(server, tmp_path, make):
    path = tmp_path / "a.sock"
    make(path)
    with pytest.raises(FileExistsError, match="no socket"):
        await server.listen_unix(path, mode=0o600)
    assert list(tmp_path.iterdir()) == [path]


async def test_a_path_too_long_for_a_socket_is_an_os_error(server, tmp_path):
    with pytest.raises(OSError, match="too long"):
        await server.listen_unix(tmp_path / ("x" * 120), mode=0o600)


async def test_closing_lets_a_request_under_way_finish(server, port, path, room):
    room.may_answer.clear()
    async with connect(port) as (reader, writer), connect(path) as (idle, _):
        writer.write(request("POST", "/", b"body"))
        await room.was_asked.wait()
        closing = asyncio.create_task(server.close(1.0))
        await until(lambda: not os.path.exists(path))
        with pytest.raises(FileNotFoundError):
            await ask(path, b"")
        with pytest.raises(ConnectionRefusedError):
            await ask(port, b"")
        room.may_answer.set()
        assert (await read_reply(reader)).body == b"body"
        await closing
        assert await is_closed(idle)


async def test_closing_does_not_wait_for_ever(server, port, room):
    room.may_answer.clear()
    async with connect(port) as (reader, writer):
        writer.write(request("POST", "/", b"body"))
        await room.was_asked.wait()
        before = asyncio.get_running_loop().time()
        await server.close(0.04)
        assert 0.03 < asyncio.get_running_loop().time() - before < 0.5
        assert await is_closed(reader)


async def test_a_socket_that_was_replaced_meanwhile_is_kept(server, tmp_path, room):
    """A successor may open its own as soon as we listen no more, while our last request still runs."""
    path = tmp_path / "a.sock"
    await server.listen_unix(path, mode=0o600)
    room.may_answer.clear()
    async with connect(str(path)) as (_, writer):
        writer.write(request("POST", "/", b"body"))
        await room.was_asked.wait()
        closing = asyncio.create_task(server.close(1.0))
        await until(lambda: not path.exists())
        path.write_text("the successor's")
        room.may_answer.set()
        await closing
    assert path.exists()
