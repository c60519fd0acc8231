"""Another body for a dead letter: checked as if an app had sent it, and still the operation that was accepted."""

from collections.abc import Callable, Sequence

from msgspec import Raw, Struct

from cio_buffer.ingest.reading import (
    NULL,
    WHOLE_NUMBER,
    as_typed,
    check_text,
    encode,
    encode_text,
    invalid,
    read,
    read_fields,
)
from cio_buffer.ingest.track_v1 import Mapping, V1Call, find_call
from cio_buffer.ingest.track_v2 import Acceptance, decoder_for, read_entity
from cio_buffer.operations import Event, Identify, ObjectEvent
from cio_buffer.outbox.archive import Dead
from cio_buffer.outbox.entry import NewEntry

EVENTS = {"event", "page", "screen", "object_event", "invite"}
"""Kinds that carry an id, by which Customer.io tells a repeat from a second event."""

IDENTIFY = "identify"
NO_IDS = (NULL, Raw(encode_text("")))


class Stamps(Struct, frozen=True):
    """What a letter was stamped with, as it stands in its body; None for what it has not."""

    id: Raw | None = None
    timestamp: Raw | None = None


def amended(letter: Dead, body: bytes, mapping: Mapping, new_id: Callable[[float], str]) -> NewEntry:
    """What `letter` becomes with `body` in place of its own, for `Archive.edit`.

    Time, route and trace stay those of its acceptance, and so do the stamps that `body` lacks; an event's id cannot
    become another. A letter with a v1 call has to be a body of that call, and may turn out to be v2's now; any other
    has to be a v2 operation; of whatever kind, but what is an event stays one. `new_id` makes an id for a moment in
    Unix seconds, should an event of old have none. Raises InvalidOperation.
    """
    check_text(body)
    acceptance = Acceptance(
        letter.accepted_at_ms, lambda: new_id(letter.accepted_at_ms / 1000), letter.route, letter.traceparent
    )
    if letter.call is None:
        anew = read_entity(stamped_in_v2(body, stamps_of(letter)), acceptance)
    else:
        anew = read_call(letter, letter.call, body, mapping_for(letter, mapping), acceptance)
    if (anew.kind in EVENTS) is not (letter.kind in EVENTS):  # by way of something else its id would get lost
        raise invalid("An event stays an event, with its id, and nothing else can become one", "action")
    return anew


def mapping_for(letter: Dead, mapping: Mapping) -> Mapping:
    """What came as v2, and was too large for it, was put into v1's words by the shape of its person's name."""
    return mapping if letter.route == "v1" else Mapping()


def read_call(letter: Dead, call: str, body: bytes, mapping: Mapping, acceptance: Acceptance) -> NewEntry:
    """`body` as that of the v1 call that `letter` was."""
    method, _, target = call.partition(" ")
    path, _, query = target.partition("?")
    known = find_call(method, path)
    if known is None:
        raise invalid("The letter is a call that is not taken any more", "call")
    found, named = known
    stamped = stamped_in_v1(body, letter.kind, stamps_of(letter))
    return the_one(
        found.make(
            V1Call(
                method=method,
                path=path,
                query=query,
                named=named,
                body=stamped,
                mapping=mapping,
                acceptance=acceptance,
            )
        )
    )


def the_one(entries: Sequence[NewEntry]) -> NewEntry:
    if len(entries) != 1:
        raise invalid(f"A letter stays one operation, and this would make {len(entries)}")
    return entries[0]


def stamps_of(letter: Dead) -> Stamps:
    """The stamps in a letter's own body."""
    if letter.kind not in EVENTS and letter.kind != IDENTIFY:
        return Stamps()
    fields = read_fields(letter.body)
    if letter.kind in EVENTS:
        return Stamps(fields.get("id"), fields.get("timestamp"))
    if letter.call:
        return Stamps(None, fields.get("_timestamp"))
    attributes = read_fields(fields.get("attributes", NULL))
    spelled = (fields.get("timestamp"), fields.get("_timestamp"), attributes.get("_timestamp"))
    return Stamps(None, next((stamp for stamp in spelled if stamp and WHOLE_NUMBER.fullmatch(bytes(stamp))), None))


def stamped_in_v2(body: bytes, stamps: Stamps) -> bytes:
    """A v2 operation with the letter's stamps where it lacks them; to the byte what it was where it lacks none."""
    fields = read_fields(body)
    operation = read(decoder_for(fields), body)
    if isinstance(operation, Event | ObjectEvent):
        return filled(body, fields, "timestamp", stamps)
    if isinstance(operation, Identify) and not operation.is_stamped():
        return filled(body, fields, "timestamp", Stamps(None, stamps.timestamp))
    return body


def stamped_in_v1(body: bytes, kind: str, stamps: Stamps) -> bytes:
    """The same for the body of a v1 call. Calls that are not stamped need not even have JSON for a body."""
    if kind in EVENTS:
        return filled(body, read_fields(body), "timestamp", stamps)
    if kind == IDENTIFY:
        return filled(body, read_fields(body), "_timestamp", stamps)
    return body


def filled(body: bytes, fields: dict[str, Raw], timestamp: str, stamps: Stamps) -> bytes:
    """`body`, whose members are `fields`, with what it lacks of `stamps`. `timestamp` is what its time is called."""
    lacking: dict[str, Raw] = {}
    if stamps.timestamp is not None and fields.get(timestamp, NULL) == NULL:
        lacking[timestamp] = stamps.timestamp
    if stamps.id is not None and lacks_id(fields.get("id", NULL), stamps.id):
        lacking["id"] = stamps.id
    return encode(fields | lacking) if lacking else body


def lacks_id(given: Raw, was: Raw) -> bool:
    """Whether no id is given. Raises InvalidOperation for another one; a number's digits as text are the same one."""
    if given in NO_IDS:
        return True
    if as_typed(given) != as_typed(was):
        message = "It must stay what it was, by which Customer.io tells a repeat; leave it out to keep it"
        raise invalid(message, "id")
    return False
