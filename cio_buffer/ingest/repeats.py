"""Knows the repeat of a call that was stored and whose answer did not arrive, so that it is not stored twice.

Only calls that are told to be repeats (`X-Retry-Count`) are looked up, and only calls whose answer was lost are found,
each once: two genuine calls that are equal to the byte are never taken for one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b
from typing import Protocol, TypeVar

from msgspec import Struct

from cio_buffer.clock import Clock
from cio_buffer.outbox.contract import Outbox
from cio_buffer.outbox.entry import ANSWER_KEPT_S, AppCall

T = TypeVar("T")

LOST_MAX = 10_000
NOTE_AFTER_S = 0.1
"""After this much rest the store writes down which answers were given: a crash in that time makes them doubtful."""


class Caller(Protocol):
    """The connection that a call came by. Who `has_left` has said their last, and may listen still or be gone.

    `on_unheard` is called if the answer turns out not to have been read. Where `on_heard` is set too, one of the two is
    called soon.
    """

    has_left: bool
    on_heard: Callable[[], object] | None
    on_unheard: Callable[[], object] | None

    @property
    def is_gone(self) -> bool: ...


class UnderWay(Struct, eq=False):
    """A call until it is known what became of it: stored or not, and if stored, whether its answer was heard.

    `taker`: a repeat of it that waits for that. It gets the call if it was stored in vain, else None.
    """

    fingerprint: bytes
    caller: Caller
    taker: "asyncio.Future[AppCall | None] | None" = None


Loss = tuple[float, AppCall]
"""A call whose answer was lost, and when: monotonic seconds."""


class Repeats:
    """Remembers, for a minute, the calls that were stored and whose answers were lost."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock
        self._lost: dict[bytes, deque[Loss]] = {}
        self._losses: deque[Loss] = deque()
        self._under_way: dict[bytes, list[UnderWay]] = {}
        self._has_news = asyncio.Event()
        self.found = 0
        for call in outbox.unanswered():
            self._lose(call)

    async def store_once(
        self, fingerprint: bytes, caller: Caller, store: Callable[[AppCall], Awaitable[T]], *, is_repeat: bool
    ) -> T | None:
        """Have `store` done, unless the call repeats one that was stored in vain. Raises what `store` raises.

        Returns what `store` does, None for such a repeat.
        """
        now, told = UnderWay(fingerprint, caller), None
        self._under_way.setdefault(fingerprint, []).append(now)
        try:
            call = await self._find(fingerprint, now) if is_repeat else None
            if call is None:
                call = AppCall(fingerprint=fingerprint, at_s=int(self._clock.now()))
                told = await store(call)
            else:
                self.found += 1
        except BaseException:
            self._end(now, None)
            raise
        if caller.is_gone:
            self._unheard(now, call)
        elif caller.has_left:
            caller.on_heard, caller.on_unheard = partial(self._heard, now, call), partial(self._unheard, now, call)
        else:
            self._heard(now, call)
            caller.on_unheard = partial(self._take_back, call)
        return told

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

    def _heard(self, now: UnderWay, call: AppCall) -> None:
        """It is answered. A repeat that waits for it is another call, which is equal."""
        call.is_answered = True
        self._has_news.set()
        self._end(now, None)

    def _unheard(self, now: UnderWay, call: AppCall) -> None:
        """It was stored in vain: for the repeat that waits for it, or for one that will come."""
        if now.taker is None:
            self._lose(call)
        self._end(now, call)

    def _end(self, now: UnderWay, call: AppCall | None) -> None:
        others = self._under_way[now.fingerprint]
        others.remove(now)
        if not others:
            del self._under_way[now.fingerprint]
        if now.taker and not now.taker.done():
            now.taker.set_result(call)

    def _take_back(self, call: AppCall) -> None:
        """It was answered, and nobody read that."""
        self._lose(call)
        self._outbox.note_loss(call)

    def _lose(self, call: AppCall) -> None:
        call.is_answered = False
        loss = (self._clock.monotonic(), call)
        self._lost.setdefault(call.fingerprint, deque()).append(loss)
        self._losses.append(loss)
        self._forget_old()

    def _take(self, fingerprint: bytes) -> AppCall | None:
        self._forget_old()
        losses = self._lost.get(fingerprint)
        if not losses:
            return None
        loss = losses[0]
        self._drop(loss)
        return loss[1]

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - ANSWER_KEPT_S
        while self._losses and (self._losses[0][0] < oldest or len(self._losses) > LOST_MAX):
            self._drop(self._losses.popleft())

    def _drop(self, loss: Loss) -> None:
        """Remember it no longer."""
        losses = self._lost.get(loss[1].fingerprint, deque())
        if loss in losses:
            losses.remove(loss)
            if not losses:
                del self._lost[loss[1].fingerprint]


def fingerprint(head: str, body: bytes) -> bytes:
    """What calls have in common that are equal in both. `head` is what no body can be taken for a part of."""
    return blake2b(head.encode(errors="surrogateescape") + b"\n\n" + body, digest_size=8).digest()
