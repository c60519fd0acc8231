"""Builds the rooms, starts and stops them in order. It alone knows which store is in use."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from cio_buffer import __version__
from cio_buffer.admin import letter_routes, openapi
from cio_buffer.admin.keeper import Keeper, keeping
from cio_buffer.admin.observer import Observer
from cio_buffer.admin.routes import AdminRoutes
from cio_buffer.admin.set_aside_routes import SetAsideRoutes
from cio_buffer.admin.trace_routes import TraceRoutes
from cio_buffer.callers import Callers
from cio_buffer.clock import Clock
from cio_buffer.config import Config
from cio_buffer.delivery.batching import BatchLimits
from cio_buffer.delivery.drain import Drain, DrainLimits
from cio_buffer.delivery.lanes import WindowLimits
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.retry import Backoff, RetryPolicy
from cio_buffer.http.body import Body
from cio_buffer.ingest.amend import amended
from cio_buffer.ingest.event_id import EventIds
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.repeats import Repeats
from cio_buffer.ingest.routes import TrackRoutes
from cio_buffer.ingest.track_v1 import Mapping
from cio_buffer.outbox.backup import Upgrade
from cio_buffer.outbox.contract import Outbox
from cio_buffer.outbox.sqlite import SqliteOutbox
from cio_buffer.passthrough import APP_ROOT, MAIL_UNKNOWN, AppRoutes, Passthrough
from cio_buffer.reload import Reload
from cio_buffer.server import Server, find_users, tls_context
from cio_buffer.telemetry import log
from cio_buffer.upstream.limits import BATCH_MAX_BYTES
from cio_buffer.upstream.transport import TrackTransport

TRACK_URLS = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}
APP_URLS = {"us": "https://api.customer.io", "eu": "https://api-eu.customer.io"}
WINDOW_ENTRIES_MAX, WINDOW_BYTES_MAX = 20_000, 33_554_432
"""What is in hand at most: 16 full requests and what the next are chosen from, or 32 MiB, so that memory does not grow
with the backlog."""

REGION_UNKNOWN = "the region is not known; nothing was changed by asking"
V1_WINDOW_MAX = 100
BALLAST_SHARE, BALLAST_ENOUGH_BYTES = 8, 33_554_432
"""A small outbox has a small ballast: an eighth of `outbox.bytes_max` at most, but twice the WAL, which has to go
into the file before anything can be deleted: with 8 MiB a full disk was not always drained."""

REQUEST_GRACE_S = 5.0
BACKED_UP_HINT = "to go back to the older version, put it in the store's place; what came since is not in it"
NOT_BACKED_UP_HINT = "everything is in the new format now; the older version cannot open it"
NEXT_START_HINT = "nothing is lost; the next start takes up from here"
AT_ONCE_S = 0.02  # for aiohttp 0 is "however long it takes"
ADMIN_CONNECTIONS_MAX = 32


async def run(
    config: Config,
    *,
    load_again: Callable[[], Config],
    clock: Clock,
    chance: random.Random,
    logger: FilteringBoundLogger,
) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends the last effort at once. SIGHUP: see `reload.py`.

    One that comes while the rooms are still opening, which may have to migrate a large store, ends that.
    Raises StoreHeld or StoreUnusable, or OSError where a socket cannot be opened.
    """
    stop, stop_now, reload_asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(end_without_memory)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    building = daemon(
        config,
        load_again=load_again,
        reload_asked=reload_asked,
        clock=clock,
        chance=chance,
        logger=logger,
        stop_now=stop_now,
    )
    async with AsyncExitStack() as rooms:
        opening = asyncio.ensure_future(rooms.enter_async_context(building))
        if not await ends_before(stop, opening):
            logger.info(log.DAEMON_STOPPING)
            opening.cancel()
            await asyncio.wait({opening})
        if opening.cancelled():
            return
        draining = opening.result()
        if await ends_before(stop, draining):
            draining.result()  # it ends by itself only by an error that no rule foresees


