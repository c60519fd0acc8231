"""An outbox in plain Python, and a drain without a network: what the machine holds the real store against.

The model knows nothing of cursors, indexes or transactions. It says what a claim may bring and what it must.
"""

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct, field

from cio_buffer.outbox.contract import Claim, Ledger, Room
from cio_buffer.outbox.entry import Attempt, DeadLetter, Delivered, Entry, Parked, Released, Settlement, pack_lanes
from tests.outbox.backends import name_of
from tests.outbox.logbook import Logbook


class Place(Enum):
    MAIN = 1
    PARKED = 2
    DEAD = 3


class Stored(Struct, eq=False):
    """One entry that is not gone. `due_ms` only while it is parked and first in its lanes.

    `number` is that of its acceptance, `seq` its place in the order. `is_guessed`: nobody has said its `seq` yet, as
    after a replay; in order it is right, and it may be higher. `route` and `event_id` are "" of what has no trail.
    `passable_since_ms`: since then what is newer may have left before it. `words`: Customer.io's, of a dead letter.
    """

    number: int
    seq: int
    name: str
    lanes: frozenset[str]
    is_v1: bool
    size: int
    accepted_at_ms: int
    kind: str = "event"
    route: str = ""
    event_id: str = ""
    has_trail: bool = True
    place: Place = Place.MAIN
    due_ms: int | None = None
    is_claimed: bool = False
    attempts: int = 0
    holds: int = 0
    held_for: str = ""
    replays: int = 0
    died_at_ms: int = 0
    reason: str = ""
    words: tuple[str, ...] = ()
    passable_since_ms: int | None = None
    replayed_at_ms: int | None = None
    history: list[Attempt] = []
    is_guessed: bool = False

    def shares_a_lane_with(self, other: "Stored") -> bool:
        return bool(self.lanes & other.lanes)


class Held(Struct, eq=False):
    """One entry in the drain's hand. `aside`: it is on its way out of the window, like this.

    `tries`: the requests that it was in since, and that did not deliver it.
    """

    entry: Entry
    stored: Stored
    is_from_parked: bool
    aside: Settlement | None = None
    tries: list[Attempt] = []


