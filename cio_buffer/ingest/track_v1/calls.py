"""Which v1 call a request is: by its method and its raw path, which is split before anything in it is decoded."""

from collections.abc import Callable

from msgspec import Struct

from cio_buffer.ingest.track_v1 import devices, events, messages, people
from cio_buffer.ingest.track_v1.call import CUSTOMERS, V1Call
from cio_buffer.outbox.entry import NewEntry

FORMS, SEGMENTS, UNSUBSCRIBE = "/api/v1/forms/", "/api/v1/segments/", "/unsubscribe/"


class Found(Struct, frozen=True):
    """A kind of call: what makes entries of it, in a few words what it does, and what its body has to be.

    `needs_key`: Customer.io asks for credentials, and so do we.
    """

    make: Callable[[V1Call], list[NewEntry]]
    does: str
    body: type | None = None
    needs_key: bool = True


OF_A_PERSON = {
    ("PUT", ""): Found(people.identify, "Create or update a person", people.Attributes),
    ("DELETE", ""): Found(people.delete, "Delete a person"),
    ("POST", "events"): Found(events.event, "Record an event, a page or a screen", events.EventBody),
    ("PUT", "devices"): Found(devices.add_device, "Add or update a device", devices.DeviceBody),
    ("DELETE", "devices/*"): Found(devices.delete_device, "Remove a device"),
    ("POST", "suppress"): Found(people.suppress, "Delete a person and keep them out"),
    ("POST", "unsuppress"): Found(people.unsuppress, "Let a suppressed person in again"),
}
"""By what follows the person's name in the path."""

BY_PATH = {
    "/api/v1/events": Found(events.anonymous_event, "Record what a visitor did, or invite one", events.EventBody),
    "/api/v1/merge_customers": Found(people.merge, "Fold one person into another", people.Sides),
    "/api/v1/metrics": Found(messages.metric, "Report on a message", messages.Metric, needs_key=False),
    "/api/v1/push/events": Found(messages.push_metric, "Report on a push", messages.PushMetric, needs_key=False),
    # where older SDKs post it
    "/push/events": Found(messages.push_metric, "Report on a push", messages.PushMetric, needs_key=False),
    "/api/v1/cio_deliveries/events": Found(messages.in_app_metric, "Report on an in-app message", messages.InAppMetric),
}
"""All of them by POST."""

UNDER_A_NAME = {
    (FORMS, "submit"): Found(messages.form, "Submit a form", messages.FormBody),
    (SEGMENTS, "add_customers"): Found(messages.segment_add, "Put people into a manual segment", messages.Members),
    (SEGMENTS, "remove_customers"): Found(
        messages.segment_remove, "Take people out of a manual segment", messages.Members
    ),
}
"""By POST too: what stands before and behind one variable segment."""

UNSUBSCRIBED = Found(messages.unsubscribe, "Unsubscribe whoever got a message", messages.Anything, needs_key=False)
"""By POST, with the rest of the path as the message's name."""

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
        return UNSUBSCRIBED, tuple(path.removeprefix(UNSUBSCRIBE).split("/"))
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
