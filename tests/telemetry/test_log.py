"""What a log line looks like, what is folded, and what libraries may say through us."""

import asyncio
import io
import json
import logging
import re
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from cio_buffer.config import Secret
from cio_buffer.telemetry import log
from tests.support.clock import FakeClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture(autouse=True)
def leave_logging_as_it_was():
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def logger(stream, clock):
    return log.configure("debug", "json", stream, clock, {})


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_time_level_and_event(logger, stream):
    logger.info(log.DAEMON_READY, wait_s=4.2)
    assert stream.getvalue() == (
        '{"timestamp": "2023-11-14T22:13:20.000Z", "level": "info", "event": "daemon.ready", "wait_s": 4.2}\n'
    )


def test_whatever_a_field_holds_it_stays_one_line(logger, stream):
    logger.info(log.DAEMON_READY, path="a\nb\udcff", key=Secret("k3y"), odd=Path("/x"))
    [line] = lines(stream)
    assert line["path"] == "a\nb\udcff"
    assert "k3y" not in stream.getvalue()


@pytest.mark.parametrize(
    ("stream_type", "form", "environ", "is_json", "is_coloured"),
    [
        (io.StringIO, "auto", {}, True, False),
        (Terminal, "auto", {}, False, True),
        (Terminal, "auto", {"NO_COLOR": "1"}, False, False),
        (Terminal, "auto", {"NO_COLOR": ""}, False, True),
        (Terminal, "json", {}, True, False),
        (io.StringIO, "console", {}, False, False),
    ],
)
def test_people_get_a_console_and_machines_get_json(stream_type, form, environ, is_json, is_coloured):
    stream = stream_type()
    log.configure("info", form, stream, FakeClock(), environ).info(log.DAEMON_READY, entries=3)
    text = stream.getvalue()
    assert text.startswith("{") == is_json
    assert ("\x1b[" in text) == is_coloured
    assert "daemon.ready" in text


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_silences_what_is_below_it(stream, clock, level, heard):
    logger = log.configure(level, "json", stream, clock, {})
    for say in (logger.debug, logger.info, logger.warning, logger.error):
        say("a.thing")
    assert len(lines(stream)) == heard


def test_another_reason_is_no_repeat(logger, stream):
    for reason in ("unavailable", "redirected", "unavailable"):
        logger.warning("upstream.failing", reason=reason)
    assert [line["reason"] for line in lines(stream)] == ["unavailable", "redirected"]


def test_what_ends_a_warning_is_folded_like_it(logger, stream, clock):
    for _ in range(30):
        logger.warning("upstream.failing")
        logger.info("upstream.recovered")
        logger.info("socket.opened")
        clock.advance(1.0)
    events = [line["event"] for line in lines(stream)]
    assert [events.count(event) for event in ("upstream.failing", "upstream.recovered", "socket.opened")] == [1, 1, 30]


def test_a_repeated_warning_is_said_once_a_minute_with_its_number(logger, stream, clock):
    for _ in range(121):
        logger.warning(log.UPSTREAM_THROTTLED)
        clock.advance(1)
    assert [line.get("repeated") for line in lines(stream)] == [None, 60, 60]


def test_no_repeat_is_forgotten_when_a_burst_ends(logger, stream, clock):
    for _ in range(5):
        logger.warning(log.UPSTREAM_FAILING)
    clock.advance(3_600)
    logger.warning(log.UPSTREAM_FAILING)
    clock.advance(3_600)
    logger.warning(log.UPSTREAM_FAILING)
    assert [line.get("repeated") for line in lines(stream)] == [None, 5, None]


def test_only_warnings_are_folded_and_each_event_by_itself(logger, stream, clock):
    for _ in range(2):
        logger.error(log.STORE_UNWRITABLE)
        logger.info(log.DISK_RECOVERED)
        logger.warning(log.DISK_LOW)
        logger.warning(log.OUTBOX_FULL)
    heard = [line["event"] for line in lines(stream)]
    assert [heard.count(event) for event in (log.STORE_UNWRITABLE, log.DISK_RECOVERED)] == [2, 2]
    assert [heard.count(event) for event in (log.DISK_LOW, log.OUTBOX_FULL)] == [1, 1]


def test_a_clock_that_is_set_back_does_not_silence_a_warning(logger, stream, clock):
    logger.warning(log.DISK_LOW)
    clock.advance(61)
    clock.jump(-86_400)
    logger.warning(log.DISK_LOW)
    assert len(lines(stream)) == 2


def test_an_exception_is_its_type_and_place_not_its_text(logger, stream):
    try:
        raise KeyError("ann@example.com")
    except KeyError:
        logger.exception(log.STORE_UNWRITABLE)
    [line] = lines(stream)
    assert line["exception_type"] == "KeyError"
    assert str(line["raised_at"]).startswith("test_log.py:")
    assert "ann@" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_library_is_heard_from_warning_up_in_its_own_words_only(stream, clock, form):
    log.configure("debug", form, stream, clock, {})
    library = logging.getLogger("aiohttp.internal")
    library.info("quiet")
    try:
        raise ValueError(b"secret bytes")
    except ValueError as error:
        library.error("Can not load cookies: %r", b"secret bytes", exc_info=error)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert all(word in text for word in ("library.reported", "Can not load cookies", "ValueError"))
    assert "secret" not in text
    assert "Traceback" not in text


def test_a_library_that_we_have_not_read_is_named_but_not_quoted(logger, stream):
    logging.getLogger("stranger").warning("ann pays")
    assert [(line["library"], line["said"]) for line in lines(stream)] == [("stranger", "")]


def test_asyncio_does_not_print_the_arguments_of_a_callback(logger, stream):
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda body: 1 / 0, b"secret body")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    [line] = lines(stream)
    assert (line["library"], line["exception_type"]) == ("asyncio", "ZeroDivisionError")
    assert "secret" not in stream.getvalue()


async def test_requests_that_aiohttp_cannot_serve_are_short_events(logger, stream):
    async def break_down(request: web.BaseRequest) -> web.Response:
        raise KeyError("ann@example.com")

    server = web.Server(break_down)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    await ask(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await ask(port, b"GET / HTTP/1.1\r\nsecret header\x00: a\r\n\r\n")
    listener.close()
    await server.shutdown(1)
    failed, malformed = lines(stream)
    assert (failed["event"], failed["level"], failed["exception_type"]) == ("request.failed", "error", "KeyError")
    assert str(failed["raised_at"]).startswith("test_log.py:")
    assert (malformed["event"], malformed["level"]) == ("request.malformed", "warning")
    assert not re.search("secret|ann@|Traceback", stream.getvalue())


async def ask(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.read(100)
    writer.close()
    await writer.wait_closed()


def test_a_stream_that_is_gone_stops_nobody(clock):
    stream = io.StringIO()
    logger = log.configure("info", "json", stream, clock, {})
    stream.close()
    logger.error(log.STORE_UNWRITABLE)


def test_setting_it_up_again_does_not_double_the_lines(logger, clock):
    stream = io.StringIO()
    log.configure("info", "json", stream, clock, {})
    logging.getLogger("asyncio").warning("slow")
    assert len(lines(stream)) == 1


def test_event_names_are_a_noun_and_what_happened_and_used_once():
    names = [value for name, value in vars(log).items() if name.isupper() and isinstance(value, str)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in names)