class Model(Struct):
    """What the store should hold, and what the drain has in hand. `numbers`: all that were ever given.

    `has_jumped`: a clock was set, so that nobody can say any more what was before what. `has_forgotten`: the log
    had somebody who was, and with them what they had overtaken in lanes of others.
    """

    stored: dict[int, Stored] = field(default_factory=dict)
    hand: dict[int, Held] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    log: Logbook = field(default_factory=Logbook)
    delivered: list[Stored] = field(default_factory=list)
    has_jumped: bool = False
    has_forgotten: bool = False
    last_of_lane: dict[str, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    reach: int = 0
    highest_seq: int = 0
    learnt: bytes = b""
    learnt_perhaps: set[bytes] = field(default_factory=lambda: {b""})

    @property
    def is_time_honest(self) -> bool:
        """Whether times and the log tell what was delivered after what."""
        return not self.has_jumped and not self.has_forgotten

    def unclaimed(self) -> list[Stored]:
        return [one for one in self.at(Place.MAIN) if not one.is_claimed]

    def at(self, place: Place) -> list[Stored]:
        return sorted((one for one in self.stored.values() if one.place is place), key=lambda one: one.seq)

    def add(self, stored: Stored) -> None:
        assert stored.seq > self.highest_seq, "a number was used again"
        self.highest_seq = stored.seq
        self.stored[stored.seq] = stored

    def forget_claims(self, latest_ms: int) -> None:
        """A crash, a new lease: nothing is in hand, and nothing is due later than that."""
        self.hand.clear()
        self.reach = 0
        for one in self.stored.values():
            one.is_claimed = False
        self.bring_forward(latest_ms)

    def bring_forward(self, latest_ms: int) -> None:
        for one in self.stored.values():
            if one.due_ms is not None:
                one.due_ms = min(one.due_ms, latest_ms)

    def learn(self, learnt: bytes) -> None:
        """From here on a crash may leave this, or what may have been committed before."""
        self.learnt = learnt
        self.learnt_perhaps.add(learnt)

    def crash(self, learnt: bytes) -> None:
        """Hold what is left of what was learnt against what may be."""
        assert learnt in self.learnt_perhaps
        self.learnt, self.learnt_perhaps = learnt, {learnt}

    # Claiming

    def check(self, claim: Claim, room: Room, now_ms: int) -> None:
        """Hold a claim against the promises, then take it in hand as the drain's window does."""
        self._check_main(claim, room)
        self._check_parked(claim, room, now_ms)
        for met in claim.main:
            assert met.is_behind == any(not one.is_claimed for one in self._parked_before(self.stored[met.entry.seq]))
        times = [one.due_ms for one in self.at(Place.PARKED) if one.due_ms is not None and one.due_ms > now_ms]
        assert claim.next_due_at_ms == min(times, default=None)
        self._take_in_hand(claim)

    def _check_main(self, claim: Claim, room: Room) -> None:
        expected: list[Stored] = []
        bytes_left = room.main_bytes
        for one in self.unclaimed():
            if len(expected) >= room.main_entries or bytes_left <= 0:
                break
            expected.append(one)
            bytes_left -= one.size
        entries = [met.entry for met in claim.main]
        assert [name_of(entry) for entry in entries] == [one.name for one in expected]
        for one, entry in zip(expected, entries, strict=True):
            self._learn_seq(one, entry.seq)
            one.is_claimed = True
        has_looked = room.main_entries > 0 and room.main_bytes > 0
        assert claim.is_at_end == (has_looked and len(expected) < room.main_entries and bytes_left > 0)
        if claim.is_at_end:
            assert not self.unclaimed()
            self.reach = self.highest_seq
        elif expected:
            self.reach = expected[-1].seq

    def _learn_seq(self, stored: Stored, seq: int) -> None:
        assert seq >= stored.seq if stored.is_guessed else seq == stored.seq
        del self.stored[stored.seq]
        self.stored[seq] = stored
        stored.seq, stored.is_guessed = seq, False
        self.highest_seq = max(self.highest_seq, seq)

    def _check_parked(self, claim: Claim, room: Room, now_ms: int) -> None:
        taken = [self.stored[entry.seq] for entry in claim.parked]
        assert [one.seq for one in taken] == sorted({one.seq for one in taken})
        roots = [
            one
            for one in self.at(Place.PARKED)
            if not one.is_claimed and one.seq <= self.reach and one.due_ms is not None and one.due_ms <= now_ms
        ]
        for one in taken:
            assert one.place is Place.PARKED
            assert not one.is_claimed, "claimed twice"
            assert one.seq <= self.reach, "claimed before the main lane was read so far"
            assert one in roots or (not one.is_v1 and self._parked_before(one)), "not due"
            assert all(before.is_claimed for before in self._parked_before(one)), "something parked stands before it"
            one.is_claimed = True
        for is_v1, entries_max in ((True, room.parked_v1_entries), (False, room.parked_entries)):
            of_kind = [one for one in taken if one.is_v1 == is_v1]
            assert len(of_kind) <= max(entries_max, 0)
            left = [one.due_ms for one in roots if one.is_v1 == is_v1 and not one.is_claimed]
            gone = [one.due_ms for one in roots if one.is_v1 == is_v1 and one.is_claimed]
            assert not (left and gone) or max(gone) <= min(left), "not in the order of their time"
            if is_v1:
                assert claim.is_v1_due == bool(left)
            has_room = room.parked_bytes > sum(one.size for one in taken)
            assert not left or not has_room or len(of_kind) >= entries_max, "something due was left behind"
        sizes = [one.size for one in taken]
        assert not sizes or sum(sizes) - max(sizes) < room.parked_bytes

    def _parked_before(self, stored: Stored) -> list[Stored]:
        return [
            one for one in self.at(Place.PARKED) if one.seq < stored.seq and one is not stored
            and one.shares_a_lane_with(stored)
        ]  # fmt: skip

    def _take_in_hand(self, claim: Claim) -> None:
        met = [(entry, True, False) for entry in claim.parked]
        met += [(one.entry, False, one.is_behind) for one in claim.main]
        for entry, is_from_parked, is_behind in sorted(met, key=lambda one: one[0].seq):
            stored = self.stored[entry.seq]
            assert (name_of(entry), len(entry.body)) == (stored.name, stored.size)
            assert (entry.attempts, entry.holds, entry.replays) == (stored.attempts, stored.holds, stored.replays)
            assert (entry.accepted_at_ms, entry.call is not None) == (stored.accepted_at_ms, stored.is_v1)
            assert (entry.first_seq, entry.kind, entry.held_for) == (stored.number, stored.kind, stored.held_for)
            assert entry.packed_lanes == pack_lanes(stored.lanes)
            assert entry.tried_since_ms == (stored.replayed_at_ms or stored.accepted_at_ms)
            held = Held(entry, stored, is_from_parked)
            if is_behind or any(before.aside for before in self._held_before(held)):
                held.aside = Released() if is_from_parked else Parked()
            self.hand[entry.seq] = held

    # Settling, as a correct drain does it

    def _held_before(self, held: Held) -> list[Held]:
        return [
            one for one in self.hand.values()
            if one.stored.seq < held.stored.seq and one.stored.shares_a_lane_with(held.stored)
        ]  # fmt: skip

    def choose(self, wishes: dict[int, Settlement]) -> dict[int, Settlement]:
        """The settlements that may be asked for together: `wishes`, as far as order allows, and what follows from them.

        Nothing leaves for good before an earlier one of its lanes; what waits for something put aside goes with it.
        """
        chosen: dict[int, Settlement] = {}
        for seq, held in sorted(self.hand.items()):
            blockers = [one for one in self._held_before(held) if not is_final(chosen.get(one.stored.seq))]
            wish = held.aside or wishes.get(seq)
            if any(chosen.get(one.stored.seq) for one in blockers):  # one of them is put aside
                wish = Released() if held.is_from_parked else Parked()
            elif blockers and not isinstance(wish, Parked):
                wish = held.aside
            if isinstance(wish, Released) and not held.is_from_parked:
                wish = None
            if wish is not None:
                chosen[seq] = wish
        return chosen

    def settle(self, chosen: dict[int, Settlement], attempts: dict[int, int], *, now_ms: int, died_at_ms: int) -> None:
        """`now_ms` is on the drain's clock, `died_at_ms` on the store's."""
        counts = dict.fromkeys(("delivered", "dead_lettered", "dead", "parked"), 0)
        for seq, settlement in sorted(chosen.items()):
            held = self.hand.pop(seq)
            stored = held.stored
            counts["parked"] -= stored.place is Place.PARKED
            match settlement:
                case Delivered():
                    self._deliver(stored)
                    counts["delivered"] += 1
                case Parked(due_at_ms, holds, held_for):
                    stored.place, stored.attempts, stored.is_claimed = Place.PARKED, attempts[seq], False
                    stored.holds, stored.held_for, stored.due_ms = holds, held_for, due_at_ms
                    stored.history = [*stored.history, *held.tries]
                case Released():
                    stored.is_claimed = False
                    stored.attempts = attempts[seq] if held.tries else stored.attempts
                    stored.history = [*stored.history, *held.tries]
                case DeadLetter(reason=reason, vendor_reason=vendor_reason, field=field, message=message):
                    stored.place, stored.attempts, stored.is_claimed = Place.DEAD, attempts[seq], False
                    stored.holds, stored.held_for, stored.due_ms = 0, "", None
                    stored.died_at_ms, stored.reason = died_at_ms, reason
                    stored.words = (vendor_reason, field, message)
                    if stored.passable_since_ms is None:
                        stored.passable_since_ms = died_at_ms
                    stored.history = [*stored.history, *held.tries]
                    counts["dead_lettered"] += 1
                    counts["dead"] += 1
            counts["parked"] += seq in self.stored and stored.place is Place.PARKED
        self.promote(now_ms)
        self.count(**counts)

    def promote(self, now_ms: int) -> None:
        """Only what is first in its lanes has a time."""
        for one in self.at(Place.PARKED):
            if self._parked_before(one):
                one.due_ms = None
            elif one.due_ms is None:
                one.due_ms = min(one.accepted_at_ms, now_ms)

    def _deliver(self, stored: Stored) -> None:
        assert stored.name not in [one.name for one in self.delivered], "delivered twice"
        self.delivered.append(stored)
        del self.stored[stored.seq]
        for lane in stored.lanes:
            assert self.last_of_lane.get(lane, 0) < stored.seq, "overtaken"
            self.last_of_lane[lane] = stored.seq

    def count(self, **more: int) -> None:
        """What counts was committed, and what was learnt with it."""
        if any(more.values()):
            self.learnt_perhaps = {self.learnt}
        counts = {name: getattr(self.ledger, name) + more.get(name, 0) for name in Ledger.__struct_fields__}
        self.ledger = Ledger(**counts)

    def revive(self, letters: Iterable[Stored], at_ms: int) -> None:
        back = list(letters)
        self.drop(back)
        for one in back:
            one.seq, one.is_guessed, one.place = self.highest_seq + 1, True, Place.MAIN
            one.replays += 1
            one.replayed_at_ms = at_ms
            self.add(one)
        self.count(replayed=len(back), dead=-len(back))

    def drop(self, gone: Iterable[Stored]) -> None:
        for one in gone:
            del self.stored[one.seq]


def is_final(settlement: Settlement | None) -> bool:
    """Whether it ends an entry's stay."""
    return settlement is not None and not isinstance(settlement, Parked | Released)
