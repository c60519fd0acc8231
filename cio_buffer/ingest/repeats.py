"""Knows the repeat of a call that was stored and whose answer did not arrive, so that it is not stored twice.

Only calls that are told to be repeats (`X-Retry-Count`) are looked up, and only calls whose answer was lost are found,
each once: two genuine calls that are equal to the byte are never taken for one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b
from typing import Protocol

from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.outbox.contract import Outbox
from cio_buffer.outbox.entry import ANSWER_KEPT_S, AppCall

LOST_MAX = 10_000
NOTE_AFTER_S = 0.1
"""After this much rest the store writes down which answers were given: a crash in that time makes them doubtful."""


class Caller(Protocol):
    """The connection that a call came by."""

    has_left: bool
    on_unheard: Callable[[], None] | None


class UnderWay(Struct, eq=False):
    """A call that is being stored. `taker`: a repeat of it that waits for what becomes of it."""

    caller: Caller
    taker: "asyncio.Future[AppCall | None] | None" = None


class Repeats:
    """Remembers, for a minute, the calls that were stored and whose answers were lost."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock
        self._lost: dict[bytes, deque[AppCall]] = {}
        self._losses: deque[tuple[float, AppCall]] = deque()
        self._under_way: dict[bytes, list[UnderWay]] = {}
        self._has_news = asyncio.Event()
        self.found = 0
        for call in outbox.unanswered():
            self._lose(call)

    async def store_once(
        self, fingerprint: bytes, caller: Caller, store: Callable[[AppCall], Awaitable[None]], *, is_repeat: bool
    ) -> None:
        """Have `store` done, unless the call repeats one that was stored in vain. Raises what `store` raises."""
        now = UnderWay(caller)
        others = self._under_way.setdefault(fingerprint, [])
        others.append(now)
        call = None
        try:
            if is_repeat:
                call = await self._find(fingerprint, now)
            if call is None:
                call = AppCall(fingerprint=fingerprint, at_s=int(self._clock.now()))
                await store(call)
            else:
                self.found += 1
        except BaseException:
            call = None
            raise
        finally:
            others.remove(now)
            if not others:
                self._under_way.pop(fingerprint, None)
            if now.taker and not now.taker.done():
                now.taker.set_result(call)
        if now.taker is None:
            self._answer(call, caller)

    async def run(self) -> None:
        """Have the store write down what was answered, again and again."""
        while True:
            await self._has_news.wait()
            await self._clock.sleep(NOTE_AFTER_S)
            self._has_news.clear()
            self._outbox.note_answers()

    async def _find(self, fingerprint: bytes, now: UnderWay) -> AppCall | None:
        """The lost call that is repeated, waiting for it where it is still being stored; None if there is none."""
        if lost := self._take(fingerprint):
            return lost
        for other in self._under_way[fingerprint]:
            if other is not now and other.caller.has_left and other.taker is None:
                other.taker = asyncio.get_running_loop().create_future()
                return await other.taker
        return None

    def _answer(self, call: AppCall, caller: Caller) -> None:
        """It is being answered, unless nobody is there to listen."""
        if caller.has_left:
            self._lose(call)
            return
        call.is_answered = True
        caller.on_unheard = partial(self._lose, call)
        self._has_news.set()

    def _lose(self, call: AppCall) -> None:
        call.is_answered = False
        self._forget_old()
        self._lost.setdefault(call.fingerprint, deque()).append(call)
        self._losses.append((self._clock.monotonic(), call))

    def _take(self, fingerprint: bytes) -> AppCall | None:
        self._forget_old()
        calls = self._lost.get(fingerprint)
        if not calls:
            return None
        call = calls.popleft()
        if not calls:
            del self._lost[fingerprint]
        return call

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - ANSWER_KEPT_S
        while self._losses and (self._losses[0][0] < oldest or len(self._losses) >= LOST_MAX):
            _, call = self._losses.popleft()
            calls = self._lost.get(call.fingerprint)
            if calls and call in calls:
                calls.remove(call)
                if not calls:
                    del self._lost[call.fingerprint]


def fingerprint(*parts: bytes) -> bytes:
    """What calls have in common that are equal in all `parts`."""
    return blake2b(b"".join([b"%d:%b" % (len(part), part) for part in parts]), digest_size=8).digest()
