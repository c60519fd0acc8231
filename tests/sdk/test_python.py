"""Customer.io's Python SDK, unmodified: each of its methods, through the daemon and straight."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import customerio
from customerio import APIClient, CustomerIO
from requests import Response

from tests.sdk.roads import APP_KEY, Roads
from tests.sdk.story import Say, Step, call_app, public_names, step, tell, unknown
from tests.sdk.words import ACME, LONG_AGO, MEMBER, filled
from tests.support.process import SITE_ID, TRACK_KEY

EXPORTED = {
    "APIClient", "CustomerIO", "CustomerIOException", "Regions", "SendEmailRequest", "SendInAppRequest",
    "SendInboxMessageRequest", "SendPushRequest", "SendSMSRequest", "SendWhatsAppRequest",
}  # fmt: skip

NAN = float("nan")
NO_CALLS = {"close", "http", "send_request"}
NO_TRACK_CALLS = NO_CALLS | {
    "get_customer_query_string", "get_device_query_string", "get_event_query_string", "get_events_query_string",
    "is_valid_id_type", "setup_base_url",
}  # fmt: skip

STORY = [
    step("identify", 5, email="five@example.com", plan="free", born=datetime(2020, 1, 1, tzinfo=UTC), score=NAN),
    step("identify", "six@example.com", first_name="Sechs", nested={"list": [1, {"deep": None}], "text": "ü€🙂"}),
    step("identify", "cio_000000000001", plan="pro"),
    step("identify", "a/b c+d%25é?#", odd=True, unsubscribed="true", empty=""),
    step("identify", 5, _timestamp=LONG_AGO, plan="older than the one it has", city="Rome"),
    step("identify", "nobody", _update=True, plan="free"),
    step("identify", 5, cio_subscription_preferences={"topics": {"topic_1": True}}),
    step("identify", 5, cio_relationships={"action": "add_relationships", "relationships": [MEMBER]}),
    step("identify", 5, cio_relationships={"action": "delete_relationships", "relationships": [{"identifiers": ACME}]}),
    step("track", 5, "purchased", {"price": 23.45, "at": datetime(2020, 1, 1)}, id="given-1", timestamp=LONG_AGO),  # noqa: DTZ001 - an app may
    step("track", 5, "purchased once more", id="given-1"),
    step("track", "five@example.com", "purchased", timestamp="1577836800"),
    step("track", "a/b c+d%25é?#", "  spaces around  ", {"list": [None, NAN]}),
    step("track", "new-here", "came", {"large": "x" * 40_000}),
    step("track_anonymous", "visitor/1", "looked", {"page": 1}, id="given-2", timestamp=LONG_AGO),
    step("track_anonymous", "visitor/2", "looked too"),
    step("track_anonymous", None, "invited", {"recipient": "seven@example.com"}),
    step("identify", 5, anonymous_id="visitor/2"),
    step("pageview", 5, "https://example.com/shop?a=1&b=ü", referrer="mail"),
    step("backfill", 5, "long ago", LONG_AGO, colour="blue"),
    step("backfill", 5, "longer ago", "1500000000"),
    step("add_device", 5, "token/1", "ios", last_used=LONG_AGO),
    step("add_device", 5, "token 2", "android", last_used=LONG_AGO, app_version="1.2", push_enabled=True),
    step("add_device", "device-only", "token-3", "android"),
    step("delete_device", 5, "token/1"),
    step("merge_customers", "id", 5, "email", "six@example.com"),
    step("identify", 7, name="Seven"),
    step("suppress", 7),
    step("identify", 7, name="in vain"),
    step("unsuppress", 7),
    step("identify", 7, name="back"),
    step("delete", "device-only"),
    step("batch", [
        {"type": "person", "action": "identify", "identifiers": {"id": "8"}, "attributes": {"plan": "batch"}},
        {"type": "person", "action": "event", "identifiers": {"id": "8"}, "name": "came", "id": "given-3"},
        {"type": "person", "action": "event", "identifiers": {"id": "8"}, "name": "went", "timestamp": LONG_AGO},
        {"type": "object", "action": "identify", "identifiers": ACME, "attributes": {"name": "Acme"},
         "cio_relationships": [{"identifiers": {"id": "8"}}]},
        {"type": "delivery", "action": "event", "identifiers": {"id": "message-1"}, "name": "opened",
         "attributes": {"device_token": "token 2"}},
    ]),
]  # fmt: skip


def with_attachments() -> Any:
    request = customerio.SendEmailRequest(
        to="five@example.com", identifiers={"id": "5"}, transactional_message_id="welcome"
    )
    request.attach("a.bin", bytes(range(256)))
    request.attach("b.txt", "text")
    return request


APP_CALLS = [
    step("send_email", filled(customerio.SendEmailRequest)),
    step("send_email", with_attachments()),
    step(
        "send_email",
        {"to": "five@example.com", "identifiers": {"email": "five@example.com"}, "transactional_message_id": 1},
    ),
    step("send_push", filled(customerio.SendPushRequest)),
    step("send_sms", filled(customerio.SendSMSRequest)),
    step("send_whatsapp", filled(customerio.SendWhatsAppRequest)),
    step("send_inbox_message", filled(customerio.SendInboxMessageRequest)),
    step("send_in_app", filled(customerio.SendInAppRequest)),
]


def caller(client: Any) -> Say:
    """Calls it as an app with threads does."""

    async def say(one: Step) -> Any:
        answer = await asyncio.to_thread(getattr(client, one.method), *one.args, **one.named)
        return (answer.status_code, answer.json()) if isinstance(answer, Response) else answer

    return say


def local(url: str) -> CustomerIO:
    """The SDK for plain http. It puts together two URLs by itself, both for https only."""

    class Local(CustomerIO):
        def setup_base_url(self) -> None:
            self.base_url = f"{url}/api/v1"

        def batch(self, operations: Any) -> Any:
            return self.send_request("POST", f"{url}/api/v2/batch", {"batch": operations})

    return Local(SITE_ID, TRACK_KEY)


def test_no_method_is_forgotten() -> None:
    assert set(customerio.__all__) == EXPORTED
    assert not unknown(public_names(CustomerIO), STORY, NO_TRACK_CALLS)
    assert not unknown(public_names(APIClient), APP_CALLS, NO_CALLS)


async def test_track_calls_come_to_the_same_as_without_the_daemon(roads: Roads) -> None:
    with local(roads.url) as through, local(roads.straight_url) as straight:
        await tell(STORY, roads, by_us=caller(through), straight=caller(straight))


async def test_app_calls_arrive_as_they_were_sent(roads: Roads) -> None:
    with APIClient(APP_KEY, url=roads.url) as through, APIClient(APP_KEY, url=roads.straight_url) as straight:
        await call_app(APP_CALLS, roads, by_us=caller(through), straight=caller(straight))
