"""App API calls: any method, any path below `/v1/`."""

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from cio_buffer.callers import Callers
from cio_buffer.errors import Refused
from cio_buffer.http.body import Body
from cio_buffer.http.connection import connection_of
from cio_buffer.passthrough.forwarding import Passthrough
from cio_buffer.telemetry import log

APP_ROOT = "/v1/"
"""What every path of the App API begins with; Track paths begin with `/api/`, or stand at the root by name."""


class AppRoutes:
    """Answers App API calls: any method, any path below `/v1/`."""

    def __init__(self, passthrough: Passthrough, callers: Callers, logger: FilteringBoundLogger) -> None:
        self._passthrough = passthrough
        self._callers = callers
        self._logger = logger

    async def answer(self, request: web.BaseRequest, body: Body) -> web.StreamResponse:
        """Whatever Customer.io answers, at once."""
        shown, is_by_tcp = request.headers.get("Authorization"), connection_of(request).is_by_tcp
        try:
            authorization = self._callers.authorization_for_app(shown, is_by_tcp=is_by_tcp)
        except Refused as refused:
            self._logger.warning(log.OPERATION_REFUSED, reason=refused.problem.reason)
            raise
        return await self._passthrough.forward(request, body, authorization)
