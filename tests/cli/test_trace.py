"""`cio-buffer trace`: the story as people read it, and what scripts get."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from cio_buffer.admin.chronicle import tell, tell_by_receipt
from cio_buffer.admin.story import State, Traced, What, moment
from cio_buffer.admin.trace_query import LIMIT, LIMIT_MAX
from cio_buffer.admin.trace_routes import TraceRoutes
from cio_buffer.cli.request_words import DEATHS, REASONS, TROUBLES, ordinal, plain
from cio_buffer.cli.telling import ROUTES, STATES, STEPS, told
from cio_buffer.cli.trace import trace_command
from cio_buffer.delivery.flight import ABANDONED
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.outbox import trail
from cio_buffer.outbox.archive import Known
from cio_buffer.outbox.entry import Fate
from cio_buffer.outbox.names import Receipt
from cio_buffer.upstream.troubles import TROUBLES as UPSTREAM_TROUBLES
from cio_buffer.upstream.troubles import hint_for
from tests.admin.stories import (
    ACCEPTED_MS,
    AGAIN,
    LOST,
    NAMES,
    REFUSED,
    Stories,
    at,
    dead,
    found,
    happened,
    kept,
    known,
    sent,
)
from tests.support.clock import FakeClock
from tests.support.process import clean_environ

RECEIPT = NAMES.receipt(7, ACCEPTED_MS)
LONG_DAY = known(
    sent(812, 51, LOST, status=None, took_ms=5_000, entries=15),
    sent(815, 5_883, AGAIN, entries=1),
    sent(820, 17_380, took_ms=100, entries=2),
)


def text(
    *entries: Known,
    log_since: int | None = -1_000,
    where: Whereabouts | None = None,
    now: int = 20_000,
    is_more: bool = False,
    width: int | None = 100,
) -> str:
    """What is printed of them; in a terminal of 100 columns, unless it is said otherwise."""
    among = found(*entries, log_since=log_since)
    stories = [tell(entry, among, where, names=NAMES, now_ms=at(now)) for entry in entries]
    since = None if log_since is None else moment(at(log_since))
    return told(Traced(stories=stories, is_more=is_more, log_since=since, at=moment(at(now))), width)


def is_told(written: str, expected: str) -> None:
    """`expected` has the receipt as R, and is indented as the test is."""
    lines = [line.removeprefix("    ") for line in expected.strip("\n").splitlines()]
    assert written.splitlines() == [line.replace("R", RECEIPT, 1) if "R" in line else line for line in lines[:-1]]


def on_one_line(written: str) -> str:
    return " ".join(written.split())


# As people read it.


def test_the_story_of_a_long_day():
    is_told(
        text(LONG_DAY),
        """
    R  event, delivered 17 s after it was accepted
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:12:44.171  request 812, with 14 others: no answer within 5.0 s. It may have been
                               taken in. To be sent again
                 03:12:50.003  request 815, alone, its second: 503 after 0.2 s. To be sent again
                 03:13:01.500  request 820, with 1 other, its third: 200 after 0.1 s. Delivered

    Times are UTC.
    """,
    )


def test_without_a_terminal_each_step_is_one_line():
    written = text(LONG_DAY, width=None)
    assert len(written.splitlines()) == 1 + 4 + 2
    assert "no answer within 5.0 s. It may have been taken in. To be sent again\n" in written


def test_commands_are_not_broken_however_narrow_the_terminal():
    written = text(known(sent(9, 5, REFUSED, status=400), place="dead", dead=dead(60)), width=20)
    assert f"  cio-buffer dead replay {RECEIPT}\n" in written
    assert max(len(line) for line in written.splitlines()[1:]) <= 60


def test_a_dead_letter_says_why_and_what_may_be_done():
    entry = known(sent(812, 51, REFUSED, status=400, entries=1), place="dead", dead=dead(300), route="v2 batch")
    is_told(
        text(entry),
        """
    R  event, dead: refused
      2026-11-25 03:12:44.120  accepted by Track v2, in a batch, and on disk before the app was told so
                 03:12:44.171  request 812, alone: 400 after 0.2 s. Dead: refused. Customer.io says:
                               invalid (identifiers.id): must be an email
      see what is in it:  cio-buffer dead show R
      send it again:      cio-buffer dead replay R

    Times are UTC.
    """,
    )


def test_a_death_of_which_the_request_is_forgotten():
    is_told(
        text(known(sent(812, 51, LOST, status=None), place="dead", dead=dead(300))),
        """
    R  event, dead: refused
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:12:44.171  request 812, with 9 others: no answer within 0.2 s. It may have been
                               taken in. To be sent again
                 03:12:44.420  died in a request of which no more is known
                               Customer.io says: invalid (identifiers.id): must be an email
                               it may have been taken in already; sent again it has the same id, so that
                               it counts once
      see what is in it:  cio-buffer dead show R
      send it again:      cio-buffer dead replay R

    Times are UTC.
    """,
    )


def test_what_is_held_says_until_when_and_what_that_is():
    held = Fate(what="held", reason="timeout", until_ms=at(260_000), is_ambiguous=True)
    entry = known(
        sent(812, 51, held, status=None, entries=1),
        place="parked",
        holds=2,
        held_for="something_new",
        due_at_ms=at(260_000),
    )
    is_told(
        text(entry),
        """
    R  event, held until 2026-11-25 03:17:04.120, in 4 min, for the second time: something_new
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:12:44.171  request 812, alone: no answer within 0.2 s. It may have been taken in.
                               Held until 03:17:04.120
                               it may have been taken in already; sent again it has the same id, so that
                               it counts once
      it leaves by itself; if anything stops it, this says what:  cio-buffer status

    Times are UTC.
    """,
    )


@pytest.mark.parametrize(
    ("due", "said"),
    [
        (19_999, "held, and due now, for the 12th time: timeout"),
        (20_000, "held, and due now, for the 12th time: timeout"),
        (23_000, "held until 2026-11-25 03:13:07.120, in 3.0 s, for the 12th time: timeout"),
    ],
)
def test_what_is_held_says_for_how_long(due, said):
    entry = known(place="parked", holds=12, held_for="timeout", due_at_ms=at(due))
    assert text(entry).startswith(f"{RECEIPT}  event, {said}\n")


@pytest.mark.parametrize("word", UPSTREAM_TROUBLES)
def test_what_is_held_says_what_its_trouble_is(word):
    entry = known(place="parked", holds=1, held_for=word, due_at_ms=at(60_000))
    assert on_one_line(str(hint_for(word))) in on_one_line(text(entry))


def test_what_is_sent_again_counts_once_if_it_has_an_id():
    assert "sent again it has the same id" in on_one_line(text(known(sent(8, 5, LOST), place="main")))
    of_a_person = on_one_line(text(known(sent(8, 5, LOST), place="main", kind="identify")))
    assert "it may have been taken in already it leaves" in of_a_person


def test_what_waits_behind_another_says_so():
    is_told(
        text(known(place="parked", kind="identify")),
        """
    R  identify, held: it waits for an earlier one of the same person or object
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
      it leaves by itself; if anything stops it, this says what:  cio-buffer status

    Times are UTC.
    """,
    )


def test_replays_crashes_and_a_change_of_the_day():
    entry = known(
        sent(812, 51, REFUSED, status=400),
        happened("edited", 1_000),
        happened("replayed", 86_400_000),
        happened("stopped", 86_401_000),
        happened("started", 86_402_000),
        happened("started", 86_403_000),
        sent(900, 86_404_000, is_v1=True, entries=1),
    )
    is_told(
        text(entry, now=90_000_000),
        """
    R  event, delivered 24 h after it was accepted
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:12:44.171  request 812, with 9 others: 400 after 0.2 s. Dead: refused. Customer.io
                               says: invalid (identifiers.id): must be an email
                 03:12:45.120  edited by a person
      2026-11-26 03:12:44.120  replayed: it waits again, behind all that was accepted before
                 03:12:45.120  the daemon stopped
                 03:12:46.120  the daemon started again
                 03:12:47.120  the daemon started again, after it had ended without a word. A request
                               that was under way then is missing here, and it may have been taken in
                 03:12:48.120  request 900, in v1: 200 after 0.2 s. Delivered

    Times are UTC.
    """,
    )


def test_a_log_that_was_pruned():
    is_told(
        text(known(sent(820, 17_380), history=[kept(812, 51)]), log_since=10_000),
        """
    R  event, delivered 18 s after it was accepted
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:12:44.171  request 812: 503 after 0.2 s. To be sent again
                 03:12:54.120  the delivery log begins here: of requests before, only what was kept with
                               it is known
                 03:13:01.500  request 820, with 9 others: 200 after 0.2 s. Delivered

    Times are UTC.
    """,
    )


@pytest.mark.parametrize(("count", "told"), [(5, 5), (6, 2), (300, 2)])
def test_a_night_of_the_same_is_told_in_two_lines(count, told):
    nights = [sent(n, n * 1_000, AGAIN) for n in range(1, count + 1)]
    written = text(known(*nights, sent(count + 1, 999_000, LOST, status=None), place="main"))
    assert written.count("To be sent again") == told + 1
    assert (f"and {count - 2} more like this\n" in written) == (told == 2)
    assert f"request {count}, " in written  # the last of them


def test_starts_and_stops_are_never_folded():
    written = text(known(*(happened("started", n) for n in range(10)), place="main"))
    assert written.count("without a word") == 10


@pytest.mark.parametrize(("until", "said"), [(0, "03:12:44.120"), (86_400_000, "2026-11-26 03:12:44.120")])
def test_a_date_is_said_where_it_is_another(until, said):
    held = Fate(what="held", reason="unavailable", until_ms=at(until))
    assert f"Held until {said} " in on_one_line(text(known(sent(9, 5, held), place="main")))


def test_what_is_under_way():
    where = Whereabouts(state="in_flight", request=812, since_ms=at(18_000))
    is_told(
        text(known(place="main"), where=where),
        """
    R  event, on its way, 20 s after it was accepted
      2026-11-25 03:12:44.120  accepted by Track v1, and on disk before the app was told so
                 03:13:02.120  request 812: under way for 2.0 s, not answered yet

    Times are UTC.
    """,
    )


@pytest.mark.parametrize(
    ("log_since", "said"),
    [
        (60_000, "so it was delivered, purged or evicted before 2026-11-25 03:13:44.120, where the log begins"),
        (-1_000, "it was delivered, purged or evicted, and nothing tells which"),
        (None, "it was delivered, purged or evicted, and nothing tells which"),
    ],
)
def test_what_is_nowhere_has_ended(log_since, said):
    story = tell_by_receipt(Receipt(7, ACCEPTED_MS), found(log_since=log_since), names=NAMES)
    since = None if log_since is None else moment(at(log_since))
    written = told(Traced(stories=[story], is_more=False, log_since=since, at=moment(at(0))))
    assert written.startswith(f"{RECEIPT}  operation, ended: nobody saw how\n")
    assert f"it is not waiting and is no dead letter: {said} Times" in on_one_line(written)


def test_several_stories_end_with_a_summary():
    entries = [
        known(sent(812, 51)),
        known(place="main", seq=8),
        known(sent(812, 51, REFUSED, status=400), place="dead", dead=dead(300), seq=9),
    ]
    last = text(*entries, is_more=True).splitlines()[-1]
    assert last == (
        "3 operations: 1 delivered, 1 waiting, 1 dead. There are more: ask with a greater --limit. Times are UTC."
    )
    receipts = [line.partition(" ")[0] for line in text(*entries).splitlines() if line[:2].strip() and "event" in line]
    assert receipts == [NAMES.receipt(seq, ACCEPTED_MS) for seq in (7, 8, 9)]  # the newest last


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (sent(9, 5, status=207), "207 after 0.2 s. Delivered"),
        (sent(9, 5, status=None), "no answer within 0.2 s. Delivered"),
        (sent(9, 5, Fate(what="again", reason="throttled"), status=429), "429 after 0.2 s (too many requests). To be"),
        (sent(9, 5, Fate(what="again", reason="something_new"), status=418), "418 after 0.2 s (something_new). To be"),
        (
            sent(9, 5, Fate(what="again", reason="not_customer_io"), status=200),
            "200 after 0.2 s (somebody else answers, with a web page). To be sent again",
        ),
        (
            sent(9, 5, Fate(what="again", reason="refused"), status=400),
            "400 after 0.2 s. One of these was refused: to be sent again, in smaller requests",
        ),
        (
            sent(9, 5, Fate(what="in_v1", reason="too_large"), status=413),
            "413 after 0.2 s (too large). To be said in v1",
        ),
        (
            sent(9, 5, Fate(what="dead", reason="expired"), status=503),
            "503 after 0.2 s. Dead: expired, because it was tried for as long as retry.keep_trying_for_s says",
        ),
        (
            sent(9, 5, Fate(what="again", reason="torn", is_ambiguous=True), status=None, trouble="torn"),
            "the connection broke after 0.2 s. It may have been taken in. To be sent again",
        ),
        (
            sent(9, 5, Fate(what="again", reason="connect"), status=None, trouble="connect"),
            "no connection opened. To be sent again",
        ),
        (
            sent(9, 5, ABANDONED, status=None, trouble="abandoned"),
            "given up after 0.2 s, because the daemon stopped. It may have been taken in. To be sent again",
        ),
        (sent(9, 5, AGAIN, status=None, trouble="new {one}"), "no answer after 0.2 s (new {one}). To be sent again"),
    ],
)
def test_what_came_back_is_said_in_words(request_, said):
    assert f"request 9, with 9 others: {said}" in on_one_line(text(known(request_, place="main")))


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "first"), (10, "tenth"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (22, "22nd"), (23, "23rd")],
)
def test_ordinals(number, word):
    assert ordinal(number) == word
    assert ordinal(number + 100) == f"{number + 100}{ordinal(number + 100)[-2:]}"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("a\nb\t c", "a b c"), ("\x1b[31mred", "?[31mred"), ("a\u202eb\x9b", "a?b?"), ("Ünïcode ✓", "Ünïcode ✓")],
)
def test_customer_ios_words_cannot_command_a_terminal(theirs, ours):
    assert plain(theirs) == ours
    entry = known(sent(9, 5, Fate(what="dead", reason="refused", message=theirs), status=400))
    assert f"Customer.io says: {ours}" in on_one_line(text(entry))


def test_there_are_words_for_whatever_we_say_elsewhere():
    assert set(ROUTES) == set(trail.ROUTES)
    assert set(UPSTREAM_TROUBLES) <= {*TROUBLES, *REASONS}
    assert ABANDONED.reason in TROUBLES
    assert "expired" in DEATHS
    assert set(STEPS) == set(get_args(What)) - {"accepted", "sent"}
    assert set(STATES) == set(get_args(State))


# The command.


@pytest.fixture
async def archive(folder: Path) -> AsyncIterator[Stories]:
    """What stands behind a daemon's admin socket in `folder`, as far as this command sees it."""
    archive = Stories(LONG_DAY)
    routes = TraceRoutes(archive, NAMES, lambda _: None, FakeClock(ACCEPTED_MS / 1000 + 20.0))  # type: ignore[arg-type]

    async def answer(request: web.BaseRequest) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        assert (request.method, path) == ("GET", "/trace")
        return await routes.answer(request, query)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.UnixSite(runner, str(folder / "admin.sock")).start()
    yield archive
    await runner.cleanup()


