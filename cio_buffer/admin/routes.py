"""What the admin socket answers, and the probes that every socket answers."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from aiohttp import web
from msgspec import Struct

from cio_buffer.admin.answers import only, wrong
from cio_buffer.admin.letter_routes import ROOT as DEAD
from cio_buffer.admin.letter_routes import LetterRoutes
from cio_buffer.admin.observer import Observer
from cio_buffer.admin.set_aside_routes import ROOT as QUARANTINE
from cio_buffer.admin.set_aside_routes import SetAsideRoutes
from cio_buffer.http.answers import in_json
from cio_buffer.http.body import Body

KNOWN = "/status, /dead, /quarantine, /trace, /readyz, /healthz or /openapi.json"


class Alive(Struct, frozen=True):
    """The store's thread answers."""

    status: str = "ok"


class Readiness(Struct, frozen=True):
    """Whether an operation sent now would be stored, and why not."""

    ready: bool
    reasons: list[str]


class Traces(Protocol):
    """Answers GET /trace; `query` is the URL's, still encoded."""

    async def answer(self, request: web.BaseRequest, query: str) -> web.Response: ...


class AdminRoutes:
    """Answers operators."""

    def __init__(
        self,
        observer: Observer,
        describe: Callable[[], object],
        *,
        letters: LetterRoutes,
        traces: Traces,
        set_aside: SetAsideRoutes,
    ) -> None:
        """`describe` makes the document about the apps' API."""
        self._observer = observer
        self._describe = describe
        self._letters, self._traces, self._set_aside = letters, traces, set_aside

    async def answer(self, request: web.BaseRequest, body: Body) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        if path == DEAD or path.startswith(f"{DEAD}/"):
            return await self._letters.answer(request, body)
        if path == QUARANTINE or path.startswith(f"{QUARANTINE}/"):
            return await self._set_aside.answer(request, body)
        if request.method not in ("GET", "HEAD"):
            return only("GET, HEAD")
        if path == "/trace":
            return await self._traces.answer(request, query)
        return await self._told(path) or wrong("not_found", f"Nothing is at {path}", 404, f"try {KNOWN}")

    async def _told(self, path: str) -> web.Response | None:
        if path == "/status":
            return in_json(HTTPStatus.OK, await self._observer.status())
        if path == "/openapi.json":
            return in_json(HTTPStatus.OK, self._describe())
        return await self.probe(path)

    async def probe(self, path: str) -> web.Response | None:
        """The answer to a probe; None where `path` is none."""
        if path == "/healthz":
            if await self._observer.is_alive():
                return in_json(HTTPStatus.OK, Alive())
            return wrong("store_stuck", "The store's thread does not answer", 503, "restart the daemon")
        if path == "/readyz":
            reasons = self._observer.reasons()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return in_json(status, Readiness(not reasons, reasons), {"Retry-After": "1"} if reasons else {})
        return None
