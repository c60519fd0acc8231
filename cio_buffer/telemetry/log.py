"""Log lines: one event name and fields, for people on a terminal, as JSON elsewhere. All event names are here."""

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from cio_buffer.clock import Clock

DAEMON_STARTING = "daemon.starting"
DAEMON_READY = "daemon.ready"
DAEMON_STOPPING = "daemon.stopping"
DAEMON_STOPPED = "daemon.stopped"
CONFIG_RELOADED = "config.reloaded"
CONFIG_RELOAD_REFUSED = "config.reload_refused"
SOCKET_OPENED = "socket.opened"
STORE_OPENED = "store.opened"
STORE_MIGRATED = "store.migrated"
STORE_BACKED_UP = "store.backed_up"  # as it was before it was migrated
STORE_NOT_BACKED_UP = "store.not_backed_up"  # and was migrated all the same
STORE_SET_ASIDE = "store.set_aside"  # it is damaged, and another takes its place
STORE_SALVAGED = "store.salvaged"  # what can be read of that is back
STORE_QUARANTINE_REMOVED = "store.quarantine_removed"  # by a person
STORE_CHECKPOINT_FAILED = "store.checkpoint_failed"
STORE_CHECKPOINT_RECOVERED = "store.checkpoint_recovered"
STORE_BALLAST_USED = "store.ballast_used"  # the disk was full
STORE_UNWRITABLE = "store.unwritable"
STORE_RECOVERED = "store.recovered"
OUTBOX_FULL = "outbox.full"
OUTBOX_HAS_ROOM = "outbox.has_room"
OUTBOX_STALE = "outbox.stale"  # what waits is too old to start campaigns
OUTBOX_FRESH = "outbox.fresh"
DISK_LOW = "disk.low"
DISK_RECOVERED = "disk.recovered"
ENTRY_DEAD_LETTERED = "entry.dead_lettered"
DEAD_REPLAYED = "dead.replayed"
DEAD_PURGED = "dead.purged"  # by a person
DEAD_EDITED = "dead.edited"
DEAD_EVICTED = "dead.evicted"  # by their quota
UPSTREAM_FAILING = "upstream.failing"
UPSTREAM_RECOVERED = "upstream.recovered"
UPSTREAM_THROTTLED = "upstream.throttled"
UPSTREAM_CREDENTIALS_REJECTED = "upstream.credentials_rejected"
OPERATION_REFUSED = "operation.refused"
PASSTHROUGH_FAILED = "passthrough.failed"
PASSTHROUGH_FORWARDED = "passthrough.forwarded"  # at debug
BATCH_SENT = "batch.sent"  # this and the next: at debug
ENTRY_RETRY_SCHEDULED = "entry.retry_scheduled"
REQUEST_MALFORMED = "request.malformed"  # what came in was not HTTP
REQUEST_FAILED = "request.failed"  # a handler of ours broke
LIBRARY_REPORTED = "library.reported"  # a library logged something

Format = Literal["auto", "console", "json"]
Fields = MutableMapping[str, Any]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FOLD_S = 60.0
FOLDED_TOO = {UPSTREAM_RECOVERED}
"""What ends something that is folded itself: an upstream that flaps would else be called recovered all the time."""
NEVER_FOLDED = {STORE_SALVAGED}
"""Each tells of another store."""
SERVER_LOGGERS = ("aiohttp.server", "cio_buffer.server")
"""Where aiohttp reports a request that it could not read, or a handler that broke."""


