"""Reads the Track v1 calls about messages, forms and segments."""

from collections.abc import Callable
from typing import cast
from urllib.parse import parse_qs

from cio_buffer.sandbox.effects import ChangeSegment, DeliveryMetric, PersonKind, SubmitForm, Who
from cio_buffer.sandbox.fields import Fields
from cio_buffer.sandbox.v1_given import Given, Reading

SEGMENT_IDS_MAX = 1000

_SEGMENT_ID_MAX_DIGITS = 18
_SEGMENT_KINDS = ("id", "email", "cio_id")
_METRICS = ("bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed")
# What a form sends about itself; not an answer of the person.
_FORM_NAMES = frozenset({"form_id", "form_name", "form_type", "form_url", "form_url_param"})


def metric(given: Given) -> Reading:
    return _delivery("metric", given.fields, given.fields.choice("metric", _METRICS))


def push_metric(given: Given) -> Reading:
    given.fields.text("device_id")
    return _delivery("push_metric", given.fields, given.fields.choice("event", ("opened", "converted", "delivered")))


def in_app_metric(given: Given) -> Reading:
    given.fields.text("type")
    payload = given.fields.inside("payload")
    return _delivery("in_app_metric", payload, payload.text("event"))


def _delivery(kind: str, fields: Fields, metric: str) -> Reading:
    delivery_id = fields.text("delivery_id")
    effect = DeliveryMetric(delivery_id=delivery_id, metric=metric, details=dict(fields.values))
    return Reading(kind=kind, identifiers={"delivery_id": delivery_id}, effects=(effect,))


def unsubscribe(given: Given) -> Reading:
    if given.content_type != "application/json":
        given.fields.invalid("Content-Type", "the content type must be application/json")
    delivery_id, values = given.named[0], given.fields.values
    means_it = values.get("unsubscribe") is True
    metric = DeliveryMetric(delivery_id=delivery_id, metric="unsubscribed", details=dict(values))
    return Reading(kind="unsubscribe", identifiers={"delivery_id": delivery_id}, effects=(metric,) if means_it else ())


def form(given: Given) -> Reading:
    data = given.fields.mapping("data", is_required=True)
    kinds: list[PersonKind] = [kind for kind in ("id", "email") if data.get(kind) not in (None, "")]
    who = Who(kind=kinds[0], value=str(data[kinds[0]])) if kinds else Who(kind="id", value="")
    if len(kinds) != 1:
        given.fields.invalid("data", "data must have exactly one of id, email")
    answers = {name: value for name, value in data.items() if name not in _FORM_NAMES}
    form_id = given.named[0]
    return Reading(
        kind="form",
        identifiers={"form_id": form_id, **{kind: str(data[kind]) for kind in kinds}},
        effects=(SubmitForm(form_id=form_id, who=who, answers=answers),),
    )


def segment(kind: str, *, is_member: bool) -> Callable[[Given], Reading]:
    def read(given: Given) -> Reading:
        fields, segment = given.fields, given.named[0]
        number = int(segment) if segment.isdecimal() and len(segment) <= _SEGMENT_ID_MAX_DIGITS else None
        if number is None or not _exists(number, given.manual_segments):
            fields.invalid("segment_id", "there is no such manual segment")
        id_type = cast(PersonKind, parse_qs(given.query).get("id_type", ["id"])[0])
        if id_type not in _SEGMENT_KINDS:
            fields.invalid("id_type", f"id_type must be one of {', '.join(_SEGMENT_KINDS)}")
        ids = fields.values.get("ids")
        if not isinstance(ids, list) or not 1 <= len(ids) <= SEGMENT_IDS_MAX:
            fields.invalid("ids", f"ids must be an array of 1 to {SEGMENT_IDS_MAX} strings")
            ids = []
        people = tuple(Who(kind=id_type, value=value) for value in ids if isinstance(value, str))
        change = ChangeSegment(segment_id=number or 0, people=people, is_member=is_member)
        return Reading(kind=kind, identifiers={"segment_id": segment}, effects=(change,))

    return read


def _exists(segment_id: int, manual_segments: frozenset[int] | None) -> bool:
    return manual_segments is None or segment_id in manual_segments
