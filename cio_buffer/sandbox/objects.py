"""The objects of a workspace (companies, courses, ...) and who is tied to them."""

from dataclasses import dataclass, field
from typing import Any

from cio_buffer.sandbox.effects import JsonObject, ObjectRef


@dataclass(kw_only=True)
class Thing:
    """One object. `people` and `anonymous` lead from a `cio_id`, or an `anonymous_id`, to the tie's own attributes."""

    cio_object_id: str
    object_type_id: str
    object_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    people: dict[str, JsonObject] = field(default_factory=dict)
    anonymous: dict[str, JsonObject] = field(default_factory=dict)


class Objects:
    """All objects, by type and id."""

    def __init__(self) -> None:
        self._index: dict[tuple[str, str], Thing] = {}
        self._created = 0

    def __len__(self) -> int:
        return len(self._index)

    def get(self, object_type_id: str, object_id: str) -> Thing | None:
        """The object of that type with that id."""
        return self._index.get((object_type_id, object_id))

    def find(self, ref: ObjectRef) -> Thing | None:
        """The object that is meant, if it is there."""
        if ref.cio_object_id:
            return next((thing for thing in self._index.values() if thing.cio_object_id == ref.cio_object_id), None)
        return self.get(ref.object_type_id, ref.object_id)

    def find_or_create(self, ref: ObjectRef) -> Thing | None:
        """The object that is meant; None for a `cio_object_id` that nobody has."""
        return self.find(ref) or self._create(ref)

    def identify(self, ref: ObjectRef, attributes: JsonObject) -> None:
        """Create or update; `null` and the empty text remove an attribute."""
        thing = self.find_or_create(ref)
        if thing is not None:
            thing.attributes = without_cleared({**thing.attributes, **attributes})

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object and its ties."""
        thing = self.find(ref)
        if thing is not None:
            del self._index[thing.object_type_id, thing.object_id]

    def of_person(self, cio_id: str) -> list[Thing]:
        """What that person is tied to, oldest first."""
        return [thing for thing in self._index.values() if cio_id in thing.people]

    def forget_person(self, cio_id: str) -> None:
        """Cut all ties of that person."""
        for thing in self._index.values():
            thing.people.pop(cio_id, None)

    def hand_over(self, gone: str, kept: str) -> None:
        """Give the ties of one person to another, who keeps their own where both have one."""
        for thing in self.of_person(gone):
            thing.people.setdefault(kept, thing.people.pop(gone))

    def claim(self, anonymous_id: str, cio_id: str) -> None:
        """Turn the ties of an anonymous visitor into those of a person."""
        for thing in self._index.values():
            if anonymous_id in thing.anonymous:
                thing.people.setdefault(cio_id, thing.anonymous.pop(anonymous_id))

    def _create(self, ref: ObjectRef) -> Thing | None:
        if ref.cio_object_id:
            return None
        self._created += 1
        thing = Thing(
            cio_object_id=f"ob{self._created:010x}", object_type_id=ref.object_type_id, object_id=ref.object_id
        )
        self._index[ref.object_type_id, ref.object_id] = thing
        return thing


def without_cleared(attributes: JsonObject) -> JsonObject:
    """The attributes that have a value: `null` and the empty text mean to have none."""
    return {name: value for name, value in attributes.items() if value is not None and value != ""}
