"""The https door: whoever speaks TLS comes in, whoever does not is gone soon, and all of them count."""

import asyncio
import ssl
import subprocess

import pytest
from aiohttp import web

from cio_buffer.errors import UnusableCertificate
from cio_buffer.server import Server, tls_context
from cio_buffer.server import tls as module

from .wire import ask, is_closed, read_reply, request

CONNECTIONS_MAX = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate for this machine, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "tls.crt", folder / "tls.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def server():
    async def answer(given, body):
        return web.Response(body=await body.read())

    server = Server(answer, body_max_bytes=1_000, connections_max=CONNECTIONS_MAX)
    yield server
    await server.close(0.02)


@pytest.fixture
async def port(server, pair):
    return (await server.listen_tls("127.0.0.1", 0, tls_context(*pair)))[1]


@pytest.fixture
def trust(pair):
    return ssl.create_default_context(cafile=str(pair[0]))


async def connect(port, trust=None):
    return await asyncio.open_connection("127.0.0.1", port, ssl=trust)


async def test_a_call_by_tls_is_answered(port, trust):
    reader, writer = await connect(port, trust)
    for body in (b"one", b"two"):
        writer.write(request("POST", "/", body))
        assert (await read_reply(reader)).body == body
    writer.close()


async def test_who_never_agrees_on_tls_counts_and_is_gone_in_time(port, trust, monkeypatch):
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT_S", 0.3)
    silent = [await connect(port) for _ in range(CONNECTIONS_MAX)]
    with pytest.raises(OSError):
        await connect(port, trust)
    assert all([await is_closed(reader) for reader, _ in silent])
    reader, writer = await connect(port, trust)
    writer.write(request("POST", "/", b"next"))
    assert (await read_reply(reader)).body == b"next"
    for _, other in (*silent, (reader, writer)):
        other.close()


async def test_who_speaks_something_else_harms_nobody(port, trust, caplog):
    reader, writer = await connect(port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not (await reader.read()).startswith(b"HTTP")
    writer.close()
    reader, writer = await connect(port, trust)
    writer.write(request("POST", "/", b"next"))
    assert (await read_reply(reader)).body == b"next"
    writer.close()
    assert caplog.messages == []


async def test_a_closed_door_lets_nobody_in(server, port, trust):
    silent = await connect(port)
    await server.close(0.02)
    assert await is_closed(silent[0])
    with pytest.raises(OSError):
        await connect(port, trust)
    silent[1].close()


async def test_a_full_door_fills_no_other(server, port, tmp_path):
    """Whoever crowds a port, which wants no credentials for that, locks nobody out of the UNIX socket."""
    await server.listen_unix(tmp_path / "api.sock", mode=0o600)
    _, plain_port = await server.listen_tcp("127.0.0.1", 0)
    crowd = [await connect(where) for where in (port, plain_port) for _ in range(CONNECTIONS_MAX)]
    reader, writer = await connect(plain_port)
    assert (await read_reply(reader)).status == 503
    assert (await ask(str(tmp_path / "api.sock"), request("POST", "/", b"body"))).body == b"body"
    for _, other in (*crowd, (reader, writer)):
        other.close()


@pytest.mark.parametrize("which", [(1, 0), (0, 0), (1, 1)])
def test_a_certificate_and_a_key_that_do_not_belong_together_are_told(pair, which):
    with pytest.raises(UnusableCertificate, match="cannot use"):
        tls_context(pair[which[0]], pair[which[1]])
