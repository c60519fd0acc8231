"""When something goes wrong between an app and us: what each SDK makes of our answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from async_customerio import AsyncAPIClient, AsyncCustomerIOError, AsyncCustomerIORetryableError, SendEmailRequest
from customerio import APIClient, CustomerIOException

from tests.sdk import test_async, test_python
from tests.sdk.nodejs import Node, NodeProblem
from tests.sdk.relay import header, relay_to
from tests.sdk.roads import APP_KEY, Roads, daemon_before, sandbox, two_roads
from tests.sdk.story import step
from tests.support.process import SITE_ID, TRACK_KEY, until

EVENT = step("track", 5, {"name": "came"})
MIXED = [
    {"type": "person", "action": "event", "identifiers": {"id": "5"}, "name": "came"},
    {"type": "person", "action": "event", "identifiers": {"id": "5"}},
]


async def test_node_repeats_a_call_whose_answer_was_lost_and_it_is_stored_once(node: Node, roads: Roads) -> None:
    """The event has no id of its own: nothing but the repeat's mark tells it from a second one."""
    async with relay_to(roads.url) as relay:
        client = await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": f"{relay.url}/api/v1"})
        relay.answers_to_lose = 1
        await client(EVENT)
    assert [one.status for one in relay.exchanges] == [None, 200]
    assert [header(one.asked, "X-Retry-Count") for one in relay.exchanges] == [None, "1"]
    seen = await roads.daemon.until_empty()
    assert seen["ledger"]["accepted"] == 1
    assert [arrival.kind for arrival in roads.beyond.ledger.arrivals] == ["event"]


async def test_node_waits_as_we_say_while_customer_io_is_out_of_reach(
    node: Node, folder: Path, closed_port: int
) -> None:
    """An App API call is not kept for later: it gets 503 with `Retry-After`, and the SDK comes again by itself."""
    upstream = sandbox()
    async with (
        daemon_before(f"http://127.0.0.1:{closed_port}", folder, {}) as daemon,
        relay_to(await daemon.http_url()) as relay,
    ):
        client = await node.client("APIClient", APP_KEY, {"url": f"{relay.url}/v1"})
        call = asyncio.ensure_future(client(step("listSegments")))
        await until(lambda: bool(relay.exchanges and relay.exchanges[0].status == 503))
        await upstream.start(port=closed_port)
        try:
            assert await call == {}
        finally:
            await upstream.stop()
    assert [one.status for one in relay.exchanges] == [503, 200]
    assert header(relay.exchanges[0].answered, "Retry-After") == "1"
    assert [request.path for request in upstream.app_ledger.requests] == ["/v1/segments"]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is ours, and at which nobody answers until somebody is asked to."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))  # it never listens
        yield place.getsockname()[1]


@pytest.fixture
async def full(folder: Path) -> AsyncIterator[Roads]:
    """The disk has less room than the daemon wants: it takes nothing in."""
    async with two_roads(folder, {"CIO_BUFFER__OUTBOX__DISK_FREE_MIN_BYTES": str(2**62)}) as roads:
        await roads.daemon.until(lambda seen: seen["state"] == "refusing")
        yield roads


async def test_no_room_is_an_error_that_can_be_read_and_may_be_tried_again(node: Node, full: Roads) -> None:
    no_room = "The outbox has no room; nothing was stored"
    async with relay_to(full.url) as relay:
        retry = {"maxRetries": 1, "retryAfterMaxSeconds": 0}
        client = await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": f"{relay.url}/api/v1", "retry": retry})
        with pytest.raises(NodeProblem, match=no_room) as caught:
            await client(EVENT)
        assert caught.value.status == 503
        assert int(caught.value.headers["retry-after"]) > 0
        assert [one.status for one in relay.exchanges] == [503, 503]
    with test_python.local(full.url) as cio, pytest.raises(CustomerIOException, match=rf"503: .*{no_room}"):
        await asyncio.to_thread(cio.track, 5, "came")
    async with test_async.track_client(full.url) as cio:
        with pytest.raises(AsyncCustomerIORetryableError, match="503 Service Unavailable"):
            await cio.track(5, "came")


