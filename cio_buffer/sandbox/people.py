"""Who is who: finds, creates, joins and removes people by the vendor's matching rules.

Most of these rules answer 200 even when they forbid the change; what was forbidden is kept in `failures`, which stands
for the workspace's activity log.
"""

from collections import deque
from collections.abc import Callable, Iterable

from cio_buffer.sandbox.effects import Identify, Who
from cio_buffer.sandbox.person import Person, names_among

_FAILURES_MAX = 1000


class Forbidden(Exception):
    """The rules do not allow this change; the text says which."""


class People:
    """All the people of a workspace, by each of their identifiers.

    `on_merge` is told who is kept and who is gone, so that what others hold about the gone one can follow.
    """

    def __init__(self, on_merge: Callable[[Person, Person], None]) -> None:
        self._on_merge = on_merge
        self.failures: deque[str] = deque(maxlen=_FAILURES_MAX)
        self._index: dict[tuple[str, str], Person] = {}
        self._suppressed: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self._created = 0

    def __len__(self) -> int:
        return len(self.everyone())

    def everyone(self) -> list[Person]:
        """The people, oldest first."""
        return sorted({person.number: person for person in self._index.values()}.values(), key=lambda p: p.number)

    def get(self, *, id: str = "", email: str = "", cio_id: str = "") -> Person | None:
        """The person with this one identifier."""
        given: list[Who] = [
            Who(kind="id", value=id),
            Who(kind="email", value=email),
            Who(kind="cio_id", value=cio_id),
        ]
        return next((self.find(who) for who in given if who.value), None)

    def find(self, who: Who) -> Person | None:
        """The person with that identifier."""
        return self._index.get(who.key)

    def find_or_create(self, who: Who) -> Person | None:
        """The person with that identifier; None when nobody can be given it (blocked, or an unknown `cio_id`)."""
        try:
            self._check_not_suppressed([who])
            person = self.find(who) or self._create(who)
        except Forbidden as rule:
            self.failures.append(str(rule))
            return None
        self._link(person)
        return person

    def identify(self, update: Identify, *, arrived_at: float) -> Person | None:
        """Create or update a person; None when the rules forbid it, with the reason in `failures`."""
        names = [update.who, *names_among(update.attributes)]
        try:
            self._check_not_suppressed(names)
            person = self._match(names, may_create=update.attributes.get("_update") is not True)
            self._give(person, names)
        except Forbidden as rule:
            self.failures.append(str(rule))
            return None
        # Stamps have a resolution of one second: an unstamped update must not lose against a stamp of that second.
        stamp = update.timestamp if update.timestamp is not None else int(arrived_at)
        person.update(update.attributes, stamp=stamp)
        return person

    def merge(self, primary: Who, secondary: Who) -> None:
        """Fold secondary into primary; nothing happens unless both are there."""
        kept, gone = self.find(primary), self.find(secondary)
        if kept is not None and gone is not None and kept is not gone:
            self._fold(kept, gone)

    def delete(self, who: Who) -> Person | None:
        """Remove the person, if there is one, and say who it was."""
        person = self.find(who)
        if person is not None:
            self._unlink(person)
        return person

    def suppress(self, who: Who) -> Person | None:
        """Remove the person and block the identifiers they had, as well as `who`; say who it was."""
        person = self.delete(who)
        blocked = frozenset({who.key, *(_keys(person) if person else ())})
        for key in blocked:
            self._suppressed[key] = blocked
        return person

    def unsuppress(self, who: Who) -> None:
        """Free what was blocked together with `who`."""
        for key in self._suppressed.get(who.key, frozenset()):
            self._suppressed.pop(key, None)

    def _check_not_suppressed(self, names: list[Who]) -> None:
        if any(who.key in self._suppressed for who in names):
            raise Forbidden("an identifier is suppressed")

    def _match(self, names: list[Who], *, may_create: bool) -> Person:
        if names[0].kind == "cio_id" and self.find(names[0]) is None:
            raise Forbidden("unknown cio_id")
        found = {person.number: person for who in names if (person := self.find(who))}
        if len(found) > 1:
            return self._merge_by_themselves(list(found.values()))
        if found:
            return next(iter(found.values()))
        if not may_create:
            raise Forbidden("_update for nobody")
        return self._create(names[0])

    def _merge_by_themselves(self, found: list[Person]) -> Person:
        """One known by id only and one by email only are taken for the same person; any other two are a failure."""
        kinds = [frozenset(person.identifiers) & {"id", "email"} for person in found]
        if sorted(kinds, key=sorted) != [frozenset({"email"}), frozenset({"id"})]:
            raise Forbidden("identifiers belong to different people")
        older, younger = sorted(found, key=lambda person: person.number)
        self._fold(older, younger)
        return older

    def _give(self, person: Person, names: list[Who]) -> None:
        """Add the identifiers to the person. One that is set changes only by `cio_id`; an email also by id."""
        for who in names:
            has = person.identifiers.get(who.kind)
            may_change = names[0].kind == "cio_id" or (names[0].kind, who.kind) == ("id", "email")
            if has is not None and not may_change and Who(kind=who.kind, value=has).key != who.key:
                raise Forbidden(f"{who.kind} is set already")
        self._unlink(person)
        person.identifiers.update({who.kind: who.value for who in names})
        self._link(person)

    def _create(self, who: Who) -> Person:
        """A new person whom nothing leads to yet."""
        if who.kind == "cio_id":
            raise Forbidden("unknown cio_id")
        self._created += 1
        return Person(number=self._created, identifiers={"cio_id": f"{self._created:012x}", who.kind: who.value})

    def _fold(self, kept: Person, gone: Person) -> None:
        self._unlink(gone)
        kept.absorb(gone)
        self._link(kept)
        self._on_merge(kept, gone)

    def _link(self, person: Person) -> None:
        self._index.update(dict.fromkeys(_keys(person), person))

    def _unlink(self, person: Person) -> None:
        for key in _keys(person):
            self._index.pop(key, None)


def _keys(person: Person) -> Iterable[tuple[str, str]]:
    return [Who(kind=kind, value=value).key for kind, value in person.identifiers.items()]
