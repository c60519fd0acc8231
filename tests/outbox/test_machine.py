"""Random days of an outbox: whatever happens in whatever order, nothing is lost, repeated or overtaken.

Two clocks show what they like: the store's, by which entries are accepted and die, and the drain's, by which they are
due.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import structs

from cio_buffer.errors import LeaseLost
from cio_buffer.outbox.contract import Claim, Room
from cio_buffer.outbox.entry import DeadLetter, Delivered, Parked, Released, Settled, Settlement
from tests.outbox.backends import BACKENDS, PLENTY, WAIT_MAX_MS, Hand, entry, v1
from tests.outbox.model import Model, Place, Stored
from tests.support.clock import FakeClock

LANES = "abcd"

lanes = st.one_of(st.sampled_from(LANES).map(lambda lane: {lane}), st.sets(st.sampled_from(LANES), max_size=3))
appended = st.lists(
    st.tuples(lanes, st.booleans(), st.integers(-3, 0), st.sampled_from([0, 100])), min_size=1, max_size=5
)
few = st.sampled_from([0, 1, 2, 5, 1_000])
some_bytes = st.sampled_from([0, 1, 150, 1_000_000])
rooms = st.one_of(
    st.just(PLENTY),
    st.builds(
        Room,
        main_entries=few, main_bytes=some_bytes, parked_entries=few, parked_bytes=some_bytes, parked_v1_entries=few,
    ),
)  # fmt: skip
fates = st.sampled_from(["hold", "park until", "park", "deliver", "keep", "release", "die"])
jumps_s = st.sampled_from([-7_200, -3, -1, 1, 3, 7_200])


class AnOutbox(RuleBasedStateMachine):
    """One outbox, one drain, and a model of both."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self._clock = FakeClock()
        self._names = (f"entry {n}" for n in count())
        self._model = Model()
        self._settled: list[Settled] = []
        self._settled_at_ms = 0
        self._hand = Hand(BACKENDS[backend](Path(self._folder.name), self._clock), self._clock)
        self._do(self._hand.open())

    @rule(given=appended)
    def append(self, given: list[tuple[set[str], bool, int, int]]) -> None:
        stored = [
            Stored(0, name, frozenset(among), is_v1, max(size, len(name)), self._stores_ms() + ago_s * 1_000)
            for (among, is_v1, ago_s, size), name in zip(given, self._names, strict=False)
        ]
        entries = [
            (v1 if one.is_v1 else entry)(one.name, *one.lanes, at_ms=one.accepted_at_ms, size=one.size)
            for one in stored
        ]
        for seq, one in zip(self._do(self._hand.append(*entries)), stored, strict=True):
            one.seq = seq
            self._model.add(one)
        self._model.count(accepted=len(stored))

    @rule(room=rooms)
    def claim(self, room: Room) -> None:
        self._claim(room)

    @precondition(lambda self: self._model.hand or self._model.unclaimed())
    @rule(data=st.data(), times=st.integers(1, 2))
    def settle(self, data: st.DataObject, times: int) -> None:
        if not self._model.hand:
            self._claim(PLENTY)
        wishes = {seq: self._wish(data.draw(fates), held.stored) for seq, held in sorted(self._model.hand.items())}
        self._settle(wishes, times=times)

    @precondition(lambda self: self._settled and not any(one.entry.seq in self._model.hand for one in self._settled))
    @rule()
    def repeat_the_last_settlement(self) -> None:
        self._do(self._hand.lease.settle(self._settled, now_ms=self._settled_at_ms))

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        seqs = data.draw(st.lists(st.sampled_from([one.seq for one in self._model.at(Place.DEAD)]), max_size=4))
        assert self._do(self._hand.replay(*seqs)) == self._model.replay(seqs)

    @precondition(lambda self: self._model.hand or self._model.at(Place.PARKED))
    @rule(how=st.sampled_from(["crash", "reopen", "lose the lease"]))
    def interrupt(self, how: str) -> None:
        match how:
            case "crash":
                self._do(self._hand.crash())
                self._model.crash(self._hand.outbox.learnt())
            case "reopen":
                self._do(self._hand.reopen())
                self._model.learnt_perhaps = {self._model.learnt}
            case _:
                self._lose_the_lease()
        self._model.forget_claims(self._hand.now_ms + WAIT_MAX_MS)

    @rule(seconds=st.integers(1, 4))
    def let_time_pass(self, seconds: int) -> None:
        self._clock.advance(seconds)
        self._hand.now_ms += seconds * 1_000

    @rule(seconds=jumps_s)
    def set_the_clock_of_the_store(self, seconds: int) -> None:
        self._clock.jump(seconds)

    @rule(seconds=jumps_s)
    def set_the_clock_of_the_drain(self, seconds: int) -> None:
        self._hand.now_ms += seconds * 1_000

    @precondition(lambda self: self._model.at(Place.PARKED))
    @rule(wait_ms=st.sampled_from([0, 1_000]))
    def bring_forward(self, wait_ms: int) -> None:
        self._forget_the_last_settlement()
        latest_ms = self._hand.now_ms + wait_ms
        self._do(self._hand.lease.bring_forward(latest_ms=latest_ms))
        self._model.bring_forward(latest_ms)

    @rule(learnt=st.binary(max_size=3))
    def learn(self, learnt: bytes) -> None:
        self._hand.outbox.note_learnt(learnt)
        self._model.learn(learnt)

    @invariant()
    def the_books_are_right(self) -> None:
        audit = self._do(self._hand.outbox.audit())
        assert audit.is_balanced
        assert self._model.ledger == audit.ledger == self._hand.outbox.ledger()
        assert audit.waiting == len(self._model.at(Place.MAIN))
        letters = self._do(self._hand.outbox.archive.letters())
        assert [
            (one.seq, one.attempts, one.replays, one.died_at_ms, one.body.decode().rstrip()) for one in letters
        ] == [(one.seq, one.attempts, one.replays, one.died_at_ms, one.name) for one in self._model.at(Place.DEAD)]
        assert {(one.reason, one.vendor_reason) for one in letters} <= {("refused", "required")}
        assert self._hand.outbox.learnt() == self._model.learnt

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._drain_everything()
        finally:
            self._do(self._hand.backend.close())
            self._runner.close()
            self._folder.cleanup()

    def _drain_everything(self) -> None:
        """Deliver, and claim again only for a reason that the outbox gave: what is left in the end was forgotten."""
        narrow = structs.replace(PLENTY, main_entries=3, parked_entries=2, parked_v1_entries=1)
        claim = self._claim(narrow)
        while self._model.hand or claim.main or claim.next_due_at_ms is not None:
            if self._model.hand:
                self._settle(dict.fromkeys(self._model.hand, Delivered()))
            elif not claim.main and claim.next_due_at_ms is not None:
                assert claim.next_due_at_ms > self._hand.now_ms
                self._hand.now_ms = claim.next_due_at_ms
            claim = self._claim(narrow)
        assert [one for one in self._model.stored.values() if one.place is not Place.DEAD] == []
        self.the_books_are_right()

    def _claim(self, room: Room) -> Claim:
        claim = self._do(self._hand.lease.claim(room, now_ms=self._hand.now_ms))
        self._model.check(claim, room, self._hand.now_ms)
        return claim

    def _lose_the_lease(self) -> None:
        old = self._hand.lease
        self._hand.lease = self._do(self._hand.acquire())
        with pytest.raises(LeaseLost):
            self._do(old.claim(PLENTY, now_ms=self._hand.now_ms))
        all_of_it = [Settled(held.entry, Delivered(), 1) for held in self._model.hand.values()]
        with pytest.raises(LeaseLost):
            self._do(old.settle(all_of_it, now_ms=self._hand.now_ms))

    def _settle(self, wishes: dict[int, Settlement | None], *, times: int = 1) -> None:
        chosen = self._model.choose(wishes)
        attempts = {seq: self._model.hand[seq].entry.attempts + 1 for seq in chosen}
        self._settled = [Settled(self._model.hand[seq].entry, how, attempts[seq]) for seq, how in chosen.items()]
        self._settled_at_ms = self._hand.now_ms
        for _ in range(times):
            self._do(self._hand.lease.settle(self._settled, now_ms=self._settled_at_ms))
        self._model.settle(chosen, attempts, now_ms=self._hand.now_ms, died_at_ms=self._stores_ms())

    def _forget_the_last_settlement(self) -> None:
        """What came after it may have changed the times that it gave: to repeat it now would be another settlement."""
        self._settled = []

    def _wish(self, fate: str, stored: Stored) -> Settlement | None:
        return {
            "keep": None,
            "deliver": Delivered(),
            "die": DeadLetter(reason="refused", vendor_reason="required"),
            "park": Parked(),
            "park until": Parked(self._hand.now_ms + 2_000),
            "hold": Parked(self._hand.now_ms + 2_000, holds=stored.holds + 1),
            "release": Released(),
        }[fate]

    def _stores_ms(self) -> int:
        return round(self._clock.now() * 1_000)

    def _do(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return self._runner.run(wait())


@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_happens_nothing_is_lost_repeated_or_overtaken(backend: str) -> None:
    run_state_machine_as_test(
        lambda: AnOutbox(backend),
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None, database=None, print_blob=True),
    )
