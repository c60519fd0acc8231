"""What the store was asked for and what it answered: so at each moment, where a power cut may leave each entry.

Pure. Moments are lengths of the recorded log.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from msgspec import Struct

Place = Literal["nowhere", "main", "parked", "dead"]


class Move(Struct, eq=False, kw_only=True):
    """Entries that were to get somewhere: all of them or none.

    `asked_at`, `answered_at`: when that was asked for, and when it was answered that they are there, if ever.
    """

    places: Mapping[str, Place]
    asked_at: int
    answered_at: int | None = None
    is_append: bool = False


class Told:
    """All that was said, in order."""

    def __init__(self, now: Callable[[], int], there: Mapping[str, Place]) -> None:
        """`now` says which moment it is. `there` is what the store was known to have at first."""
        self._now = now
        self.moves = [Move(places=there, asked_at=0, answered_at=0)]
        self.seqs: dict[str, int] = {}
        self.damaged: frozenset[str] = frozenset()
        self.damaged_at: int | None = None
        self.blind: list[range] = []
        self.copied: frozenset[str] | None = None
        self.life = 0

    @contextmanager
    def asking(self, places: Mapping[str, Place], *, is_append: bool = False) -> Iterator[Move]:
        """What is asked for within this, and is answered unless it raises. Nobody hears an answer after a crash."""
        move = Move(places=places, asked_at=self._now(), is_append=is_append)
        self.moves.append(move)
        life = self.life
        yield move
        if life == self.life:
            move.answered_at = self._now()

    def is_damaged(self) -> None:
        """What is done next makes what is there senseless."""
        self.damaged_at = self._now()
        self.damaged = self.names

    def until(self, moment: int, now: Callable[[], int]) -> "Told":
        """What was said by then, as what a life knows that begins with what a power cut left then."""
        told = Told(now, {})
        told.moves = [
            Move(
                places=move.places,
                asked_at=0,
                answered_at=None if move.answered_at is None or move.answered_at > moment else 0,
                is_append=move.is_append,
            )
            for move in self.moves
            if move.asked_at <= moment
        ]
        names = told.names
        told.seqs = {name: seq for name, seq in self.seqs.items() if name in names}
        return told

    @property
    def names(self) -> frozenset[str]:
        """All entries that were ever spoken of."""
        return frozenset(name for move in self.moves for name in move.places)

    def is_blind(self, moment: int) -> bool:
        """Whether nothing is promised of a power cut at that moment."""
        return any(moment in moments for moments in self.blind)


class Expected(Struct, frozen=True, kw_only=True):
    """What a power cut at one moment may leave of each entry; of those in `together`, each all or nothing.

    `seqs`: the numbers that were told, or will be; `highest_seq`: of those told by then.
    `is_damaged`: the store's file made no sense any more, so it may have been set aside. `copied`: what a backup, if
    there is one, has to have in it; None where there is none to be made.
    """

    places: Mapping[str, frozenset[Place]]
    together: Sequence[frozenset[str]]
    seqs: Mapping[str, int]
    highest_seq: int
    is_damaged: bool = False
    copied: frozenset[str] | None = None


class Expecting:
    """Goes through the moments in order."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._asked = sorted(told.moves, key=lambda move: move.asked_at)
        answered = [(move.answered_at, move) for move in told.moves if move.answered_at is not None]
        self._answered = sorted(answered, key=lambda one: one[0])
        self._open: dict[str, list[Move]] = {}
        self._last: dict[str, Place] = {}
        self._next_asked = self._next_answered = 0
        self._expected: Expected | None = None
        self._highest_seq = 0
        self._is_damaged = False
        self.version = 0

    def at(self, moment: int) -> Expected:
        """What is expected of a power cut then; `version` is raised where that is more than it was."""
        asked, answered = self._next_asked, self._next_answered
        while self._next_asked < len(self._asked) and self._asked[self._next_asked].asked_at <= moment:
            move = self._asked[self._next_asked]
            for name in move.places:
                self._open.setdefault(name, []).append(move)
            self._next_asked += 1
        while self._next_answered < len(self._answered) and self._answered[self._next_answered][0] <= moment:
            self._is_answered(self._answered[self._next_answered][1])
            self._next_answered += 1
        is_damaged = self._told.damaged_at is not None and moment > self._told.damaged_at
        if is_damaged != self._is_damaged:
            self._is_damaged, self._expected = is_damaged, None
        if self._expected is None or (asked, answered) != (self._next_asked, self._next_answered):
            self._expected = self._expect()
        return self._expected

    def _expect(self) -> Expected:
        return Expected(
            places={name: self._places(name) for name in self._open},
            together=[
                frozenset(move.places)
                for move in self._asked[: self._next_asked]
                if move.is_append and all(self._open.get(name) == [move] for name in move.places)
            ],
            seqs=self._told.seqs,
            highest_seq=self._highest_seq,
            is_damaged=self._is_damaged,
            copied=self._told.copied,
        )

    def _is_answered(self, move: Move) -> None:
        self.version += 1
        if move.is_append:
            self._highest_seq = max(self._highest_seq, *(self._told.seqs[name] for name in move.places))
        for name, place in move.places.items():
            self._last[name] = place
            earlier = self._open[name]
            del earlier[: earlier.index(move) + 1]

    def _places(self, name: str) -> frozenset[Place]:
        places = {self._last.get(name, "nowhere"), *(move.places[name] for move in self._open.get(name, ()))}
        if self._is_damaged and name in self._told.damaged and places != {"dead"}:
            places.add("main")  # salvaged: who was parked waits again, and what was delivered may be once more
        return frozenset(places)
