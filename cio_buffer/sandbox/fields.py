"""Reads the fields of a JSON object and notes what is wrong with them, all of it, not only the first."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from cio_buffer.sandbox.effects import JsonObject, Problem

IDENTIFIER_MAX_BYTES = 150
ATTRIBUTE_NAME_MAX_BYTES = 150
ATTRIBUTE_VALUE_MAX_BYTES = 1000
ATTRIBUTES_MAX = 300
EVENT_NAME_MAX_BYTES = 100


class Fields:
    """A JSON object being read. Each reader returns a usable value and adds to `problems` when there was none."""

    def __init__(
        self, values: Mapping[str, object], *, problems: list[Problem] | None = None, prefix: str = ""
    ) -> None:
        self.values = values
        self.problems: list[Problem] = [] if problems is None else problems
        self._prefix = prefix

    def required(self, name: str) -> None:
        """Note that `name` is missing."""
        self._note("required", name, f"{self._prefix}{name} is required")

    def invalid(self, name: str, message: str) -> None:
        """Note that `name` cannot be what it is."""
        self._note("invalid", name, message)

    def text(self, name: str, *, max_bytes: int | None = None) -> str:
        """A required text that is not empty, outer spaces left as they are."""
        value = self.values.get(name)
        if value is None or value == "":
            self.required(name)
            return ""
        if not isinstance(value, str):
            self.invalid(name, f"{name} must be a string")
            return ""
        if max_bytes is not None and len(value.encode()) > max_bytes:
            self.invalid(name, f"{name} is longer than {max_bytes} bytes")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """A required text out of `allowed`."""
        value = self.text(name)
        if value and value not in allowed:
            self.invalid(name, f"{name} must be one of {', '.join(allowed)}")
        return value

    def seconds(self, name: str) -> int | None:
        """An optional whole number of Unix seconds."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.invalid(name, f"{name} must be an integer of Unix seconds")
            return None
        return value

    def mapping(self, name: str, *, is_required: bool = False) -> JsonObject:
        """An object; empty when it may be absent and is. A `null` is refused: it is neither."""
        if name not in self.values:
            if is_required:
                self.required(name)
            return {}
        value = self.values[name]
        if not isinstance(value, dict):
            self.invalid(name, f"{name} must be an object")
            return {}
        return value

    def inside(self, name: str, *, is_required: bool = True) -> "Fields":
        """The fields of the object `name`; their problems are added to ours."""
        found = self.mapping(name, is_required=is_required)
        return Fields(found, problems=self.problems, prefix=f"{self._prefix}{name}.")

    def attributes(self, name: str) -> JsonObject:
        """A person's attributes in the optional object `name`, kept to the limits on names, values and their number."""
        attributes = self.mapping(name)
        self.check_attributes(attributes)
        return attributes

    def check_attributes(self, attributes: JsonObject) -> None:
        """Note each attribute that is beyond a limit."""
        if len(attributes) > ATTRIBUTES_MAX:
            self.invalid("attributes", f"a person has at most {ATTRIBUTES_MAX} attributes")
        for name, value in attributes.items():
            if len(name.encode()) > ATTRIBUTE_NAME_MAX_BYTES:
                self.invalid("attributes", f"an attribute name is longer than {ATTRIBUTE_NAME_MAX_BYTES} bytes")
            # The cio_ names are structures of the vendor's own, not values.
            elif not name.startswith("cio_") and _size_bytes(value) > ATTRIBUTE_VALUE_MAX_BYTES:
                self.invalid(name, f"attribute value is longer than {ATTRIBUTE_VALUE_MAX_BYTES} bytes")

    def _note(self, reason: str, name: str, message: str) -> None:
        self.problems.append(Problem(reason=reason, field=f"{self._prefix}{name}", message=message))


def parse(body: bytes) -> Fields:
    """The fields of a body; none, and a problem, when it is not a JSON object."""
    try:
        return Fields(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = Fields({})
        fields.invalid("body", "the body must be a JSON object")
        return fields


def is_number(value: object) -> TypeGuard[float]:
    """Whether JSON calls it a number: Python would count true and false too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size_bytes(value: object) -> int:
    return len(value.encode()) if isinstance(value, str) else len(msgspec.json.encode(value))
