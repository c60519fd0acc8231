"""What became of messages, and what people sent back: metrics, unsubscribes, forms, segments. v2 has none of it.

Each leaves as the call that it was, to the byte. Of what it says we read no more than whom it is about.
"""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from cio_buffer.ingest.reading import invalid, read_body, read_fields
from cio_buffer.ingest.track_v1.call import V1Call, as_segment, check, read_segment
from cio_buffer.operations import DELIVERY_ID_MAX_BYTES, V1_KINDS, IdentityAttributes, identity_lanes, lane
from cio_buffer.outbox.entry import NewEntry

SEGMENT_ID_MAX_DIGITS = 18
SEGMENT_PEOPLE_MAX = 1_000
"""People in one call (Track API description, August 2026)."""


class Metric(Struct, frozen=True):
    delivery_id: str
    metric: str


class PushMetric(Struct, frozen=True):
    delivery_id: str
    event: str


class InAppPayload(Struct, frozen=True):
    delivery_id: str


class InAppMetric(Struct, frozen=True):
    payload: InAppPayload

    @property
    def delivery_id(self) -> str:
        return self.payload.delivery_id


def report(kind: str, shape: type[Metric | PushMetric | InAppMetric]) -> Callable[[V1Call], list[NewEntry]]:
    """What happened to a message."""
    decoder = msgspec.json.Decoder(shape)

    def make(call: V1Call) -> list[NewEntry]:
        delivery_id = read_body(decoder, call.body).delivery_id
        check("delivery_id", delivery_id, DELIVERY_ID_MAX_BYTES)
        return [call.as_it_was(kind, {lane("delivery", delivery_id)}, call.path)]

    return make


metric = report("metric", Metric)
push_metric = report("push_metric", PushMetric)
in_app_metric = report("in_app_metric", InAppMetric)


class Anything(Struct, frozen=True):
    """An object of which we read nothing."""


def unsubscribe(call: V1Call) -> list[NewEntry]:
    """Somebody wants no more. A `/` in the delivery's id may stand there as it is."""
    parts = [read_segment(part, "delivery_id", "The delivery's id") for part in call.named]
    delivery_id = "/".join(parts)
    check("delivery_id", delivery_id, DELIVERY_ID_MAX_BYTES)
    read_fields(call.body)
    path = "/".join(["/unsubscribe", *(as_segment(part, "delivery_id") for part in parts)])
    return [call.as_it_was("unsubscribe", {lane("delivery", delivery_id)}, path)]


class FormBody(Struct, frozen=True):
    data: IdentityAttributes


FORM = msgspec.json.Decoder(FormBody)


def form(call: V1Call) -> list[NewEntry]:
    """A form that somebody filled in. Fields may be mapped to the names of people in a way that we do not know."""
    form_id = read_segment(call.named[0], "form_id", "The form's id")
    check("form_id", form_id, DELIVERY_ID_MAX_BYTES)
    person = read_body(FORM, call.body).data
    path = f"/api/v1/forms/{as_segment(form_id, 'form_id')}/submit"
    return [call.as_it_was("form", person.lanes(), path)]


class Members(Struct, frozen=True):
    ids: Annotated[list[object], Meta(min_length=1, max_length=SEGMENT_PEOPLE_MAX)]


MEMBERS = msgspec.json.Decoder(Members)


def segment(kind: str) -> Callable[[V1Call], list[NewEntry]]:
    """Put people into a manual segment, or take them out. It belongs to each of them."""

    def make(call: V1Call) -> list[NewEntry]:
        number = call.named[0]
        if not (number.isascii() and number.isdecimal() and len(number) <= SEGMENT_ID_MAX_DIGITS):
            raise invalid("A segment's id is a whole number", "segment_id")
        id_type = dict(parse_qsl(call.query)).get("id_type", "id")
        if id_type not in V1_KINDS:
            raise invalid(f"Expected one of {', '.join(V1_KINDS)}", "id_type")
        people = read_body(MEMBERS, call.body).ids
        return [call.as_it_was(kind, identity_lanes((id_type, value) for value in people), call.path)]

    return make


segment_add, segment_remove = segment("segment_add"), segment("segment_remove")
