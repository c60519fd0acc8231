"""Reads the Track v1 calls about people: who they are, what they did, which devices they have."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from cio_buffer.sandbox.effects import (
    AddDevice,
    DeleteDevice,
    Effect,
    EventKind,
    Happening,
    Identify,
    MergePeople,
    Relate,
    Unrelate,
    Who,
)
from cio_buffer.sandbox.fields import EVENT_NAME_MAX_BYTES, Fields, is_number
from cio_buffer.sandbox.identities import read_relations, read_who
from cio_buffer.sandbox.v1_given import Given, Reading

EVENT_DATA_MAX_BYTES = 100_000
_MERGE_KINDS = ("id", "email", "cio_id")


def identify(given: Given) -> Reading:
    who, attributes = given.read_person(), dict(given.fields.values)
    given.fields.check_attributes(attributes)
    stamp = attributes.get("_timestamp")
    identify = Identify(who=who, attributes=attributes, timestamp=stamp if is_number(stamp) else None)
    return _of_person("identify", who, identify, *_ties(who, attributes.get("cio_relationships")))


def _ties(who: Who, wrapped: Any) -> tuple[Effect, ...]:
    """The relationships wrapped with their action; v1 takes any other shape too, and makes nothing of it."""
    fields = Fields(wrapped if isinstance(wrapped, dict) else {})
    action = fields.choice("action", ("add_relationships", "delete_relationships"))
    relations = read_relations(fields, name="relationships", person=who)
    if fields.problems:
        return ()
    return (Relate(relations=relations) if action == "add_relationships" else Unrelate(relations=relations),)


def simple(kind: str, effect: Callable[[Who], Effect]) -> Callable[[Given], Reading]:
    def read(given: Given) -> Reading:
        who = given.read_person()
        return _of_person(kind, who, effect(who))

    return read


def add_device(given: Given) -> Reading:
    who, device = given.read_person(), given.fields.inside("device")
    device.choice("platform", ("ios", "android"))
    effect = AddDevice(who=who, token=device.text("id"), device=dict(device.values))
    return _of_person("add_device", who, effect)


def delete_device(given: Given) -> Reading:
    who = given.read_person()
    return _of_person("delete_device", who, DeleteDevice(who=who, token=given.named[1]))


def event(given: Given) -> Reading:
    who = given.read_person()
    happening = _happening(given.fields, who)
    return _of_person(happening.kind, who, happening)


def nameless_event(given: Given) -> Reading:
    anonymous_id = given.fields.values.get("anonymous_id")
    if isinstance(anonymous_id, str) and anonymous_id:
        visitor = Who(kind="anonymous_id", value=anonymous_id)
        happening = _happening(given.fields, visitor)
        return _of_person(happening.kind, visitor, happening)
    happening = _happening(given.fields, None)
    recipient = happening.data.get("recipient")
    if not recipient:
        given.fields.required("anonymous_id")
    return Reading(kind="invite_event", identifiers={"recipient": recipient}, effects=(happening,))


def _happening(fields: Fields, who: Who | None) -> Happening:
    values = fields.values
    data = {} if values.get("data") is None else fields.mapping("data")
    if len(msgspec.json.encode(data)) > EVENT_DATA_MAX_BYTES:
        fields.invalid("data", f"data is larger than {EVENT_DATA_MAX_BYTES} bytes")
    kind = fields.choice("type", ("event", "page", "screen")) if values.get("type") is not None else "event"
    event_id, timestamp = values.get("id"), values.get("timestamp")
    return Happening(
        who=who,
        kind=cast(EventKind, kind),
        name=fields.text("name", max_bytes=EVENT_NAME_MAX_BYTES),
        event_id=event_id if isinstance(event_id, str) and event_id else None,
        timestamp=timestamp if is_number(timestamp) else None,
        data=data,
    )


def merge(given: Given) -> Reading:
    sides = {side: _numbers_as_text(given.fields.values.get(side)) for side in ("primary", "secondary")}
    fields = Fields(sides, problems=given.fields.problems)
    effect = MergePeople(
        primary=read_who(fields, "primary", _MERGE_KINDS), secondary=read_who(fields, "secondary", _MERGE_KINDS)
    )
    return Reading(kind="merge", identifiers=sides, effects=(effect,))


def _numbers_as_text(side: Any) -> Any:
    if not isinstance(side, dict):
        return side
    return {kind: str(value) if is_number(value) else value for kind, value in side.items()}


def _of_person(kind: str, who: Who, *effects: Effect) -> Reading:
    return Reading(kind=kind, identifiers={who.kind: who.value}, effects=effects)
