"""The SDK for asyncio, async-customerio, unmodified: each of its methods, through the daemon and straight."""

import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import async_customerio
import pytest
from async_customerio import Actions, AsyncAPIClient, AsyncCustomerIO, AsyncCustomerIOError, TrackAPIV2
from async_customerio.api.customers import Customers
from async_customerio.api.segments import Segments
from async_customerio.api.transactional import Transactional

from cio_buffer.sandbox.effects import Who
from tests.sdk.roads import APP_KEY, Roads
from tests.sdk.story import Say, Step, call_app, public_names, step, tell, unknown
from tests.sdk.words import ACME, LONG_AGO, MEMBER, filled
from tests.support.process import SITE_ID, TRACK_KEY

NAN = float("nan")
NO_CALLS = {"close", "send_request"}

STORY = [
    step("get_region"),
    step("identify", 5, email="five@example.com", plan="free", born=datetime(2020, 1, 1, tzinfo=UTC), score=NAN),
    step("identify", "six@example.com", first_name="Sechs", nested={"list": [1, {"deep": None}], "text": "ü€🙂"}),
    step("identify", "cio_000000000001", plan="pro"),
    step("identify", "c+d%25é?#", odd=True),
    step("identify", "without-attributes"),
    step("track", 5, "purchased", price=23.45, at=datetime(2020, 1, 1, tzinfo=UTC)),
    step("track", 5, "an id among the data", id="given-1", timestamp=LONG_AGO),
    step("track", "c+d%25é?#", "came"),
    step("track_anonymous", "visitor/1", "looked", page=1),
    step("track_anonymous", "visitor/2", "looked too"),
    step("track_anonymous", "", "invited", recipient="seven@example.com"),
    step("identify", 5, anonymous_id="visitor/2"),
    step("pageview", 5, "https://example.com/shop?a=1&b=ü", referrer="mail"),
    step("backfill", 5, "long ago", LONG_AGO, colour="blue"),
    step("backfill", 5, "longer ago", datetime(2017, 1, 1, tzinfo=UTC)),
    step("add_device", 5, "token/1", "ios", last_used=LONG_AGO),
    step("add_device", 5, "token-2", "android", last_used=LONG_AGO, app_version="1.2"),
    step("delete_device", 5, "token-2"),
    step("delete_device", 5, "token/1"),  # encoded twice: Customer.io, too, looks for another token
    step("merge_customers", "id", 5, "email", "six@example.com"),
    step("identify", "merged-by-number"),
    step("identify", 10, plan="gone"),
    step("merge_customers", "id", "merged-by-number", "id", 10),
    step("identify", 7, name="Seven"),
    step("suppress", 7),
    step("identify", 7, name="in vain"),
    step("unsuppress", 7),
    step("identify", 7, name="back"),
    step("delete", 7),
    step("unsubscribe", "message-1"),
    step("report_metric", "message-1", "clicked", href="https://example.com/", recipient="5", timestamp=LONG_AGO),
    step("report_metric", "message-2", "bounced", reason="no such mailbox"),
    step("report_push_metric", "message-3", "token/1", "opened", timestamp=LONG_AGO),
    step("add_to_segment", 7, [5, "c+d%25é?#"]),
    step("add_to_segment", 8, ["five@example.com"], id_type="email"),
    step("remove_from_segment", 7, [5]),
    step("submit_form", "form 1", email="nine@example.com", newsletter="yes"),
    step("send_entity", {"id": "8"}, "person", Actions.identify, plan="old way"),
    step("send_batch", [
        {"type": "person", "action": "event", "identifiers": {"id": "8"}, "name": "came", "id": "given-3"},
    ]),
    step("v2.identify_person", {"id": "20"}, plan="free", born=datetime(2020, 1, 1, tzinfo=UTC)),
    step("v2.identify_person", {"email": "twenty@example.com"}),
    step("v2.track_person_event", {"id": "20"}, "purchased", price=1),
    step("v2.person_pageview", {"id": "20"}, "https://example.com/", referrer="mail"),
    step("v2.person_screen", {"id": "20"}, "start", first=True),
    step("v2.add_person_device", {"id": "20"}, "token-4", "ios", last_used=LONG_AGO, attributes={"a": 1}),
    step("v2.add_person_device", {"id": "20"}, "token/5", "android"),
    step("v2.delete_person_device", {"id": "20"}, "token/5"),
    step("v2.add_person_relationships", {"id": "20"}, [MEMBER]),
    step("v2.delete_person_relationships", {"id": "20"}, [{"identifiers": ACME}]),
    step("v2.identify_object", ACME, name="Acme", since=datetime(2020, 1, 1, tzinfo=UTC)),
    step("v2.add_object_relationships", ACME, [{"identifiers": {"id": "20"}}, {"identifiers": {"id": "8"}}]),
    step("v2.delete_object_relationships", ACME, [{"identifiers": {"id": "8"}}]),
    step("v2.identify_object", {"object_type_id": "1", "object_id": "gone"}, name="Gone"),
    step("v2.delete_object", {"object_type_id": "1", "object_id": "gone"}),
    step("v2.merge_persons", {"id": "20"}, {"email": "twenty@example.com"}),
    step("v2.suppress_person", {"id": "8"}),
    step("v2.unsuppress_person", {"id": "8"}),
    step("v2.identify_person", {"id": "8"}, plan="back"),
    step("v2.delete_person", {"id": "8"}),
    step("v2.send_entity", {"type": "person", "action": "identify", "identifiers": {"id": "9"}}),
    step("v2.send_batch", [
        {"type": "person", "action": "identify", "identifiers": {"id": "9"}, "attributes": {"plan": "batch"}},
        {"type": "object", "action": "identify", "identifiers": ACME, "attributes": {"plan": "batch"},
         "cio_relationships": [{"identifiers": {"id": "9"}}]},
        {"type": "delivery", "action": "event", "identifiers": {"id": "message-4"}, "name": "opened",
         "attributes": {"device_token": "token-4"}},
    ]),
]  # fmt: skip

