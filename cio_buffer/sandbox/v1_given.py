"""What a Track v1 call is read from, and what is read out of it."""

import msgspec

from cio_buffer.sandbox.effects import Effect, JsonObject, Who
from cio_buffer.sandbox.fields import IDENTIFIER_MAX_BYTES, Fields
from cio_buffer.sandbox.identities import who_in_path


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a route has to read from: the variable segments of the path, decoded; the query; the body."""

    named: tuple[str, ...]
    query: str
    content_type: str
    fields: Fields
    manual_segments: frozenset[int] | None

    def read_person(self) -> Who:
        """The person in the path; a problem is noted when the identifier cannot be one."""
        who = who_in_path(self.named[0])
        if not who.value or len(who.value.encode()) > IDENTIFIER_MAX_BYTES:
            self.fields.invalid("identifier", f"an identifier has 1 to {IDENTIFIER_MAX_BYTES} bytes")
        return who


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a route makes of a request: kind and identifiers for the ledger, effects for the workspace."""

    kind: str
    identifiers: JsonObject
    effects: tuple[Effect, ...]
