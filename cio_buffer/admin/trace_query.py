"""What is asked for by `GET /trace?receipt=|person=|event_id=`. Pure. Every slip is Declined with 400.

A plus is a plus, as in our paths: people's emails have some.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from cio_buffer.admin.wrong import Declined, misasked
from cio_buffer.operations import lane
from cio_buffer.outbox.entry import pack_lanes, unpack_lanes

LIMIT, LIMIT_MAX = 20, 1_000
PARAMETERS_MAX = 100
RANGE = ".."
CIO_PREFIX = "cio_"
"""As a `cio_id` stands in v1 paths."""

PERSON_KINDS = ("id", "email", "phone", "cio_id", "anonymous_id", "object", "cio_object", "delivery")
"""Whatever has a lane. An object of the app's own naming is "object:TYPE:ID"."""

HINT = "ask by one of receipt=RECEIPT (or FIRST..LAST), person=KIND:VALUE (may repeat) and event_id=ID"
PERSON_HINT = f"a person is KIND:VALUE, where KIND is one of {', '.join(PERSON_KINDS)}; an object is object:TYPE:ID"


class Question(Struct, frozen=True, kw_only=True):
    """Exactly one of `receipts` (the first and the last of a call), `lanes` and `event_id` is given."""

    receipts: tuple[str, str] | None
    lanes: Sequence[int]
    event_id: str | None
    limit: int


def read_question(query: str) -> Question:
    """`query` is raw, what follows the question mark."""
    given: dict[str, list[str]] = {}
    for name, value in parameters(query):
        given.setdefault(name, []).append(value)
    if unknown := given.keys() - {"receipt", "person", "event_id", "limit"}:
        raise slip(f"There is no parameter {min(unknown)[:40]!r}", HINT)
    if len(given.keys() - {"limit"}) != 1:
        raise misasked("invalid_request", "Exactly one thing can be asked by", HINT)
    receipt = only(given, "receipt")
    return Question(
        receipts=None if receipt is None else read_receipts(receipt),
        lanes=read_people(given.get("person", [])),
        event_id=only(given, "event_id"),
        limit=read_limit(only(given, "limit")),
    )


def parameters(query: str) -> Iterator[tuple[str, str]]:
    """(name, value), decoded."""
    parts = [part for part in query.split("&") if part]
    if len(parts) > PARAMETERS_MAX:
        raise slip(f"There are more than {PARAMETERS_MAX} parameters", "ask in several calls")
    for part in parts:
        name, _, value = part.partition("=")
        yield decoded(name), decoded(value)


def decoded(written: str) -> str:
    try:
        return unquote_to_bytes(written).decode()
    except UnicodeError:
        raise slip("The query is not UTF-8", "write other bytes than ASCII as %-escapes of UTF-8") from None


def only(given: dict[str, list[str]], name: str) -> str | None:
    """The value of what may be given once, and not empty."""
    values = given.get(name)
    if values is None:
        return None
    if len(values) > 1 or not values[0]:
        raise slip(f"`{name}` must be given once, and not empty", HINT)
    return values[0]


def read_receipts(written: str) -> tuple[str, str]:
    first, mark, last = written.partition(RANGE)
    return first, last if mark else first


def read_people(written: Sequence[str]) -> tuple[int, ...]:
    """The lanes of all of them, as hashes."""
    return unpack_lanes(pack_lanes(map(read_person, written)))


def read_person(written: str) -> str:
    """The lane of one."""
    kind, _, value = written.partition(":")
    if kind == "cio_id":
        value = value.removeprefix(CIO_PREFIX)
    is_whole = bool(value) and (kind != "object" or all(value.partition(":")))
    if kind not in PERSON_KINDS or not is_whole:
        raise slip("`person` names no person or object", PERSON_HINT)  # whoever it names is nobody's business
    return lane(kind, value)


def read_limit(written: str | None) -> int:
    if written is None:
        return LIMIT
    if not (written.isascii() and written.isdigit() and len(written) <= 9 and 1 <= int(written) <= LIMIT_MAX):
        raise slip("`limit` is out of range", f"a limit is a number from 1 to {LIMIT_MAX}")
    return int(written)


def slip(detail: str, hint: str = "") -> Declined:
    """For a parameter that cannot be read."""
    return misasked("invalid_filter", detail, hint)
