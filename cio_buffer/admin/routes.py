"""The admin socket's reads, and the probes that every socket answers."""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from msgspec import Struct

from cio_buffer.admin.observer import Observer
from cio_buffer.http.answers import in_json
from cio_buffer.http.body import Body


class Alive(Struct, frozen=True):
    """The store's thread answers."""

    status: str = "ok"


class Readiness(Struct, frozen=True):
    """Whether an operation sent now would be stored, and why not."""

    ready: bool
    reasons: list[str]


class Wrong(Struct, frozen=True):
    """An error: a code that stays, a sentence, and the next step if there is one."""

    error: str
    detail: str
    hint: str = ""


class AdminRoutes:
    """Answers operators."""

    def __init__(self, observer: Observer, describe: Callable[[], object]) -> None:
        """`describe` makes the document about the apps' API."""
        self._observer = observer
        self._describe = describe

    async def answer(self, request: web.BaseRequest, _: Body) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return wrong("method_not_allowed", "Only reads are answered here", HTTPStatus.METHOD_NOT_ALLOWED)
        if path == "/status":
            return in_json(HTTPStatus.OK, await self._observer.status())
        if path == "/openapi.json":
            return in_json(HTTPStatus.OK, self._describe())
        hint = "try /status, /readyz, /healthz or /openapi.json"
        return await self.probe(path) or wrong("not_found", f"Nothing is at {path}", HTTPStatus.NOT_FOUND, hint)

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


def wrong(code: str, detail: str, status: int, hint: str = "") -> web.Response:
    return in_json(status, Wrong(code, detail, hint))
