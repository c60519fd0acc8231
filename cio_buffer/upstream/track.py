"""Entries → requests to the Track API; what it says in its replies.

A batch is a join of the bodies as they were stored: nothing is encoded again, and its size is known to the byte.
"""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from cio_buffer.upstream.limits import EVENT_DATA_MAX_BYTES
from cio_buffer.upstream.transport import Request

BATCH_HEAD, BATCH_TAIL = b'{"batch":[', b"]}"
CIO_PREFIX = "cio_"
"""What v1 writes before a `cio_id` in a path."""

NO_SEGMENTS = {".", ".."}
"""What no path can hold as a name: on its way it would be taken for a step up."""


def batch_request(bodies: Sequence[bytes]) -> Request:
    """Several operations in one request, in order."""
    return Request(method="POST", path="/api/v2/batch", body=b"".join((BATCH_HEAD, b",".join(bodies), BATCH_TAIL)))


def batch_bytes(bodies_bytes: int, count: int) -> int:
    """How long `batch_request` will be for `count` bodies of `bodies_bytes` in all."""
    return len(BATCH_HEAD) + len(BATCH_TAIL) + bodies_bytes + max(count - 1, 0)


def v1_request(call: str, body: bytes) -> Request:
    """A call that leaves as it came. `call` is "METHOD /path"."""
    method, _, path = call.partition(" ")
    return Request(method=method, path=path, body=body)


class V2Event(Struct, frozen=True):
    """The parts of a v2 event that v1 words differently."""

    identifiers: dict[str, str | None]
    action: str
    attributes: Raw = Raw(b"{}")


EVENT = msgspec.json.Decoder(V2Event)
FIELDS = msgspec.json.Decoder(dict[str, Raw])


def event_as_v1(body: bytes) -> tuple[str, bytes] | None:
    """Say a v2 event, page or screen in v1, with the same id and timestamp: (call, body).

    None where v1 would take the person for another (a phone number, an id that looks like an email), or where the
    event is too large for v1 as well.
    """
    try:
        event, fields = EVENT.decode(body), FIELDS.decode(body)
    except RecursionError:  # whoever asks may stand deeper in the stack than whoever accepted it
        return None
    if len(event.attributes) > EVENT_DATA_MAX_BYTES:
        return None
    said: dict[str, object] = {name: value for name, value in fields.items() if name not in V2_WORDS}
    if event.action != "event":
        said["type"] = event.action
    said["data"] = event.attributes
    kind, value = next((kind, value) for kind, value in event.identifiers.items() if value is not None)
    if kind == "anonymous_id":
        return "POST /api/v1/events", msgspec.json.encode(said | {"anonymous_id": value})
    written = CIO_PREFIX + value if kind == "cio_id" else value
    if by_shape(written) != (kind, value) or written in NO_SEGMENTS:
        return None
    return f"POST /api/v1/customers/{person_segment(written)}/events", msgspec.json.encode(said)


V2_WORDS = {"type", "action", "identifiers", "attributes"}


def by_shape(written: str) -> tuple[str, str]:
    """What v1 takes a path's person for: (kind, value). Inferred from its description; nobody states the rule."""
    if written.startswith(CIO_PREFIX):
        return "cio_id", written.removeprefix(CIO_PREFIX)
    name, at, domain = written.partition("@")
    is_email = bool(name and at) and "@" not in domain and "." in domain.strip(".") and written.split() == [written]
    return ("email" if is_email else "id"), written


def person_segment(value: str) -> str:
    """A person's name as one segment of a v1 path."""
    return quote(value, safe="")


class Complaint(Struct, frozen=True):
    """One thing that Customer.io says is wrong. `index` counts within the batch, None where it names no operation."""

    index: int | None = None
    reason: str = ""
    field: str = ""
    message: str = ""


MESSAGE_MAX_CHARACTERS = 1_000
COMPLAINTS_MAX = 10_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def complaints(body: bytes) -> list[Complaint] | None:
    """Read what an answer complains of, in any of the vendor's shapes, or in what is left of one.

    Empty when there is nothing to be read; None when there is, but it was cut off.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        reply = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None if text.lstrip()[:1] in (b"{", b"[") else []
    if not isinstance(reply, dict):
        return []
    told = listed(reply.get("errors"))
    if isinstance(meta := reply.get("meta"), dict):
        told += listed(meta.get("error")) + listed(meta.get("errors"))
    return [in_words(one) for one in told[:COMPLAINTS_MAX]]


def listed(value: object) -> list[object]:
    """What there is in a list, or the one thing that should have been in one; nothing for what says nothing."""
    return [one for one in (value if isinstance(value, list) else [value]) if one]


def in_words(said: object) -> Complaint:
    """A complaint with each part as text. An index that is no number, or is one below 0, names nothing."""
    if not isinstance(said, dict):
        return Complaint(message=words(said))
    index = said.get("batch_index")
    is_index = isinstance(index, int) and not isinstance(index, bool) and index >= 0
    return Complaint(
        index=index if is_index else None,
        reason=words(said.get("reason")),
        field=words(said.get("field")),
        message=words(said.get("message") or said.get("detail")),
    )


def words(value: object) -> str:
    """Anything as a bounded text."""
    if value is None:
        return ""
    return (value if isinstance(value, str) else repr(value))[:MESSAGE_MAX_CHARACTERS]
