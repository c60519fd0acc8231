"""Bad answers: whatever comes back instead of Customer.io's words loses nothing, doubles nothing and wedges nothing."""

import json
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from cio_buffer.sandbox.ledger import EVENT_KINDS
from tests.promises.apps import (
    Act,
    Apps,
    event,
    identify,
    in_calls,
    mark_of,
    marks_in_effect,
    merge,
    only_in_v1,
    out_of_order,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon, until
from tests.support.stranger import Serve, hangs_up, make_certificate, resets, says, says_at_once, says_nothing

REQUEST_TIMEOUT_S = 0.7
TEN_MB = 10_000_000
YEAR_S, CAP_S = 31_536_000, 300
PAGE = b"<!DOCTYPE html><html><head><title>Please sign in</title></head></html>"
HTML = {"Content-Type": "text/html"}
NAME_TOO_LONG = ".".join(["track" * 12] * 5) + ".invalid"  # no resolver is asked for a name of 300 characters
NO_PROXY = {"no_proxy": "*", "NO_PROXY": "*"}

IsOver = Callable[[], bool]
Trouble = Callable[[Upstream], AbstractAsyncContextManager[IsOver]]


@asynccontextmanager
async def impatient(folder: Path, upstream: Upstream, **more: str) -> AsyncIterator[Daemon]:
    """A daemon that waits for an answer a little shorter than others."""
    environ = {"CIO_BUFFER__UPSTREAM__REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S), **more}
    daemon = Daemon(folder, upstream.url, environ=environ)
    try:
        async with daemon:
            yield daemon
    finally:
        print("the daemon said:", daemon.log.read_text()[-3_000:])


@pytest.fixture
async def daemon(folder: Path, upstream: Upstream) -> AsyncIterator[Daemon]:
    async with impatient(folder, upstream) as daemon:
        yield daemon


class Place(NamedTuple):
    """A daemon and its Customer.io, which have seen much together."""

    daemon: Daemon
    upstream: Upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[Place]:
    """For tests that want to know whether one more trouble ends well, too: the same process goes through all."""
    upstream = Upstream()
    try:
        await upstream.come_up()
        with TemporaryDirectory(prefix="cio-") as folder:
            async with impatient(Path(folder), upstream) as daemon:
                yield Place(daemon, upstream)
        await upstream.go_down()
    finally:
        upstream.let_go()


def lives(name: str = "person") -> Iterator[Act]:
    """What a few people do, under two names each, in both words."""
    kinds = [event, identify, event, only_in_v1, event, merge, identify, only_in_v1]
    for n, kind in enumerate(kinds):
        for k in range(4):
            person = f"{name}-{k}"
            mark, email = f"{person}/{n}", f"{person}@example.com"
            if kind is merge:
                yield merge(person, f"{person}-old", mark)
            elif kind is identify:
                yield identify(person, mark, email=email)
            elif n == 4:
                yield event(email, mark, kind="email")
            else:
                yield kind(person, mark)


async def say_all(apps: Apps, acts: Iterable[Act]) -> None:
    for words in in_calls(list(acts)):
        assert await apps.say(words)


def befalling(befall: Callable[[Upstream], None]) -> Trouble:
    """Customer.io has trouble of this kind, until it is used up or this ends."""

    @asynccontextmanager
    async def trouble(upstream: Upstream) -> AsyncIterator[IsOver]:
        befall(upstream)
        yield lambda: upstream.faults.left == 0
        upstream.faults.clear()

    return trouble


def answered(
    status: int, body: str | bytes = b"", *, times: int | None = 3, is_processed: bool = False, **headers: str
) -> Trouble:
    """So many requests are answered so; None is all of them. Underscores in the headers' names are dashes."""
    said = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    return befalling(
        lambda upstream: upstream.faults.answer(
            status, body=body, headers=said, is_processed=is_processed, requests=times
        )
    )


def taken(status: int, body: str | bytes = b"", *, times: int = 3, **headers: str) -> Trouble:
    """So many requests are processed, but nobody would know from their answers."""
    return answered(status, body, times=times, is_processed=True, **headers)


def met(serve: Serve, *, times: int = 3) -> Trouble:
    """For so many connections somebody else is there, who takes in nothing."""

    @asynccontextmanager
    async def trouble(upstream: Upstream) -> AsyncIterator[IsOver]:
        async with upstream.replaced_by(serve) as stranger:
            yield lambda: stranger.connections >= times

    return trouble


@asynccontextmanager
async def down(upstream: Upstream) -> AsyncIterator[IsOver]:
    """Nobody is there."""
    await upstream.go_down()
    yield lambda: True
    await upstream.come_up()


def complaint_about(index: object) -> str:
    return json.dumps({"errors": [{"batch_index": index, "reason": "invalid", "field": "name", "message": "bad"}]})


TROUBLES: dict[str, Trouble] = {
    "a page, 200": answered(200, PAGE, Content_Type="text/html"),
    "a page, 200, called JSON": answered(200, b"\n  " + PAGE),
    "a page before what was taken in": taken(200, PAGE, Content_Type="text/html"),
    "a page, 502": answered(502, PAGE, Content_Type="text/html"),
    "a page, 403": answered(403, PAGE, Content_Type="text/html"),
    "a page, 404": answered(404, PAGE, Content_Type="text/html"),
    "a page elsewhere": answered(302, PAGE, Content_Type="text/html", Location="http://127.0.0.1:9/login"),
    "a redirect to itself": answered(301, Location="/api/v2/batch"),
    "empty, 200": taken(200),
    "empty, 204": taken(204),
    "empty, 503": answered(503),
    "empty, 503, yet taken in": taken(503),
    "a 200 that says nothing": taken(200, "null"),
    "a 200 that says nothing we know": taken(200, '{"errors":{"0":"bad"},"meta":[]}'),
    "a 200 in a language of its own": taken(200, bytes(range(128, 256))),
    "cut, 200": taken(200, '{"err', times=2),
    "cut, 200, in a text": taken(200, b'{"errors":[{"batch_index":0,"message":"\xc3', times=2),
    "10 MB, 200": taken(200, b'{"note":"%s"}' % (b"x" * TEN_MB), times=2),
    "10 MB, 503": answered(503, b"x" * TEN_MB, times=2),
    "10 MB of page": answered(200, PAGE + b" " * TEN_MB, times=2),
    "wait until yesterday": answered(429, Retry_After=formatdate(1_700_000_000, usegmt=True)),
    "wait -5 s": answered(503, Retry_After="-5"),
    "wait a little": answered(429, Retry_After="a little"),
    "wait NaN": answered(503, Retry_After="NaN"),
    "a status nobody knows": answered(599),
    "torn before it is read": befalling(lambda upstream: upstream.faults.tear(requests=4)),
    "torn when it is processed": befalling(lambda upstream: upstream.faults.lose_answers(requests=4)),
    "torn in the answer": befalling(lambda upstream: upstream.faults.break_off(after_bytes=1, requests=4)),
    "slower than we wait": befalling(lambda upstream: upstream.faults.delay(2 * REQUEST_TIMEOUT_S, requests=2)),
    "byte by byte": befalling(lambda upstream: upstream.faults.trickle(chunk_bytes=1, pause_s=0.05, requests=4)),
    "taken and never answered": met(says_nothing, times=2),
    "hung up on": met(hangs_up),
    "reset": met(resets),
    "no HTTP": met(says_at_once(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "chunks of garbage": met(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")),
    "a length of text": met(says(b"HTTP/1.1 200 OK\r\nContent-Length: long\r\n\r\n{}")),
    "a head of 100 KB": met(says(b"HTTP/1.1 200 OK\r\nX: %s\r\n\r\n" % (b"x" * 100_000))),
    "gzip that is none": met(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")),
    "only a promise": met(says(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "another protocol": met(says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")),
}
"""After each of them everything is to be sent again, or is in effect already."""

PUZZLES: dict[str, Trouble] = {
    "a page, 400": answered(400, PAGE, Content_Type="text/html", times=1),
    "empty, 207": taken(207, times=1),
    "cut, 200, of what was not taken in": answered(200, '{"err', times=1),
    "cut, 207": taken(207, '{"errors":[{"batch_index":0,"rea', times=1),
    "10 MB, 207": taken(207, b'{"errors":[%s]}' % b",".join([complaint_about("x").encode()] * 100_000), times=1),
    "nested without end": taken(207, b'{"errors":' + b"[" * 100_000, times=1),
    "an index of text": taken(207, complaint_about("one"), times=1),
    "an index of -1": taken(207, complaint_about(-1), times=1),
    "an index of nobody": taken(207, complaint_about(10**30), times=1),
    "an index of 1.5": taken(207, complaint_about(1.5), times=1),
    "an index of null": taken(207, complaint_about(None), times=1),
    "an index of text, 200": taken(200, complaint_about("one"), times=1),
}
"""Somebody in the request is called bad, nobody knows who: said of one alone, it would be believed."""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [*TROUBLES, *PUZZLES])
async def test_a_bad_answer_loses_doubles_and_wedges_nothing(place: Place, name: str) -> None:
    """It meets a batch first, and what comes behind; then Customer.io is well."""
    daemon, upstream = place
    apps, before = Apps(daemon, random.Random(name)), await daemon.status()
    async with (TROUBLES | PUZZLES)[name](upstream) as is_over:
        await say_all(apps, lives(name))
        await until(is_over)
    assert_all_is_well(await daemon.until_empty(), apps, upstream, before=before)


def assert_all_is_well(
    status: dict[str, Any], apps: Apps, upstream: Upstream, *, before: dict[str, Any] | None = None
) -> None:
    """What these apps were acknowledged is in effect, events once, in order; the books agree, no trouble is left.

    `before`: the status before they spoke; None when there was nothing.
    """
    ledger, at_first = status["ledger"], before["ledger"] if before else Counter()
    news = {name: ledger[name] - at_first[name] for name in ("accepted", "delivered", "dead_lettered")}
    assert news == {"accepted": len(apps.acknowledged), "delivered": len(apps.acknowledged), "dead_lettered": 0}
    assert ledger["balanced"]
    arrived = [one for one in upstream.ledger.in_effect() if mark_of(one) in apps.said]
    marks = [mark_of(one) for one in arrived]
    assert set(marks) == apps.acknowledged.keys() == apps.said.keys()
    assert max(Counter(mark_of(one) for one in arrived if one.kind in EVENT_KINDS).values()) == 1
    assert out_of_order(apps, marks) == {}
    assert status["outbox"]["order_violations"] == 0
    assert (status["drain"]["paused"], status["upstream"]["trouble"], status["upstream"]["hint"]) == (None,) * 3
    if before:
        assert status["uptime_s"] > before["uptime_s"]  # it is still the same process


async def test_a_year_is_no_answer_to_when(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """A Retry-After of a year holds everything for five minutes and a bit at most; a restart does not wait."""
    upstream.faults.answer(429, headers={"Retry-After": str(YEAR_S)}, requests=1)
    await say_all(apps, lives())
    status = await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
    assert_said(daemon, status, paused="outage", trouble="throttled")
    assert CAP_S - 5 <= status["upstream"]["next_try_in_s"] <= 1.1 * CAP_S
    assert await daemon.stop() == 0
    await daemon.start()
    assert_all_is_well(await daemon.until_empty(), apps, upstream)


HOLDS: dict[str, tuple[Trouble, str, str]] = {
    "a wrong key": (
        answered(401, times=None),
        "credentials",
        "credentials_rejected",
    ),
    "403 for all": (answered(403, PAGE, times=None), "credentials", "forbidden"),
    "404 for all": (answered(404, PAGE, times=None), "outage", "not_found"),
    "a redirect": (answered(301, times=None, Location="https://track-eu.customer.io/"), "outage", "redirected"),
    "a page, 200": (answered(200, PAGE, times=None, Content_Type="text/html"), "outage", "not_customer_io"),
    "503": (answered(503, times=None), "outage", "unavailable"),
    "429": (answered(429, times=None), "outage", "throttled"),
    "torn": (befalling(lambda upstream: upstream.faults.tear()), "outage", "torn"),
    "hung up on": (met(hangs_up), "outage", "torn"),
    "no answer": (met(says_nothing), "outage", "timeout"),
    "nobody there": (down, "outage", "connect"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", HOLDS)
async def test_trouble_holds_everything_says_so_and_ends_by_itself(place: Place, name: str) -> None:
    trouble, paused, word = HOLDS[name]
    daemon, upstream = place
    apps, before = Apps(daemon, random.Random(name)), await daemon.status()
    async with trouble(upstream):
        await say_all(apps, lives(f"held by {name}"))
        status = await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
        assert (status["drain"]["paused"], status["upstream"]["trouble"]) == (paused, word)
        assert len(status["upstream"]["hint"]) > 40
        await say_all(apps, [event("newcomer", f"newcomer/{name}")])  # whoever comes is taken in
    assert_all_is_well(await daemon.until_empty(), apps, upstream, before=before)


def assert_said(daemon: Daemon, status: dict[str, Any], *, paused: str, trouble: str) -> None:
    """Everything is held, and the status says why and what to do; the log does, too."""
    assert (status["drain"]["paused"], status["upstream"]["trouble"]) == (paused, trouble)
    assert len(status["upstream"]["hint"]) > 40
    told = [line["hint"] for line in daemon.log_lines() if line.get("reason") == trouble]
    assert told == [status["upstream"]["hint"]]


async def test_what_is_no_entrys_fault_spends_no_attempt(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """Neither of what is delivered in the end, nor of what is refused: that was tried once."""
    await say_all(apps, lives("before"))
    await daemon.until_empty()
    assert await apps.say([event("doomed", "doomed/0"), event("doomed", "doomed/1")])
    for status in (401, 403, 404, 301, 403, 401):
        upstream.faults.clear()
        upstream.faults.answer(status, headers=HTML, body=PAGE)
        met = upstream.ledger.requests_total
        await say_all(apps, [event("ann", f"ann/{status}/{met}"), only_in_v1("bob", f"bob/{status}/{met}")])
        await until(lambda met=met: upstream.ledger.requests_total >= met + 4)
    upstream.faults.clear()
    upstream.faults.refuse(lambda body: "doomed" in str(body))
    assert (await daemon.until_empty())["ledger"]["dead_lettered"] == 2
    await daemon.stop()
    assert [letter.attempts for letter in await daemon.dead_letters()] == [1, 1]


def attempts_spent(store: Path) -> int:
    """The most that any entry in the file has to its name."""
    with closing(sqlite3.connect(store)) as file:
        both = "SELECT attempts FROM event UNION ALL SELECT attempts FROM parked"
        return int(file.execute(f"SELECT coalesce(max(attempts), 0) FROM ({both})").fetchone()[0])


async def test_a_certificate_that_nobody_signed_is_not_spoken_to(folder: Path, upstream: Upstream) -> None:
    """Until the right one is shown."""
    wrong, right = make_certificate(folder, "wrong"), make_certificate(folder, "right")
    await upstream.go_down()
    await upstream.start(port=upstream.port, tls=wrong)
    url = upstream.url.replace("http:", "https:")
    async with Daemon(folder, url, environ=NO_PROXY | {"SSL_CERT_FILE": str(folder / "right.crt")}) as daemon:
        apps = Apps(daemon, random.Random(0))
        assert await apps.say([event("ann", "first"), event("bob", "second")])
        status = await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
        assert_said(daemon, status, paused="outage", trouble="tls")
        assert upstream.ledger.requests_total == 0
        await upstream.go_down()
        await upstream.start(port=upstream.port, tls=right)
        assert_all_is_well(await daemon.until_empty(), apps, upstream)


async def test_a_name_that_means_nothing_holds_until_it_is_mended(folder: Path, upstream: Upstream) -> None:
    (folder / "key").write_text("key")
    named = {"CIO_BUFFER__UPSTREAM__TRACK_API_KEY_FILE": str(folder / "key"), "CIO_BUFFER__UPSTREAM__TRACK_API_KEY": ""}
    async with Daemon(folder, f"https://{NAME_TOO_LONG}", environ=NO_PROXY | named) as daemon:
        apps = Apps(daemon, random.Random(0))
        await say_all(apps, [event("ann", "first"), only_in_v1("bob", "second")])
        status = await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
        assert_said(daemon, status, paused="outage", trouble="dns")
        assert await daemon.stop() == 0
        daemon.config.write_text(daemon.config.read_text().replace(f"https://{NAME_TOO_LONG}", upstream.url))
        await daemon.start()
        assert_all_is_well(await daemon.until_empty(), apps, upstream)


async def test_a_v1_call_that_is_nowhere_is_a_dead_letter_while_others_pass(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    """Customer.io has no such call, and that says nothing about the rest of ann's, or of others'."""
    upstream.faults.block(lambda body: "lost" in str(body), 404, body=b"404 page not found\n")
    assert await apps.say([only_in_v1("ann", "lost")])
    for n in range(20):
        assert await apps.say([(only_in_v1 if n % 4 else event)("bob" if n % 2 else "ann", f"{n:02}")])
    status = await daemon.until_empty()
    assert sorted(marks_in_effect(upstream)) == [f"{n:02}" for n in range(20)]
    assert out_of_order(apps, marks_in_effect(upstream)) == {}
    assert (status["ledger"]["dead_lettered"], status["drain"]["paused"]) == (1, None)
    await daemon.stop()
    (letter,) = await daemon.dead_letters()
    assert (letter.reason, letter.status) == ("refused", 404)


async def test_a_404_for_every_call_is_no_calls_fault(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """Nothing but v1 calls, at an address that is no Track API: they wait."""
    upstream.faults.answer(404, body=b"404 page not found\n")
    for n in range(5):
        assert await apps.say([only_in_v1(f"person-{n}", f"person-{n}/0")])
    status = await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
    assert_said(daemon, status, paused="outage", trouble="not_found")
    await until(lambda: upstream.ledger.requests_total >= 12)
    assert (await daemon.status())["ledger"]["dead_lettered"] == 0
    upstream.faults.clear()
    assert_all_is_well(await daemon.until_empty(), apps, upstream)


LOST: dict[str, Trouble] = {
    "torn": befalling(lambda upstream: upstream.faults.lose_answers(requests=1)),
    "too late": befalling(lambda upstream: upstream.faults.delay(2 * REQUEST_TIMEOUT_S, requests=1)),
    "torn in the answer": befalling(lambda upstream: upstream.faults.break_off(after_bytes=1, requests=1)),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", LOST)
async def test_lost_answers_are_counted_and_their_operations_sent_again_as_they_were(place: Place, name: str) -> None:
    daemon, upstream = place
    apps, before = Apps(daemon, random.Random(name)), await daemon.status()
    people = [f"person-{n} {name}" for n in range(5)]
    async with LOST[name](upstream) as is_over:
        assert await apps.say([event(person, f"lost/{person}") for person in people])
        await until(is_over)
        status = await daemon.until_empty()
    assert status["upstream"]["ambiguous"] == before["upstream"]["ambiguous"] + len(people)
    assert_all_is_well(status, apps, upstream, before=before)
    for mark in apps.said:
        first, *again = [one.body for one in upstream.ledger.arrivals if mark_of(one) == mark]
        assert again == [first]
        assert first["id"]
        assert first["timestamp"]


async def test_what_certainly_was_not_taken_in_is_not_called_ambiguous(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    upstream.faults.answer(503, requests=2)
    upstream.faults.answer(429, requests=1)
    await upstream.go_down()
    assert await apps.say([event(f"person-{n}", f"{n}") for n in range(5)])
    await daemon.until(lambda seen: seen["drain"]["paused"] is not None)
    await upstream.come_up()
    assert (await daemon.until_empty())["upstream"]["ambiguous"] == 0


async def test_all_that_was_said_of_an_operation_is_kept(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    said = [
        {"batch_index": 1, "reason": "required", "field": "name", "message": "name is required"},
        {"batch_index": 1, "reason": "invalid", "field": "timestamp", "message": "timestamp must be a number"},
    ]
    upstream.faults.answer(207, body=json.dumps({"errors": said}), requests=1)
    assert await apps.say([event("ann", "good"), event("bob", "bad")])
    await daemon.until_empty()
    await daemon.stop()
    (letter,) = await daemon.dead_letters()
    assert (letter.reason, letter.status) == ("refused", 207)
    for one in said:
        assert str(one["reason"]) in letter.vendor_reason
        assert str(one["field"]) in letter.field
        assert str(one["message"]) in letter.message
    assert json.loads(letter.body)["attributes"]["mark"] == "bad"
