"""What a workspace has come to be, as plain data: two that were told the same have equal pictures.

Left out is what the SDK did not say: an event's id and time where we or the workspace gave them, and `cio_id`s. The
sandbox shows most of this by name only; a picture has to see all of it, and so looks inside.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cio_buffer.sandbox.objects import Thing
from cio_buffer.sandbox.person import Event, Person
from cio_buffer.sandbox.workspace import Workspace

OUR_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
"""A ULID, as we give it to events without an id. The stories' own ids look different."""

STAMPED_WITHIN_S = 300.0
"""A time this close to the arrival is a stamp. The stories' own times are years ago."""


def picture(workspace: Workspace) -> dict[str, Any]:
    """All that is in it, in an order that does not depend on the order in which it came, but for each one's events."""
    people = workspace.people.everyone()
    names = {person.cio_id: name_of(person) for person in people}
    visitors = workspace.visitors
    return {
        "people": {name_of(person): person_in(workspace, person) for person in people},
        "objects": {
            f"{thing.object_type_id}/{thing.object_id}": object_in(thing, names) for thing in things(workspace)
        },
        "visitors": {
            "waiting": {name: [event_in(event) for event in events] for name, events in visitors._events.items()},
            "known": {name: name_of(person) for name, (person, _) in visitors._owners.items()},
        },
        "suppressed": sorted(f"{kind} {value}" for kind, value in workspace.people._suppressed if kind != "cio_id"),
        "invites": sorted(map(event_in, workspace.invites), key=str),
        "deliveries": msgspec.to_builtins(workspace.deliveries),
        "forms": msgspec.to_builtins(workspace.forms),
        "failures": sorted(workspace.people.failures),
    }


def differences(straight: Any, by_us: Any, place: str = "") -> Iterator[str]:
    """One line for each place at which two pictures differ."""
    if isinstance(straight, dict) and isinstance(by_us, dict):
        for name in sorted({*straight, *by_us}, key=str):
            yield from differences(straight.get(name), by_us.get(name), f"{place} / {name}")
    elif isinstance(straight, list) and isinstance(by_us, list) and len(straight) == len(by_us):
        for number, pair in enumerate(zip(straight, by_us, strict=True)):
            yield from differences(*pair, f"{place} / {number}")
    elif straight != by_us:
        told = f"{around(straight, by_us)} straight, {around(by_us, straight)} through the daemon"
        yield f"{place.removeprefix(' / ')}: {told}"


def around(value: Any, other: Any) -> str:
    """A value; of a long text the part at which it begins to differ from the other."""
    if not isinstance(value, str) or not isinstance(other, str):
        return repr(value)
    same = next((at for at, pair in enumerate(zip(value, other, strict=False)) if pair[0] != pair[1]), 0)
    return repr(value[max(0, same - 40) : same + 80])


def name_of(person: Person) -> str:
    return ", ".join(f"{kind} {value}" for kind, value in sorted(person.identifiers.items()) if kind != "cio_id")


def person_in(workspace: Workspace, person: Person) -> dict[str, Any]:
    return {
        "attributes": person.attributes,
        "events": [event_in(event) for event in person.events],
        "devices": {token: device_in(device) for token, device in person.devices.items()},
        "segments": sorted(number for number, members in workspace._segments.items() if person.cio_id in members),
    }


def event_in(event: Event) -> dict[str, Any]:
    is_stamped = abs(event.timestamp - event.at) < STAMPED_WITHIN_S
    return {
        "kind": event.kind,
        "name": event.name,
        "data": event.data,
        "id": None if event.id is None or OUR_ID.fullmatch(event.id) else event.id,
        "timestamp": None if is_stamped else event.timestamp,
    }


def device_in(device: dict[str, Any]) -> dict[str, Any]:
    """The token is called `id` in v1 and `token` in v2; it is the key already.

    On its way into v2 a time that is written as text becomes a number, and what is null is left out.
    """
    said = {name: value for name, value in device.items() if name not in {"id", "token"} and value is not None}
    return said | ({"last_used": int(said["last_used"])} if "last_used" in said else {})


def things(workspace: Workspace) -> Iterable[Thing]:
    return workspace.objects._index.values()


def object_in(thing: Thing, names: dict[str, str]) -> dict[str, Any]:
    return {
        "attributes": thing.attributes,
        "people": {names[cio_id]: tie for cio_id, tie in thing.people.items()},
        "anonymous": thing.anonymous,
    }
