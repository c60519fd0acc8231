"""Which v1 call a request is: by its method and its raw path, which is split before anything in it is decoded."""

from collections.abc import Callable

from msgspec import Struct

from cio_buffer.ingest.track_v1 import devices, events, messages, people
from cio_buffer.ingest.track_v1.call import CUSTOMERS, V1Call
from cio_buffer.outbox.entry import NewEntry

FORMS, SEGMENTS, UNSUBSCRIBE = "/api/v1/forms/", "/api/v1/segments/", "/unsubscribe/"


class Found(Struct, frozen=True):
    """A kind of call. `needs_key`: Customer.io asks for credentials, and so do we."""

    make: Callable[[V1Call], list[NewEntry]]
    needs_key: bool = True


OF_A_PERSON = {
    ("PUT", ""): Found(people.identify),
    ("DELETE", ""): Found(people.delete),
    ("POST", "events"): Found(events.event),
    ("PUT", "devices"): Found(devices.add_device),
    ("DELETE", "devices/*"): Found(devices.delete_device),
    ("POST", "suppress"): Found(people.suppress),
    ("POST", "unsuppress"): Found(people.unsuppress),
}
"""By what follows the person's name in the path."""

BY_PATH = {
    "/api/v1/events": Found(events.anonymous_event),
    "/api/v1/merge_customers": Found(people.merge),
    "/api/v1/metrics": Found(messages.metric, needs_key=False),
    "/api/v1/push/events": Found(messages.push_metric, needs_key=False),
    "/push/events": Found(messages.push_metric, needs_key=False),  # where older SDKs post it
    "/api/v1/cio_deliveries/events": Found(messages.in_app_metric),
}
"""All of them by POST."""

UNDER_A_NAME = {
    (FORMS, "submit"): Found(messages.form),
    (SEGMENTS, "add_customers"): Found(messages.segment_add),
    (SEGMENTS, "remove_customers"): Found(messages.segment_remove),
}
"""By POST too: what stands before and behind one variable segment."""

TAILS = {"events", "devices", "suppress", "unsuppress"}
"""What Customer.io knows behind a person's name: never to be read as part of the name."""


def find_call(method: str, path: str) -> tuple[Found, tuple[str, ...]] | None:
    """The call that `method` and the raw `path` ask for, and the raw variable parts of the path, or None."""
    if path.startswith(CUSTOMERS):
        return find_of_a_person(method, path.removeprefix(CUSTOMERS))
    if method != "POST":
        return None
    if found := BY_PATH.get(path):
        return found, ()
    if path.startswith(UNSUBSCRIBE):
        return Found(messages.unsubscribe, needs_key=False), tuple(path.removeprefix(UNSUBSCRIBE).split("/"))
    for (head, tail), found in UNDER_A_NAME.items():
        name = path.removeprefix(head).removesuffix(f"/{tail}")
        if path == f"{head}{name}/{tail}" and name and "/" not in name:
            return found, (name,)
    return None


def find_of_a_person(method: str, rest: str) -> tuple[Found, tuple[str, ...]] | None:
    """Find it by what follows `customers/`, split from the right: two SDKs leave a `/` inside a name as it is.

    None for whatever else Customer.io may take for a call about that person, so that it is never taken for a longer
    name.
    """
    parts = rest.split("/")
    tail, named = "", list[str]()
    if method == "DELETE" and len(parts) > 2 and parts[-2] == "devices" and parts[-1]:
        tail, parts, named = "devices/*", parts[:-2], [parts[-1]]
    elif len(parts) > 1 and parts[-1] in TAILS:
        tail, parts = parts[-1], parts[:-1]
    more = parts[1:]
    if more and (more[-1] == "" or not TAILS.isdisjoint(more)):
        return None
    found = OF_A_PERSON.get((method, tail))
    return (found, ("/".join(parts), *named)) if found else None
