"""Which Track calls want credentials, over real sockets."""

import json
from base64 import b64encode

import pytest

from cio_buffer.callers import Callers
from cio_buffer.telemetry import log
from tests.server.wire import ask, connect, read_reply, request

from .test_tolerance import CALLS

NO_CREDENTIALS = {"/api/v1/metrics", "/api/v1/push/events", "/push/events", "/unsubscribe/d1"}
"""As at Customer.io (track-api.md, section 1)."""

WANTS_SOME = [call for call in CALLS if call[1] not in NO_CREDENTIALS]
WANTS_NONE = [call for call in CALLS if call[1] in NO_CREDENTIALS]


def basic(text):
    return "Authorization: Basic " + b64encode(text.encode()).decode()


WRONG = [basic("site:no"), basic("no:key"), "Authorization: Basic $$$", "Authorization: Bearer key", "X-None: none"]


@pytest.fixture
def callers():
    return Callers(site_id="site", keys=("key", "before"), needed="key", local_key="local")


@pytest.fixture
def send(address):
    async def send(method, path, body=None, *headers):
        data = b"" if body is None else json.dumps(body).encode()
        return await ask(address, request(method, path, data, "Host: localhost", *headers))

    return send


@pytest.fixture
def is_by_tcp(address):
    return isinstance(address, tuple)


@pytest.mark.parametrize("call", WANTS_SOME)
async def test_a_port_wants_credentials(send, is_by_tcp, outbox, logger, call):
    for header in WRONG:
        reply = await send(*call, header)
        is_let_in = not is_by_tcp and header not in (basic("no:key"), "Authorization: Basic $$$")
        assert reply.status == (200 if is_let_in else 401), header
        if not is_let_in:
            assert reply.headers["www-authenticate"] == 'Basic realm="Customer.io Track API"'
            assert reply.headers["content-type"] == "application/json; charset=utf-8"
            assert reply.json.keys() == ({"errors"} if "v2" in call[1] else {"meta"})
    assert len(outbox.entries) == (0 if is_by_tcp else 3)
    assert logger.told == [(log.OPERATION_REFUSED, {"reason": "unauthorized"})] * (5 if is_by_tcp else 2)


@pytest.mark.parametrize("call", CALLS)
async def test_credentials_open_every_call(send, outbox, call):
    for key in ("key", "before", "local"):
        assert (await send(*call, basic(f"site:{key}"))).status == 200
    assert len(outbox.entries) == 3


@pytest.mark.parametrize("call", WANTS_NONE)
async def test_what_needs_no_credentials_at_customerio_needs_none_here(send, outbox, call):
    for header in (basic("site:no"), "Authorization: Bearer key", "X-None: none", basic("site:key")):
        assert (await send(*call, header)).status == 200, header
    assert len(outbox.entries) == 4


@pytest.mark.parametrize("call", WANTS_NONE)
async def test_a_foreign_site_is_told_all_the_same(send, outbox, call):
    """An app that talks to the wrong workspace should hear of it."""
    for header in (basic("no:key"), "Authorization: Basic $$$"):
        assert (await send(*call, header)).status == 401, header
    assert outbox.entries == []


async def test_no_other_way_to_say_it_goes_without_credentials(send, is_by_tcp, outbox):
    for path in ("/api/v1//metrics", "/api/v1/metrics/", "/api/v1/%6Detrics", "//push/events", "/api/v1/unsubscribe/d"):
        assert (await send("POST", path, {"delivery_id": "d", "metric": "m", "event": "e"})).status == 404
    for path in ("/api/v1/customers/x/events?/unsubscribe/d1", "/api/v1/events?/api/v1/metrics"):
        assert (await send("POST", path, {"name": "b"})).status == (401 if is_by_tcp else 200)


async def test_the_region_is_asked_by_whom_we_know(send, is_by_tcp, region):
    assert (await send("GET", "/api/v1/accounts/region")).status == (401 if is_by_tcp else 200)
    assert (await send("GET", "/api/v1/accounts/region", None, basic("no:key"))).status == 401
    assert (await send("GET", "/api/v1/accounts/region", None, basic("site:key"))).status == 200
    assert len(region.asked) == (1 if is_by_tcp else 2)


async def test_one_who_is_refused_may_show_something_else_on_the_same_connection(address, outbox):
    async with connect(address) as (reader, writer):
        for header, status in ((basic("no:key"), 401), (basic("site:key"), 200)):
            writer.write(request("PUT", "/api/v1/customers/5", b"{}", "Host: localhost", header))
            assert (await read_reply(reader)).status == status
    assert len(outbox.entries) == 1


async def test_nothing_of_a_body_is_wanted_from_whom_we_do_not_know(address, outbox):
    head = ("Host: localhost", basic("no:key"), "Content-Length: 9", "Expect: 100-continue")
    async with connect(address) as (reader, writer):
        writer.write(request("PUT", "/api/v1/customers/5", b"", *head))
        assert (await read_reply(reader)).status == 401
