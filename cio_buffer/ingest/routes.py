"""HTTP in, HTTP out: which call a request is, and how Customer.io would answer it."""

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from cio_buffer.callers import Callers
from cio_buffer.errors import InvalidOperation, OutboxFull, OutboxUnavailable, Problem, Refused, TooLarge
from cio_buffer.http.answers import V2_ROOT, partly_taken, refusal
from cio_buffer.http.body import Body
from cio_buffer.http.connection import connection_of
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.reading import check_text
from cio_buffer.ingest.repeats import Repeats, fingerprint
from cio_buffer.ingest.taken import RECEIPT, taken
from cio_buffer.ingest.track_v1 import Mapping, V1Call, find_call
from cio_buffer.ingest.track_v1.calls import Found
from cio_buffer.ingest.track_v2 import Acceptance, Sorted, read_batch, read_entity
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.telemetry import log
from cio_buffer.upstream.limits import BATCH_MAX_BYTES

UNAVAILABLE_RETRY_AFTER_S = 1
V2_ENTITY, V2_BATCH = f"{V2_ROOT}entity", f"{V2_ROOT}batch"
V2_CALLS: dict[tuple[str, str], Callable[[bytes, Acceptance], Sorted]] = {
    ("POST", V2_BATCH): read_batch,
    ("POST", V2_ENTITY): lambda body, acceptance: Sorted([read_entity(body, acceptance)], []),
}
REGION = "/api/v1/accounts/region"
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""As W3C's Trace Context has it. What is spelled otherwise is not kept."""

RETRY_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")
"""As Customer.io's Node SDK marks what it sends again."""

Forward = Callable[[web.BaseRequest, Body], Awaitable[web.StreamResponse]]


class TrackRoutes:
    """Answers Track API calls: 200 means that the operation survives a power cut."""

    def __init__(
        self,
        intake: Intake,
        mapping: Mapping,
        *,
        callers: Callers,
        repeats: Repeats,
        ask_region: Forward,
        logger: FilteringBoundLogger,
    ) -> None:
        """`ask_region` forwards the one call that changes nothing, and gives back what Customer.io answers."""
        self._intake, self._mapping = intake, mapping
        self._callers, self._repeats = callers, repeats
        self._ask_region = ask_region
        self._logger = logger

    async def answer(self, request: web.BaseRequest, body: Body) -> web.StreamResponse:
        """Store what `request` asks for, then say so; or say in the vendor's words why not."""
        path, _, query = request.raw_path.partition("?")
        try:
            return await self._take(request, path, query, body)
        except InvalidOperation as invalid:
            self._logger.warning(log.OPERATION_REFUSED, reason=invalid.problem.reason, field=invalid.problem.field)
            too_large = isinstance(invalid, TooLarge)
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
            return refusal(path, Refused(status, invalid.problem))
        except OutboxFull as full:
            return no_room(path, str(full), "The outbox has no room; nothing was stored", full.retry_after_s)
        except OutboxUnavailable:
            text = "The outbox cannot be written at present; send it again"
            return no_room(path, "store_unwritable", text, UNAVAILABLE_RETRY_AFTER_S)

    async def _take(self, request: web.BaseRequest, path: str, query: str, body: Body) -> web.StreamResponse:
        asked = (request.method, path)
        if asked == ("GET", REGION):
            self._check(request)
            return await self._ask_region(request, body)
        found, named = (None, ()) if asked in V2_CALLS else find(request, path)
        self._check(request, needs_key=found is None or found.needs_key)
        data = await read_uncompressed(request, body)
        check_text(data)
        acceptance = self._intake.acceptance(door_of(path), traceparent_of(request))
        if found is None:
            told = V2_CALLS[asked](data, acceptance)
        else:
            call = V1Call(
                method=request.method,
                path=path,
                query=query,
                named=named,
                body=data,
                mapping=self._mapping,
                acceptance=acceptance,
            )
            told = Sorted(found.make(call), [])
        receipt = await self._store(request, data, told.entries)
        if not told.problems:
            return taken(request, acceptance.timestamp, receipt)
        partly = partly_taken(told.problems)
        if receipt:
            partly.headers[RECEIPT] = receipt
        return partly

    def _check(self, request: web.BaseRequest, *, needs_key: bool = True) -> None:
        shown, is_by_tcp = request.headers.get("Authorization"), connection_of(request).is_by_tcp
        try:
            self._callers.check_track(shown, is_by_tcp=is_by_tcp, needs_key=needs_key)
        except Refused as refused:
            self._logger.warning(log.OPERATION_REFUSED, reason=refused.problem.reason)
            raise

    async def _store(self, request: web.BaseRequest, data: bytes, entries: Sequence[NewEntry]) -> str | None:
        """Store what was found in it, and return the receipt; None where nothing was stored now.

        A call that repeats one whose answer was lost is not stored again.
        """
        if not entries:
            return None
        head = f"{request.headers.get('Authorization', '')}\n{request.method} {request.raw_path}"
        return await self._repeats.store_once(
            fingerprint(head, data),
            connection_of(request),
            partial(self._intake.store, entries),
            is_repeat=RETRY_COUNT.fullmatch(request.headers.get("X-Retry-Count", "")) is not None,
        )


def find(request: web.BaseRequest, path: str) -> tuple[Found, tuple[str, ...]]:
    """The v1 call that a request is, and the variable parts of its path.

    Raises Refused (404), which names the right URL where an SDK was given half of it.
    """
    if found := find_call(request.method, path):
        return found
    message = "No such call is taken here; Track API paths begin with /api/v1/ or /api/v2/"
    if not path.startswith("/api/"):
        host = request.host
        base = f"http://{host if host.isascii() and host.isprintable() else 'localhost'}"
        message += f". For Customer.io's Node SDK the base URL is {base}/api/v1, and {base}/v1 for its App API client"
    raise Refused(HTTPStatus.NOT_FOUND, Problem(reason="invalid", field="path", message=message))


async def read_uncompressed(request: web.BaseRequest, body: Body) -> bytes:
    """The whole body. Raises Refused (415) for a compressed one: half a gzip stream would pass for an empty body."""
    if "Content-Encoding" in request.headers and request.headers["Content-Encoding"].lower() != "identity":
        problem = Problem(reason="invalid", field="", message="Bodies are taken uncompressed only")
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem, closes=True)
    return await body.read(BATCH_MAX_BYTES)


def traceparent_of(request: web.BaseRequest) -> str | None:
    """The trace that the app is in, if it says so."""
    given = request.headers.get("traceparent")
    return given if given and TRACEPARENT.fullmatch(given) else None


def door_of(path: str) -> str:
    """The door by which a call came. Short: it is stored with each entry."""
    if path == V2_BATCH:
        return "v2 batch"
    return "v2 entity" if path.startswith(V2_ROOT) else "v1"


def no_room(path: str, reason: str, message: str, retry_after_s: int) -> web.Response:
    """503, not 500: of the SDKs that retry, one does so only for this."""
    problem = Problem(reason=reason, field="", message=message)
    headers = {"Retry-After": str(retry_after_s)}
    return refusal(path, Refused(HTTPStatus.SERVICE_UNAVAILABLE, problem, headers=headers))
