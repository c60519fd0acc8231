"""Reads who and what is meant: people, objects, and the ties between them."""

from typing import cast
from urllib.parse import unquote

from cio_buffer.sandbox.effects import ObjectRef, PersonKind, Relation, Who
from cio_buffer.sandbox.fields import IDENTIFIER_MAX_BYTES, Fields

NOBODY = Who(kind="id", value="")


def who_in_path(identifier: str) -> Who:
    """The person that a v1 path means; the shape of the value says which kind of identifier it is."""
    if identifier.startswith("cio_"):
        return Who(kind="cio_id", value=identifier.removeprefix("cio_"))
    return Who(kind="email" if _looks_like_email(identifier) else "id", value=identifier)


def path_segments(raw_path: str) -> tuple[str, ...]:
    """The decoded segments of a raw path: split first, so that an encoded slash stays inside its segment."""
    return tuple(unquote(segment) for segment in raw_path.removeprefix("/").split("/"))


def read_who(fields: Fields, name: str, kinds: tuple[str, ...]) -> Who:
    """Read the object `name`, which must hold exactly one of `kinds` and nothing else; NOBODY with a problem noted."""
    named = fields.inside(name)
    given = list(named.values)
    if not given:
        if name in fields.values:
            fields.required(name)
        return NOBODY
    if len(given) > 1 or given[0] not in kinds:
        fields.invalid(name, f"{name} must have exactly one of {', '.join(kinds)}")
        return NOBODY
    value = named.text(given[0], max_bytes=IDENTIFIER_MAX_BYTES)
    return Who(kind=cast(PersonKind, given[0]), value=value)


def read_object(identifiers: Fields) -> ObjectRef:
    """Read an object's identifiers: its type and id, or its `cio_object_id`."""
    if "cio_object_id" in identifiers.values:
        return ObjectRef(cio_object_id=identifiers.text("cio_object_id"))
    ref = ObjectRef(
        object_type_id=identifiers.text("object_type_id"),
        object_id=identifiers.text("object_id", max_bytes=IDENTIFIER_MAX_BYTES),
    )
    if ref.object_type_id and not ref.object_type_id.isdecimal():
        identifiers.invalid("object_type_id", "object_type_id must be an integer written as a string")
    return ref


def read_relations(
    fields: Fields,
    *,
    name: str = "cio_relationships",
    person: Who | None = None,
    thing: ObjectRef | None = None,
    kinds: tuple[str, ...] = (),
) -> tuple[Relation, ...]:
    """Read the required list `name`: the objects of `person`, or the people (of `kinds`) of `thing`."""
    listed = fields.values.get(name)
    if listed is None:
        fields.required(name)
        return ()
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        fields.invalid(name, f"{name} must be an array of objects")
        return ()
    relations: list[Relation] = []
    for position, values in enumerate(listed):
        entry = Fields(values, problems=fields.problems, prefix=f"{name}[{position}].")
        relation = Relation(
            person=person or read_who(entry, "identifiers", kinds),
            object=thing or read_object(entry.inside("identifiers")),
            attributes=entry.mapping("relationship_attributes"),
        )
        relations.append(relation)
    return tuple(relations)


def _looks_like_email(text: str) -> bool:
    name, at, domain = text.partition("@")
    return bool(name and at and "." in domain.strip(".")) and "@" not in domain and not any(map(str.isspace, text))
