"""Rows of ours, out of a page of a table: whatever wrote them, of formats 1 to 5. Pure but for pages that continue one.

A table is told by the number and the types of the columns. What was added to a table later may be missing at the end
of its older rows. `seq` is the row's id, and not among its columns.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, structs
from msgspec.structs import astuple

from cio_buffer.outbox.history import read_history
from cio_buffer.outbox.pages import PAGE_BYTES
from cio_buffer.outbox.trail import KIND_CODES, TRAIL_BYTES

Page = Callable[[int], bytes]
"""A page by its number; b"" if there is none."""

TABLE_LEAF = 0x0D
LEAF_HEADER_BYTES = 8
CELLS_MAX = (PAGE_BYTES - LEAF_HEADER_BYTES) // 6
LOCAL_MAX, LOCAL_MIN = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23  # of a row's bytes in the page itself
CONTINUED_BYTES = PAGE_BYTES - 4
ROW_BYTES_MAX = 16_777_216
"""Far above what is ever accepted, or noted."""

HEADER_BYTES_MAX = 127
NULL, FLOAT, ZERO, ONE, BLOB, TEXT = 0, 7, 8, 9, 12, 13
"""Types of columns. Between NULL and FLOAT: an integer of INT_BYTES. From BLOB on: even of blobs, odd of texts."""

INT_BYTES = (0, 1, 2, 3, 4, 6, 8)


class Row(NamedTuple):
    """A row's id and its columns as they are stored, without the first, which is the id."""

    id: int
    values: Sequence[object]


class Unreadable(Exception):
    """What is there is no row of a table."""


def rows(page: bytes, others: Page, is_wanted: Callable[[Sequence[int]], bool]) -> Iterator[Row]:
    """Those that can be read; none of what is no leaf of a table. `is_wanted` judges by the types of the columns."""
    if len(page) < PAGE_BYTES or page[0] != TABLE_LEAF:
        return
    cells = min(int.from_bytes(page[3:5], "big"), CELLS_MAX)
    for start in struct.unpack_from(f">{cells}H", page, LEAF_HEADER_BYTES):
        try:
            row = read_row(page, start, others, is_wanted)
        except (Unreadable, IndexError):
            continue
        if row is not None:
            yield row


def read_row(page: bytes, start: int, others: Page, is_wanted: Callable[[Sequence[int]], bool]) -> Row | None:
    """One of them; None if it is not wanted. Raises Unreadable, or IndexError where it leaves the page."""
    size, at = varint(page, start)
    rowid, at = varint(page, at)
    header = page[at : at + page[at]]
    types, ends = layout(header)
    if size != ends[-1]:
        raise Unreadable
    if not is_wanted(types):
        return None
    payload = page[at : at + size] if size <= LOCAL_MAX else continued(page, at, size, others)
    if len(payload) != size:
        raise Unreadable
    return Row(rowid if rowid < 2**63 else rowid - 2**64, values(payload, types, ends))


class Layout(NamedTuple):
    """The types of a row's columns, as they are coded, and where each begins and ends, from the row's beginning."""

    types: tuple[int, ...]
    ends: tuple[int, ...]  # the first: where the first begins


@lru_cache(maxsize=4_096)
def layout(header: bytes) -> Layout:
    """What a row's header says; kept, because those of a store have much the same. Ours have less than 128 bytes.

    Raises Unreadable, or IndexError where it ends within a number.
    """
    size, at = varint(header, 0)
    if size != len(header) or size > HEADER_BYTES_MAX:
        raise Unreadable
    types = []
    while at < size:
        type_, at = varint(header, at)
        types.append(type_)
    return Layout(tuple(types), tuple(accumulate(map(bytes_of, types), initial=size)))


