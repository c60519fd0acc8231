"""A call that was stored and whose answer was lost is known when it comes again, and nothing else is."""

import asyncio
import select
import socket
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_buffer.errors import OutboxUnavailable
from cio_buffer.http import connection
from cio_buffer.ingest import repeats as module
from cio_buffer.ingest.repeats import NOTE_AFTER_S, Repeats, fingerprint
from cio_buffer.outbox.entry import ANSWER_KEPT_S, AppCall
from tests.server.wire import ask, connect, is_closed, read_reply, request
from tests.support.clock import FakeClock
from tests.support.process import until

from .rooms import STAMP, StubOutbox

ONE, OTHER = fingerprint("", b"one"), fingerprint("", b"other")


class Caller:
    """A connection, as `Repeats` sees it."""

    def __init__(self):
        self.has_left = self.is_gone = False
        self.on_heard = self.on_unheard = None

    def leaves(self):
        """Hangs up, perhaps with an answer that it has not read."""
        self.has_left = self.is_gone = True
        if self.on_unheard:
            self.on_unheard()
        self.on_heard = self.on_unheard = None

    def asks_again(self):
        """Sends its next request, so that it has read the answer to the one before."""
        self.on_heard = self.on_unheard = None

    def half_closes(self):
        """Says no more, and listens."""
        self.has_left = True

    def hears(self):
        """Reads the answer after that."""
        if self.on_heard:
            self.on_heard()


class Desk:
    """Calls and repeats of them, on a `Repeats` with a stub of an outbox."""

    def __init__(self):
        self.outbox = StubOutbox()
        self.clock = FakeClock(STAMP)
        self.repeats = Repeats(self.outbox, self.clock)

    async def call(self, mark=ONE, *, caller=None, is_repeat=False):
        """Have it answered; returns who asked."""
        caller = caller or Caller()
        await self.repeats.store_once(mark, caller, partial(self.outbox.append, ["entry"]), is_repeat=is_repeat)
        return caller

    async def lose(self, mark=ONE, *, is_repeat=False):
        """Have it answered, and the answer lost."""
        (await self.call(mark, is_repeat=is_repeat)).leaves()

    async def begin(self, mark=ONE, *, is_repeat=False):
        """A call that is still under way: (who asked, what becomes of it)."""
        caller = Caller()
        ends = asyncio.ensure_future(self.call(mark, caller=caller, is_repeat=is_repeat))
        before = self.under_way
        await until(lambda: self.under_way > before)
        await asyncio.sleep(0)
        return caller, ends

    @property
    def under_way(self):
        return sum(map(len, self.repeats._under_way.values()))

    @property
    def stored(self):
        return len(self.outbox.entries)


@pytest.fixture
def desk():
    return Desk()


async def test_a_call_is_stored_with_what_it_is_known_by(desk):
    caller = await desk.call()
    (call,) = desk.outbox.calls
    assert (call.fingerprint, call.at_s, call.is_answered) == (ONE, STAMP, True)
    caller.leaves()
    assert not call.is_answered


async def test_an_answer_that_was_lost_after_all_is_noted_in_the_store(desk):
    caller = await desk.call()
    assert desk.outbox.noted_losses == []
    caller.leaves()
    assert desk.outbox.noted_losses == desk.outbox.calls


async def test_a_repeat_of_what_never_arrived_is_stored(desk):
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 0)


async def test_a_repeat_is_not_stored_whose_first_answer_was_not_read(desk):
    await desk.lose()
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 1)
    assert desk.outbox.calls[0].is_answered


async def test_a_repeat_is_not_stored_whose_first_caller_had_left_before_it_was(desk):
    desk.outbox.may_store.clear()
    caller, ends = await desk.begin()
    caller.leaves()
    desk.outbox.may_store.set()
    await ends
    assert (caller.on_unheard, desk.outbox.calls[0].is_answered) == (None, False)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 1)


