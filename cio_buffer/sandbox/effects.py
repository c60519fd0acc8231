"""What a call asks of the workspace, whichever version of the API said it: the sandbox's inner language."""

from typing import Any, Literal, TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, Any]
PersonKind: TypeAlias = Literal["id", "email", "phone", "cio_id", "anonymous_id"]
EventKind: TypeAlias = Literal["event", "page", "screen"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with an operation; `reason` is "required" or "invalid"."""

    reason: str
    field: str
    message: str


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """A person, by one identifier."""

    kind: PersonKind
    value: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes two of them the same: emails are alike whatever their case."""
        return (self.kind, self.value.lower() if self.kind == "email" else self.value)


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True):
    """An object, by its own `cio_object_id` or, when that is empty, by type and id."""

    object_type_id: str = ""
    object_id: str = ""
    cio_object_id: str = ""


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """One tie between a person and an object."""

    person: Who
    object: ObjectRef
    attributes: JsonObject


class Identify(msgspec.Struct, frozen=True, kw_only=True):
    """Create or update a person. `timestamp` None means the moment of arrival."""

    who: Who
    attributes: JsonObject
    timestamp: float | None


class DeletePerson(msgspec.Struct, frozen=True, kw_only=True):
    who: Who


class Suppress(msgspec.Struct, frozen=True, kw_only=True):
    who: Who


class Unsuppress(msgspec.Struct, frozen=True, kw_only=True):
    who: Who


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event, page view or screen view; `who` None makes it an invite event."""

    who: Who | None
    kind: EventKind
    name: str
    event_id: str | None
    timestamp: float | None
    data: JsonObject


class AddDevice(msgspec.Struct, frozen=True, kw_only=True):
    who: Who
    token: str
    device: JsonObject


class DeleteDevice(msgspec.Struct, frozen=True, kw_only=True):
    who: Who
    token: str


class MergePeople(msgspec.Struct, frozen=True, kw_only=True):
    primary: Who
    secondary: Who


class Relate(msgspec.Struct, frozen=True, kw_only=True):
    relations: tuple[Relation, ...]


class Unrelate(msgspec.Struct, frozen=True, kw_only=True):
    relations: tuple[Relation, ...]


class IdentifyObject(msgspec.Struct, frozen=True, kw_only=True):
    object: ObjectRef
    attributes: JsonObject


class DeleteObject(msgspec.Struct, frozen=True, kw_only=True):
    object: ObjectRef


class DeliveryMetric(msgspec.Struct, frozen=True, kw_only=True):
    """Something that became of a message: opened, clicked, unsubscribed, and so on."""

    delivery_id: str
    metric: str
    details: JsonObject


class SubmitForm(msgspec.Struct, frozen=True, kw_only=True):
    form_id: str
    who: Who
    answers: JsonObject


class ChangeSegment(msgspec.Struct, frozen=True, kw_only=True):
    segment_id: int
    people: tuple[Who, ...]
    is_member: bool


Effect: TypeAlias = (
    Identify
    | DeletePerson
    | Suppress
    | Unsuppress
    | Happening
    | AddDevice
    | DeleteDevice
    | MergePeople
    | Relate
    | Unrelate
    | IdentifyObject
    | DeleteObject
    | DeliveryMetric
    | SubmitForm
    | ChangeSegment
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as it was read: either `effects` in order, or the `problems` that keep it from having any."""

    api: Literal["v1", "v2"]
    kind: str
    identifiers: JsonObject
    body: JsonObject
    effects: tuple[Effect, ...] = ()
    problems: tuple[Problem, ...] = ()