async def ends_before(stop: asyncio.Event, task: "asyncio.Task[Any]") -> bool:
    """Wait until `task` has ended, or for `stop`; says whether it has ended."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({stopping, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    return task.done()


def end_without_memory(
    loop: asyncio.AbstractEventLoop, context: dict[str, Any], end: Callable[[int], None] = os._exit
) -> None:
    """A daemon without memory may live on and hear nobody, and nobody would start it again.

    It ends at once, and loses nothing: what was acknowledged is on disk.
    """
    if isinstance(context.get("exception"), MemoryError):
        os.write(2, b"out of memory: the daemon ends, so that it can be started again\n")
        end(1)
    loop.default_exception_handler(context)


@asynccontextmanager
async def daemon(
    config: Config,
    *,
    load_again: Callable[[], Config],
    reload_asked: asyncio.Event,
    clock: Clock,
    chance: random.Random,
    logger: FilteringBoundLogger,
    stop_now: asyncio.Event,
) -> AsyncIterator["asyncio.Task[None]"]:
    """The rooms, open: yields the drain's task. On leaving, doors close first and the store last."""
    logger.info(log.DAEMON_STARTING, version=__version__)
    async with AsyncExitStack() as rooms:
        outbox = await open_outbox(config, clock, logger)
        rooms.push_async_callback(close_outbox, outbox, logger)
        track_url = config.upstream.track_url or TRACK_URLS[config.upstream.region]
        app_url = config.upstream.app_url or APP_URLS[config.upstream.region]
        transport = open_transport(config, track_url)
        await transport.open()
        rooms.push_async_callback(transport.close)
        drain = build_drain(config, outbox, transport, clock=clock, chance=chance, logger=logger)
        app = build_passthrough(config, app_url, MAIL_UNKNOWN, clock, logger)
        region = build_passthrough(config, track_url, REGION_UNKNOWN, clock, logger)
        for way in (app, region):
            await way.open()
            rooms.push_async_callback(way.close)
        observer = Observer(
            outbox,
            drain,
            app,
            track_url=track_url,
            clock=clock,
            logger=logger,
            keeping=keeping(config.outbox),
            show_payloads=config.admin.show_payloads,
        )
        admin = build_admin(config, outbox, drain, observer, clock=clock, logger=logger)
        desk = Server(admin.answer, body_max_bytes=letter_routes.BODY_MAX_BYTES, connections_max=ADMIN_CONNECTIONS_MAX)
        rooms.push_async_callback(desk.close, REQUEST_GRACE_S)  # after the last effort, which it shows
        draining = asyncio.ensure_future(drain.run())
        rooms.push_async_callback(end_drain, drain, draining, config.drain.at_stop_for_s, stop_now)
        repeats = Repeats(outbox, clock)
        rooms.callback(outbox.note_answers)
        callers = callers_of(config)
        reload = Reload(
            config,
            load_again=load_again,
            use_keys=lambda anew: use_keys(anew, transport, callers, drain),
            asked=reload_asked,
            logger=logger,
        )
        keeper = Keeper(outbox.archive, keeping(config.outbox), clock=clock, logger=logger)
        seen = (observer.audit(), observer.watch_room(), observer.watch_age(), observer.watch_store())
        for watch in (*seen, keeper.run(), repeats.run(), reload.run()):
            rooms.push_async_callback(end, asyncio.ensure_future(watch))
        track = build_track(config, outbox, repeats, callers, region, transport=transport, clock=clock, logger=logger)
        api = build_api(config, track, AppRoutes(app, callers, logger), admin)
        grace_s = max(REQUEST_GRACE_S, config.upstream.passthrough_timeout_s)  # a mail that is under way may go out
        rooms.push_async_callback(close_doors, api, grace_s, stop_now)
        observer.listening = await open_sockets(config, api, desk, logger)
        logger.info(log.DAEMON_READY, entries=outbox.ledger().entries, upstream=track_url)
        yield draining
        observer.is_stopping = True
        logger.info(log.DAEMON_STOPPING)


