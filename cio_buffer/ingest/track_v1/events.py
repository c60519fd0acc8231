"""What somebody did: events, pages and screens of people who are known, of visitors, and of nobody."""

import msgspec
from msgspec import Raw, Struct

from cio_buffer.errors import Problem, TooLarge
from cio_buffer.ingest.reading import as_typed, encode, encode_text, read_body, read_fields
from cio_buffer.ingest.track_v1.call import Person, V1Call, check
from cio_buffer.operations import EVENT_NAME_MAX_BYTES, IDENTIFIER_MAX_BYTES, URL_MAX_BYTES, identity_lanes
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.upstream.limits import EVENT_DATA_MAX_BYTES, OPERATION_MAX_BYTES

ACTIONS = {"event": EVENT_NAME_MAX_BYTES, "page": URL_MAX_BYTES, "screen": URL_MAX_BYTES}
"""The types of event that v2 knows, and how long their names may be."""


class EventBody(Struct, frozen=True):
    """An event as v1 has it: `data` is what v2 calls `attributes`.

    What has another type than we know (ids as numbers, stamps as text) is v1's to judge: such an event stays in v1.
    """

    name: str
    type: object = None
    id: object = None
    timestamp: object = None
    data: dict[str, Raw] | None = None
    anonymous_id: object = None


def action_of(told: EventBody) -> str:
    """What v2 would call this type of event, "" if nothing."""
    action = "event" if told.type is None else told.type
    return action if isinstance(action, str) and action in ACTIONS else ""


EVENT = msgspec.json.Decoder(EventBody)
EVENT_FIELDS = {"name", "type", "id", "timestamp", "data"}


def event(call: V1Call) -> list[NewEntry]:
    """Something that a known person did."""
    person = call.person()
    fields, told = read_event(call)
    identifiers = person.identifiers if fields.keys() <= EVENT_FIELDS else {}
    return [event_entry(call, fields, told, identifiers=identifiers, lanes=person.lanes(), person=person)]


def anonymous_event(call: V1Call) -> list[NewEntry]:
    """Something that somebody did who has no name yet; without any name at all, an invitation, which v2 lacks."""
    fields, told = read_event(call)
    identifiers: dict[str, str] = {}
    visitor = told.anonymous_id
    if lanes := identity_lanes([("anonymous_id", visitor)]):
        check("anonymous_id", str(visitor), IDENTIFIER_MAX_BYTES)
    if isinstance(visitor, str) and lanes and call.mapping.anonymous == "v2":
        identifiers = {"anonymous_id": visitor} if fields.keys() <= EVENT_FIELDS | {"anonymous_id"} else {}
    return [event_entry(call, fields, told, identifiers=identifiers, lanes=lanes)]


def read_event(call: V1Call) -> tuple[dict[str, Raw], EventBody]:
    """An event's members, stamped, and their meaning. Raises InvalidOperation."""
    fields = read_fields(call.body)
    told = read_body(EVENT, call.body)
    check("name", told.name.strip(), ACTIONS.get(action_of(told), URL_MAX_BYTES))
    if len(fields.get("data", b"")) > EVENT_DATA_MAX_BYTES:
        message = f"`data` must have at most {EVENT_DATA_MAX_BYTES} bytes, got {len(fields['data'])}"
        raise TooLarge(Problem(reason="invalid", field="data", message=message))
    if told.id in (None, ""):
        fields["id"] = Raw(encode_text(call.acceptance.new_id()))
    if told.timestamp is None:
        fields["timestamp"] = Raw(b"%d" % call.acceptance.timestamp)
    return fields, told


def event_entry(
    call: V1Call,
    fields: dict[str, Raw],
    told: EventBody,
    *,
    identifiers: dict[str, str],
    lanes: set[str],
    person: Person | None = None,
) -> NewEntry:
    """A stamped event as an entry: in v2's words where `identifiers` say who it was and nothing else is in doubt."""
    action = action_of(told)
    kind = action or "event"
    event_id = as_typed(fields["id"])
    if identifiers and action and is_plain(told):
        said: dict[str, object] = {
            "type": "person",
            "identifiers": identifiers,
            "action": action,
            "name": fields["name"],
            "id": fields["id"],
            "timestamp": fields["timestamp"],
        }
        if "data" in fields:
            said["attributes"] = {} if told.data is None else fields["data"]
        body = encode(said)
        if len(body) <= OPERATION_MAX_BYTES:
            return call.acceptance.entry(kind, lanes, body, event_id=event_id)
    path = f"{person.path}/events" if person else "/api/v1/events"
    is_invite = person is None and told.anonymous_id in (None, "")
    return call.as_it_was("invite" if is_invite else kind, lanes, path, encode(fields), event_id=event_id)


def is_plain(told: EventBody) -> bool:
    """Whether its stamps are of the kinds that v2 knows."""
    is_known_id = told.id is None or isinstance(told.id, str)
    return is_known_id and (told.timestamp is None or type(told.timestamp) is int)
