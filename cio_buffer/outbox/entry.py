"""What is stored, and how it may leave a claim."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal

from msgspec import Struct


def pack_lanes(lanes: Iterable[str]) -> bytes:
    """Turn lane names into the form that is stored: a sorted set of signed 64-bit hashes, 8 bytes each.

    A collision only keeps order between people who did not need it.
    """
    return b"".join(sorted({hash_lane(lane) for lane in lanes}))


def hash_lane(lane: str) -> bytes:
    """A lane's name as it is stored."""
    return hashlib.blake2b(lane.encode(), digest_size=8).digest()


def unpack_lanes(packed: bytes) -> tuple[int, ...]:
    """The hashes that `pack_lanes` stored."""
    return lanes_format(len(packed)).unpack(packed)


def pack_hash(lane: int) -> bytes:
    """One of the hashes as it stands in what is stored."""
    return lane.to_bytes(8, "little", signed=True)


@cache
def lanes_format(size: int) -> struct.Struct:
    """Of so many bytes. Kept: nearly all entries have one lane or two."""
    return struct.Struct(f"<{size // 8}q")


class NewEntry(Struct, frozen=True, kw_only=True, gc=False):
    """An operation, ready to be stored: nothing about it is worked out later.

    `body` is the JSON to send, `call` the v1 method and path ("POST /api/v1/events") of what leaves alone, or
    None for what may ride in a v2 batch. `accepted_at_ms` is Unix milliseconds. `route` says by which door it came.
    `trail` is what the delivery log will keep of it; see `trail.py`.
    """

    kind: str
    lanes: bytes
    body: bytes
    accepted_at_ms: int
    call: str | None = None
    route: str | None = None
    traceparent: str | None = None
    trail: bytes = b""


ANSWER_KEPT_S = 60
"""How long a call whose answer may be lost is remembered: longer than the SDKs go on repeating theirs."""

APP_CALL = struct.Struct("<8sI")


class AppCall(Struct, eq=False, kw_only=True):
    """A call that is stored with its entries, for as long as it is not known that its answer was given.

    `fingerprint` has 8 bytes; `at_s` is when it was accepted, Unix seconds. `is_answered` is set by whoever answers.
    """

    fingerprint: bytes
    at_s: int
    is_answered: bool = False


def pack_calls(calls: Iterable[AppCall]) -> bytes:
    """Calls as they are stored."""
    return b"".join([APP_CALL.pack(call.fingerprint, call.at_s) for call in calls])


def unpack_calls(packed: bytes) -> list[AppCall]:
    """What `pack_calls` stored."""
    return [AppCall(fingerprint=fingerprint, at_s=at_s) for fingerprint, at_s in APP_CALL.iter_unpack(packed)]


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """A stored operation, in the hands of the drain. `seq` orders it; `attempts` counts requests it was in.

    `first_seq` is the number under which it was accepted, of a replay another than `seq`. `packed_lanes` and `trail`
    are as they are stored. `tried_since_ms`: when it was accepted or, of a replay, replayed.
    `holds` says how often it was held for its own trouble, `held_for` which that was; only what comes from among the
    parked has any.
    """

    seq: int
    lanes: tuple[int, ...]
    kind: str
    accepted_at_ms: int
    tried_since_ms: int
    call: str | None
    attempts: int
    replays: int
    traceparent: str | None
    body: bytes
    first_seq: int
    packed_lanes: bytes
    trail: bytes
    holds: int = 0
    held_for: str = ""


class Fate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of an entry in a request that did not deliver it.

    "dead"; "held" until `until_ms`, Unix; "again": to be sent again as soon as may be; "in_v1": the same, said in v1.
    `reason` is ours, what follows it Customer.io's. `is_ambiguous`: it may have been taken in.
    """

    what: Literal["dead", "held", "again", "in_v1"]
    reason: str
    is_ambiguous: bool = False
    vendor_reason: str = ""
    field: str = ""
    message: str = ""
    until_ms: int | None = None


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that an entry was in and that did not deliver it, as it is kept with the entry.

    Times are Unix milliseconds. `trouble`: what went wrong on the way, where no answer came.
    """

    request: int
    sent_at_ms: int
    took_ms: int
    fate: Fate
    status: int | None = None
    trouble: str | None = None


class Report(Struct, frozen=True, kw_only=True):
    """A request that is over, as the delivery log keeps it: the `entries` in it, in order, and what became of them.

    `fates` says it of those that were not delivered: by their places in `entries`, None for all of them.
    """

    number: int
    sent_at_ms: int
    took_ms: int
    is_v1: bool
    status: int | None
    trouble: str | None
    entries: Sequence[Entry]
    fates: Sequence[tuple[Fate, Sequence[int] | None]] = ()


class Delivered(Struct, frozen=True):
    """Customer.io took it in."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """We gave up on it. `reason` is ours, from a short list.

    `vendor_reason`, `field` and `message` are Customer.io's words, "" where it said nothing.
    """

    reason: str
    vendor_reason: str = ""
    field: str = ""
    message: str = ""
    status: int | None = None


class Parked(Struct, frozen=True):
    """Moved aside, with its lanes, so that others pass.

    One that is the first in its lanes comes back at `due_at_ms` at the earliest. Any other, and one without a time,
    comes back as soon as what is parked before it has left. `holds` is what the store should remember of how often
    the entry was held for its own trouble, in place of what it knew.
    """

    due_at_ms: int | None = None
    holds: int = 0
    held_for: str = ""


class Released(Struct, frozen=True):
    """Given back: a later claim brings it again, with its tries. Only for what was claimed from among the parked."""


Settlement = Delivered | DeadLetter | Parked | Released


class Settled(Struct, frozen=True, gc=False):
    """A settlement. `attempts` is what the store should remember of its tries, `history` what of them is new."""

    entry: Entry
    settlement: Settlement
    attempts: int
    history: Sequence[Attempt] = ()