async def test_a_repeat_takes_over_what_is_still_being_stored(desk):
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.leaves()
    other, second = await desk.begin(is_repeat=True)
    assert not second.done()
    desk.outbox.may_store.set()
    await asyncio.gather(first, second)
    assert (desk.stored, desk.repeats.found) == (1, 1)
    assert desk.outbox.calls[0].is_answered
    other.leaves()
    assert not desk.outbox.calls[0].is_answered


async def test_a_repeat_does_not_take_over_from_one_who_still_waits(desk):
    """That is another call, which happens to be equal."""
    desk.outbox.may_store.clear()
    _, first = await desk.begin()
    _, second = await desk.begin(is_repeat=True)
    desk.outbox.may_store.set()
    await asyncio.gather(first, second)
    assert (desk.stored, desk.repeats.found) == (2, 0)


async def test_only_one_repeat_takes_over(desk):
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.leaves()
    ends = [(await desk.begin(is_repeat=True))[1] for _ in range(3)]
    desk.outbox.may_store.set()
    await asyncio.gather(first, *ends)
    assert (desk.stored, desk.repeats.found) == (3, 1)


async def test_a_repeat_that_gave_up_waiting_is_repeated_itself(desk):
    desk.outbox.may_store.clear()
    ends = []
    for is_repeat in (False, True, True, True):
        caller, end = await desk.begin(is_repeat=is_repeat)
        ends.append(end)
        caller.leaves()
    desk.outbox.may_store.set()
    await asyncio.gather(*ends)
    assert (desk.stored, desk.repeats.found) == (1, 3)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 4)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2, 4)


async def test_what_could_not_be_stored_is_not_found(desk):
    desk.outbox.trouble = OutboxUnavailable()
    caller = Caller()
    with pytest.raises(OutboxUnavailable):
        await desk.call(caller=caller)
    assert caller.on_unheard is None
    caller.leaves()
    desk.outbox.trouble = None
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 0)
    assert desk.under_way == 0


async def test_a_repeat_stores_what_it_waited_for_in_vain(desk):
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.leaves()
    _, second = await desk.begin(is_repeat=True)
    desk.outbox.trouble, desk.outbox.fails_once = OutboxUnavailable(), True
    desk.outbox.may_store.set()
    with pytest.raises(OutboxUnavailable):
        await first
    await second
    assert (desk.stored, desk.repeats.found) == (1, 0)
    assert desk.under_way == 0


async def test_the_trouble_of_a_repeat_is_its_own(desk):
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.leaves()
    _, second = await desk.begin(is_repeat=True)
    desk.outbox.trouble = OutboxUnavailable()
    desk.outbox.may_store.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutboxUnavailable] * 2
    assert (desk.stored, desk.under_way) == (0, 0)


async def test_two_equal_calls_that_do_not_say_that_they_repeat_are_two(desk):
    await desk.lose()
    await desk.lose()
    await desk.call()
    assert (desk.stored, desk.repeats.found) == (3, 0)


async def test_a_repeat_of_what_was_heard_is_stored(desk):
    caller = await desk.call()
    caller.asks_again()
    caller.leaves()
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2, 0)


async def test_one_who_half_closed_counts_as_lost_until_it_turns_out_to_have_heard(desk):
    desk.outbox.may_store.clear()
    caller, ends = await desk.begin()
    caller.half_closes()
    desk.outbox.may_store.set()
    await ends
    assert not desk.outbox.calls[0].is_answered
    caller.hears()
    assert desk.outbox.calls[0].is_answered
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2, 0)


async def test_a_repeat_waits_until_it_is_known_whether_one_who_half_closed_has_heard(desk):
    desk.outbox.may_store.clear()
    caller, ends = await desk.begin()
    caller.half_closes()
    desk.outbox.may_store.set()
    await ends
    _, repeat = await desk.begin(is_repeat=True)
    await asyncio.sleep(0)
    assert not repeat.done()
    caller.leaves()
    await repeat
    assert (desk.stored, desk.repeats.found) == (1, 1)