async def trace(folder: Path, *arguments: str) -> Result:
    asked = ["--admin", str(folder / "admin.sock"), *arguments]
    return await asyncio.to_thread(CliRunner().invoke, trace_command, asked)


async def test_a_story_is_printed(folder: Path, archive: Stories):
    ended = await trace(folder, RECEIPT)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout == text(LONG_DAY, width=None) + "\n"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--person", "id:5"], (LIMIT, 1)),
        (["--person", "id:5", "--person", "email:ann+news@example.com", "--limit", "3"], (3, 2)),
        (["--person", "object:1:a&b=c ü"], (LIMIT, 1)),
    ],
)
async def test_people_are_asked_for_as_they_are_written(folder: Path, archive: Stories, arguments, asked):
    assert (await trace(folder, *arguments)).exit_code == 0
    [(lanes, limit)] = archive.asked  # type: ignore[misc]
    assert (limit, len(lanes)) == asked


async def test_an_event_is_asked_for_by_its_id(folder: Path, archive: Stories):
    assert (await trace(folder, "--event-id", "a+b &ü")).exit_code == 0
    assert archive.asked == [("a+b &ü", LIMIT)]


async def test_scripts_get_what_the_daemon_says(folder: Path, archive: Stories):
    ended = await trace(folder, RECEIPT, "--json")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert [story["state"] for story in json.loads(ended.stdout)["stories"]] == ["delivered"]


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    ("log_since", "said"),
    [
        (-1_000, "nor was in a request since 2026-11-25 03:12:43.120 UTC, where the log begins"),
        (None, "no delivery log is kept that could know more"),
    ],
)
async def test_nothing_found_is_1_and_says_how_far_back_was_looked(folder, archive, log_since, said, more):
    archive.entries, archive.log_since = [], log_since
    ended = await trace(folder, "--person", "id:5", *more)
    assert ended.exit_code == 1
    assert ended.stderr.startswith("nothing found: ")
    assert said in ended.stderr
    assert (json.loads(ended.stdout)["stories"] == []) if more else (ended.stdout == "")