async def test_a_message_that_may_have_been_sent_is_sent_again_by_no_sdk(node: Node, roads: Roads) -> None:
    """424, which none of them takes for a reason to try again. The sentence says what is known."""
    says = "the message may have been sent"
    message = {"to": "five@example.com", "identifiers": {"id": "5"}, "transactional_message_id": 3}
    roads.beyond.faults.lose_answers(path_prefix="/v1/")
    client = await node.client("APIClient", APP_KEY, {"url": f"{roads.url}/v1"})
    with pytest.raises(NodeProblem, match=says) as caught:
        await client(step("sendEmail", {"$new": "SendEmailRequest", "with": message}))
    assert caught.value.status == 424
    with APIClient(APP_KEY, url=roads.url) as app, pytest.raises(CustomerIOException, match=f"424: .*{says}"):
        await asyncio.to_thread(app.send_email, message)
    async with AsyncAPIClient(APP_KEY, url=roads.url) as app:
        with pytest.raises(AsyncCustomerIOError, match=f"424: .*{says}"):
            await app.send_email(SendEmailRequest(**message))
    assert len(roads.beyond.app_ledger.requests) == 3


async def test_what_we_refuse_is_named_in_the_sdks_own_error(node: Node, roads: Roads) -> None:
    """`{"meta": {"error": ...}}`, as Customer.io's v1 has it."""
    client = await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": f"{roads.url}/api/v1"})
    with pytest.raises(NodeProblem) as caught:
        await client(step("track", 5, {"name": "x" * 101}))
    assert caught.value.status == 400
    assert "must have 1 to 100 bytes, got 101" in caught.value.message
    sentence = r"400: .*must have 1 to 100 bytes, got 101"
    with test_python.local(roads.url) as cio, pytest.raises(CustomerIOException, match=sentence):
        await asyncio.to_thread(cio.track, 5, "x" * 101)
    async with test_async.track_client(roads.url) as cio:
        with pytest.raises(AsyncCustomerIOError, match=sentence):
            await cio.track(5, "x" * 101)


async def test_a_wrong_key_is_named_in_the_sdks_own_error(node: Node, roads: Roads) -> None:
    client = await node.client("TrackClient", SITE_ID, "wrong", {"url": f"{roads.url}/api/v1"})
    with pytest.raises(NodeProblem, match="The key is neither") as caught:
        await client(EVENT)
    assert caught.value.status == 401


async def test_a_batch_with_a_bad_operation_is_no_error_to_any_sdk(node: Node, roads: Roads) -> None:
    """They take 207 for success: the answer says which operation was refused, and the good ones are stored."""
    client = await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": f"{roads.url}/api/v1"})
    answers = [await client(step("batch", MIXED))]
    with test_python.local(roads.url) as cio:
        answers.append((await asyncio.to_thread(cio.batch, MIXED)).json())
    async with test_async.track_client(roads.url) as cio:
        answers.append(await cio.v2.send_batch(MIXED))
    for answer in answers:
        assert [(error["batch_index"], error["field"]) for error in answer["errors"]] == [(1, "name")], answer
    assert (await roads.daemon.until_empty())["ledger"]["delivered"] == 3


async def test_node_with_half_a_base_url_is_told_the_whole_one(node: Node, roads: Roads) -> None:
    track = await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": roads.url})
    app = await node.client("APIClient", APP_KEY, {"url": roads.url})
    calls = [
        (track, step("identify", 5, {}), "/api/v1"),
        (track, step("trackAnonymous", "visitor", {"name": "came"}), "/api/v1"),
        (track, step("batch", MIXED), "/api/v1"),
        (track, step("entity", MIXED[0]), "/api/v1"),
        (app, step("listSegments"), "/v1"),
    ]
    for client, call, wanted in calls:
        with pytest.raises(NodeProblem) as caught:
            await client(call)
        assert caught.value.status == 404, str(call)
        assert f"{roads.url}{wanted}" in caught.value.message, str(call)
    assert not roads.beyond.ledger.requests
