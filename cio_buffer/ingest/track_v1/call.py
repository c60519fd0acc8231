"""A v1 call taken apart: whom its path names, and how it is kept where v2 cannot say it."""

from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from cio_buffer.errors import Problem, TooLarge
from cio_buffer.ingest.reading import encode, invalid
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.operations import IDENTIFIER_MAX_BYTES, check_size, lane
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.upstream.limits import OPERATION_MAX_BYTES, V1_REQUEST_MAX_BYTES
from cio_buffer.upstream.track import NO_SEGMENTS, by_shape, person_segment

ASCII = "".join(map(chr, range(0x21, 0x7F)))
"""What of a query may stay as it came: all that a request line can hold, so it is never encoded twice."""

CUSTOMERS = "/api/v1/customers/"


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
        return f"{CUSTOMERS}{person_segment(self.written)}"

    @property
    def identifiers(self) -> dict[str, str]:
        return {self.kind: self.value} if self.kind else {}

    def lanes(self) -> set[str]:
        """Where we do not say what kind it is, the server decides by the shape, and so do the lanes."""
        kind, value = (self.kind, self.value) if self.kind else by_shape(self.written)
        return {lane(kind, value)}


class V1Call(Struct, frozen=True, kw_only=True):
    """A request of Track v1. `path` and `query` are raw, and so are `named`, the variable parts of the path."""

    method: str
    path: str
    query: str = ""
    named: tuple[str, ...] = ()
    body: bytes
    mapping: Mapping
    acceptance: Acceptance

    def person(self) -> Person:
        """The person in the path. Raises InvalidOperation."""
        return read_person(self.named[0], self.mapping)

    def as_it_was(
        self, kind: str, lanes: set[str], path: str, body: bytes | None = None, *, event_id: str | None = None
    ) -> NewEntry:
        """The call itself, to leave alone: with the body that it had, or one to which only stamps were added."""
        kept = self.body if body is None else body
        if len(kept) > V1_REQUEST_MAX_BYTES:
            message = f"A request must have at most {V1_REQUEST_MAX_BYTES} bytes, this one has {len(kept)}"
            raise TooLarge(Problem(reason="invalid", field="", message=message))
        query = f"?{quote(self.query.encode(errors='surrogateescape'), safe=ASCII)}" if self.query else ""
        return self.acceptance.entry(kind, lanes, kept, f"{self.method} {path}{query}", event_id=event_id)

    def about(self, person: Person, action: str, **more: object) -> bytes:
        """A v2 operation on `person`; empty where v2 is not to be told who that is, or has no room for it."""
        said = {"type": "person", "identifiers": person.identifiers, "action": action, **more}
        body = encode(said) if person.kind else b""
        return body if len(body) <= OPERATION_MAX_BYTES else b""


def read_person(segment: str, mapping: Mapping) -> Person:
    """The person named by a raw path segment. Raises InvalidOperation."""
    written = read_segment(segment, "customer_id", "The customer's identifier")
    kind, value = ("id", written) if mapping.identifiers == "id" else by_shape(written)
    check("customer_id", value, IDENTIFIER_MAX_BYTES)
    check_segment(written, "customer_id")
    return Person(written, None if mapping.identifiers == "v1" else kind, value)


def read_segment(segment: str, field: str, called: str) -> str:
    """What a raw path segment says: decoded once, where a plus stays a plus. Raises InvalidOperation."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeError:  # whether the odd bytes came escaped or bare
        raise invalid(f"{called} in the path is not UTF-8", field) from None


def as_segment(value: str, field: str) -> str:
    """`value` as one segment of a path. Raises InvalidOperation."""
    check_segment(value, field)
    return person_segment(value)


def check_segment(value: str, field: str) -> None:
    """Raise InvalidOperation for what would be taken for a step up on its way."""
    if value in NO_SEGMENTS:
        raise invalid(f"`{value}` cannot stand in a path", field)


def check(field: str, value: str, max_bytes: int) -> None:
    """Raise InvalidOperation unless `value` has 1 to `max_bytes` bytes."""
    try:
        check_size(field, value, max_bytes)
    except ValueError as problem:
        raise invalid(str(problem), field) from None
