"""A pretend Customer.io: the Track API on a port of this machine."""

from aiohttp import web

from cio_buffer.clock import Clock
from cio_buffer.sandbox.credentials import Credentials
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.ledger import Ledger
from cio_buffer.sandbox.track_api import Call, TrackApi
from cio_buffer.sandbox.workspace import Workspace

# Far above every limit of the API, so that its own limits answer and not the server's.
BODY_MAX_BYTES = 16 * 1024 * 1024


class Sandbox:
    """Serves the Track API from memory.

    `faults` may be changed at any time; `ledger` has what arrived, `workspace` what came of it. With `site_id` and
    `track_api_key` None all credentials are accepted, and none as well. `manual_segments` None: every segment exists.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        ledger: Ledger,
        *,
        site_id: str | None = None,
        track_api_key: str | None = None,
        manual_segments: frozenset[int] | None = None,
    ) -> None:
        self.faults = faults
        self.ledger = ledger
        self.workspace = Workspace()
        self._clock = clock
        self._track_api = TrackApi(
            clock=clock,
            faults=faults,
            ledger=ledger,
            workspace=self.workspace,
            credentials=Credentials(site_id=site_id, track_api_key=track_api_key),
            manual_segments=manual_segments,
        )
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and say where: a base URL without a slash at its end. Port 0 means any that is free."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # No time for requests that are still being answered: a scripted delay would hold up the stop.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        return f"http://{bound_host}:{bound_port}"

    async def stop(self) -> None:
        """Close the port and every connection. What was learnt stays; `start` may follow."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.Response:
        call = Call(
            method=request.method,
            path=request.raw_path,
            body=await request.read(),
            authorization=request.headers.get("Authorization"),
            content_type=request.content_type,
        )
        answer = self._track_api.answer(call)
        if answer.delay_s > 0:
            await self._clock.sleep(answer.delay_s)
        if answer.status is None:
            _drop_connection(request)
            return web.Response()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _drop_connection(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
