"""What the stories talk about, whichever SDK tells them."""

import inspect
from typing import Any

LONG_AGO = 1_577_836_800
"""A time that a story gives: 1 January 2020."""

ACME = {"object_type_id": "1", "object_id": "acme"}
MEMBER = {"identifiers": ACME, "relationship_attributes": {"role": "admin"}}

FIELDS: dict[str, Any] = {
    "transactional_message_id": 3,
    "to": "five@example.com",
    "identifiers": {"id": "5"},
    "_from": "Shop <shop@example.com>",
    "headers": {"X-Mine": "1"},
    "reply_to": "help@example.com",
    "cc": "six@example.com",
    "bcc": "seven@example.com",
    "subject": "Thank you, ü",
    "preheader": "It is on its way",
    "body": "<p>Hello {{customer.name}} & all</p>",
    "body_plain": "Hello",
    "body_amp": "<html amp4email></html>",
    "fake_bcc": False,
    "disable_message_retention": True,
    "send_to_unsubscribed": False,
    "tracked": False,
    "queue_draft": False,
    "message_data": {"order": {"id": 1, "items": [{"name": "shoe", "price": 1.5}]}},
    "attachments": {"a.txt": "aGVsbG8="},
    "disable_css_preprocessing": True,
    "send_at": LONG_AGO,
    "language": "de",
    "title": "Sent",
    "message": "It is on its way",
    "image_url": "https://example.com/a.png",
    "link": "https://example.com/",
    "custom_data": {"a": "b"},
    "custom_payload": {"ios": {"aps": {}}},
    "device": {"token": "token-1", "platform": "ios"},
    "custom_device": {"token": "token-1", "platform": "ios", "last_used": LONG_AGO, "attributes": {}},
    "sound": "default",
    "auto_create": True,
}
"""A value for each field that a request to send has in any channel."""


def filled(request: type) -> Any:
    """A request to send, with every field that its class has. A KeyError names a field that is new."""
    return request(**{name: FIELDS[name] for name in inspect.signature(request).parameters})