OBJECT_EVENT = step("v2.track_object_event", ACME, "renewed", seats=12)

PAGE = {"start": "MDQ6/+=", "limit": 10}
TIMES = {"start_ts": LONG_AGO, "end_ts": LONG_AGO + 1}
CONTENT = {
    "body": "<p>ü</p>", "body_amp": "", "from_id": 1, "headers": [{"name": "X-Mine", "value": "1"}],
    "preheader_text": "so", "recipient": "{{customer.email}}", "reply_to_id": 2, "subject": "Hello",
}  # fmt: skip


APP_CALLS = [
    step("send_email", filled(async_customerio.SendEmailRequest)),
    step("send_push", filled(async_customerio.SendPushRequest)),
    step("send_sms", filled(async_customerio.SendSMSRequest)),
    step("send_whatsapp", filled(async_customerio.SendWhatsAppRequest)),
    step("send_inbox_message", filled(async_customerio.SendInboxMessageRequest)),
    step("send_in_app", filled(async_customerio.SendInAppRequest)),
    step("customers.get_by_email", "five+ü@example.com"),
    step("customers.search", {"and": [{"segment": {"id": 3}}]}, **PAGE),
    step("customers.search", {"attribute": {"field": "plan", "operator": "eq", "value": "ü"}}),
    step("customers.get_by_ids", [5, "six@example.com"]),
    step("customers.get_attributes", "a b/ü", id_type="email"),
    step("customers.get_segments", 5, id_type="id"),
    step("customers.get_messages", 5, id_type="id", **PAGE, **TIMES),
    step("customers.get_activities", 5, id_type="id", type="event", name="a&b", **PAGE),
    step("customers.get_relationships", 5, **PAGE),
    step("customers.get_subscription_preferences", 5, id_type="id", language="de"),
    step("segments.list"),
    step("segments.get", 1),
    step("segments.create", "VIPs", description="ü"),
    step("segments.delete", 1),
    step("segments.get_customer_count", 1),
    step("segments.get_membership", 1, **PAGE),
    step("segments.get_used_by", 1),
    step("transactional.list"),
    step("transactional.get", 1),
    step("transactional.list_variants", 1),
    step("transactional.update_content", 1, 2, **CONTENT),
    step("transactional.get_variant", 1, "de-AT"),
    step("transactional.update_variant", 1, "de", **CONTENT),
    step("transactional.get_metrics", 1, period="days", steps=3),
    step("transactional.get_link_metrics", 1, period="days", steps=3, unique=True),
    step("transactional.get_deliveries", 1, metric="sent", state="sent", get_tracked_responses=True, **PAGE, **TIMES),
]


