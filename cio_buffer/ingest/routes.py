"""HTTP in, HTTP out: which call a request is, and how Customer.io would answer it."""

import re
from http import HTTPStatus

import msgspec
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from cio_buffer.errors import InvalidOperation, OutboxFull, OutboxUnavailable, Problem, TooLarge
from cio_buffer.ingest import track_v1, track_v2
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.taken import taken
from cio_buffer.ingest.track_v1 import Mapping, read_person
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.telemetry import log
from cio_buffer.upstream.limits import BATCH_MAX_BYTES

JSON = "application/json"
UNAVAILABLE_RETRY_AFTER_S = 1
V1_CUSTOMERS, V1_EVENTS = "/api/v1/customers/", "/api/v1/events"
V2_ENTITY, V2_BATCH, V2_ROOT = "/api/v2/entity", "/api/v2/batch", "/api/v2/"
TAILS = {"events", "devices", "suppress", "unsuppress"}
"""What Customer.io knows behind a person's name: never to be read as part of the name."""

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""As W3C's Trace Context has it. What is spelled otherwise is not kept."""


class NoSuchCall(Exception):
    """Nothing here answers to that method and path."""


class TrackRoutes:
    """Answers Track API calls: 200 means that the operation survives a power cut."""

    def __init__(self, intake: Intake, mapping: Mapping, logger: FilteringBoundLogger) -> None:
        self._intake = intake
        self._mapping = mapping
        self._logger = logger

    async def answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Store what `request` asks for, then say so; or say in the vendor's words why not."""
        path = request.raw_path.partition("?")[0]
        is_v2 = path.startswith(V2_ROOT)
        try:
            return await self._take(request, path, body)
        except NoSuchCall:
            text = "No such call is taken here; Track API paths begin with /api/v1/ or /api/v2/"
            return refusal(HTTPStatus.NOT_FOUND, Problem(reason="invalid", field="path", message=text), is_v2=is_v2)
        except InvalidOperation as invalid:
            self._logger.warning(log.OPERATION_REFUSED, reason=invalid.problem.reason, field=invalid.problem.field)
            too_large = isinstance(invalid, TooLarge)
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
            return refusal(status, invalid.problem, is_v2=is_v2)
        except OutboxFull as full:
            return no_room(str(full), "The outbox has no room; nothing was stored", full.retry_after_s, is_v2=is_v2)
        except OutboxUnavailable:
            text = "The outbox cannot be written at present; send it again"
            return no_room("store_unwritable", text, UNAVAILABLE_RETRY_AFTER_S, is_v2=is_v2)

    async def _take(self, request: web.BaseRequest, path: str, body: bytes) -> web.StreamResponse:
        if len(body) > BATCH_MAX_BYTES:
            message = f"A Track API request must have less than 500 KB, this one has {len(body)} bytes"
            raise TooLarge(Problem(reason="invalid", field="", message=message))
        check_text(body)
        method = request.method
        acceptance = self._intake.acceptance(door_of(path), traceparent_of(request))
        if path == V2_BATCH and method == "POST":
            batch = track_v2.read_batch(body, acceptance)
            await self._intake.store(batch.entries)
            return partly_taken(batch.problems) if batch.problems else taken(request, acceptance.timestamp)
        await self._intake.store(self._entries(method, path, body, acceptance))
        return taken(request, acceptance.timestamp)

    def _entries(self, method: str, path: str, body: bytes, acceptance: Acceptance) -> list[NewEntry]:
        if path.startswith(V1_CUSTOMERS):
            name, tail = split_customer(path.removeprefix(V1_CUSTOMERS))
            if (method, tail) == ("POST", "events"):
                return track_v1.event(read_person(name, self._mapping), body, acceptance)
            if (method, tail) == ("PUT", ""):
                return track_v1.identify(read_person(name, self._mapping), body, acceptance)
            if (method, tail) == ("DELETE", ""):
                return track_v1.delete(read_person(name, self._mapping), acceptance)
        elif (method, path) == ("POST", V1_EVENTS):
            return track_v1.anonymous_event(body, self._mapping, acceptance)
        elif (method, path) == ("POST", V2_ENTITY):
            return [track_v2.read_entity(body, acceptance)]
        raise NoSuchCall


def split_customer(rest: str) -> tuple[str, str]:
    """Split what follows `customers/` into the person's raw name and "events", or "" where that is not its end.

    From the right: two SDKs leave a `/` inside a name as it is. Raises NoSuchCall for whatever else Customer.io may
    take for a call about that person, so that it is never taken for a longer name.
    """
    first, *more = rest.split("/")
    tail = more.pop() if more and more[-1] == "events" else ""
    if more and (more[-1] == "" or not TAILS.isdisjoint(more)):
        raise NoSuchCall
    return "/".join([first, *more]), tail


def traceparent_of(request: web.BaseRequest) -> str | None:
    """The trace that the app is in, if it says so."""
    given = request.headers.get("traceparent")
    return given if given and TRACEPARENT.fullmatch(given) else None


def door_of(path: str) -> str:
    """The door by which a call came. Short: it is stored with each entry."""
    if path == V2_BATCH:
        return "v2 batch"
    return "v2 entity" if path.startswith(V2_ROOT) else "v1"


def partly_taken(problems: list[tuple[int, Problem]]) -> web.Response:
    """Which operations of a batch were refused; all the others are stored."""
    errors = [{"batch_index": index, **msgspec.to_builtins(problem)} for index, problem in problems]
    return answer(HTTPStatus.MULTI_STATUS, {"errors": errors})


def refusal(status: int, problem: Problem, *, is_v2: bool, retry_after_s: int | None = None) -> web.Response:
    """An error in the shape of the API that was called."""
    body = {"errors": [msgspec.to_builtins(problem)]} if is_v2 else {"meta": {"error": str(problem)}}
    return answer(status, body, {} if retry_after_s is None else {"Retry-After": str(retry_after_s)})


def no_room(reason: str, message: str, retry_after_s: int, *, is_v2: bool) -> web.Response:
    """503, not 500: of the SDKs that retry, one does so only for this."""
    problem = Problem(reason=reason, field="", message=message)
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, problem, is_v2=is_v2, retry_after_s=retry_after_s)


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    text = msgspec.json.encode(body) + b"\n"
    return web.Response(status=status, body=text, content_type=JSON, charset="utf-8", headers=headers)
