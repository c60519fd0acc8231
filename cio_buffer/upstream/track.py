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


class RawComplaint(Struct, frozen=True):
    """As it comes: any part may be missing or of another kind."""

    batch_index: object = None
    reason: object = None
    field: object = None
    message: object = None
    detail: object = None


class RawMeta(Struct, frozen=True):
    error: object = None
    errors: list[object] = []


class RawReply(Struct, frozen=True):
    errors: list[RawComplaint | str] = []
    meta: RawMeta | None = None


REPLY = msgspec.json.Decoder(RawReply)
MESSAGE_MAX_CHARACTERS = 1_000
COMPLAINTS_MAX = 10_000


def complaints(body: bytes) -> list[Complaint] | None:
    """Read what an answer complains of, in any of the vendor's shapes.

    Empty when there is nothing to be read; None when there is, but it was cut off.
    """
    try:
        reply = REPLY.decode(body)
    except msgspec.ValidationError:  # other JSON than the vendor's
        return []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None if body.lstrip()[:1] in (b"{", b"[") else []
    found = [in_words(one) for one in reply.errors[:COMPLAINTS_MAX]]
    if reply.meta:
        told = [*([reply.meta.error] if reply.meta.error else []), *reply.meta.errors]
        found += [Complaint(message=words(one)) for one in told[:COMPLAINTS_MAX]]
    return found


def in_words(raw: RawComplaint | str) -> Complaint:
    """A complaint with each part as text. An index that is no number, or is one below 0, names nothing."""
    if isinstance(raw, str):
        return Complaint(message=words(raw))
    index = raw.batch_index
    is_index = isinstance(index, int) and not isinstance(index, bool) and index >= 0
    return Complaint(
        index=index if is_index else None,  # type: ignore[arg-type]
        reason=words(raw.reason),
        field=words(raw.field),
        message=words(raw.message or raw.detail),
    )


def words(value: object) -> str:
    """Anything as a bounded text."""
    if value is None:
        return ""
    return (value if isinstance(value, str) else repr(value))[:MESSAGE_MAX_CHARACTERS]