def varint(page: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends: 7 bits of it in each byte that others follow, 8 in the ninth."""
    byte = page[at]
    if byte < 0x80:
        return byte, at + 1
    number = byte & 0x7F
    for after in range(at + 1, at + 8):
        byte = page[after]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, after + 1
    return number << 8 | page[at + 8], at + 9


def bytes_of(type_: int) -> int:
    """What a value of that type takes. Raises Unreadable if there is no such type, or none of ours."""
    if type_ >= BLOB:
        return (type_ - BLOB) // 2
    if type_ < FLOAT:
        return INT_BYTES[type_]
    if type_ in {ZERO, ONE}:
        return 0
    raise Unreadable


def continued(page: bytes, at: int, size: int, others: Page) -> bytes:
    """The bytes of a row that goes on in other pages. Raises Unreadable where they do not lead to its end."""
    if size > ROW_BYTES_MAX:
        raise Unreadable
    here = LOCAL_MIN + (size - LOCAL_MIN) % CONTINUED_BYTES
    if here > LOCAL_MAX:
        here = LOCAL_MIN
    parts, left = [page[at : at + here]], size - here
    number = int.from_bytes(page[at + here : at + here + 4], "big")
    while left > 0:
        other = others(number)
        if len(other) < PAGE_BYTES:
            raise Unreadable
        parts.append(other[4 : 4 + left])
        left -= CONTINUED_BYTES
        number = int.from_bytes(other[:4], "big")
    if number:
        raise Unreadable
    return b"".join(parts)


def values(payload: bytes, types: Sequence[int], ends: Sequence[int]) -> list[object]:
    """All columns but the first. What is no UTF-8 any more keeps the rest of its text."""
    found: list[object] = []
    for type_, start, end in zip(types[1:], ends[1:-1], ends[2:], strict=True):
        if type_ >= BLOB:
            found.append(payload[start:end].decode(errors="replace") if type_ & 1 else payload[start:end])
        elif type_ == NULL:
            found.append(None)
        else:
            found.append(type_ - ZERO if type_ >= ZERO else int.from_bytes(payload[start:end], "big", signed=True))
    return found


def may_be_entry(types: Sequence[int]) -> bool:
    """Whether that may be something that was accepted, by the types that it would have in any of our tables."""
    return (
        11 <= len(types) <= 21
        and types[0] == 0
        and types[1] >= BLOB
        and types[1] & 1 == 0
        and types[2] > TEXT
        and types[2] & 1 == 1
        and types[10] >= BLOB
        and types[10] & 1 == 0
    )


def may_be_ledger(types: Sequence[int]) -> bool:
    """The same of the ledger's row."""
    return 9 <= len(types) <= 20 and types[0] == 0 and all(0 < type_ < BLOB for type_ in types[1:9])


SEQ_MAX = 2**53
"""Numbers begin above unix microseconds at most: it takes until the year 2255 to get there."""

Count = Annotated[int, Meta(ge=0, le=2**62)]
Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
AtMs = Annotated[int, Meta(ge=0, le=2**43)]
Tries = Annotated[int, Meta(ge=0, le=1_000_000)]  # more than anything can have: one a second for 11 days


class Accepted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What all have that was accepted, behind `seq`."""

    lanes: bytes
    kind: str
    accepted_at_ms: AtMs
    route: str | None
    call: Annotated[str, Meta(pattern=r"^[A-Z]{3,7} /[!-~]*$")] | None
    traceparent: str | None
    attempts: Tries
    replays: Tries
    origin: Seq | None
    body: bytes


class Past(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What tells of its past; what older rows lack is as if it were this."""

    trail: bytes = b""
    history: str = ""
    replayed_at_ms: AtMs | None = None
    passable_since_ms: AtMs | None = None


class Fate(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Why it is dead."""

    died_at_ms: AtMs
    reason: str
    field: str
    message: str
    status: Annotated[int, Meta(ge=0, le=999)] | None
    vendor_reason: str = ""


class Ledger(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The ledger's row behind its id, in the order in which the columns were added."""

    accepted: Count
    replayed: Count
    delivered: Count
    dead_lettered: Count
    purged: Count
    parked: Count
    dead: Count
    seq_reserved: Seq
    unanswered: bytes = b""
    learnt: bytes = b""
    dead_bytes: Count = 0
    dead_purged: Count = 0
    dead_evicted: Count = 0
    log_lines: Count = 0
    log_bytes: Count = 0
    log_since_ms: Count = 0
    last_request: Count = 0
    store_id: bytes = b""
    salvaged: Count = 0


COMMON, FATE = len(Accepted.__struct_fields__), len(Fate.__struct_fields__)
EVENT_COLUMNS = ("seq", *Accepted.__struct_fields__, *Past.__struct_fields__)
DEAD_COLUMNS = (*EVENT_COLUMNS, *Fate.__struct_fields__)
STORE_ID_BYTES = 16


def entry(row: Row) -> tuple[Literal["event", "dead"], tuple[object, ...]] | None:
    """What was accepted, as EVENT_COLUMNS or DEAD_COLUMNS; None if it makes no sense.

    What only tells of its past is left out where that cannot be read.
    """
    columns, more = row.values[:COMMON], row.values[COMMON:]
    try:
        if not (0 < row.id <= SEQ_MAX and makes_sense(read_as(Accepted, columns))):
            return None
        if not more or isinstance(more[0], bytes):
            return "event", (row.id, *columns, *past(more))
        if len(more) >= FATE - 1 and isinstance(more[1], str):
            fate = astuple(read_as(Fate, more[:FATE]))
            return "dead", (row.id, *columns, *past(more[FATE:]), *fate)
    except msgspec.ValidationError:
        return None
    return "event", (row.id, *columns, *past(more[3:]))  # parked: until when, how often it was held, and for what


def makes_sense(accepted: Accepted) -> bool:
    """Whether it can be delivered. What leaves alone has the body that it came with, all else JSON."""
    return (
        len(accepted.lanes) % 8 == 0
        and accepted.kind in KIND_CODES
        and accepted.kind != ""
        and (accepted.call is not None or is_json(accepted.body))
    )


def past(columns: Sequence[object]) -> tuple[object, ...]:
    """As Past has it; nothing of it where it is not as we write it."""
    try:
        read = read_as(Past, columns)
        read_history(read.history)
    except msgspec.MsgspecError:
        return astuple(Past())
    return astuple(read if len(read.trail) == TRAIL_BYTES else structs.replace(read, trail=b""))


def is_json(body: bytes) -> bool:
    try:
        JSON.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def ledger(row: Row) -> Ledger | None:
    """The ledger's row, with 0 in the columns that are younger than it; None if it makes no sense."""
    try:
        read = read_as(Ledger, row.values)
    except msgspec.ValidationError:
        return None
    return read if row.id == 1 and len(read.store_id) in {0, STORE_ID_BYTES} else None


Read = TypeVar("Read", bound=Struct)


def read_as(kind: type[Read], columns: Sequence[object]) -> Read:
    """Raises ValidationError where a column is not as we write it."""
    return msgspec.convert(columns, kind, builtin_types=(bytes,))


JSON = msgspec.json.Decoder(Raw)