async def test_a_repeat_does_not_take_over_from_one_who_half_closed_and_hears(desk):
    """An equal call of somebody else, the first attempt of which never came."""
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.half_closes()
    _, second = await desk.begin(is_repeat=True)
    desk.outbox.may_store.set()
    await first
    caller.hears()
    await second
    assert desk.stored == 2


async def test_a_repeat_of_something_else_is_stored(desk):
    await desk.lose()
    await desk.call(OTHER, is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2, 0)


async def test_what_was_lost_is_found_once_only(desk):
    await desk.lose()
    for _ in range(3):
        await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (3, 1)


async def test_each_of_several_losses_is_found_once(desk):
    for _ in range(3):
        await desk.lose()
    for _ in range(5):
        await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (5, 3)


@pytest.mark.parametrize(("seconds", "found"), [(0, 1), (ANSWER_KEPT_S, 1), (ANSWER_KEPT_S + 0.1, 0)])
async def test_what_was_lost_is_forgotten_after_a_minute(desk, seconds, found):
    await desk.lose()
    desk.clock.advance(seconds)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2 - found, found)


async def test_a_clock_that_is_set_changes_nothing(desk):
    await desk.lose()
    desk.clock.jump(10_000)
    await desk.call(is_repeat=True)
    assert desk.repeats.found == 1


async def test_what_is_forgotten_leaves_nothing_behind(desk):
    for _ in range(3):
        await desk.lose()
        await desk.lose(OTHER)
    desk.clock.advance(ANSWER_KEPT_S + 0.1)
    await desk.call(OTHER, is_repeat=True)
    assert (desk.repeats._lost, len(desk.repeats._losses), desk.repeats._under_way) == ({}, 0, {})


async def test_a_repeat_whose_answer_is_lost_too_is_found_when_it_comes_again(desk):
    await desk.lose()
    for _ in range(4):
        desk.clock.advance(10)
        await desk.lose(is_repeat=True)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 5)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (2, 5)


async def test_a_repeat_whose_answer_is_lost_is_remembered_for_a_minute_too(desk):
    await desk.lose()
    desk.clock.advance(50)
    await desk.lose(is_repeat=True)
    desk.clock.advance(50)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 2)


async def test_what_was_unanswered_before_a_crash_is_found(desk):
    desk.outbox.lost_before = [AppCall(fingerprint=mark, at_s=STAMP - 5) for mark in (ONE, OTHER, ONE)]
    desk.repeats = Repeats(desk.outbox, desk.clock)
    for mark in (ONE, ONE, OTHER):
        await desk.call(mark, is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (0, 3)
    assert all(call.is_answered for call in desk.outbox.lost_before)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 3)


