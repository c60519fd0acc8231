"""Track v1: the request is the operation, and its path says which one."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from cio_buffer.sandbox import v1_messages, v1_people
from cio_buffer.sandbox.effects import Asked, DeletePerson, Suppress, Unsuppress
from cio_buffer.sandbox.fields import Fields, parse
from cio_buffer.sandbox.identities import path_segments
from cio_buffer.sandbox.v1_given import Given, Reading

# How the answer is shaped, where that is not v1's usual way.
Shape: TypeAlias = Literal["v1", "v1_merge", "v1_form"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the API. A `*` in the path stands for a variable segment."""

    method: str
    path: tuple[str, ...]
    read: Callable[[Given], Reading]
    shape: Shape = "v1"
    needs_body: bool = True
    needs_credentials: bool = True


def find_route(method: str, raw_path: str) -> tuple[Route, tuple[str, ...]] | None:
    """The route of a request and the variable segments of its path; None when there is no such call."""
    segments = path_segments(raw_path)
    for route in ROUTES:
        if route.method == method and len(route.path) == len(segments):
            pairs = list(zip(route.path, segments, strict=True))
            if all(segment if pattern == "*" else pattern == segment for pattern, segment in pairs):
                return route, tuple(segment for pattern, segment in pairs if pattern == "*")
    return None


def read_request(
    route: Route,
    named: tuple[str, ...],
    body: bytes,
    *,
    query: str,
    content_type: str,
    manual_segments: frozenset[int] | None,
) -> Asked:
    """Read the operation of a request. `manual_segments` None means that every segment exists."""
    fields = parse(body) if body or route.needs_body else Fields({})
    given = Given(named=named, query=query, content_type=content_type, fields=fields, manual_segments=manual_segments)
    reading = route.read(given)
    return Asked(
        api="v1",
        kind=reading.kind,
        identifiers=reading.identifiers,
        body=dict(fields.values),
        effects=() if fields.problems else reading.effects,
        problems=tuple(fields.problems),
    )


_PERSON = ("api", "v1", "customers", "*")
ROUTES: tuple[Route, ...] = (
    Route(method="PUT", path=_PERSON, read=v1_people.identify),
    Route(
        method="DELETE",
        path=_PERSON,
        read=v1_people.simple("delete", lambda who: DeletePerson(who=who)),
        needs_body=False,
    ),
    Route(method="POST", path=(*_PERSON, "events"), read=v1_people.event),
    Route(method="PUT", path=(*_PERSON, "devices"), read=v1_people.add_device),
    Route(method="DELETE", path=(*_PERSON, "devices", "*"), read=v1_people.delete_device, needs_body=False),
    Route(
        method="POST",
        path=(*_PERSON, "suppress"),
        read=v1_people.simple("suppress", lambda who: Suppress(who=who)),
        needs_body=False,
    ),
    Route(
        method="POST",
        path=(*_PERSON, "unsuppress"),
        read=v1_people.simple("unsuppress", lambda who: Unsuppress(who=who)),
        needs_body=False,
    ),
    Route(method="POST", path=("api", "v1", "events"), read=v1_people.nameless_event),
    Route(method="POST", path=("api", "v1", "merge_customers"), read=v1_people.merge, shape="v1_merge"),
    Route(method="POST", path=("api", "v1", "metrics"), read=v1_messages.metric, needs_credentials=False),
    Route(method="POST", path=("api", "v1", "push", "events"), read=v1_messages.push_metric, needs_credentials=False),
    Route(method="POST", path=("push", "events"), read=v1_messages.push_metric, needs_credentials=False),
    Route(method="POST", path=("api", "v1", "cio_deliveries", "events"), read=v1_messages.in_app_metric),
    Route(method="POST", path=("api", "v1", "forms", "*", "submit"), read=v1_messages.form, shape="v1_form"),
    Route(method="POST", path=("unsubscribe", "*"), read=v1_messages.unsubscribe, needs_credentials=False),
    Route(
        method="POST",
        path=("api", "v1", "segments", "*", "add_customers"),
        read=v1_messages.segment("segment_add", is_member=True),
    ),
    Route(
        method="POST",
        path=("api", "v1", "segments", "*", "remove_customers"),
        read=v1_messages.segment("segment_remove", is_member=False),
    ),
)
