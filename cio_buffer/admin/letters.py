"""Dead letters as operators see them: what the admin socket answers and commands read. Times are ISO 8601, UTC."""

import base64

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from cio_buffer.admin.story import Sent, moment
from cio_buffer.outbox.archive import Dead
from cio_buffer.outbox.entry import Attempt
from cio_buffer.outbox.names import Names


class Letter(Struct, frozen=True, kw_only=True):
    """One line of the list. `reason` is our word; `vendor_reason`, `field` and `message` are Customer.io's.

    `call`: the v1 call that it is, null for what rides in a v2 batch. `route`: by which door it came.
    """

    receipt: str
    kind: str
    accepted_at: str
    died_at: str
    reason: str
    vendor_reason: str
    field: str
    message: str
    status: int | None
    attempts: int
    replays: int
    call: str | None
    route: str | None
    body_bytes: int


class Tried(Sent, frozen=True, kw_only=True):
    """A request that it was in, told as in its story, and when that was sent."""

    at: str


class LetterInFull(Letter, frozen=True, kw_only=True):
    """One letter and the requests that it was in, the oldest first, as far as they were kept.

    Of the body one of two is there, if it was asked for: `body`, or `body_base64` where it is no JSON.
    """

    traceparent: str | None
    history: list[Tried]
    body: Raw | UnsetType = UNSET
    body_base64: str | UnsetType = UNSET


class Letters(Struct, frozen=True, kw_only=True):
    """A page of the list, in the order of acceptance. `next`: the cursor of the next page, null on the last."""

    dead: list[Letter]
    next: str | None


class Replays(Struct, frozen=True, kw_only=True):
    """What a replay did, or would do (`dry_run`).

    `overtaken`: left dead, because newer operations of their people were accepted since. `unknown`: the receipts, as
    they were written, of which there is no dead letter.
    """

    replayed: int
    overtaken: int
    unknown: list[str]
    dry_run: bool


class Purges(Struct, frozen=True, kw_only=True):
    """The same of a purge."""

    purged: int
    unknown: list[str]
    dry_run: bool


class Edits(Struct, frozen=True, kw_only=True):
    """The letter has its new body. `replayed` and `overtaken` are 0 where no replay was asked for."""

    receipt: str
    kind: str
    replayed: int
    overtaken: int


def letter(dead: Dead, names: Names) -> Letter:
    """One line of the list."""
    return Letter(
        receipt=names.receipt(dead.seq, dead.accepted_at_ms),
        kind=dead.kind,
        accepted_at=moment(dead.accepted_at_ms),
        died_at=moment(dead.died_at_ms),
        reason=dead.reason,
        vendor_reason=dead.vendor_reason,
        field=dead.field,
        message=dead.message,
        status=dead.status,
        attempts=dead.attempts,
        replays=dead.replays,
        call=dead.call,
        route=dead.route,
        body_bytes=len(dead.body),
    )


def letter_in_full(dead: Dead, names: Names, *, with_body: bool) -> LetterInFull:
    """All of it; the body only `with_body`."""
    body: Raw | UnsetType = UNSET
    body_base64: str | UnsetType = UNSET
    if with_body and is_json(dead.body):
        body = Raw(dead.body)
    elif with_body:
        body_base64 = base64.b64encode(dead.body).decode()
    return LetterInFull(
        **structs.asdict(letter(dead, names)),
        traceparent=dead.traceparent,
        history=[told(attempt) for attempt in dead.history],
        body=body,
        body_base64=body_base64,
    )


def told(attempt: Attempt) -> Tried:
    """One request, of which no more is kept with the letter than this."""
    fate = attempt.fate
    return Tried(
        at=moment(attempt.sent_at_ms),
        number=attempt.request,
        attempt=None,
        entries=None,
        is_v1=None,
        status=attempt.status,
        trouble=attempt.trouble,
        took_s=attempt.took_ms / 1000,
        outcome=fate.what,
        reason=fate.reason,
        is_ambiguous=fate.is_ambiguous,
        vendor_reason=fate.vendor_reason,
        field=fate.field,
        message=fate.message,
        until=None if fate.until_ms is None else moment(fate.until_ms),
    )


def is_json(body: bytes) -> bool:
    """Whether it can stand inside other JSON as it is, whatever its numbers and escapes."""
    try:
        body.decode()
        msgspec.json.decode(body, type=Raw)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return False
    return True
