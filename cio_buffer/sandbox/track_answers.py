"""The answers of the Track API, in the vendor's shapes."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from cio_buffer.sandbox.answers import PLAIN_TEXT, Answer, Headers, in_json
from cio_buffer.sandbox.effects import Asked, Problem

Shape: TypeAlias = Literal["v1", "v1_merge", "v1_form", "v2_entity", "v2_batch"]

_SUCCESS_HEADERS: Headers = (("Cache-Control", "no-store"), ("Access-Control-Allow-Origin", "*"))
_REGION = {"url": "https://track.customer.io", "region": "us", "environment_id": 1}

UNAUTHORIZED = in_json(401, {"meta": {"error": "unauthorized"}})
NO_SUCH_CALL = Answer(status=404, headers=PLAIN_TEXT, body=b"404 page not found\n")
REGION = in_json(200, _REGION, _SUCCESS_HEADERS)
_TAKEN = in_json(200, {}, _SUCCESS_HEADERS)


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
        return in_json(400, {"meta": {"error": problems[0].message}})
    if shape in {"v1", "v1_form"}:
        return in_json(400, {"meta": {"errors": [problem.message for problem in problems]}})
    return in_json(400, {"errors": [msgspec.structs.asdict(problem) for problem in problems]})


def _batch(asked: Sequence[Asked]) -> Answer:
    errors = [
        {"batch_index": index, **msgspec.structs.asdict(problem)}
        for index, one in enumerate(asked)
        for problem in one.problems
    ]
    return in_json(207, {"errors": errors}) if errors else _TAKEN
