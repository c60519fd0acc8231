"""One who has said all may listen still: `nc -N`, `shutdown(SHUT_WR)`, a client library that means it."""

import asyncio
import socket

import pytest

from tests.support.process import until

from .rooms import has_connections
from .wire import connect, is_closed, read_reply, request

IN_CHUNKS = request("POST", "/", b"", "Host: localhost", "Transfer-Encoding: chunked")


@pytest.fixture(params=["tcp", "unix"])
def address(request):
    return request.getfixturevalue("port" if request.param == "tcp" else "path")


async def test_a_request_is_answered_whose_sender_says_no_more(address, room, caplog):
    room.may_answer.clear()
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/", b"last"))
        writer.write_eof()
        await room.was_asked.wait()
        await until(lambda: room.given.protocol.has_left)
        room.may_answer.set()
        reply = await read_reply(reader)
        assert (reply.status, reply.body) == (200, b"last")
        assert await is_closed(reader)
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/", b"next"))
        assert (await read_reply(reader)).status == 200
    assert [body for _, _, body in room.asked] == [b"last", b"next"]
    assert caplog.messages == []


async def test_a_request_is_answered_that_comes_in_one_piece_with_the_end(address, room):
    for _ in range(20):
        async with connect(address) as (reader, writer):
            writer.write(request("POST", "/", b"last"))
            writer.write_eof()
            assert (await read_reply(reader)).body == b"last"
            assert await is_closed(reader)


@pytest.mark.parametrize("api", ["/", "/api/v2/batch"])
@pytest.mark.parametrize("begun", [IN_CHUNKS + b"3\r\nabc\r\n", IN_CHUNKS + b"3\r\nab", IN_CHUNKS, b"length"])
async def test_a_body_that_will_not_be_whole_is_a_bad_request(address, room, caplog, begun, api):
    if begun == b"length":
        begun = request("POST", "/", b"", "Host: localhost", "Content-Length: 9") + b"half"
    message = "The body broke off, or its chunks are damaged"
    async with connect(address) as (reader, writer):
        writer.write(begun.replace(b"POST / ", b"POST %b " % api.encode()))
        writer.write_eof()
        reply = await read_reply(reader)
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        problem = {"reason": "invalid", "field": "", "message": message}
        assert reply.json == ({"meta": {"error": message}} if api == "/" else {"errors": [problem]})
        assert await is_closed(reader)
    assert (room.asked, caplog.messages) == ([], [])


async def test_a_body_that_breaks_off_while_it_is_waited_for_is_a_bad_request(address, room, caplog):
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/", b"", "Host: localhost", "Content-Length: 9") + b"half")
        await room.until_it_has(4)
        writer.write_eof()
        assert (await read_reply(reader)).status == 400
        assert await is_closed(reader)
    assert (room.asked, caplog.messages) == ([], [])


@pytest.mark.parametrize("count", [2, 31, 32, 33, 64, 100])
async def test_all_that_was_asked_is_answered_before_the_connection_closes(address, room, count):
    room.may_answer.clear()
    async with connect(address) as (reader, writer):
        writer.writelines(request("POST", "/", b"%d" % number) for number in range(count))
        writer.write_eof()
        await room.was_asked.wait()
        room.may_answer.set()
        assert [(await read_reply(reader)).body for _ in range(count)] == [b"%d" % number for number in range(count)]
        assert await is_closed(reader)


async def test_the_last_of_several_may_break_off(address, room):
    async with connect(address) as (reader, writer):
        writer.writelines([request("POST", "/", b"whole"), IN_CHUNKS + b"3\r\nabc\r\n"])
        writer.write_eof()
        assert (await read_reply(reader)).body == b"whole"
        assert (await read_reply(reader)).status == 400
        assert await is_closed(reader)
    assert [body for _, _, body in room.asked] == [b"whole"]


async def test_what_is_not_even_a_head_is_no_request(address, room):
    room.may_answer.clear()
    async with connect(address) as (reader, writer):
        writer.write(request("POST", "/", b"whole") + b"POST / HT")
        writer.write_eof()
        await room.was_asked.wait()
        room.may_answer.set()
        assert (await read_reply(reader)).body == b"whole"
        assert await is_closed(reader)
    assert len(room.asked) == 1


async def test_one_who_leaves_while_idle_is_let_go_at_once(server, address, room):
    for asked_before in (False, True):
        async with connect(address) as (reader, writer):
            if asked_before:
                writer.write(request("POST", "/", b"body"))
                await read_reply(reader)
            await until(has_connections(server, 1))
            await idle(server)
            before = asyncio.get_running_loop().time()
            writer.write_eof()
            assert await is_closed(reader)
            assert asyncio.get_running_loop().time() - before < 0.04, "before anybody would look again"
        await until(has_connections(server, 0))


async def idle(server):
    """Wait until the only connection waits for a request."""
    await until(server._http.connections[0]._is_idle)


async def test_one_who_leaves_with_an_answer_unread_is_forgotten(server, address, room, caplog):
    """Half closed first, and gone before the answer: nobody waits for ever."""
    room.may_answer.clear()
    async with connect(address) as (_, writer):
        writer.write(request("POST", "/", b"last"))
        writer.write_eof()
        await room.was_asked.wait()
        writer.transport.abort()
    room.may_answer.set()
    await until(has_connections(server, 0))
    assert caplog.messages == []


async def test_one_who_resets_the_connection_in_the_middle_of_a_body_harms_nobody(server, port, room, caplog):
    with socket.create_connection(port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(request("POST", "/", b"", "Host: localhost", "Content-Length: 9") + b"half")
        await room.until_it_has(4)
    await until(has_connections(server, 0))
    assert (room.asked, caplog.messages) == ([], [])
