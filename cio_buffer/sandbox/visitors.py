"""Events of visitors without a name, until an identify says who they were."""

from cio_buffer.sandbox.person import Event, Person

KEPT_FOR_S = 30 * 24 * 3600
LATE_JOIN_S = 5 * 60


class Visitors:
    """Anonymous events by `anonymous_id`, and whose each of these ids has become."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = {}
        self._owners: dict[str, tuple[Person, float]] = {}

    def waiting(self, anonymous_id: str) -> list[Event]:
        """The events of that visitor which belong to nobody yet."""
        return list(self._events.get(anonymous_id, ()))

    def owner(self, anonymous_id: str) -> Person | None:
        """The person that this visitor turned out to be."""
        owner = self._owners.get(anonymous_id)
        return owner[0] if owner else None

    def record(self, anonymous_id: str, event: Event) -> None:
        """Give the event to the person if the identify was just now; otherwise keep it for one that may come."""
        owner = self._owners.get(anonymous_id)
        if owner is not None and event.at - owner[1] <= LATE_JOIN_S:
            owner[0].add_events([event])
        else:
            self._events.setdefault(anonymous_id, []).append(event)

    def claim(self, anonymous_id: str, person: Person, *, at: float) -> bool:
        """Join the visitor's events of the last 30 days to `person`; False when the id is somebody's already."""
        if anonymous_id in self._owners:
            return self._owners[anonymous_id][0] is person
        self._owners[anonymous_id] = (person, at)
        person.add_events([event for event in self._events.pop(anonymous_id, []) if at - event.at <= KEPT_FOR_S])
        return True

    def hand_over(self, gone: Person, kept: Person) -> None:
        """After a merge: what was one person's becomes the other's."""
        for anonymous_id, (owner, at) in self._owners.items():
            if owner is gone:
                self._owners[anonymous_id] = (kept, at)