def configure(
    level: str, format: Format, stream: TextIO, clock: Clock, environ: Mapping[str, str] = os.environ
) -> FilteringBoundLogger:
    """Send all log lines of the process, libraries' too, to `stream`; returns the logger to hand out.

    `level` is a key of LEVELS. "auto" is console on a terminal, else JSON; colour needs a terminal and no NO_COLOR.
    Calling it again replaces the set-up.
    """
    is_terminal = stream.isatty()
    as_console = format == "console" or (format == "auto" and is_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            FoldRepeats(clock),
            name_the_exception,
            Stamp(clock),
            _console(colors=is_terminal and not environ.get("NO_COLOR")) if as_console else _json(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: LineWriter(stream),
        cache_logger_on_first_use=False,
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    _route_libraries(logger)
    return logger


def _console(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)


def _json() -> Processor:
    return structlog.processors.JSONRenderer()


class FoldRepeats:
    """Lets a warning through at once, then one a minute for each event name and reason.

    `repeated` says how many it stands for. Nothing is printed when a burst merely ends: what was held back is counted
    in that event's next line.
    """

    def __init__(self, clock: Clock, every_s: float = FOLD_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._lock = threading.Lock()  # the store's thread logs too

    def __call__(self, _logger: object, _method: str, fields: Fields) -> Fields:
        if (fields["level"] != "warning" and fields["event"] not in FOLDED_TOO) or fields["event"] in NEVER_FOLDED:
            return fields
        event = f"{fields['event']} {fields.get('reason', fields.get('was', ''))}"
        now = self._clock.monotonic()
        with self._lock:
            if event in self._last and now - self._last[event] < self._every_s:
                self._held_back[event] = self._held_back.get(event, 0) + 1
                raise structlog.DropEvent
            self._last[event] = now
            if held_back := self._held_back.pop(event, 0):
                fields["repeated"] = held_back + 1
        return fields


class Stamp:
    """Puts `timestamp` (UTC, ISO 8601, milliseconds), `level` and `event` in front of the other fields."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: object, _method: str, fields: Fields) -> Fields:
        timestamp = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")
        level, event = fields.pop("level"), fields.pop("event")
        return {"timestamp": timestamp.replace("+00:00", "Z"), "level": level, "event": event, **fields}


def name_the_exception(_logger: object, _method: str, fields: Fields) -> Fields:
    """`exc_info` becomes the type's name and the line that raised it: an exception's text may hold a payload."""
    fields.pop("stack_info", None)
    error = fields.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        fields["exception_type"] = type(error).__name__
        if error.__traceback__:
            fields["raised_at"] = _innermost(error)
    return fields


def _innermost(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}" if traceback else ""


class LineWriter:
    """Writes finished lines. A stream that is gone (closed pipe, full disk) loses lines; it never stops the daemon."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write `line` and its end at once, so that threads do not tear each other's lines."""
        with suppress(OSError, ValueError), self._lock:  # ValueError: closed, or it cannot write a character
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class LibraryHandler(logging.Handler):
    """Turns what libraries log, from warning up, into lines of ours, without their texts' arguments.

    Those hold request bytes: aiohttp quotes what it could not parse, asyncio prints the arguments of a callback.
    """

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if record.name in SERVER_LOGGERS:
            self._report_server(error)
        else:
            say = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
            say(LIBRARY_REPORTED, library=record.name, said=_first_words(record), exc_info=error)

    def _report_server(self, error: BaseException | None) -> None:
        if _is_http_error(error):
            self._logger.warning(REQUEST_MALFORMED, exc_info=error)
        else:
            self._logger.error(REQUEST_FAILED, exc_info=error)


def _first_words(record: logging.LogRecord) -> str:
    """The plain words a message opens with, before anything is put into it; only of libraries we have read."""
    is_known = record.name.partition(".")[0] in ("asyncio", "aiohttp")
    words = re.match(r"[A-Za-z][A-Za-z ]{0,60}", str(record.msg)) if is_known else None
    return words[0].strip() if words else ""


def _is_http_error(error: BaseException | None) -> bool:
    """Told by name, so that commands which only talk to the daemon need not load aiohttp."""
    return any(kind.__name__ == "HttpProcessingError" for kind in type(error).__mro__)


def _route_libraries(logger: FilteringBoundLogger) -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(LibraryHandler(logger))
