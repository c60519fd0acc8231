"""One person as the workspace knows them, and how a change of attributes lands on them."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from cio_buffer.sandbox.effects import EventKind, JsonObject, PersonKind, Who

IDENTIFIER_NAMES = ("id", "email")
_PREFERENCES = "cio_subscription_preferences"
_TOPIC_PREFIX = f"{_PREFERENCES}.topics."
# Instructions and identifiers that travel among the attributes without being any.
_NOT_KEPT = frozenset({*IDENTIFIER_NAMES, "cio_id", "anonymous_id", "_timestamp", "_update", "cio_relationships"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event that took effect. `number` is its place in the order of arrival; times are Unix seconds."""

    number: int
    kind: EventKind
    name: str
    id: str | None
    timestamp: float
    at: float
    data: JsonObject


@dataclass(kw_only=True)
class Person:
    """A profile. `number` grows with each one created: the smaller, the older.

    `identifiers` has the id, email, phone and cio_id that lead here; they are not repeated in `attributes`.
    """

    number: int
    identifiers: dict[PersonKind, str]
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    devices: dict[str, JsonObject] = field(default_factory=dict)
    stamps: dict[str, float] = field(default_factory=dict)

    @property
    def cio_id(self) -> str:
        """The system's own id of this person."""
        return self.identifiers["cio_id"]

    def update(self, attributes: JsonObject, *, stamp: float) -> None:
        """Set each attribute unless a newer stamp has set it before; `null` and the empty text clear it.

        A cleared attribute keeps its stamp, so that an older update does not bring it back. Of equals the later wins.
        """
        for name, value in attributes.items():
            if name in _NOT_KEPT or stamp < self.stamps.get(name, float("-inf")):
                continue
            self.stamps[name] = stamp
            self._set(name, value)

    def add_events(self, events: list[Event]) -> None:
        """Add events that may have arrived before some that are here already."""
        is_late = bool(self.events and events) and events[0].number < self.events[-1].number
        self.events.extend(events)
        if is_late:
            self.events.sort(key=lambda event: event.number)

    def absorb(self, other: "Person") -> None:
        """Take over what `other` has and we have not: a merge prefers the values that are here."""
        self.attributes = {**other.attributes, **self.attributes}
        self.stamps = {**other.stamps, **self.stamps}
        self.identifiers = {**other.identifiers, **self.identifiers}
        self.devices = {**other.devices, **self.devices}
        self.add_events(other.events)

    def _set(self, name: str, value: Any) -> None:
        if name.startswith(_TOPIC_PREFIX):
            self._set_topic(name.removeprefix(_TOPIC_PREFIX), value)
        elif value is None or value == "":
            self.attributes.pop(name, None)
        else:
            self.attributes[name] = _means_true(value) if name == "unsubscribed" else value

    def _set_topic(self, topic: str, value: Any) -> None:
        preferences = self.attributes.get(_PREFERENCES)
        topics = preferences.get("topics") if isinstance(preferences, dict) else None
        others = topics if isinstance(topics, dict) else {}
        self.attributes[_PREFERENCES] = {"topics": {**others, topic: value}}


def names_among(attributes: JsonObject) -> list[Who]:
    """The further identifiers that an identify carries among its attributes."""
    found: list[Who] = []
    for kind in IDENTIFIER_NAMES:
        value = attributes.get(kind)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            found.append(Who(kind="id" if kind == "id" else "email", value=str(value)))
    return found


def _means_true(value: Any) -> bool:
    return str(value).lower() in {"true", "1"}
