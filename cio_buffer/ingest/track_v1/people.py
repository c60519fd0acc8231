"""What a caller of Track v1 sends → entries, in v2's words wherever v2 can say it.

What v2 cannot say, and whatever is in doubt, is kept as the v1 call that it was, with the stamps that it lacks.
"""

from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, Raw, Struct

from cio_buffer.errors import Problem, TooLarge
from cio_buffer.ingest.reading import encode, encode_text, invalid, read, read_fields
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.operations import (
    EVENT_NAME_MAX_BYTES,
    IDENTIFIER_MAX_BYTES,
    URL_MAX_BYTES,
    IdentityAttributes,
    ObjectIdentifiers,
    check_size,
    lane,
)
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.upstream.limits import EVENT_DATA_MAX_BYTES, OPERATION_MAX_BYTES, V1_REQUEST_MAX_BYTES
from cio_buffer.upstream.track import NO_SEGMENTS, by_shape, person_segment

ACTIONS = {"event": EVENT_NAME_MAX_BYTES, "page": URL_MAX_BYTES, "screen": URL_MAX_BYTES}
"""The types of event that v2 knows, and how long their names may be."""


class Mapping(Struct, frozen=True, kw_only=True):
    """How far v1 is put into v2's words; see `upstream.identifiers` and `upstream.anonymous` in the config."""

    identifiers: Literal["shape", "id", "v1"] = "shape"
    anonymous: Literal["v2", "v1"] = "v2"


class Person(Struct, frozen=True):
    """The person in a path: as written there, and what v2 would call it; `kind` is None where it is not to be said."""

    written: str
    kind: str | None
    value: str

    @property
    def path(self) -> str:
        return f"/api/v1/customers/{person_segment(self.written)}"

    @property
    def identifiers(self) -> dict[str, str]:
        return {self.kind: self.value} if self.kind else {}

    def lanes(self) -> set[str]:
        """Where we do not say what kind it is, the server decides by the shape, and so do the lanes."""
        kind, value = (self.kind, self.value) if self.kind else by_shape(self.written)
        return {lane(kind, value)}


def read_person(segment: str, mapping: Mapping) -> Person:
    """The person named by a raw path segment. Raises InvalidOperation."""
    try:
        written = unquote_to_bytes(segment).decode()
    except UnicodeError:  # whether the odd bytes came escaped or bare
        raise invalid("The customer's identifier in the path is not UTF-8", "customer_id") from None
    kind, value = ("id", written) if mapping.identifiers == "id" else by_shape(written)
    check("customer_id", value, IDENTIFIER_MAX_BYTES)
    if written in NO_SEGMENTS:
        raise invalid(f"`{written}` cannot name a customer in a path", "customer_id")
    return Person(written, None if mapping.identifiers == "v1" else kind, value)


def check(field: str, value: str, max_bytes: int) -> None:
    """Raise InvalidOperation unless `value` has 1 to `max_bytes` bytes."""
    try:
        check_size(field, value, max_bytes)
    except ValueError as problem:
        raise invalid(str(problem), field) from None


class ToObject(Struct, frozen=True, forbid_unknown_fields=True):
    """A relationship of which we are sure that v2 takes it."""

    identifiers: ObjectIdentifiers
    relationship_attributes: dict[str, Raw] | None = None


class Relationships(Struct, frozen=True, forbid_unknown_fields=True):
    """v1 wraps in an action what v2 has as a plain list."""

    action: Literal["add_relationships", "delete_relationships"]
    relationships: Annotated[list[ToObject], Meta(min_length=1)]


class RawRelationships(Struct, frozen=True):
    relationships: Raw


IDENTITY = msgspec.json.Decoder(IdentityAttributes)
RELATIONSHIPS = msgspec.json.Decoder(Relationships)
RAW_RELATIONSHIPS = msgspec.json.Decoder(RawRelationships)
WHOLE_NUMBER = msgspec.json.Decoder(int | None)


def identify(person: Person, body: bytes, acceptance: Acceptance) -> list[NewEntry]:
    """Set a person's attributes, and with them perhaps other names and relationships."""
    attributes = read_fields(body)
    named = read(IDENTITY, body).lanes() if attributes else set()
    lanes = person.lanes() | named
    said = identify_in_v2(person, dict(attributes), acceptance)
    if person.kind and said and all(len(operation) <= OPERATION_MAX_BYTES for operation in said):
        kinds = ("identify", "delete_relationships")
        touched = (lanes, person.lanes())
        return [acceptance.entry(*of) for of in zip(kinds, touched, said, strict=False)]
    if attributes.get("_timestamp", NULL) == NULL:
        attributes["_timestamp"] = Raw(b"%d" % acceptance.timestamp)
    kept = encode(attributes)
    check_request(kept)
    return [acceptance.entry("identify", lanes, kept, f"PUT {person.path}")]


NULL = Raw(b"null")