async def test_what_was_unanswered_before_a_crash_is_forgotten_too(desk):
    desk.outbox.lost_before = [AppCall(fingerprint=ONE, at_s=STAMP - 5)]
    desk.repeats = Repeats(desk.outbox, desk.clock)
    desk.clock.advance(ANSWER_KEPT_S + 0.1)
    await desk.call(is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (1, 0)


async def test_of_too_many_losses_the_oldest_are_forgotten(desk, monkeypatch):
    monkeypatch.setattr(module, "LOST_MAX", 5)
    marks = [fingerprint("", b"%d" % number) for number in range(8)]
    for mark in marks:
        await desk.lose(mark)
    assert sum(map(len, desk.repeats._lost.values())) == 5
    for mark in reversed(marks[4:]):
        await desk.call(mark, is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (8, 4)
    for mark in marks[:3]:
        await desk.call(mark, is_repeat=True)
    assert (desk.stored, desk.repeats.found) == (8 + 3, 4)


async def test_a_repeat_that_is_cut_short_leaves_the_call_unanswered(desk):
    """At a stop: the store remembers it for the next start."""
    desk.outbox.may_store.clear()
    caller, first = await desk.begin()
    caller.leaves()
    _, second = await desk.begin(is_repeat=True)
    second.cancel()
    desk.outbox.may_store.set()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (desk.stored, desk.outbox.calls[0].is_answered, desk.under_way) == (1, False, 0)


class HeldClock(FakeClock):
    """Sleeps until it is told to wake up."""

    def __init__(self):
        super().__init__()
        self.asleep_for = []
        self.wakes = asyncio.Event()

    async def sleep(self, seconds):
        self.asleep_for.append(seconds)
        await self.wakes.wait()
        self.wakes.clear()


async def test_answers_are_noted_after_a_rest_many_at_once():
    desk = Desk()
    desk.clock = HeldClock()
    desk.repeats = Repeats(desk.outbox, desk.clock)
    running = asyncio.ensure_future(desk.repeats.run())
    for rests in (1, 2):
        for _ in range(3):
            await desk.call()
        await until(lambda: len(desk.clock.asleep_for) == rests)  # noqa: B023 - it is awaited here
        await desk.call()
        assert desk.outbox.notes == rests - 1
        desk.clock.wakes.set()
        await until(lambda: desk.outbox.notes == rests)  # noqa: B023
    assert desk.clock.asleep_for == [NOTE_AFTER_S] * 2
    await desk.call(caller=gone())
    await settle()
    assert len(desk.clock.asleep_for) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def gone():
    caller = Caller()
    caller.has_left = True
    return caller


async def settle():
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_fingerprint_is_the_same_in_every_process_and_tells_head_from_body():
    """It is stored, and looked for by the next process."""
    assert fingerprint("Basic x\nPOST /a", b"{}").hex() == "85263ab03c765e33"
    parts = [("", b""), ("a", b""), ("", b"a"), ("a", b"b"), ("ab", b""), ("\udcff", b""), ("a\nb", b"")]
    assert len({fingerprint(*some) for some in parts}) == len(parts)
    assert all(len(fingerprint(*some)) == 8 for some in parts)


class App:
    """One operation of an app, sent again until an answer is heard. `caller` is None where the request got lost."""

    def __init__(self):
        self.caller = None
        self.ends = None
        self.is_heard = False

    @property
    def is_waiting(self):
        return self.ends is not None and not self.caller.has_left

    @property
    def may_repeat(self):
        return not self.is_heard and not self.is_waiting


class Day:
    """Apps that all ask for the same, on a network and a store that fail as they are told to."""

    def __init__(self):
        self.desk = Desk()
        self.apps = []
        self.storing = []
        self.stored = self.losses = 0

    async def store(self, call):
        done = asyncio.get_running_loop().create_future()
        self.storing.append(done)
        await done
        self.stored += 1

    def send(self, app, *, is_repeat):
        app.caller = Caller()
        store_once = self.desk.repeats.store_once(ONE, app.caller, self.store, is_repeat=is_repeat)
        app.ends = asyncio.ensure_future(store_once)

    def ask(self, number):
        self.apps.append(App())
        self.send(self.apps[-1], is_repeat=False)

    def ask_in_vain(self, number):
        self.apps.append(App())

    def repeat(self, number):
        if app := self.pick(number, [app for app in self.apps if app.may_repeat]):
            self.send(app, is_repeat=True)

    def finish(self, number):
        if done := self.pick(number, self.storing):
            self.storing.remove(done)
            done.set_result(None)

    def fail(self, number):
        if done := self.pick(number, self.storing):
            self.storing.remove(done)
            done.set_exception(OutboxUnavailable())

    def leave(self, number):
        if app := self.pick(number, [app for app in self.apps if app.is_waiting]):
            self.losses += 1
            app.caller.leaves()

    def hear(self, number):
        """An app reads its answer, if there is one: 200, or 503, after which it may repeat."""
        if app := self.pick(number, [app for app in self.apps if app.is_waiting and app.ends.done()]):
            app.is_heard = app.ends.exception() is None
            app.caller.asks_again()
            app.ends = None

    def wait(self, number):
        self.desk.clock.advance(number)

    def pick(self, number, some):
        return some[number % len(some)] if some else None

    async def check(self):
        await settle()
        heard = sum(app.is_heard for app in self.apps)
        assert heard <= self.stored, "a 200 was heard for what is not stored"
        assert self.desk.repeats.found <= self.losses, "more repeats were swallowed than calls were lost"

    async def end(self):
        """All goes well at last."""
        for _ in range(10 * len(self.apps) + 10):
            for number in range(len(self.apps) + len(self.storing)):
                self.finish(number)
                await settle()
                self.hear(number)
                self.repeat(number)
            await self.check()
        assert all(app.is_heard for app in self.apps)
        assert (self.desk.under_way, self.storing) == (0, [])


WAYS = ["ask", "ask", "ask_in_vain", "repeat", "repeat", "finish", "finish", "fail", "leave", "leave", "hear"]
steps = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 5)), max_size=40)
waits = st.lists(st.tuples(st.sampled_from([*WAYS, "wait"]), st.integers(0, 40)), max_size=40)


