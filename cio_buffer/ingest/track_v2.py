"""What a caller of Track v2 sends → entries. An operation is stored as it came, with what it lacks stamped in."""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from cio_buffer.errors import InvalidOperation, Problem, TooLarge
from cio_buffer.ingest.reading import TEXT, encode, encode_text, invalid, read, read_fields
from cio_buffer.operations import DECODERS, Event, Identify, ObjectEvent, Operation
from cio_buffer.outbox.entry import NewEntry, pack_lanes
from cio_buffer.outbox.trail import NO_MARK, mark_of, pack_trail
from cio_buffer.upstream.limits import OPERATION_MAX_BYTES
from cio_buffer.upstream.track import event_as_v1

LANE_BYTES = 8


class Acceptance(Struct, frozen=True):
    """The moment at which calls are accepted: Unix milliseconds, where new ids come from, and how the calls came."""

    at_ms: int
    new_id: Callable[[], str]
    route: str | None = None
    traceparent: str | None = None

    @property
    def timestamp(self) -> int:
        """The moment as Customer.io writes it."""
        return self.at_ms // 1000

    def entry(
        self, kind: str, lanes: set[str], body: bytes, call: str | None = None, *, event_id: str | None = None
    ) -> NewEntry:
        """What is to be stored. `event_id`: by which an event will be found again, as a person would type it."""
        packed = pack_lanes(lanes)
        return NewEntry(
            kind=kind,
            lanes=packed,
            body=body,
            accepted_at_ms=self.at_ms,
            call=call,
            route=self.route,
            traceparent=self.traceparent,
            trail=pack_trail(
                mark=NO_MARK if event_id is None else mark_of(event_id),
                accepted_at_ms=self.at_ms,
                kind=kind,
                route=self.route or "",
                lanes=len(packed) // LANE_BYTES,
            ),
        )


class Batch(Struct, frozen=True):
    batch: list[Raw]


BATCH = msgspec.json.Decoder(Batch)


class Sorted(Struct, frozen=True):
    """A batch taken apart: what can be stored, and what is wrong with the others, by their place in the batch."""

    entries: list[NewEntry]
    problems: list[tuple[int, Problem]]


def read_entity(body: bytes, acceptance: Acceptance) -> NewEntry:
    """One operation. Raises InvalidOperation."""
    fields = read_fields(body)
    operation = read(decoder_for(fields), body)
    event_id = stamp(fields, operation, acceptance)
    stored = encode(fields)
    if len(stored) <= OPERATION_MAX_BYTES:
        return acceptance.entry(operation.kind, operation.lanes(), stored, event_id=event_id)
    said_in_v1 = event_as_v1(stored) if isinstance(operation, Event) else None
    if said_in_v1 is None:
        message = f"An operation must have less than 32 KB, this one has {len(stored)} bytes"
        raise TooLarge(Problem(reason="invalid", field="", message=message))
    call, body = said_in_v1
    return acceptance.entry(operation.kind, operation.lanes(), body, call, event_id=event_id)


def read_batch(body: bytes, acceptance: Acceptance) -> Sorted:
    """Many operations, each judged by itself. Raises InvalidOperation where the whole is no batch."""
    operations = read(BATCH, body).batch
    if not operations:
        raise InvalidOperation(Problem(reason="required", field="batch", message="`batch` must not be empty"))
    entries: list[NewEntry] = []
    problems: list[tuple[int, Problem]] = []
    for index, operation in enumerate(operations):
        try:
            entries.append(read_entity(bytes(operation), acceptance))
        except InvalidOperation as problem:
            problems.append((index, problem.problem))
    return Sorted(entries, problems)


def decoder_for(fields: dict[str, Raw]) -> "msgspec.json.Decoder[Operation]":
    """What reads an operation of this `type`."""
    for name in ("type", "action"):
        if name not in fields:
            raise InvalidOperation(Problem(reason="required", field=name, message=f"`{name}` is required"))
    try:
        return DECODERS[TEXT.decode(fields["type"])]
    except (KeyError, msgspec.MsgspecError):
        raise invalid(f"Expected one of {', '.join(DECODERS)}", "type") from None


def stamp(fields: dict[str, Raw], operation: Operation, acceptance: Acceptance) -> str | None:
    """Give an event its id and time, and an identify its time, where the app gave none. What it gave stays.

    Returns an event's id, None for anything else.
    """
    if isinstance(operation, Event | ObjectEvent):
        event_id = operation.id or acceptance.new_id()
        if not operation.id:
            fields["id"] = Raw(encode_text(event_id))
        if operation.timestamp is None:
            fields["timestamp"] = Raw(b"%d" % acceptance.timestamp)
        return event_id
    if isinstance(operation, Identify) and not operation.is_stamped():
        fields["timestamp"] = Raw(b"%d" % acceptance.timestamp)
    return None
