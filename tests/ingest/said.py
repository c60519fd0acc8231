"""What a test sends, and how it looks at what was made of it."""

import json

from cio_buffer.ingest.track_v1 import Mapping, V1Call, find_call
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.outbox.archive import Dead
from cio_buffer.outbox.entry import pack_lanes

NOW = 1_800_000_000.9
STAMP = 1_800_000_000
NEW_ID = "01JZZZZZZZZZZZZZZZZZZZZZZZ"
ACCEPTANCE = Acceptance(int(NOW * 1000), lambda: NEW_ID, "a test")
BY_SHAPE, ALL_IDS, UNMAPPED = (Mapping(identifiers=how) for how in ("shape", "id", "v1"))

EMPTY_BODIES = [b"", b"null", b" null ", b"{}", b" \n"]
BROKEN = [
    (b'{"a":"\xff"}', "UTF-8 (byte 6)"),
    (b'{"a":"\xed\xa0\x80"}', "UTF-8 (byte 6)"),
    (b'\xef\xbb\xbf{"a":1}', "(byte 0)"),
    (b'{"a":NaN}', "(byte 5)"),
    (b'{"a":-Infinity}', "(byte 6)"),
    (b'{"a":01}', "invalid number (byte 6)"),
    (b'{"a":"\x01"}', "(byte 6)"),
    (b'{"a":"\\q"}', "(byte 7)"),
    (b'{"a":1,}', "trailing comma"),
    (b'{"a":1}{', "trailing characters (byte 8)"),
    (b'{"a":1', "too early (after 6 bytes)"),
    (b'{"a":"\\ud800"}', "half of a surrogate pair is no character (byte 6)"),
    (b'{"a":"\\ud800 and then some"}', "half of a surrogate pair is no character (byte 12)"),
    (b'{"a":"\\udc00"}', "half of a surrogate pair is no character (byte 12)"),
    (b'{"a":{"b":["\\ud800\\u0041"]}}', "half of a surrogate pair is no character (byte 24)"),
    (b'{"\\udbff":1}', "half of a surrogate pair is no character (byte 2)"),
    (b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
    (b"[]", "got `array`"),
    (b'"text"', "got `str`"),
    (b"5", "got `int`"),
]
"""JSON that is none, or no object; and what must stand in the sentence about it."""


def encoded(body):
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def made(line, body=b"", mapping=BY_SHAPE):
    """What a v1 call ("PUT /api/v1/customers/5", a query may follow) becomes. Raises InvalidOperation."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    kind, named = find_call(method, path)
    call = V1Call(
        method=method,
        path=path,
        query=query,
        named=named,
        body=encoded(body),
        mapping=mapping,
        acceptance=ACCEPTANCE,
    )
    return kind.make(call)


def said(entry):
    return json.loads(entry.body)


def dead(entry, **otherwise):
    """The dead letter that an entry becomes when it is given up."""
    kept = {name: getattr(entry, name) for name in ("kind", "accepted_at_ms", "route", "traceparent", "call", "body")}
    why = {"reason": "refused", "vendor_reason": "", "field": "", "message": "", "status": 400}
    numbers = {"seq": 7, "died_at_ms": entry.accepted_at_ms + 60_000, "attempts": 1, "replays": 0, "history": ()}
    return Dead(**(kept | why | numbers | otherwise))


def has_lanes(entry, *names):
    """Whether these, and no others, are the lanes of `entry`."""
    return entry.lanes == pack_lanes(names)
