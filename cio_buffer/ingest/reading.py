"""Bytes from an app → values, or the one sentence that says what is wrong with them."""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw

from cio_buffer.errors import InvalidOperation, Problem

T = TypeVar("T")

FIELDS = msgspec.json.Decoder(dict[str, Raw])
"""An object's members, untouched: big numbers, key order and odd spellings leave as they came. Of a name that stands
there twice the last one counts, as everywhere in the world of JSON."""

NULL = Raw(b"null")
TEXT = msgspec.json.Decoder(str)
WHOLE_NUMBER = re.compile(rb"-?\d+")
"""What JSON writes for a whole number; that there are no zeros in front the parser has seen to."""

PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
MISSING = re.compile(r"^Object missing required field `(\w+)`")
NAMED = re.compile(r"^`(\w+)` ")
QUOTING = re.compile(r"^(Invalid (?:enum )?value|Object contains unknown field) .*", re.DOTALL)
"""What msgspec says with the app's own words in it. Some SDKs put our sentences into an exception, which is logged."""

HALF_PAIR_AT_END = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}.{0,5}\Z", re.DOTALL)
"""The parser looks 6 bytes ahead for the other half; a text too short for that it calls truncated."""


def check_text(body: bytes) -> None:
    """Raise InvalidOperation unless `body` is UTF-8. One bad byte would spoil a whole batch upstream."""
    try:
        body.decode()
    except UnicodeDecodeError as problem:
        raise invalid(f"The body is not UTF-8 (byte {problem.start})") from None


def read(decoder: msgspec.json.Decoder[T], data: bytes | Raw) -> T:
    """Decode `data`, which `check_text` has seen. Raises InvalidOperation, which names the field."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as problem:
        raise InvalidOperation(in_vendors_words(str(problem))) from None
    except msgspec.DecodeError as problem:
        raise invalid(not_json(str(problem), bytes(data))) from None
    except RecursionError:
        raise invalid("The JSON is nested too deeply") from None


def read_fields(data: bytes | Raw) -> dict[str, Raw]:
    """An object's members. Nothing, or the word null, is an empty object: several SDKs send that."""
    return {} if is_empty(data) else read(FIELDS, data)


def is_empty(data: bytes | Raw) -> bool:
    return not data or (len(data) < 16 and bytes(data).strip() in (b"", b"null"))


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body's meaning. Nothing, or the word null, is an empty object here too."""
    return read(decoder, b"{}" if is_empty(body) else body)


def in_vendors_words(sentence: str) -> Problem:
    """Split what msgspec says, or a Struct of ours, into reason, field and message."""
    place = PATH.search(sentence)
    field = place[1] if place else ""
    message = QUOTING.sub(r"\1", PATH.sub("", sentence))
    missing, named = MISSING.match(message), NAMED.match(message)
    if missing:
        return Problem(reason="required", field=join(field, missing[1]), message=f"`{missing[1]}` is required")
    return Problem(reason="invalid", field=join(field, named[1]) if named else field, message=message)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def not_json(sentence: str, data: bytes) -> str:
    """The parser's words for a broken text, made plain."""
    what = sentence.removeprefix("JSON is malformed: ")
    if "truncated" in sentence:
        half = HALF_PAIR_AT_END.search(data)
        what = f"surrogate (byte {half.start()})" if half else f"it ends too early (after {len(data)} bytes)"
    if "surrogate" in what or "hex escape" in what:
        what = f"half of a surrogate pair is no character {what[what.index('(') :]}"
    return f"The body is not valid JSON: {what}"


def invalid(message: str, field: str = "") -> InvalidOperation:
    return InvalidOperation(Problem(reason="invalid", field=field, message=message))


def as_typed(value: Raw) -> str:
    """An event's id as a person would type it: a text's characters, of anything else what JSON writes for it."""
    try:
        return TEXT.decode(value)
    except msgspec.MsgspecError:
        return bytes(value).decode()


def encode(fields: Mapping[str, object]) -> bytes:
    """An object as it will be sent."""
    return msgspec.json.encode(fields)


def encode_text(text: str) -> bytes:
    """A text as JSON."""
    return msgspec.json.encode(text)
