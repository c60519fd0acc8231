"""What an entry leaves in the delivery log: enough to tell its story when it is gone, in a few bytes.

Packed once, when the entry is accepted, so that the log of a request is a join of bytes.
"""

import hashlib
import struct

from msgspec import Struct

KINDS = (
    "",
    "identify",
    "event",
    "page",
    "screen",
    "delete",
    "suppress",
    "unsuppress",
    "add_relationships",
    "delete_relationships",
    "add_device",
    "delete_device",
    "merge",
    "object_identify",
    "object_identify_anonymous",
    "object_delete",
    "object_add_relationships",
    "object_delete_relationships",
    "object_event",
    "delivery_event",
    "invite",
    "metric",
    "push_metric",
    "in_app_metric",
    "unsubscribe",
    "form",
    "segment_add",
    "segment_remove",
)
"""Every kind of operation. Stored as its place here, so new ones go to the end; the first stands for one unknown."""

ROUTES = ("", "v1", "v2 entity", "v2 batch", "lines")
"""Every door by which an operation may come. The same holds."""

KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
ROUTE_CODES = {route: code for code, route in enumerate(ROUTES)}

MARK_BYTES = 6
NO_MARK = bytes(MARK_BYTES)
PACKED = struct.Struct(f"<{MARK_BYTES}sQBBB")
TRAIL_BYTES = PACKED.size
LANES_MAX = 255
"""How many lanes a trail can count. Only calls that leave alone touch more, and for those nobody has to count."""


class Trail(Struct, frozen=True):
    """`mark`: of an event's id; NO_MARK if it has none. `accepted_at_ms`: Unix. `lanes`: how many, 255 for as many or
    more."""

    mark: bytes
    accepted_at_ms: int
    kind: str
    route: str
    lanes: int


def mark_of(event_id: str) -> bytes:
    """By what an event's id is found again: 48 bits, so that among 40 million the wrong one is found once in 7 million
    searches."""
    return hashlib.blake2b(event_id.encode(), digest_size=MARK_BYTES).digest()


def pack_trail(*, mark: bytes, accepted_at_ms: int, kind: str, route: str, lanes: int) -> bytes:
    """A trail as it is stored."""
    return PACKED.pack(mark, accepted_at_ms, KIND_CODES.get(kind, 0), ROUTE_CODES.get(route, 0), min(lanes, LANES_MAX))


def unpack_trail(packed: bytes) -> Trail:
    """What `pack_trail` stored. What a newer version of us stored there may be unknown, "" then."""
    mark, accepted_at_ms, kind, route, lanes = PACKED.unpack(packed)
    return Trail(
        mark,
        accepted_at_ms,
        KINDS[kind] if kind < len(KINDS) else "",
        ROUTES[route] if route < len(ROUTES) else "",
        lanes,
    )