async def test_an_unknown_receipt_is_1(folder: Path, archive: Stories):
    ended = await trace(folder, RECEIPT[:-1] + "?")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: No operation of this store has this receipt")
    assert "X-Cio-Buffer-Receipt" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [RECEIPT, "--event-id", "x"],
        [RECEIPT, "--person", "id:5"],
        [RECEIPT, RECEIPT],
        ["--person", "5"],
        ["--person", "name:ann"],
        ["--person", ""],
        [RECEIPT, "--limit", "0"],
        [RECEIPT, "--limit", str(LIMIT_MAX + 1)],
        [f"{RECEIPT}..{NAMES.receipt(6, ACCEPTED_MS)}"],
    ],
)
async def test_wrong_usage_is_2(folder: Path, archive: Stories, arguments: Sequence[str]):
    ended = await trace(folder, *arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_store_that_cannot_be_read_is_69_not_a_no(folder: Path, archive: Stories):
    archive.is_readable = False
    ended = await trace(folder, RECEIPT)
    assert (ended.exit_code, ended.stdout) == (69, "")
    assert "cannot be read just now" in ended.stderr


async def test_nobody_there_is_69(folder: Path):
    ended = await trace(folder, RECEIPT)
    assert (ended.exit_code, ended.stdout) == (69, "")
    assert ended.stderr.startswith(f"error: no daemon answers at {folder}/admin.sock")


def test_no_config_is_78(folder: Path):
    ended = CliRunner().invoke(trace_command, [RECEIPT, "--config", str(folder / "none.toml")], env=clean_environ())
    assert (ended.exit_code, ended.stdout) == (78, "")


async def test_help_names_whom_to_ask_for():
    ended = CliRunner().invoke(trace_command, ["--help"])
    assert "--person email:ann@example.com" in ended.stdout


async def test_the_command_loads_nothing_that_is_slow(folder: Path, archive: Stories):
    """By what was imported when it has told a story."""
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"
        "from cio_buffer.cli.trace import trace_command\n"
        "trace_command()"
    )
    asked = [sys.executable, "-c", script, "--admin", str(folder / "admin.sock"), RECEIPT]
    ended = await asyncio.to_thread(
        subprocess.run, asked, env=clean_environ(), capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
    loaded = {name.partition(".")[0] for name in ended.stderr.split()}
    assert loaded & {"aiohttp", "asyncio", "sqlite3", "sqlite_utils", "structlog", "uvloop", "yarl"} == set()
    rooms = {name for name in ended.stderr.split() if name.startswith("cio_buffer.outbox")}
    assert rooms == set(), rooms
