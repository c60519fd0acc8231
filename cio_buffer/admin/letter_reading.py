"""Reads what operators ask about dead letters: pure. Every slip is Declined with 400, and never guessed at."""

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from cio_buffer.admin.letter_questions import ChangeQuestion, EditQuestion, Filters
from cio_buffer.admin.trace_query import parameters, read_person, slip
from cio_buffer.admin.wrong import misasked
from cio_buffer.errors import UnknownReceipt
from cio_buffer.outbox.archive import Letters
from cio_buffer.outbox.entry import hash_lane, unpack_lanes
from cio_buffer.outbox.names import Names
from cio_buffer.outbox.trail import KINDS

LIST_LIMIT, LIST_LIMIT_MAX = 100, 1_000
CHANGE_LIMIT_MAX = 1_000_000_000
RECEIPTS_MAX = 10_000
"""How many one change may name: what fits into its body, more or less."""

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
AGE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(s|m|min|h|d|w)")
NUMBER = re.compile(r"[0-9]{1,9}")
YES_OR_NO = {"1": True, "true": True, "0": False, "false": False}

FILTERS = Filters.__struct_fields__
SINCE_HINT = "such as 2026-08-05, 2026-08-05T10:00:00Z, 90m, 2h or 3d"
MEANING_HINT = "name receipts, or filter by reason, kind, person or since, or say `all` if every one is meant"

Asked = TypeVar("Asked")


class ListQuestion(Struct, frozen=True, kw_only=True):
    """`after`: the number after which the page begins."""

    wanted: Letters
    limit: int
    after: int


def read_list_question(query: str, names: Names, *, now: float) -> ListQuestion:
    """From a URL's query, still encoded. `now` is Unix seconds."""
    given = read_query(query, (*FILTERS, "limit", "after"))
    filters = Filters(**{name: value for name, value in given.items() if name in FILTERS})
    return ListQuestion(
        wanted=wanted(filters, now=now),
        limit=read_limit(given["limit"]) if "limit" in given else LIST_LIMIT,
        after=read_cursor(given["after"], names) if "after" in given else 0,
    )


def read_show_question(query: str) -> bool:
    """Whether the body is asked for."""
    given = read_query(query, ("body",)).get("body", "0")
    if given not in YES_OR_NO:
        raise slip("`body` is not clear", "say body=1 if it is to be shown")
    return YES_OR_NO[given]


def read_question(body: bytes, shape: type[Asked]) -> Asked:
    """From the JSON of a POST."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise misasked("invalid_request", f"The body cannot be read: {problem}", "send one JSON object") from None
    except RecursionError:
        raise misasked("invalid_request", "The body is nested too deeply", "send one JSON object") from None


def read_meaning(question: ChangeQuestion, *, now: float) -> Letters:
    """Which letters are meant, but for the receipts. Saying nothing does not mean everything."""
    others = question.is_narrow or question.all
    if question.limit is not None and not 1 <= question.limit <= CHANGE_LIMIT_MAX:
        raise slip(f"`limit` is a number from 1 to {CHANGE_LIMIT_MAX}")
    if question.receipts is None and not others:
        raise misasked("invalid_request", "It is not said which dead letters are meant", MEANING_HINT)
    if question.receipts is not None and others:
        raise misasked("invalid_request", "Beside receipts, neither a filter nor `all` can be said", MEANING_HINT)
    if question.receipts is not None and not 1 <= len(question.receipts) <= RECEIPTS_MAX:
        raise misasked("invalid_request", f"`receipts` names 1 to {RECEIPTS_MAX} dead letters", MEANING_HINT)
    return wanted(question, now=now)


def read_body(question: EditQuestion) -> bytes:
    """The letter's new body."""
    hint = "give the operation as `body`, or in base64 as `body_base64`"
    if (question.body is UNSET) == (question.body_base64 is UNSET):
        raise misasked("invalid_request", "Exactly one body is needed", hint)
    if isinstance(question.body, Raw):
        return bytes(question.body)
    try:
        return base64.b64decode(str(question.body_base64), validate=True)
    except ValueError:
        raise misasked("invalid_request", "`body_base64` is not base64", hint) from None


def wanted(filters: Filters, *, now: float) -> Letters:
    """What the filters let through. `now` is Unix seconds."""
    if filters.kind is not None and filters.kind not in KINDS[1:]:
        raise slip(f"There is no kind {shown(filters.kind)}", f"kinds are {', '.join(KINDS[1:])}")
    if filters.reason == "":
        raise slip("`reason` is empty", "leave it out to filter by nothing, or say `all`")
    return Letters(
        reason=filters.reason,
        kind=filters.kind,
        lane=None if filters.person is None else unpack_lanes(hash_lane(read_person(filters.person)))[0],
        since_ms=None if filters.since is None else read_since(filters.since, now=now),
    )


def read_since(text: str, *, now: float) -> int:
    """Unix milliseconds, from a time (ISO 8601; UTC, if it does not say) or an age (2h, 3d) as of `now`."""
    if age := AGE.fullmatch(text):
        return max(round((now - float(age[1]) * SECONDS[age[2]]) * 1000), 0)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise slip(f"{shown(text)} is no time and no age", SINCE_HINT) from None
    return max(round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000), 0)


def read_cursor(text: str, names: Names) -> int:
    """A cursor is the receipt of the last letter of a page."""
    try:
        return names.read_receipt(text).seq
    except UnknownReceipt:
        raise misasked("invalid_cursor", "`after` is no cursor", "take it from `next` of the page before") from None


def read_limit(text: str) -> int:
    if not NUMBER.fullmatch(text) or not 1 <= int(text) <= LIST_LIMIT_MAX:
        raise slip(f"`limit` is a number from 1 to {LIST_LIMIT_MAX}")
    return int(text)


def read_query(query: str, known: Sequence[str]) -> dict[str, str]:
    """Its names and values. Declined for one that is not `known`, or that comes twice."""
    given: dict[str, str] = {}
    for name, value in parameters(query):
        if name not in known:
            raise slip(f"There is no parameter {shown(name)}", f"there are {', '.join(known)}")
        if name in given:
            raise slip(f"`{name}` is given twice", "give each parameter once")
        given[name] = value
    return given


def shown(text: str) -> str:
    """In quotes, on one line, and cut when long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
