"""Random days of an outbox: whatever happens in whatever order, nothing is lost, repeated or overtaken, and each
entry's whole story can be told.

Two clocks show what they like: the store's, by which entries are accepted and die, and the drain's, by which they are
due.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Awaitable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import Struct, structs

from cio_buffer.errors import LeaseLost
from cio_buffer.outbox.archive import Found, Keeping, Letters
from cio_buffer.outbox.contract import Claim, Room
from cio_buffer.outbox.entry import (
    DeadLetter,
    Delivered,
    Fate,
    NewEntry,
    Parked,
    Released,
    Report,
    Settled,
    Settlement,
)
from tests.outbox import afterlife
from tests.outbox.backends import BACKENDS, PLENTY, WAIT_MAX_MS, Hand, entry, hashed, name_of, operation, v1
from tests.outbox.logbook import Line
from tests.outbox.model import Held, Model, Place, Stored
from tests.outbox.requests import AGAIN, Request, attempt_of, fate_of, report_of
from tests.support.clock import FakeClock

EXAMPLES = int(os.environ.get("CIO_BUFFER_RANDOM_DAYS", "0"))
"""How many days to try, instead of a few; then one that goes wrong is also made as short as can be: that takes long."""

FEW_EXAMPLES = 120
LANES = "abcd"
KINDS = ["event", "identify", "merge"]
EVENT_IDS = ["", "x", "y"]


class Given(Struct, frozen=True):
    """An operation to be. `is_old`: as a version stored it that knew no trails."""

    lanes: frozenset[str]
    is_v1: bool
    ago_s: int
    size: int
    kind: str
    event_id: str
    is_old: bool


lanes = st.one_of(
    st.sampled_from(LANES).map(lambda lane: frozenset({lane})), st.frozensets(st.sampled_from(LANES), max_size=3)
)
operations = st.builds(
    Given,
    lanes=lanes,
    is_v1=st.booleans(),
    ago_s=st.integers(-3, 0),
    size=st.sampled_from([0, 100]),
    kind=st.sampled_from(KINDS),
    event_id=st.sampled_from(EVENT_IDS),
    is_old=st.sampled_from([False, False, False, True]),
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
wishes = st.sampled_from(
    ["die", "die", "die of age", "deliver", "deliver", "hold", "park until", "park", "try again", "keep", "release"]
)  # fmt: skip
requests = st.builds(
    Request,
    number=st.just(0),
    sent_at_ms=st.just(0),
    took_ms=st.sampled_from([0, 40, 2_500]),
    is_v1=st.booleans(),
    status=st.sampled_from([200, 207, 503, None]),
    trouble=st.sampled_from([None, "timeout"]),
)
jumps_s = st.sampled_from([-7_200, -3, -1, 1, 3, 7_200])
limits = st.sampled_from([None, None, 0, 1, 2, 5])
keepings = st.one_of(
    st.builds(
        Keeping,
        log_for_s=st.sampled_from([1e9, 5.0, 1.0, 0.0]),
        log_bytes=st.sampled_from([2**40, 2_000, 800]),
        dead_for_s=st.just(1e9),
        dead_bytes=st.just(2**40),
    ),
    st.builds(
        Keeping,
        log_for_s=st.just(1e9),
        log_bytes=st.just(2**40),
        dead_for_s=st.sampled_from([1e9, 5.0, 2.0]),
        dead_bytes=st.sampled_from([2_400, 1_200, 600]),
    ),
)
forgotten = st.sampled_from([[], ["d"], ["c", "d"], ["a"]])


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
        self._report: Report | None = None
        self._steps = 0
        self._hand = Hand(BACKENDS[backend](Path(self._folder.name), self._clock), self._clock)
        self._do(self._hand.open())
        self._begin()

    # Life

    @rule(given=st.lists(operations, min_size=1, max_size=5))
    def append(self, given: list[Given]) -> None:
        stored = [
            Stored(
                number=0,
                seq=0,
                name=name,
                lanes=one.lanes,
                is_v1=one.is_v1,
                size=max(one.size, len(name)),
                accepted_at_ms=self._stores_ms() + one.ago_s * 1_000,
                kind="event" if one.is_old else one.kind,
                route="" if one.is_old else "v1",
                event_id="" if one.is_old else one.event_id,
                has_trail=not one.is_old,
            )
            for one, name in zip(given, self._names, strict=False)
        ]
        for seq, one in zip(self._do(self._hand.append(*map(as_given, stored))), stored, strict=True):
            one.number = one.seq = seq
            self._model.add(one)
            self._model.numbers.append(seq)
        self._model.count(accepted=len(stored))

    @rule(room=rooms)
    def claim(self, room: Room) -> None:
        self._claim(room)

    @precondition(lambda self: self._model.hand or self._model.unclaimed())
    @rule(data=st.data(), request=requests, times=st.integers(1, 2))
    def settle(self, data: st.DataObject, request: Request, times: int) -> None:
        if not self._model.hand:
            self._claim(PLENTY)
        asked = {seq: data.draw(wishes) for seq in sorted(self._model.hand)}
        hopes = {seq: self._wish(wish, self._model.hand[seq].stored) for seq, wish in asked.items()}
        also = [seq for seq, wish in asked.items() if wish == "try again"]
        self._settle(hopes, request, also=also, times=times)

    @rule(given=st.lists(operations, min_size=2, max_size=4), data=st.data(), request=requests)
    def have_a_busy_moment(self, given: list[Given], data: st.DataObject, request: Request) -> None:
        """Most of a day is such."""
        self.append(given)
        self._claim(PLENTY)
        self.settle(data, request, 1)

    @precondition(lambda self: self._model.hand)
    @rule(data=st.data(), request=requests)
    def fail(self, data: st.DataObject, request: Request) -> None:
        """A request settles nobody."""
        among = data.draw(st.lists(st.sampled_from(sorted(self._model.hand)), min_size=1, max_size=4, unique=True))
        self._forget_the_last_settlement()
        report = self._request(request, [(seq, AGAIN) for seq in among])
        self._do(self._hand.lease.settle([], now_ms=self._hand.now_ms, report=report))

    @precondition(lambda self: self._settled and not any(one.entry.seq in self._model.hand for one in self._settled))
    @rule()
    def repeat_the_last_settlement(self) -> None:
        self._do(self._hand.lease.settle(self._settled, now_ms=self._settled_at_ms, report=self._report))

    @precondition(lambda self: self._model.numbers)
    @rule(how=st.sampled_from(["crash", "reopen", "lose the lease"]))
    def interrupt(self, how: str) -> None:
        match how:
            case "crash":
                self._do(self._hand.crash())
                self._model.crash(self._hand.outbox.learnt())
            case "reopen":
                self._model.log.write(Line(at_ms=self._stores_ms(), what="stopped"))
                self._do(self._hand.reopen())
                self._model.learnt_perhaps = {self._model.learnt}
            case _:
                self._lose_the_lease()
        self._begin()
        self._model.forget_claims(self._hand.now_ms + WAIT_MAX_MS)

    # Afterlife

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data(), limit=limits, after_newer=st.booleans())
    def replay(self, data: st.DataObject, limit: int | None, after_newer: bool) -> None:
        self._replay(data.draw(self._filters()), limit=limit, after_newer=after_newer)

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data(), after_newer=st.booleans(), request=requests)
    def replay_and_see_what_comes_of_it(self, data: st.DataObject, after_newer: bool, request: Request) -> None:
        self._replay(data.draw(self._filters()), limit=None, after_newer=after_newer)
        self._claim(PLENTY)
        if self._model.hand:
            self.settle(data, request, 1)

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data(), limit=st.sampled_from([0, 1, 1, 2, None]))
    def purge(self, data: st.DataObject, limit: int | None) -> None:
        wanted = data.draw(self._filters())
        would = self._do(self._hand.outbox.archive.purge(wanted, limit=limit, is_dry=True))
        done = self._do(self._hand.outbox.archive.purge(wanted, limit=limit))
        assert would == done == afterlife.purge(self._model, wanted, limit=limit, at_ms=self._stores_ms())

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data(), given=operations)
    def edit(self, data: st.DataObject, given: Given) -> None:
        one = data.draw(st.sampled_from(self._model.at(Place.DEAD)))
        one.lanes, one.is_v1, one.kind, one.event_id = given.lanes, given.is_v1, given.kind, given.event_id
        one.size, one.has_trail = max(given.size, len(one.name)), True
        one.passable_since_ms = one.accepted_at_ms
        anew = as_given(one)
        assert self._do(self._hand.outbox.archive.edit(one.number, anew))
        afterlife.note(self._model, "edited", self._stores_ms(), [one])

    @precondition(lambda self: self._model.at(Place.DEAD))
    @rule(data=st.data())
    def look_for_letters(self, data: st.DataObject) -> None:
        wanted = data.draw(self._filters())
        names = [one.name for one in afterlife.meant(self._model, wanted)]
        archive = self._hand.outbox.archive
        assert [name_of(one) for one in self._do(archive.letters(wanted, limit=1_000))] == names
        assert self._do(archive.count_letters(wanted)) == len(names)
        number = data.draw(st.sampled_from(self._model.numbers))
        if number not in {one.number for one in self._model.at(Place.DEAD)}:
            assert not self._do(archive.edit(number, operation("another", "a")))

    @rule(keeping=keepings)
    def tidy(self, keeping: Keeping) -> None:
        self._forget_the_last_settlement()
        is_done = False
        while not is_done:
            done = self._do(self._hand.outbox.archive.tidy(keeping, now_ms=self._stores_ms()))
            afterlife.check_tidied(
                self._model,
                keeping,
                done,
                now_ms=self._stores_ms(),
                log_bytes=self._hand.outbox.sizes().log_bytes,
                is_last=done.is_done,
            )
            is_done = done.is_done

    @rule(among=forgotten)
    def forget(self, among: list[str]) -> None:
        self._forget_the_last_settlement()
        done = self._do(self._hand.outbox.archive.forget(hashed(*among)))
        assert done == afterlife.forget(self._model, among, at_ms=self._stores_ms())

    # Time

    @rule(seconds=st.integers(1, 4))
    def let_time_pass(self, seconds: int) -> None:
        self._clock.advance(seconds)
        self._hand.now_ms += seconds * 1_000

    @precondition(lambda self: len(self._model.numbers) > 8)
    @rule(seconds=jumps_s, whose=st.sampled_from(["store", "drain"]))
    def set_a_clock(self, seconds: int, whose: str) -> None:
        self._model.has_jumped = True
        if whose == "store":
            self._clock.jump(seconds)
        else:
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

    # What is to be true after each step

    @invariant()
    def the_books_are_right(self) -> None:
        audit = self._do(self._hand.outbox.audit())
        assert audit.is_balanced
        assert audit.measured == audit.sizes == self._hand.outbox.sizes()
        assert self._model.ledger == audit.ledger == self._hand.outbox.ledger()
        assert audit.waiting == len(self._model.at(Place.MAIN))
        dead = sorted(self._model.at(Place.DEAD), key=lambda one: one.number)
        assert (audit.sizes.dead_bytes, audit.sizes.log_lines) == (
            sum(map(afterlife.bytes_of, dead)),
            len(self._model.log.lines),
        )
        letters = self._do(self._hand.outbox.archive.letters(limit=1_000))
        assert [
            (one.seq, one.attempts, one.replays, one.died_at_ms, one.reason, name_of(one), list(one.history))
            for one in letters
        ] == [
            (one.number, one.attempts, one.replays, one.died_at_ms, one.reason, one.name, one.history) for one in dead
        ]
        assert self._hand.outbox.learnt() == self._model.learnt

    @invariant()
    def the_stories_are_right(self) -> None:
        """Of a few entries, which chance has chosen, though each time the same."""
        self._steps += 1
        chance = random.Random(self._steps)
        archive = self._hand.outbox.archive
        for number in chance.sample(self._model.numbers, min(2, len(self._model.numbers))):
            self._check_found(self._do(archive.trace(number)), {number}, limit=1)
        limit = chance.choice([1, 2, 3, 100])
        among = chance.sample(LANES, chance.randint(1, 2))
        found = self._do(archive.trace_lane(hashed(*among), limit=limit))
        self._check_found(found, afterlife.touching(self._model, among), limit=limit)
        event_id = chance.choice(EVENT_IDS[1:])
        found = self._do(archive.trace_event(event_id, limit=limit))
        self._check_found(found, afterlife.with_id(self._model, event_id), limit=limit)

    @invariant()
    def it_is_known_what_may_be_replayed(self) -> None:
        """Of all letters together, and of each of a few."""
        chance = random.Random(self._steps)
        dead = self._model.at(Place.DEAD)
        few = [Letters(seqs=frozenset({one.number})) for one in chance.sample(dead, min(2, len(dead)))]
        for wanted in [Letters(), *few] if dead else []:
            would = self._do(self._hand.outbox.archive.replay(wanted, is_dry=True))
            assert would == afterlife.replay(self._model, wanted, is_dry=True, at_ms=self._stores_ms())

    def _check_found(self, found: Found, numbers: set[int], *, limit: int) -> None:
        stories = [afterlife.story(self._model, number) for number in sorted(numbers)[-limit:]]
        assert [structs.replace(known, dead=None) for known in found.known] == [story for story in stories if story]
        assert [known.dead is not None for known in found.known] == [known.place == "dead" for known in found.known]
        assert found.is_more == (len(numbers) > limit)
        assert found.log_since_ms == self._model.log.begins_at_ms
        assert found.highest_seq >= max(self._model.numbers, default=0)

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
                self._settle(dict.fromkeys(self._model.hand, Delivered()), Request(number=0, sent_at_ms=0))
            elif not claim.main and claim.next_due_at_ms is not None:
                assert claim.next_due_at_ms > self._hand.now_ms
                self._hand.now_ms = claim.next_due_at_ms
            claim = self._claim(narrow)
        assert [one for one in self._model.stored.values() if one.place is not Place.DEAD] == []
        self.the_books_are_right()
        self.the_stories_are_right()

    # Doing it, here and there

    def _begin(self) -> None:
        assert self._hand.lease.first_request == self._model.log.last_request + 1
        self._requests = count(self._hand.lease.first_request)
        self._model.log.write(Line(at_ms=self._stores_ms(), what="started"))

    def _claim(self, room: Room) -> Claim:
        claim = self._do(self._hand.lease.claim(room, now_ms=self._hand.now_ms))
        self._model.check(claim, room, self._hand.now_ms)
        return claim

    def _replay(self, wanted: Letters, *, limit: int | None, after_newer: bool) -> None:
        """A dry run says what will be done, and does nothing."""
        for is_dry in (True, False):
            how = {"limit": limit, "after_newer": after_newer, "is_dry": is_dry}
            done = self._do(self._hand.outbox.archive.replay(wanted, **how))
            assert done == afterlife.replay(self._model, wanted, **how, at_ms=self._stores_ms())

    def _lose_the_lease(self) -> None:
        old = self._hand.lease
        self._hand.lease = self._do(self._hand.acquire())
        with pytest.raises(LeaseLost):
            self._do(old.claim(PLENTY, now_ms=self._hand.now_ms))
        held = list(self._model.hand.values())
        all_of_it = [Settled(one.entry, Delivered(), 1) for one in held]
        request = Request(number=next(self._requests), sent_at_ms=0)
        report = report_of(request, [one.entry for one in held], [None] * len(held)) if held else None
        with pytest.raises(LeaseLost):
            self._do(old.settle(all_of_it, now_ms=self._hand.now_ms, report=report))

    def _settle(
        self, hopes: dict[int, Settlement | None], request: Request, *, also: list[int] | None = None, times: int = 1
    ) -> None:
        """By a request of all that it delivers, kills or has held, and of those of `also` that stay in hand."""
        chosen = self._model.choose(hopes)
        attempts = {seq: self._model.hand[seq].entry.attempts + 1 for seq in chosen}
        outcomes = [(seq, how) for seq, how in chosen.items() if is_by_request(how)]
        outcomes += [(seq, AGAIN) for seq in also or [] if seq not in chosen]
        self._report = self._request(request, outcomes) if outcomes else None
        self._settled = [
            Settled(self._model.hand[seq].entry, how, attempts[seq], list(self._model.hand[seq].tries))
            for seq, how in chosen.items()
        ]
        self._settled_at_ms = self._hand.now_ms
        for _ in range(times):
            self._do(self._hand.lease.settle(self._settled, now_ms=self._settled_at_ms, report=self._report))
        self._model.settle(chosen, attempts, now_ms=self._hand.now_ms, died_at_ms=self._stores_ms())

    def _request(self, like: Request, outcomes: list[tuple[int, Settlement | Fate]]) -> Report:
        """One that is over, and in the log once it is settled."""
        request = structs.replace(like, number=next(self._requests), sent_at_ms=self._hand.now_ms - like.took_ms)
        held = [self._model.hand[seq] for seq, _ in outcomes]
        fates = [fate_of(outcome) for _, outcome in outcomes]
        for one, fate in zip(held, fates, strict=True):
            one.tries += [attempt_of(request, fate)] if fate else []
        self._model.log.write(line_of(request, held, fates))
        return report_of(request, [one.entry for one in held], fates)

    def _forget_the_last_settlement(self) -> None:
        """What came after it may have changed the times that it gave: to repeat it now would be another settlement."""
        self._settled = []

    def _wish(self, wish: str, stored: Stored) -> Settlement | None:
        return {
            "keep": None,
            "try again": None,
            "deliver": Delivered(),
            "die": DeadLetter(
                reason="refused", vendor_reason="required", field="name", message="not \u2028", status=422
            ),
            "die of age": DeadLetter(reason="expired"),
            "park": Parked(),
            "park until": Parked(self._hand.now_ms + 2_000),
            "hold": Parked(self._hand.now_ms + 2_000, holds=stored.holds + 1, held_for="http_503"),
            "release": Released(),
        }[wish]

    def _filters(self) -> st.SearchStrategy[Letters]:
        """By anything, and by numbers that are not all those of letters."""
        numbers = st.frozensets(st.sampled_from(self._model.numbers), max_size=4)
        died = [one.died_at_ms for one in self._model.at(Place.DEAD)]
        return st.one_of(
            st.just(Letters()),
            st.builds(Letters, seqs=numbers),
            st.builds(
                Letters,
                seqs=st.none() | numbers,
                reason=st.sampled_from([None, None, "refused", "expired"]),
                kind=st.sampled_from([None, None, *KINDS]),
                lane=st.sampled_from([None, None, *hashed(*LANES)]),
                since_ms=st.sampled_from([None, None, *died]),
            ),
        )

    def _stores_ms(self) -> int:
        return round(self._clock.now() * 1_000)

    def _do(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return self._runner.run(wait())


def as_given(one: Stored) -> NewEntry:
    """As ingest would make it, or as it was before there were trails."""
    if not one.has_trail:
        return (v1 if one.is_v1 else entry)(one.name, *one.lanes, at_ms=one.accepted_at_ms, size=one.size)
    return operation(
        one.name,
        *one.lanes,
        kind=one.kind,
        event_id=one.event_id,
        at_ms=one.accepted_at_ms,
        call="POST /api/v1/events" if one.is_v1 else None,
        route=one.route,
        size=one.size,
    )


def line_of(request: Request, held: list[Held], fates: list[Fate | None]) -> Line:
    return Line(
        at_ms=request.sent_at_ms,
        what="sent",
        mentions=[afterlife.mention(one.stored, fate) for one, fate in zip(held, fates, strict=True)],
        request=request.number,
        took_ms=request.took_ms,
        status=request.status,
        trouble=request.trouble,
        is_v1=request.is_v1,
    )


def is_by_request(how: Settlement) -> bool:
    """Others are settled by the way: put aside for another's sake, given back."""
    return isinstance(how, Delivered | DeadLetter) or (isinstance(how, Parked) and how.due_at_ms is not None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_happens_nothing_is_lost_repeated_or_overtaken(backend: str) -> None:
    shortening = [Phase.shrink] if EXAMPLES else []
    run_state_machine_as_test(
        lambda: AnOutbox(backend),
        settings=settings(
            max_examples=EXAMPLES or FEW_EXAMPLES,
            stateful_step_count=40,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, *shortening],
            deadline=None,
            database=None,
            print_blob=True,
        ),
    )
