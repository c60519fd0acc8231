"""What a workspace has come to be through all that was taken in."""

from cio_buffer.sandbox.effects import (
    AddDevice,
    ChangeSegment,
    DeleteDevice,
    DeleteObject,
    DeletePerson,
    DeliveryMetric,
    Effect,
    Happening,
    Identify,
    IdentifyObject,
    JsonObject,
    MergePeople,
    Relate,
    Relation,
    SubmitForm,
    Suppress,
    Unrelate,
    Unsuppress,
    Who,
)
from cio_buffer.sandbox.objects import Objects, Thing, without_cleared
from cio_buffer.sandbox.people import People
from cio_buffer.sandbox.person import Event, Person
from cio_buffer.sandbox.visitors import Visitors


class Workspace:
    """People, objects, segments, and what became of messages and forms."""

    def __init__(self) -> None:
        self.people = People(on_merge=self._hand_over)
        self.objects = Objects()
        self.visitors = Visitors()
        self.invites: list[Event] = []
        self.deliveries: dict[str, list[DeliveryMetric]] = {}
        self.forms: list[SubmitForm] = []
        self._segments: dict[int, set[str]] = {}
        self._event_ids: set[str] = set()
        self._events_total = 0

    def apply(self, effects: tuple[Effect, ...], *, at: float) -> bool:
        """Process one operation that arrived `at`; False when it is an event whose id was seen before.

        True does not mean that anything changed: most rules about people are broken in silence.
        """
        for effect in effects:
            if isinstance(effect, Happening):
                if not self._is_new(effect):
                    return False
                self._happen(effect, at=at)
            else:
                self._apply(effect, at=at)
        return True

    def segment(self, segment_id: int) -> frozenset[str]:
        """The `cio_id` of each member."""
        return frozenset(self._segments.get(segment_id, ()))

    def _apply(self, effect: Effect, *, at: float) -> None:
        match effect:
            case Identify():
                self._identify(effect, at=at)
            case DeletePerson(who=who):
                self._clear_away(self.people.delete(who))
            case Suppress(who=who):
                self._clear_away(self.people.suppress(who))
            case Unsuppress(who=who):
                self.people.unsuppress(who)
            case AddDevice():
                self._add_device(effect)
            case DeleteDevice(who=who, token=token):
                self._delete_device(who, token)
            case MergePeople(primary=primary, secondary=secondary):
                self.people.merge(primary, secondary)
            case Relate(relations=relations):
                for relation in relations:
                    self._relate(relation)
            case Unrelate(relations=relations):
                for relation in relations:
                    self._unrelate(relation)
            case IdentifyObject(object=ref, attributes=attributes):
                self.objects.identify(ref, attributes)
            case DeleteObject(object=ref):
                self.objects.delete(ref)
            case DeliveryMetric():
                self.deliveries.setdefault(effect.delivery_id, []).append(effect)
            case SubmitForm():
                self.forms.append(effect)
                self._identify(Identify(who=effect.who, attributes=effect.answers, timestamp=None), at=at)
            case ChangeSegment():
                self._change_segment(effect)

    def _is_new(self, happening: Happening) -> bool:
        if happening.event_id is None:
            return True
        is_new = happening.event_id not in self._event_ids
        self._event_ids.add(happening.event_id)
        return is_new

    def _happen(self, happening: Happening, *, at: float) -> None:
        self._events_total += 1
        event = Event(
            number=self._events_total,
            kind=happening.kind,
            name=happening.name.strip(),
            id=happening.event_id,
            timestamp=at if happening.timestamp is None else happening.timestamp,
            at=at,
            data=happening.data,
        )
        who = happening.who
        if who is None:
            self.invites.append(event)
        elif who.kind == "anonymous_id":
            self.visitors.record(who.value, event)
        elif person := self.people.find_or_create(who):
            person.add_events([event])

    def _identify(self, update: Identify, *, at: float) -> None:
        person = self.people.identify(update, arrived_at=at)
        anonymous_id = update.attributes.get("anonymous_id")
        if person is None or not isinstance(anonymous_id, str) or not anonymous_id:
            return
        if self.visitors.claim(anonymous_id, person, at=at):
            self.objects.claim(anonymous_id, person.cio_id)
        else:
            self.people.failures.append("anonymous_id belongs to somebody else")

    def _hand_over(self, kept: Person, gone: Person) -> None:
        self.visitors.hand_over(gone, kept)
        self.objects.hand_over(gone.cio_id, kept.cio_id)
        for members in self._segments.values():
            if gone.cio_id in members:
                members.remove(gone.cio_id)
                members.add(kept.cio_id)

    def _clear_away(self, gone: Person | None) -> None:
        if gone is None:
            return
        self.objects.forget_person(gone.cio_id)
        for members in self._segments.values():
            members.discard(gone.cio_id)

    def _add_device(self, effect: AddDevice) -> None:
        person = self.people.find_or_create(effect.who)
        if person is not None:
            person.devices[effect.token] = effect.device

    def _delete_device(self, who: Who, token: str) -> None:
        person = self.people.find(who)
        if person is not None:
            person.devices.pop(token, None)

    def _relate(self, relation: Relation) -> None:
        """Tie person and object, creating the object; an unknown person is not created by it."""
        ties = self._ties(relation.person, self.objects.find_or_create(relation.object))
        if ties is not None:
            key, attributes = ties
            attributes[key] = without_cleared({**attributes.get(key, {}), **relation.attributes})

    def _unrelate(self, relation: Relation) -> None:
        ties = self._ties(relation.person, self.objects.find(relation.object))
        if ties is not None:
            key, attributes = ties
            attributes.pop(key, None)

    def _ties(self, who: Who, thing: Thing | None) -> tuple[str, dict[str, JsonObject]] | None:
        """Where the tie between the two is kept, and under which key; None when one of them is unknown."""
        if thing is None:
            return None
        person = self.visitors.owner(who.value) if who.kind == "anonymous_id" else self.people.find(who)
        if person is not None:
            return person.cio_id, thing.people
        return (who.value, thing.anonymous) if who.kind == "anonymous_id" else None

    def _change_segment(self, change: ChangeSegment) -> None:
        members = self._segments.setdefault(change.segment_id, set())
        listed = {person.cio_id for who in change.people if (person := self.people.find(who))}
        if change.is_member:
            members |= listed
        else:
            members -= listed
