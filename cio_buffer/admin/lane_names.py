"""What a lane is called, told by an entry that touches it: a hash leads to no name, but a name to its hash. Pure."""

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from cio_buffer.operations import DECODERS, V1_KINDS, identity_lanes, lane
from cio_buffer.outbox.entry import hash_lane
from cio_buffer.upstream.track import by_shape

KINDS = ("id", "email", "phone", "cio_id", "anonymous_id")
UNSUBSCRIBE = "/unsubscribe/"


class Typed(Struct, frozen=True):
    """A v2 operation, of which only the type is read."""

    type: str


TYPED = msgspec.json.Decoder(Typed)


def name_of_lane(hashed: int, body: bytes, call: str | None) -> str | None:
    """The name, such as "id:5", of that lane which a stored entry touches; None where it does not lead to it.

    `hashed` is the lane as stored, `call` the entry's v1 call. More names are tried than the entry has: which one is
    right, its hash decides.
    """
    try:
        names = in_v2(body) if call is None else in_v1(call, body)
        return next((name for name in names if number_of(name) == hashed), None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError):
        return None


def number_of(name: str) -> int:
    """A lane's hash as a number, as it is stored."""
    return int.from_bytes(hash_lane(name), "little", signed=True)


def in_v2(body: bytes) -> Iterable[str]:
    """The lanes of an operation. Raises KeyError or MsgspecError for what is none."""
    return DECODERS[TYPED.decode(body).type].decode(body).lanes()


def in_v1(call: str, body: bytes) -> Iterator[str]:
    """Whatever a call may name: people and messages, in its path and in its body. Raises MsgspecError."""
    path, _, query = call.partition(" ")[2].partition("?")
    for segment in path.split("/"):
        written = unquote(segment, errors="strict")
        yield from (lane(*by_shape(written)), lane("id", written))
    yield lane("delivery", unquote(path.removeprefix(UNSUBSCRIBE), errors="strict"))
    id_type = dict(parse_qsl(query)).get("id_type", "id")
    for part in parts(msgspec.json.decode(body) if body.strip() else None):
        yield from identity_lanes((kind, part.get(kind)) for kind in KINDS)
        yield lane("delivery", str(part.get("delivery_id")))
        if isinstance(people := part.get("ids"), list) and id_type in V1_KINDS:
            yield from identity_lanes((id_type, person) for person in people)


def parts(said: object) -> Iterator[dict[str, object]]:
    """An object, and the objects that are its members: a form's data, the sides of a merge, a report's payload."""
    if isinstance(said, dict):
        yield said
        yield from (member for member in said.values() if isinstance(member, dict))
