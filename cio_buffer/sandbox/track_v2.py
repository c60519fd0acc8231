"""Reads Track v2: one operation, as it stands alone or in a batch."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from cio_buffer.sandbox.effects import (
    AddDevice,
    Asked,
    DeleteDevice,
    DeleteObject,
    DeletePerson,
    DeliveryMetric,
    Effect,
    EventKind,
    Happening,
    Identify,
    IdentifyObject,
    JsonObject,
    MergePeople,
    ObjectRef,
    Problem,
    Relate,
    Suppress,
    Unrelate,
    Unsuppress,
    Who,
)
from cio_buffer.sandbox.fields import EVENT_NAME_MAX_BYTES, Fields, is_number
from cio_buffer.sandbox.identities import read_object, read_relations, read_who

OPERATION_LIMIT_BYTES = 32_000
BATCH_LIMIT_BYTES = 500_000

_PERSON_KINDS = ("id", "email", "phone", "cio_id")
_MERGE_KINDS = ("id", "email", "cio_id")
_TYPES = ("person", "object", "delivery")

Read = Callable[[Fields], tuple[Effect, ...]]


class Malformed(Exception):
    """The request is not what v2 takes at all: no operation of it can be told from another."""

    def __init__(self, field: str, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.problem = Problem(reason=reason, field=field, message=message)


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    batch: list[msgspec.Raw]


def read_entity(body: bytes) -> Asked:
    """Read a request that is one operation. Raises Malformed when it is not even an object."""
    return read_operation(_decode(body, dict[str, Any]), size_bytes=len(body))


def read_batch(body: bytes) -> tuple[Asked, ...]:
    """Read a request of several operations. Raises Malformed when there is no list of them."""
    raw = _decode(body, _Batch).batch
    if not raw:
        raise Malformed("batch", "batch is required", reason="required")
    return tuple(read_operation(_decode(bytes(one), Any), size_bytes=len(bytes(one))) for one in raw)


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Malformed("body", str(problem)) from problem


def read_operation(operation: Any, *, size_bytes: int) -> Asked:
    """Read one operation; `size_bytes` is what it takes in the request."""
    if not isinstance(operation, dict):
        wrong = Problem(reason="invalid", field="operation", message="an operation must be an object")
        return Asked(api="v2", kind="unknown", identifiers={}, body={}, problems=(wrong,))
    fields = Fields(operation)
    effects = _read_effects(fields)
    if size_bytes >= OPERATION_LIMIT_BYTES:
        fields.invalid("operation", f"an operation must be smaller than {OPERATION_LIMIT_BYTES} bytes")
    problems = tuple(fields.problems)
    return Asked(
        api="v2",
        kind=_kind(operation),
        identifiers=_identifiers(operation),
        body=operation,
        effects=() if problems else effects,
        problems=problems,
    )


def _read_effects(fields: Fields) -> tuple[Effect, ...]:
    kind = fields.choice("type", _TYPES)
    actions = _ACTIONS.get(kind)
    if actions is None:
        return ()
    action = fields.choice("action", tuple(actions))
    return actions[action](fields) if action in actions else ()


def _kind(operation: JsonObject) -> str:
    kind, action = operation.get("type"), operation.get("action")
    return str(action or "unknown") if kind == "person" else f"{kind or 'unknown'}_{action or 'unknown'}"


def _identifiers(operation: JsonObject) -> JsonObject:
    if operation.get("action") == "merge":
        return {side: operation.get(side) for side in ("primary", "secondary")}
    found = operation.get("identifiers")
    return found if isinstance(found, dict) else {}


def _person(fields: Fields, *, more: tuple[str, ...] = ()) -> Who:
    return read_who(fields, "identifiers", (*_PERSON_KINDS, *more))


def _identify(fields: Fields) -> tuple[Effect, ...]:
    who = _person(fields)
    attributes = fields.attributes("attributes")
    stamp: float | None = fields.seconds("timestamp")
    if stamp is None and is_number(attributes.get("_timestamp")):
        stamp = attributes["_timestamp"]
    identify = Identify(who=who, attributes=attributes, timestamp=stamp)
    if "cio_relationships" not in fields.values:
        return (identify,)
    return (identify, Relate(relations=read_relations(fields, person=who)))


def _happening(kind: EventKind) -> Read:
    def read(fields: Fields) -> tuple[Effect, ...]:
        event_id = fields.text("id") if fields.values.get("id") is not None else None
        happening = Happening(
            who=_person(fields, more=("anonymous_id",)),
            kind=kind,
            name=fields.text("name", max_bytes=EVENT_NAME_MAX_BYTES),
            event_id=event_id,
            timestamp=fields.seconds("timestamp"),
            data=fields.mapping("attributes"),
        )
        return (happening,)

    return read


def _add_device(fields: Fields) -> tuple[Effect, ...]:
    device = fields.inside("device")
    effect = AddDevice(who=_person(fields), token=device.text("token"), device=dict(device.values))
    device.choice("platform", ("ios", "android"))
    device.seconds("last_used")
    device.mapping("attributes")
    return (effect,)


def _delete_device(fields: Fields) -> tuple[Effect, ...]:
    return (DeleteDevice(who=_person(fields), token=fields.inside("device").text("token")),)


def _merge(fields: Fields) -> tuple[Effect, ...]:
    if "identifiers" in fields.values:
        fields.invalid("identifiers", "a merge names its people in primary and secondary")
    primary, secondary = (read_who(fields, side, _MERGE_KINDS) for side in ("primary", "secondary"))
    return (MergePeople(primary=primary, secondary=secondary),)


def _object(fields: Fields) -> ObjectRef:
    return read_object(fields.inside("identifiers"))


def _identify_object(fields: Fields, *, kinds: tuple[str, ...] = _MERGE_KINDS) -> tuple[Effect, ...]:
    ref = _object(fields)
    identify = IdentifyObject(object=ref, attributes=fields.mapping("attributes"))
    if "cio_relationships" not in fields.values:
        return (identify,)
    return (identify, Relate(relations=read_relations(fields, thing=ref, kinds=kinds)))


def _identify_object_anonymously(fields: Fields) -> tuple[Effect, ...]:
    return _identify_object(fields, kinds=("anonymous_id",))


def _delivery_event(fields: Fields) -> tuple[Effect, ...]:
    attributes = fields.inside("attributes")
    attributes.text("device_token")
    metric = DeliveryMetric(
        delivery_id=fields.inside("identifiers").text("id"),
        metric=fields.choice("name", ("opened", "converted", "delivered")),
        details=dict(attributes.values),
    )
    return (metric,)


_ACTIONS: Mapping[str, Mapping[str, Read]] = {
    "person": {
        "identify": _identify,
        "delete": lambda fields: (DeletePerson(who=_person(fields)),),
        **{kind: _happening(kind) for kind in get_args(EventKind)},
        "add_relationships": lambda fields: (Relate(relations=read_relations(fields, person=_person(fields))),),
        "delete_relationships": lambda fields: (Unrelate(relations=read_relations(fields, person=_person(fields))),),
        "add_device": _add_device,
        "delete_device": _delete_device,
        "merge": _merge,
        "suppress": lambda fields: (Suppress(who=_person(fields)),),
        "unsuppress": lambda fields: (Unsuppress(who=_person(fields)),),
    },
    "object": {
        "identify": _identify_object,
        "identify_anonymous": _identify_object_anonymously,
        "delete": lambda fields: (DeleteObject(object=_object(fields)),),
        "add_relationships": lambda fields: (
            Relate(relations=read_relations(fields, thing=_object(fields), kinds=_MERGE_KINDS)),
        ),
        "delete_relationships": lambda fields: (
            Unrelate(relations=read_relations(fields, thing=_object(fields), kinds=_MERGE_KINDS)),
        ),
    },
    "delivery": {"event": _delivery_event},
}
