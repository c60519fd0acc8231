"""What the sender of a request gets, and what the script makes of it."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from cio_buffer.sandbox.trouble import AnswerWith, BreakOff, Trickle, Trouble

Headers: TypeAlias = tuple[tuple[str, str], ...]

PLAIN_TEXT: Headers = (("Content-Type", "text/plain"),)
_JSON: Headers = (("Content-Type", "application/json; charset=utf-8"),)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and how it is to go out. `status` None: the connection is dropped instead.

    It leaves `delay_s` after the request was read; whole and at once unless `trickle` or `break_off` says otherwise.
    """

    status: int | None
    headers: Headers = ()
    body: bytes = b""
    delay_s: float = 0.0
    trickle: Trickle | None = None
    break_off: BreakOff | None = None


DROPPED = Answer(status=None)
TOO_LARGE = Answer(status=413, headers=PLAIN_TEXT, body=b"request entity too large\n")


def in_json(status: int, body: Mapping[str, Any], headers: Headers = ()) -> Answer:
    """An answer whose body is JSON with a newline at its end, as the vendor writes it."""
    return Answer(status=status, headers=_JSON + headers, body=msgspec.json.encode(body) + b"\n")


def scripted(script: AnswerWith) -> Answer:
    """The answer that a script gives, word for word."""
    has_type = any(name.lower() == "content-type" for name, _ in script.headers)
    headers = script.headers if has_type else PLAIN_TEXT + script.headers
    return Answer(status=script.status, headers=headers, body=script.body)


def befallen_by(trouble: Trouble, answer: Answer) -> Answer:
    """`answer`, going out as `trouble` will have it."""
    return msgspec.structs.replace(
        answer,
        delay_s=trouble.delay.seconds if trouble.delay else 0.0,
        trickle=trouble.trickle,
        break_off=trouble.break_off,
    )