async def live(done):
    day = Day()
    for way, number in done:
        getattr(day, way)(number)
        await day.check()
    await day.end()
    return day


@settings(max_examples=300, deadline=None)
@given(steps)
def test_whatever_happens_within_a_minute_each_operation_is_stored_once(done):
    day = asyncio.run(live(done))
    assert day.stored == len(day.apps)


@settings(max_examples=200, deadline=None)
@given(waits)
def test_whatever_happens_no_operation_is_lost_and_no_repeat_swallowed_too_many(done):
    """What takes longer may be stored again, as repeats go: at least once."""
    day = asyncio.run(live(done))
    assert day.stored >= len(day.apps)


# Through real sockets

EVENT = "/api/v1/customers/5/events"
FIRST = request("POST", EVENT, b'{"name":"bought"}')
REPEAT = request("POST", EVENT, b'{"name":"bought"}', "Host: localhost", "X-Retry-Count: 1")


says_so = pytest.mark.parametrize(("again", "stored"), [(REPEAT, 1), (FIRST, 2)], ids=["says so", "does not"])
"""How a call comes again, and how many are stored then."""


async def vanish(server, address, outbox, sent=FIRST):
    """Somebody asks, and is gone while it is being stored."""
    outbox.was_asked.clear()
    outbox.may_store.clear()
    async with connect(address) as (_, writer):
        writer.write(sent)
        await outbox.was_asked.wait()
    await until(lambda: all(one.has_left for one in server._http.connections))


@says_so
async def test_one_who_vanished_while_it_was_stored_and_repeats(server, address, outbox, again, stored):
    await vanish(server, address, outbox)
    outbox.may_store.set()
    await until(lambda: len(outbox.entries) == 1)
    reply = await ask(address, again)
    assert (reply.status, reply.body) == (200, b"{}\n")
    assert len(outbox.entries) == stored


@says_so
async def test_one_who_repeats_while_it_is_still_being_stored(server, address, outbox, again, stored):
    await vanish(server, address, outbox)
    repeated = asyncio.ensure_future(ask(address, again))
    await until(lambda: sum(one._request_in_progress for one in server._http.connections) == 2)
    assert not repeated.done()
    outbox.may_store.set()
    assert (await repeated).status == 200
    assert len(outbox.entries) == stored


async def test_one_who_repeats_what_could_not_be_stored(server, address, outbox, repeats):
    await vanish(server, address, outbox)
    outbox.trouble = OutboxUnavailable()
    outbox.may_store.set()
    await until(lambda: not server._http.connections)
    assert (await ask(address, REPEAT)).status == 503
    outbox.trouble = None
    assert (await ask(address, REPEAT)).status == 200
    assert (len(outbox.entries), repeats.found) == (1, 0)


