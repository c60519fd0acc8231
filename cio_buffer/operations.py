"""What an app can ask for, in Customer.io's own v2 words: one Struct per operation, and the lanes it touches.

A Struct holds what we must understand: whom the operation is about, and what it has to have. What else the
app sent stays in the bytes that are stored; nothing is dropped for being unknown to us.

Shapes are those of Customer.io's Track API v2 (description of August 2026).
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

IDENTIFIER_MAX_BYTES = 150
"""Bytes of a person's or object's identifier (Customer.io's limits page, 2026)."""

EVENT_NAME_MAX_BYTES = 100
"""Bytes of an event's name (the same page)."""

URL_MAX_BYTES = 8_000
"""Bytes of a page's or screen's name, which is a URL or a path. Our own bound: Customer.io states none."""

DELIVERY_ID_MAX_BYTES = DEVICE_TOKEN_MAX_BYTES = 4_096
"""Our own bound for what others issue: Customer.io states none."""

V1_KINDS = ("id", "email", "cio_id")
"""What merges and segments may call a person by (Track API description, August 2026)."""

Optional = str | None | UnsetType


def lane(kind: str, value: str) -> str:
    """Name the lane of one identifier. Emails are the same in any case, so they share a lane in any case."""
    return f"email:{value.strip().lower()}" if kind == "email" else f"{kind}:{value}"


def identity_lanes(named: Iterable[tuple[str, object]]) -> set[str]:
    """The lanes of people named by (kind, value). Numbers name as their digits do; empty and null name nobody."""
    return {
        lane(kind, str(value))
        for kind, value in named
        if isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    }


def check_size(field: str, value: str, max_bytes: int) -> None:
    """Raise ValueError unless `value` has 1 to `max_bytes` bytes of UTF-8."""
    size = len(value.encode())
    if not 1 <= size <= max_bytes:
        raise ValueError(f"`{field}` must have 1 to {max_bytes} bytes, got {size}")


class PersonIdentifiers(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of the names that a person has. `cio_id` comes without the `cio_` of v1 paths."""

    id: Optional = UNSET
    email: Optional = UNSET
    phone: Optional = UNSET
    cio_id: Optional = UNSET
    anonymous_id: Optional = UNSET

    def __post_init__(self) -> None:
        if len(self.named()) != 1:
            raise ValueError("Expected exactly one of `id`, `email`, `phone`, `cio_id`, `anonymous_id`")
        for kind, value in self.named():
            check_size(kind, value, IDENTIFIER_MAX_BYTES)

    def named(self) -> list[tuple[str, str]]:
        """The identifiers that are there, as (kind, value)."""
        return [(kind, value) for kind in self.__struct_fields__ if isinstance(value := getattr(self, kind), str)]

    def lanes(self) -> set[str]:
        return {lane(kind, value) for kind, value in self.named()}


class ObjectIdentifiers(Struct, frozen=True, forbid_unknown_fields=True):
    """Either the app's own name for an object (type and id), or Customer.io's."""

    object_type_id: Optional = UNSET
    object_id: Optional = UNSET
    cio_object_id: Optional = UNSET

    def __post_init__(self) -> None:
        given = {kind: value for kind in self.__struct_fields__ if isinstance(value := getattr(self, kind), str)}
        if set(given) not in ({"object_type_id", "object_id"}, {"cio_object_id"}):
            raise ValueError("Expected `object_type_id` with `object_id`, or `cio_object_id`")
        for kind, value in given.items():
            check_size(kind, value, IDENTIFIER_MAX_BYTES)

    def lanes(self) -> set[str]:
        if isinstance(self.cio_object_id, str):
            return {f"cio_object:{self.cio_object_id}"}
        return {f"object:{self.object_type_id}:{self.object_id}"}


class DeliveryIdentifiers(Struct, frozen=True, forbid_unknown_fields=True):
    """The message that a report is about."""

    id: str

    def __post_init__(self) -> None:
        check_size("id", self.id, DELIVERY_ID_MAX_BYTES)

    def lanes(self) -> set[str]:
        return {f"delivery:{self.id}"}


class IdentityAttributes(Struct, frozen=True):
    """Attributes that name the person again. Each ties a lane to this operation."""

    id: object = None
    email: object = None
    phone: object = None
    cio_id: object = None
    anonymous_id: object = None
    timestamp: object = msgspec.field(name="_timestamp", default=None)

    def lanes(self) -> set[str]:
        return identity_lanes(
            (kind, getattr(self, kind)) for kind in ("id", "email", "phone", "cio_id", "anonymous_id")
        )


class Relationship(Struct, frozen=True):
    """One end of a tie between a person and an object. Its target is no lane: one company must not queue everybody."""

    identifiers: dict[str, Raw]


class DeviceToken(Struct, frozen=True):
    token: str

    def __post_init__(self) -> None:
        check_size("token", self.token, DEVICE_TOKEN_MAX_BYTES)


class Device(DeviceToken, frozen=True, kw_only=True):
    platform: str


class Operation(Struct, frozen=True, tag_field="action"):
    """Common to all: `kind` is the word that metrics, logs and dead letters use for it."""

    kind: ClassVar[str]

    def lanes(self) -> set[str]:
        """The lanes whose order this operation keeps."""
        raise NotImplementedError


class AboutPerson(Operation, frozen=True, kw_only=True):
    identifiers: PersonIdentifiers

    def lanes(self) -> set[str]:
        return self.identifiers.lanes()


class AboutObject(Operation, frozen=True, kw_only=True):
    identifiers: ObjectIdentifiers

    def lanes(self) -> set[str]:
        return self.identifiers.lanes()


class Identify(AboutPerson, frozen=True, tag="identify", kw_only=True):
    kind = "identify"
    attributes: IdentityAttributes | None = None
    timestamp: int | None = None
    timestamp_older: int | None = msgspec.field(name="_timestamp", default=None)
    cio_relationships: list[Relationship] | None = None

    def lanes(self) -> set[str]:
        return self.identifiers.lanes() | (self.attributes.lanes() if self.attributes else set())

    def is_stamped(self) -> bool:
        """Three spellings are in use: two of Customer.io's own descriptions, one of a large integration."""
        in_attributes = self.attributes.timestamp if self.attributes else None
        return any(stamp is not None for stamp in (self.timestamp, self.timestamp_older, in_attributes))


class Event(AboutPerson, frozen=True, tag="event", kw_only=True):
    kind = "event"
    name_max_bytes: ClassVar[int] = EVENT_NAME_MAX_BYTES
    name: str
    id: str | None = None
    timestamp: int | None = None
    attributes: dict[str, Raw] | None = None

    def __post_init__(self) -> None:
        check_size("name", self.name.strip(), self.name_max_bytes)


class Page(Event, frozen=True, tag="page", kw_only=True):
    kind = "page"
    name_max_bytes = URL_MAX_BYTES


class Screen(Event, frozen=True, tag="screen", kw_only=True):
    kind = "screen"
    name_max_bytes = URL_MAX_BYTES


class Delete(AboutPerson, frozen=True, tag="delete"):
    kind = "delete"


class Suppress(AboutPerson, frozen=True, tag="suppress"):
    kind = "suppress"


class Unsuppress(AboutPerson, frozen=True, tag="unsuppress"):
    kind = "unsuppress"


class AddRelationships(AboutPerson, frozen=True, tag="add_relationships", kw_only=True):
    kind = "add_relationships"
    cio_relationships: list[Relationship]


class DeleteRelationships(AboutPerson, frozen=True, tag="delete_relationships", kw_only=True):
    kind = "delete_relationships"
    cio_relationships: list[Relationship]


class AddDevice(AboutPerson, frozen=True, tag="add_device", kw_only=True):
    kind = "add_device"
    device: Device


class DeleteDevice(AboutPerson, frozen=True, tag="delete_device", kw_only=True):
    kind = "delete_device"
    device: DeviceToken


class MergeIdentifiers(PersonIdentifiers, frozen=True, forbid_unknown_fields=True):
    """One of the names by which a merge may know a person."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.named()[0][0] not in V1_KINDS:
            raise ValueError("Expected exactly one of `id`, `email`, `cio_id`")


class Merge(Operation, frozen=True, tag="merge", kw_only=True):
    """Folds `secondary` into `primary`. It belongs to both: neither side's later operations may overtake it."""

    kind = "merge"
    primary: MergeIdentifiers
    secondary: MergeIdentifiers

    def lanes(self) -> set[str]:
        return self.primary.lanes() | self.secondary.lanes()


class IdentifyObject(AboutObject, frozen=True, tag="identify", kw_only=True):
    kind = "object_identify"
    attributes: dict[str, Raw] | None = None
    cio_relationships: list[Relationship] | None = None


class IdentifyObjectAnonymously(IdentifyObject, frozen=True, tag="identify_anonymous", kw_only=True):
    kind = "object_identify_anonymous"


class DeleteObject(AboutObject, frozen=True, tag="delete", kw_only=True):
    kind = "object_delete"


class AddObjectRelationships(AboutObject, frozen=True, tag="add_relationships", kw_only=True):
    kind = "object_add_relationships"
    cio_relationships: list[Relationship]


class DeleteObjectRelationships(AboutObject, frozen=True, tag="delete_relationships", kw_only=True):
    kind = "object_delete_relationships"
    cio_relationships: list[Relationship]


class ObjectEvent(AboutObject, frozen=True, tag="event", kw_only=True):
    """What an object did. One SDK sends it; Customer.io's description lacks it, so it may be refused upstream."""

    kind = "object_event"
    name: str
    id: str | None = None
    timestamp: int | None = None

    def __post_init__(self) -> None:
        check_size("name", self.name.strip(), EVENT_NAME_MAX_BYTES)


class DeliveryAttributes(Struct, frozen=True):
    device_token: str


class DeliveryEvent(Operation, frozen=True, tag="event", kw_only=True):
    kind = "delivery_event"
    identifiers: DeliveryIdentifiers
    name: Literal["opened", "converted", "delivered"]
    attributes: DeliveryAttributes

    def lanes(self) -> set[str]:
        return self.identifiers.lanes()


PersonOperation = (
    Identify
    | Event
    | Page
    | Screen
    | Delete
    | Suppress
    | Unsuppress
    | AddRelationships
    | DeleteRelationships
    | AddDevice
    | DeleteDevice
    | Merge
)
ObjectOperation = (
    IdentifyObject
    | IdentifyObjectAnonymously
    | DeleteObject
    | AddObjectRelationships
    | DeleteObjectRelationships
    | ObjectEvent
)

DECODERS: dict[str, msgspec.json.Decoder[Operation]] = {
    "person": msgspec.json.Decoder(PersonOperation),
    "object": msgspec.json.Decoder(ObjectOperation),
    "delivery": msgspec.json.Decoder(DeliveryEvent),
}
"""From an operation's `type` to what reads it."""
