"""What apps are told: always JSON, and what went wrong in the shape of the API that was called."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

from cio_buffer.errors import Problem, Refused

V2_ROOT = "/api/v2/"


def in_json(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    text = msgspec.json.encode(body) + b"\n"
    return web.Response(status=status, body=text, content_type="application/json", charset="utf-8", headers=headers)


def refusal(path: str, refused: Refused) -> web.Response:
    """Say why a call to `path` (raw) is refused: v2 lists its errors, every other API has one sentence."""
    problem = refused.problem
    body = {"errors": [msgspec.to_builtins(problem)]} if path.startswith(V2_ROOT) else {"meta": {"error": str(problem)}}
    response = in_json(refused.status, body, refused.headers)
    if refused.closes:
        response.force_close()
    return response


def partly_taken(problems: Sequence[tuple[int, Problem]]) -> web.Response:
    """Which operations of a batch were refused, by their place in it; all the others are stored."""
    errors = [{"batch_index": index, **msgspec.to_builtins(problem)} for index, problem in problems]
    return in_json(HTTPStatus.MULTI_STATUS, {"errors": errors})