def reset_unread(address, sent, *, lingers=False, heard=()):
    """Ask, wait for the answer, and hang up without reading it. What is `heard` is asked before, and answered."""
    sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    with sock:
        sock.connect(address)
        if not lingers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for asked in heard:
            sock.sendall(asked)
            assert sock.recv(1_000).endswith(b"{}\n")
        sock.sendall(sent)
        assert select.select([sock], [], [], 5)[0], "an answer came"


@says_so
async def test_an_answer_that_was_not_read_was_not_given(server, address, outbox, again, stored):
    for lingers in (False, True):
        outbox.entries.clear()
        await asyncio.to_thread(reset_unread, address, FIRST, lingers=lingers)
        await until(lambda: not server._http.connections)
        assert not outbox.calls[-1].is_answered
        assert (await ask(address, again)).status == 200
        assert len(outbox.entries) == stored


async def test_of_several_calls_on_a_connection_only_the_last_was_not_heard(server, address, outbox):
    """Whoever asks the next thing has read the answer before."""
    *heard, last = (request("PUT", f"/api/v1/customers/{number}", b"{}") for number in range(3))
    await asyncio.to_thread(reset_unread, address, last, heard=heard)
    await until(lambda: not server._http.connections)
    assert [call.is_answered for call in outbox.calls] == [True, True, False]


async def test_a_reset_that_comes_late_is_not_about_the_answer(server, address, outbox, monkeypatch):
    """Connections that are kept are reset at any time: a restart of the app, a network that changes."""
    monkeypatch.setattr(connection, "DOUBT_S", 0.0)
    await asyncio.to_thread(reset_unread, address, FIRST)
    await until(lambda: not server._http.connections)
    assert outbox.calls[0].is_answered


async def test_a_refusal_that_was_not_read_makes_no_loss_of_the_call_before(server, address, outbox):
    await asyncio.to_thread(reset_unread, address, request("POST", EVENT, b"{}"), heard=[FIRST])
    await until(lambda: not server._http.connections)
    assert outbox.calls[0].is_answered
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 2


async def test_one_who_resets_the_connection_while_it_is_stored_is_a_loss(server, outbox):
    address = await server.listen_tcp("127.0.0.1", 0)
    outbox.may_store.clear()
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(FIRST)
        await outbox.was_asked.wait()
    await until(lambda: all(one.transport is None for one in server._http.connections))
    outbox.may_store.set()
    await until(lambda: len(outbox.entries) == 1)
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 1


async def test_an_answer_that_was_read_is_no_loss(server, address, outbox, repeats):
    async with connect(address) as (reader, writer):
        writer.write(FIRST)
        assert (await read_reply(reader)).status == 200
    await until(lambda: not server._http.connections)
    assert outbox.calls[0].is_answered
    assert (await ask(address, REPEAT)).status == 200
    assert (len(outbox.entries), repeats.found) == (2, 0)


DIFFERENT = {
    "another path": request(
        "POST", "/api/v1/customers/6/events", b'{"name":"bought"}', "Host: localhost", "X-Retry-Count: 1"
    ),
    "another query": request("POST", EVENT + "?a", b'{"name":"bought"}', "Host: localhost", "X-Retry-Count: 1"),
    "another body": request("POST", EVENT, b'{"name":"bought" }', "Host: localhost", "X-Retry-Count: 1"),
    "other credentials": request(
        "POST",
        EVENT,
        b'{"name":"bought"}',
        "Host: localhost",
        "X-Retry-Count: 1",
        "Authorization: Basic c2l0ZTprZXk=",
    ),
}


async def test_what_has_another_method_is_no_repeat(server, address, outbox):
    await asyncio.to_thread(reset_unread, address, request("PUT", "/api/v1/customers/5", b"{}"))
    await until(lambda: not server._http.connections)
    headers = ("Host: localhost", "X-Retry-Count: 1")
    assert (await ask(address, request("DELETE", "/api/v1/customers/5", b"{}", *headers))).status == 200
    assert [said["action"] for said in outbox.said] == ["identify", "delete"]


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT.keys())
async def test_what_differs_in_anything_is_no_repeat(server, address, outbox, other):
    await asyncio.to_thread(reset_unread, address, FIRST)
    await until(lambda: not server._http.connections)
    assert (await ask(address, other)).status == 200
    assert len(outbox.entries) == 2


