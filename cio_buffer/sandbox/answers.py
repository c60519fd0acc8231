"""The answers of the Track API, in the vendor's shapes."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from cio_buffer.sandbox.effects import Asked, Problem

Shape: TypeAlias = Literal["v1", "v1_merge", "v1_form", "v2_entity", "v2_batch"]

_JSON = "application/json; charset=utf-8"
_SUCCESS_HEADERS = {"Content-Type": _JSON, "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the sender gets, `delay_s` after the request was read. `status` None: the connection is dropped instead."""

    status: int | None
    headers: dict[str, str] = {}
    body: bytes = b""
    delay_s: float = 0.0


DROPPED = Answer(status=None)
UNAUTHORIZED = Answer(status=401, headers={"Content-Type": _JSON}, body=b'{"meta":{"error":"unauthorized"}}\n')
TOO_LARGE = Answer(status=413, headers={"Content-Type": "text/plain"}, body=b"request entity too large\n")
NO_SUCH_CALL = Answer(status=404, headers={"Content-Type": "text/plain"}, body=b"404 page not found\n")
REGION = Answer(
    status=200,
    headers=_SUCCESS_HEADERS,
    body=b'{"url":"https://track.customer.io","region":"us","environment_id":1}\n',
)
_TAKEN = Answer(status=200, headers=_SUCCESS_HEADERS, body=b"{}\n")


def judged(asked: Sequence[Asked], shape: Shape) -> Answer:
    """The answer to operations that were looked at one by one."""
    if shape == "v2_batch":
        return _batch(asked)
    problems = [problem for one in asked for problem in one.problems]
    if problems:
        return malformed(problems, shape)
    return Answer(status=204) if shape == "v1_form" else _TAKEN


def malformed(problems: Sequence[Problem], shape: Shape) -> Answer:
    """The 400 to a request of which nothing was taken in."""
    if shape == "v1_merge":
        return _answer(400, {"meta": {"error": problems[0].message}})
    if shape in {"v1", "v1_form"}:
        return _answer(400, {"meta": {"errors": [problem.message for problem in problems]}})
    return _answer(400, {"errors": [msgspec.structs.asdict(problem) for problem in problems]})


def _batch(asked: Sequence[Asked]) -> Answer:
    errors = [
        {"batch_index": index, **msgspec.structs.asdict(problem)}
        for index, one in enumerate(asked)
        for problem in one.problems
    ]
    return _answer(207, {"errors": errors}) if errors else _TAKEN


def _answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status=status, headers={"Content-Type": _JSON}, body=msgspec.json.encode(body) + b"\n")