async def open_outbox(config: Config, clock: Clock, logger: FilteringBoundLogger) -> SqliteOutbox:
    """The store. A second backend would be chosen here."""
    outbox = SqliteOutbox(
        Path(config.outbox.path),
        clock=clock,
        bytes_max=config.outbox.bytes_max,
        disk_free_min_bytes=config.outbox.disk_free_min_bytes,
        ballast_bytes=min(
            config.outbox.ballast_bytes, max(config.outbox.bytes_max // BALLAST_SHARE, BALLAST_ENOUGH_BYTES)
        ),
        keeps_log=keeping(config.outbox).log_for_s > 0,
    )
    try:
        await outbox.open()
    except asyncio.CancelledError:
        logger.info(log.DAEMON_STOPPED, store="not opened yet", hint=NEXT_START_HINT)
        raise
    tell_upgrade(outbox.upgrade, logger)
    event = log.STORE_MIGRATED if outbox.was_migrated else log.STORE_OPENED
    logger.info(event, path=config.outbox.path, entries=outbox.ledger().entries)
    return outbox


def tell_upgrade(upgrade: Upgrade | None, logger: FilteringBoundLogger) -> None:
    """Where the store is as an older version of us can still open it, or why nowhere."""
    if upgrade and upgrade.backup:
        logger.info(log.STORE_BACKED_UP, path=str(upgrade.backup), format=upgrade.format_before, hint=BACKED_UP_HINT)
    elif upgrade and upgrade.no_backup:
        logger.warning(
            log.STORE_NOT_BACKED_UP, format=upgrade.format_before, reason=upgrade.no_backup, hint=NOT_BACKED_UP_HINT
        )


async def close_outbox(outbox: Outbox, logger: FilteringBoundLogger) -> None:
    await outbox.close()
    left = outbox.ledger()
    logger.info(log.DAEMON_STOPPED, entries_on_disk=left.entries, dead_letters=left.dead)


def open_transport(config: Config, track_url: str) -> TrackTransport:
    upstream = config.upstream
    return TrackTransport(
        track_url,
        site_id=upstream.site_id,
        api_key=upstream.track_api_key.reveal(),
        connect_timeout_s=upstream.connect_timeout_s,
        request_timeout_s=upstream.request_timeout_s,
    )


def build_drain(
    config: Config,
    outbox: Outbox,
    transport: TrackTransport,
    *,
    clock: Clock,
    chance: random.Random,
    logger: FilteringBoundLogger,
) -> Drain:
    settings = config.drain
    backoff = Backoff(first_s=config.retry.backoff_first_s, max_s=config.retry.backoff_max_s)
    limits = DrainLimits(
        batch=BatchLimits(
            entries_max=settings.batch_max_entries,
            bytes_max=min(settings.batch_max_bytes, BATCH_MAX_BYTES),
            same_lane=settings.batch_same_lane,
        ),
        window=WindowLimits(entries_max=WINDOW_ENTRIES_MAX, bytes_max=WINDOW_BYTES_MAX, v1_max=V1_WINDOW_MAX),
        linger_s=settings.batch_linger_s,
        request_timeout_s=config.upstream.request_timeout_s,
    )
    return Drain(
        outbox,
        transport,
        pacing=Pacing(
            rate_max_per_s=settings.rate_max_per_s, in_flight_max=settings.requests_in_flight_max, backoff=backoff
        ),
        retry=RetryPolicy(backoff=backoff, keep_trying_for_s=config.retry.keep_trying_for_s),
        limits=limits,
        clock=clock,
        chance=chance,
        logger=logger,
    )


async def end_drain(drain: Drain, draining: "asyncio.Task[None]", for_s: float, stop_now: asyncio.Event) -> None:
    """One last effort, cut short by `stop_now`. What it does not deliver waits on disk."""
    drain.stop(for_s)
    hurry = asyncio.ensure_future(stop_now.wait())
    await asyncio.wait({draining, hurry}, timeout=for_s + REQUEST_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    await end(hurry)
    await end(draining)
    await drain.give_up()


async def close_doors(api: Server, grace_s: float, stop_now: asyncio.Event) -> None:
    """Let what is under way end within `grace_s`, or until `stop_now`."""
    closing = asyncio.ensure_future(api.close(2 * grace_s))  # half of it for answers, half for connections to end
    hurry = asyncio.ensure_future(stop_now.wait())
    await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
    await end(hurry)
    await end(closing)
    await api.close(AT_ONCE_S)


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, and wait until it is over. What it raised was looked at elsewhere, or matters no more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def build_passthrough(
    config: Config, url: str, unknown: str, clock: Clock, logger: FilteringBoundLogger
) -> Passthrough:
    upstream = config.upstream
    return Passthrough(
        url,
        connect_timeout_s=upstream.connect_timeout_s,
        timeout_s=upstream.passthrough_timeout_s,
        clock=clock,
        logger=logger,
        unknown=unknown,
    )


def callers_of(config: Config) -> Callers:
    upstream = config.upstream
    return Callers(
        site_id=upstream.site_id,
        keys=(upstream.track_api_key.reveal(), upstream.track_api_key_previous.reveal()),
        needed=config.listen.callers,
        local_key=config.listen.local_key.reveal(),
        app_api_key=upstream.app_api_key.reveal(),
    )


def use_keys(config: Config, transport: TrackTransport, callers: Callers, drain: Drain) -> None:
    """Use this config's keys from now on, and try what waits with them."""
    transport.use_key(config.upstream.site_id, config.upstream.track_api_key.reveal())
    callers.use_keys(callers_of(config))
    drain.try_now()


def build_track(
    config: Config,
    outbox: Outbox,
    repeats: Repeats,
    callers: Callers,
    region: Passthrough,
    *,
    transport: TrackTransport,
    clock: Clock,
    logger: FilteringBoundLogger,
) -> TrackRoutes:
    """`transport` knows the key of the moment, which the call for the region shows too."""
    return TrackRoutes(
        Intake(outbox, clock=clock, new_id=EventIds(random.SystemRandom()).new),
        mapping_of(config),
        callers=callers,
        repeats=repeats,
        ask_region=lambda request, body: region.forward(request, body, transport.authorization),
        logger=logger,
    )


def build_admin(
    config: Config, outbox: Outbox, drain: Drain, observer: Observer, *, clock: Clock, logger: FilteringBoundLogger
) -> AdminRoutes:
    mapping, new_id = mapping_of(config), EventIds(random.SystemRandom()).new
    letters = letter_routes.LetterRoutes(
        outbox.archive,
        outbox.names,
        lambda letter, body: amended(letter, body, mapping, new_id),
        clock=clock,
        logger=logger,
    )
    traces = TraceRoutes(outbox.archive, outbox.names, drain.whereabouts, clock)
    return AdminRoutes(observer, openapi.document, letters=letters, traces=traces, set_aside=SetAsideRoutes(outbox))


def mapping_of(config: Config) -> Mapping:
    return Mapping(identifiers=config.upstream.identifiers, anonymous=config.upstream.anonymous)


def build_api(config: Config, track: TrackRoutes, app: AppRoutes, admin: AdminRoutes) -> Server:
    """The apps' door: the Track API, the App API, and the probes."""

    async def answer(request: web.BaseRequest, body: Body) -> web.StreamResponse:
        path = request.raw_path
        if path.startswith(APP_ROOT):
            return await app.answer(request, body)
        if not path.startswith("/api/") and (probed := await admin.probe(path.partition("?")[0])):
            return probed
        return await track.answer(request, body)

    return Server(answer, body_max_bytes=config.listen.body_max_bytes, connections_max=config.listen.connections_max)


async def open_sockets(config: Config, api: Server, desk: Server, logger: FilteringBoundLogger) -> list[str]:
    """Returns where apps may come. Raises OSError, which names the socket."""
    listen = config.listen
    doors = []
    if listen.unix_path:
        users = find_users(listen.unix_user_names())
        await api.listen_unix(
            Path(listen.unix_path), mode=listen.unix_mode_bits(), group=listen.unix_group, users=users
        )
        doors.append(f"unix:{listen.unix_path}")
    if address := listen.http():
        doors.append(place("http", await api.listen_tcp(address.host, address.port)))
    if address := listen.https():
        tls = tls_context(Path(listen.tls_cert_file), Path(listen.tls_key_file))
        doors.append(place("https", await api.listen_tls(address.host, address.port, tls)))
    await desk.listen_unix(Path(config.admin.unix_path), mode=0o600)
    for door in (*doors, f"unix:{config.admin.unix_path}"):
        logger.info(log.SOCKET_OPENED, place=door)
    return doors


def place(scheme: str, address: tuple[str, int]) -> str:
    """Where a port is, as a URL."""
    host, port = address
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