def caller(client: Any) -> Say:
    async def say(one: Step) -> Any:
        return await attrgetter(one.method)(client)(*one.args, **one.named)

    return say


def track_client(url: str) -> AsyncCustomerIO:
    """The SDK for plain http: all of its URLs begin with what this function says."""
    client = AsyncCustomerIO(SITE_ID, TRACK_KEY)
    client.setup_base_url = lambda host, port, prefix: f"{url}/{prefix.strip('/')}"
    return client


@asynccontextmanager
async def both(through: Any, straight: Any) -> AsyncIterator[dict[str, Say]]:
    async with AsyncExitStack() as clients:
        for client in (through, straight):
            await clients.enter_async_context(client)
        yield {"by_us": caller(through), "straight": caller(straight)}


def test_no_method_is_forgotten() -> None:
    clients = {
        name for name in dir(async_customerio) if inspect.isclass(getattr(async_customerio, name)) and "Async" in name
    }
    assert clients == {"AsyncAPIClient", "AsyncCustomerIO", "AsyncCustomerIOError", "AsyncCustomerIORetryableError"}
    v1 = [one for one in STORY if "." not in one.method]
    assert not unknown(public_names(AsyncCustomerIO), v1, NO_CALLS | {"setup_base_url", "v2"})
    assert not unknown(public_names(TrackAPIV2), [*STORY, OBJECT_EVENT], set(), "v2.")
    sends = [one for one in APP_CALLS if "." not in one.method]
    assert not unknown(public_names(AsyncAPIClient), sends, NO_CALLS | {"customers", "segments", "transactional"})
    for kind, prefix in ((Customers, "customers."), (Segments, "segments."), (Transactional, "transactional.")):
        assert not unknown(public_names(kind), APP_CALLS, set(), prefix)


async def test_track_calls_come_to_the_same_as_without_the_daemon(roads: Roads) -> None:
    async with both(track_client(roads.url), track_client(roads.straight_url)) as says:
        await tell(STORY, roads, **says)


async def test_app_calls_arrive_as_they_were_sent(roads: Roads) -> None:
    clients = (AsyncAPIClient(APP_KEY, url=url) for url in (roads.url, roads.straight_url))
    async with both(*clients) as says:
        await call_app(APP_CALLS, roads, **says)


async def test_an_objects_event_is_taken_and_becomes_a_dead_letter(roads: Roads) -> None:
    """The one call that differs: Customer.io's description has no such action. Straight, the app is told so; we take it
    in, because Customer.io may have learnt it since, and keep it with the reason when it has not."""
    async with both(track_client(roads.url), track_client(roads.straight_url)) as says:
        with pytest.raises(AsyncCustomerIOError, match="HTTP 400"):
            await says["straight"](OBJECT_EVENT)
        await says["by_us"](OBJECT_EVENT)
    await roads.daemon.until_empty()
    assert await roads.daemon.stop() == 0
    [dead] = await roads.daemon.dead_letters()
    assert dead.kind == "object_event"


async def test_a_slash_in_an_id_is_left_bare_and_still_belongs_to_the_id(roads: Roads) -> None:
    """Straight, the path is none of Customer.io's."""
    async with both(track_client(roads.url), track_client(roads.straight_url)) as says:
        with pytest.raises(AsyncCustomerIOError, match="HTTP 404"):
            await says["straight"](step("track", "a/b", "came"))
        await says["by_us"](step("track", "a/b", "came"))
    await roads.daemon.until_empty()
    person = roads.beyond.workspace.people.find(Who(kind="id", value="a/b"))
    assert person
    assert [event.name for event in person.events] == ["came"]
