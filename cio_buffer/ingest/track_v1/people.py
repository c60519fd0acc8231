"""Who somebody is: identify, delete, suppress, merge."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from cio_buffer.ingest.reading import (
    NULL,
    TEXT,
    WHOLE_NUMBER,
    encode,
    encode_text,
    invalid,
    read,
    read_body,
    read_fields,
)
from cio_buffer.ingest.track_v1.call import Person, V1Call, check
from cio_buffer.operations import IDENTIFIER_MAX_BYTES, V1_KINDS, IdentityAttributes, ObjectIdentifiers, lane
from cio_buffer.outbox.entry import NewEntry


class ToObject(Struct, frozen=True, forbid_unknown_fields=True):
    """A relationship of which we are sure that v2 takes it."""

    identifiers: ObjectIdentifiers
    relationship_attributes: dict[str, Raw] | None = None


class Added(Struct, frozen=True, forbid_unknown_fields=True):
    """v1 wraps in an action what v2 has as a plain list."""

    action: Literal["add_relationships"]
    relationships: Annotated[list[ToObject], Meta(min_length=1)]


class RawRelationships(Struct, frozen=True):
    relationships: Raw


Attributes = IdentityAttributes
IDENTITY = msgspec.json.Decoder(Attributes)
ADDED = msgspec.json.Decoder(Added)
RAW_RELATIONSHIPS = msgspec.json.Decoder(RawRelationships)
STAMP = msgspec.json.Decoder(int | None)


def identify(call: V1Call) -> list[NewEntry]:
    """Set a person's attributes, and with them perhaps other names and relationships."""
    person = call.person()
    attributes = read_fields(call.body)
    named = read(IDENTITY, call.body).lanes() if attributes else set()
    lanes = person.lanes() | named
    if body := identify_in_v2(call, person, dict(attributes)):
        return [call.acceptance.entry("identify", lanes, body)]
    if attributes.get("_timestamp", NULL) == NULL:
        attributes["_timestamp"] = Raw(b"%d" % call.acceptance.timestamp)
    return [call.as_it_was("identify", lanes, person.path, encode(attributes))]


def identify_in_v2(call: V1Call, person: Person, attributes: dict[str, Raw]) -> bytes:
    """An identify as a v2 operation; nothing where its stamp or its relationships have another shape.

    Nor where it deletes relationships: v2 needs a second operation for that, which would take effect although the
    first is refused. v1 takes such a call whole or not at all.
    """
    try:
        timestamp = STAMP.decode(attributes.pop("_timestamp", NULL))
        wrapped = attributes.pop("cio_relationships", NULL)
        more = {} if wrapped == NULL else {"cio_relationships": read_added(wrapped)}
    except (msgspec.MsgspecError, RecursionError):
        return b""
    stamp = call.acceptance.timestamp if timestamp is None else timestamp
    return call.about(person, "identify", attributes=attributes, timestamp=stamp, **more)


def read_added(wrapped: Raw) -> Raw:
    """The relationships that are to be added, as they came. Raises MsgspecError for any other wish."""
    ADDED.decode(wrapped)
    return RAW_RELATIONSHIPS.decode(wrapped).relationships


def without_a_body(kind: str) -> Callable[[V1Call], list[NewEntry]]:
    """A call that says all with its path: whatever body came along means nothing, in v2 as in v1."""

    def make(call: V1Call) -> list[NewEntry]:
        person = call.person()
        if body := call.about(person, kind):
            return [call.acceptance.entry(kind, person.lanes(), body)]
        tail = "" if kind == "delete" else f"/{kind}"
        return [call.as_it_was(kind, person.lanes(), person.path + tail)]

    return make


delete, suppress, unsuppress = map(without_a_body, ("delete", "suppress", "unsuppress"))


class Sides(Struct, frozen=True):
    """The two people of a merge, each by one name; a name may be a number, which one SDK leaves as it is."""

    primary: dict[str, Raw]
    secondary: dict[str, Raw]


SIDES = msgspec.json.Decoder(Sides)


def merge(call: V1Call) -> list[NewEntry]:
    """Fold one person into another."""
    fields = read_fields(call.body)
    sides = read_body(SIDES, call.body)
    primary, secondary = read_side("primary", sides.primary), read_side("secondary", sides.secondary)
    lanes = {lane(*primary), lane(*secondary)}
    if fields.keys() != {"primary", "secondary"}:
        return [call.as_it_was("merge", lanes, call.path)]
    said = {"type": "person", "action": "merge", "primary": dict([primary]), "secondary": dict([secondary])}
    return [call.acceptance.entry("merge", lanes, encode(said))]


def read_side(side: str, given: dict[str, Raw]) -> tuple[str, str]:
    """One person of a merge, as (kind, value). Raises InvalidOperation."""
    named = [(kind, value) for kind, value in given.items() if value != NULL]
    if len(named) != 1 or named[0][0] not in V1_KINDS:
        raise invalid(f"Expected exactly one of {', '.join(f'`{kind}`' for kind in V1_KINDS)}", side)
    kind, raw = named[0]
    value = read_name(f"{side}.{kind}", raw)
    check(f"{side}.{kind}", value, IDENTIFIER_MAX_BYTES)
    return kind, value


def read_name(field: str, raw: Raw) -> str:
    """A name given as text, or as a whole number, which names by its digits. Raises InvalidOperation."""
    text = raw if not WHOLE_NUMBER.fullmatch(bytes(raw)) else encode_text(bytes(raw).decode())
    try:
        return TEXT.decode(text)
    except msgspec.MsgspecError:
        raise invalid("Expected text", field) from None
