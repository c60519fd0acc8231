"""The admin socket's reads, and the probes that every socket answers."""

from http import HTTPStatus

from aiohttp import web

from cio_buffer.admin.observer import Observer
from cio_buffer.http.answers import in_json
from cio_buffer.http.body import Body


class AdminRoutes:
    """Answers operators. Errors are `{"error": code, "detail": sentence, "hint": next step}`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def answer(self, request: web.BaseRequest, _: Body) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return wrong("method_not_allowed", "Only reads are answered here", HTTPStatus.METHOD_NOT_ALLOWED)
        if path == "/status":
            return in_json(HTTPStatus.OK, await self._observer.status())
        return await self.probe(path) or wrong(
            "not_found", f"Nothing is at {path}", HTTPStatus.NOT_FOUND, "try /status, /readyz or /healthz"
        )

    async def probe(self, path: str) -> web.Response | None:
        """The answer to a probe; None where `path` is none."""
        if path == "/healthz":
            if await self._observer.is_alive():
                return in_json(HTTPStatus.OK, {"status": "ok"})
            return wrong("store_stuck", "The store's thread does not answer", 503, "restart the daemon")
        if path == "/readyz":
            reasons = self._observer.reasons()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return in_json(status, {"ready": not reasons, "reasons": reasons}, {"Retry-After": "1"} if reasons else {})
        return None


def wrong(code: str, detail: str, status: int, hint: str = "") -> web.Response:
    return in_json(status, {"error": code, "detail": detail, "hint": hint})
