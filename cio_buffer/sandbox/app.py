"""A pretend Customer.io: the Track API and the App API on one port of this machine."""

import ssl

from aiohttp import web

from cio_buffer.clock import Clock
from cio_buffer.sandbox.answers import Answer
from cio_buffer.sandbox.app_api import APP_PREFIX, AppApi
from cio_buffer.sandbox.app_calls import read_call
from cio_buffer.sandbox.app_ledger import AppLedger
from cio_buffer.sandbox.credentials import AppCredentials, Credentials
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.ledger import Ledger
from cio_buffer.sandbox.sending import send
from cio_buffer.sandbox.track_api import Call, TrackApi
from cio_buffer.sandbox.workspace import Workspace

# Far above every limit of the API, so that its own limits answer and not the server's.
BODY_MAX_BYTES = 16 * 1024 * 1024


class Sandbox:
    """Serves both APIs from memory; those paths that begin with /v1/ are the App API's.

    `faults` may be changed at any time; `ledger` has what arrived at the Track API, `workspace` what came of it, and
    `app_ledger` what arrived at the App API. `under_way` counts the requests to either that are being read or answered
    just now, and `under_way_max` the most of them at one time: 0 may be written there to begin anew.

    With `site_id` and `track_api_key` None all credentials of the Track API are accepted, and none as well; so are the
    App API's with `app_api_key` None. `manual_segments` None: every segment exists.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        ledger: Ledger,
        *,
        site_id: str | None = None,
        track_api_key: str | None = None,
        app_api_key: str | None = None,
        manual_segments: frozenset[int] | None = None,
    ) -> None:
        self.faults = faults
        self.ledger = ledger
        self.app_ledger = AppLedger()
        self.workspace = Workspace()
        self.under_way = self.under_way_max = 0
        self._clock = clock
        self._track_api = TrackApi(
            clock=clock,
            faults=faults,
            ledger=ledger,
            workspace=self.workspace,
            credentials=Credentials(site_id=site_id, track_api_key=track_api_key),
            manual_segments=manual_segments,
        )
        self._app_api = AppApi(
            clock=clock,
            faults=faults,
            ledger=self.app_ledger,
            credentials=AppCredentials(app_api_key=app_api_key),
        )
        self._runner: web.AppRunner | None = None

    def accept_key(self, *, site_id: str, track_api_key: str) -> None:
        """From now on only these open the Track API, as after somebody changed the key in Customer.io's settings."""
        self._track_api.credentials = Credentials(site_id=site_id, track_api_key=track_api_key)

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> str:
        """Listen, and say where: a base URL without a slash at its end. Port 0 means any that is free.

        With `tls` it speaks https only.
        """
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # No time for requests that are still being answered: a scripted delay would hold up the stop.
        # No unpacking of bodies: they are written down as they came off the wire.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        return f"{'https' if tls else 'http'}://{bound_host}:{bound_port}"

    async def stop(self) -> None:
        """Close the port and every connection. What was learnt stays; `start` may follow."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            return await send(await self._answer(request), request, self._clock)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request) -> Answer:
        if request.raw_path.startswith(APP_PREFIX):
            return self._app_api.answer(await read_call(request, body_max_bytes=BODY_MAX_BYTES))
        call = Call(
            method=request.method,
            path=request.raw_path,
            body=await request.read(),
            authorization=request.headers.get("Authorization"),
            content_type=request.content_type,
        )
        return self._track_api.answer(call)