def identify_in_v2(person: Person, attributes: dict[str, Raw], acceptance: Acceptance) -> list[bytes]:
    """An identify as one or two v2 operations; none where its stamp or its relationships have an unknown shape."""
    try:
        timestamp = WHOLE_NUMBER.decode(attributes.pop("_timestamp", NULL))
        wrapped = attributes.pop("cio_relationships", NULL)
        action = "" if wrapped == NULL else RELATIONSHIPS.decode(wrapped).action
    except (msgspec.MsgspecError, RecursionError):
        return []
    said: dict[str, object] = {"type": "person", "identifiers": person.identifiers, "action": "identify"}
    said |= {"attributes": attributes, "timestamp": acceptance.timestamp if timestamp is None else timestamp}
    relationships = RAW_RELATIONSHIPS.decode(wrapped).relationships if action else NULL
    if action == "add_relationships":
        said["cio_relationships"] = relationships
    untie = {"type": "person", "identifiers": person.identifiers, "action": action, "cio_relationships": relationships}
    return [encode(said), *([encode(untie)] if action == "delete_relationships" else [])]


def delete(person: Person, acceptance: Acceptance) -> list[NewEntry]:
    """Delete a person. Whatever body came along means nothing."""
    if not person.kind:
        return [acceptance.entry("delete", person.lanes(), b"", f"DELETE {person.path}")]
    body = encode({"type": "person", "identifiers": person.identifiers, "action": "delete"})
    return [acceptance.entry("delete", person.lanes(), body)]


class EventBody(Struct, frozen=True):
    """An event as v1 has it: `data` is what v2 calls `attributes`."""

    name: str
    type: str | None = None
    id: str | None = None
    timestamp: int | float | None = None
    data: dict[str, Raw] | None = None
    anonymous_id: str | None = None


def action_of(call: EventBody) -> str:
    """What v2 would call this type of event, if it knows it."""
    return "event" if call.type is None else call.type


EVENT = msgspec.json.Decoder(EventBody)
EVENT_FIELDS = {"name", "type", "id", "timestamp", "data"}


def event(person: Person, body: bytes, acceptance: Acceptance) -> list[NewEntry]:
    """Something that a known person did."""
    fields, call = read_event(body, acceptance)
    identifiers = person.identifiers if fields.keys() <= EVENT_FIELDS else {}
    return [event_entry(fields, call, acceptance, identifiers=identifiers, lanes=person.lanes(), person=person)]


def anonymous_event(body: bytes, mapping: Mapping, acceptance: Acceptance) -> list[NewEntry]:
    """Something that somebody did who has no name yet; without any name at all, an invitation, which v2 lacks."""
    fields, call = read_event(body, acceptance)
    identifiers: dict[str, str] = {}
    lanes: set[str] = set()
    if call.anonymous_id:
        check("anonymous_id", call.anonymous_id, IDENTIFIER_MAX_BYTES)
        lanes = {lane("anonymous_id", call.anonymous_id)}
        if mapping.anonymous == "v2" and fields.keys() <= EVENT_FIELDS | {"anonymous_id"}:
            identifiers = {"anonymous_id": call.anonymous_id}
    return [event_entry(fields, call, acceptance, identifiers=identifiers, lanes=lanes)]


def read_event(body: bytes, acceptance: Acceptance) -> tuple[dict[str, Raw], EventBody]:
    """An event's members, stamped, and their meaning. Raises InvalidOperation."""
    fields = read_fields(body)
    call = read(EVENT, body if fields else b"{}")
    check("name", call.name.strip(), ACTIONS.get(action_of(call), URL_MAX_BYTES))
    if len(fields.get("data", b"")) > EVENT_DATA_MAX_BYTES:
        message = f"`data` must have at most {EVENT_DATA_MAX_BYTES} bytes, got {len(fields['data'])}"
        raise TooLarge(Problem(reason="invalid", field="data", message=message))
    if not call.id:
        fields["id"] = Raw(encode_text(acceptance.new_id()))
    if call.timestamp is None:
        fields["timestamp"] = Raw(b"%d" % acceptance.timestamp)
    return fields, call


def event_entry(
    fields: dict[str, Raw],
    call: EventBody,
    acceptance: Acceptance,
    *,
    identifiers: dict[str, str],
    lanes: set[str],
    person: Person | None = None,
) -> NewEntry:
    """A stamped event as an entry: in v2's words where `identifiers` say who it was and nothing else is in doubt."""
    action = action_of(call)
    kind = action if action in ACTIONS else "event"
    if identifiers and action in ACTIONS and not isinstance(call.timestamp, float):
        said: dict[str, object] = {"type": "person", "identifiers": identifiers, "action": action}
        said |= {name: fields[name] for name in ("name", "id", "timestamp")}
        if "data" in fields:
            said["attributes"] = {} if call.data is None else fields["data"]
        body = encode(said)
        if len(body) <= OPERATION_MAX_BYTES:
            return acceptance.entry(kind, lanes, body)
    kept = encode(fields)
    check_request(kept)
    path = f"{person.path}/events" if person else "/api/v1/events"
    return acceptance.entry(kind if lanes else "invite", lanes, kept, f"POST {path}")


def check_request(body: bytes) -> None:
    if len(body) > V1_REQUEST_MAX_BYTES:
        message = f"A request must have at most {V1_REQUEST_MAX_BYTES} bytes, this one has {len(body)}"
        raise TooLarge(Problem(reason="invalid", field="", message=message))
