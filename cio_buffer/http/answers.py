"""What apps are told: always JSON, and what went wrong in the shape of the API that was called."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web
from msgspec import Struct, structs

from cio_buffer.errors import Problem, Refused

V2_ROOT = "/api/v2/"


class Sentence(Struct, frozen=True):
    error: str


class Complaint(Struct, frozen=True):
    """What went wrong with a v1 or an App API call: the one shape that most SDKs can read."""

    meta: Sentence


class Complaints(Struct, frozen=True):
    """What went wrong with a v2 call."""

    errors: list[Problem]


class Refusal(Problem, frozen=True, kw_only=True):
    """What is wrong with one operation of a batch, by its place in it."""

    batch_index: int


class Refusals(Struct, frozen=True):
    """Which operations of a batch were refused; all the others are stored."""

    errors: list[Refusal]


class Taken(Struct, frozen=True):
    """It is on disk."""


def in_json(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    text = msgspec.json.encode(body) + b"\n"
    return web.Response(status=status, body=text, content_type="application/json", charset="utf-8", headers=headers)


def refusal(path: str, refused: Refused) -> web.Response:
    """Say why a call to `path` (raw) is refused: v2 lists its errors, every other API has one sentence."""
    problem = refused.problem
    body = Complaints([problem]) if path.startswith(V2_ROOT) else Complaint(Sentence(str(problem)))
    response = in_json(refused.status, body, refused.headers)
    if refused.closes:
        response.force_close()
    return response


def partly_taken(problems: Sequence[tuple[int, Problem]]) -> web.Response:
    """Which operations of a batch were refused, by their place in it; all the others are stored."""
    errors = [Refusal(**structs.asdict(problem), batch_index=index) for index, problem in problems]
    return in_json(HTTPStatus.MULTI_STATUS, Refusals(errors))