@pytest.mark.parametrize(
    ("count", "stored"),
    [
        ("1", 1),
        ("2", 1),
        ("3", 1),
        ("10", 1),
        ("01", 1),
        ("0", 2),
        ("", 2),
        ("-1", 2),
        ("1.5", 2),
        ("x", 2),
        ("1" * 99, 2),
    ],
)
async def test_a_repeat_says_so_by_a_number_above_0(server, address, outbox, count, stored):
    await asyncio.to_thread(reset_unread, address, FIRST)
    await until(lambda: not server._http.connections)
    header = f"X-Retry-Count: {count}"
    assert (await ask(address, request("POST", EVENT, b'{"name":"bought"}', "Host: localhost", header))).status == 200
    assert len(outbox.entries) == stored


async def test_a_repeat_of_a_batch_is_answered_like_the_batch(server, address, outbox):
    operation = b'{"type":"person","action":"delete","identifiers":{"id":"5"}}'
    body = b'{"batch":[%b,{"type":"person"},%b]}' % (operation, operation)
    await asyncio.to_thread(reset_unread, address, request("POST", "/api/v2/batch", body))
    await until(lambda: not server._http.connections)
    sent = request("POST", "/api/v2/batch", body, "Host: localhost", "X-Retry-Count: 1")
    replies = [await ask(address, sent) for _ in range(2)]
    assert [reply.status for reply in replies] == [207, 207]
    assert replies[0].json == replies[1].json
    assert replies[0].json["errors"][0]["batch_index"] == 1
    assert len(outbox.entries) == 4


async def test_what_is_refused_is_refused_again(server, address, outbox):
    wrong = request("POST", EVENT, b"{}", "Host: localhost", "X-Retry-Count: 1")
    await asyncio.to_thread(reset_unread, address, request("POST", EVENT, b"{}"))
    assert [(await ask(address, wrong)).status for _ in range(2)] == [400, 400]
    assert outbox.calls == []


async def test_one_who_vanished_before_its_body_came_is_not_stored(server, address, outbox):
    async with connect(address) as (_, writer):
        writer.write(FIRST[:-5])
        await until(lambda: len(server._http.connections) == 1)
    await until(lambda: not server._http.connections)
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 1


async def test_one_who_half_closed_and_heard_is_no_loss(server, address, outbox):
    """Else an equal call of somebody else, whose first attempt never came, is swallowed: two 200s, one event."""
    async with connect(address) as (reader, writer):
        writer.write(FIRST)
        writer.write_eof()
        assert (await read_reply(reader)).status == 200
        assert await is_closed(reader)
    await until(lambda: not server._http.connections)
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 2


async def test_one_who_half_closed_after_several_calls_and_heard_all_is_no_loss(server, address, outbox):
    other = request("PUT", "/api/v1/customers/5", b"{}")
    outbox.may_store.clear()
    async with connect(address) as (reader, writer):
        writer.write(FIRST + other)
        writer.write_eof()
        await until(lambda: [one.has_left for one in server._http.connections] == [True])
        outbox.may_store.set()
        assert [(await read_reply(reader)).status for _ in range(2)] == [200, 200]
        assert await is_closed(reader)
    await until(lambda: not server._http.connections)
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 3


async def test_one_who_half_closed_and_vanished_is_a_loss(server, address, outbox):
    outbox.may_store.clear()
    async with connect(address) as (_, writer):
        writer.write(FIRST)
        writer.write_eof()
        await outbox.was_asked.wait()
    outbox.may_store.set()
    await until(lambda: not server._http.connections)
    assert not outbox.calls[0].is_answered
    assert (await ask(address, REPEAT)).status == 200
    assert len(outbox.entries) == 1
