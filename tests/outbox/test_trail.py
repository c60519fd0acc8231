"""What the delivery log keeps of an entry: packed small, and able to say all that ingest can store."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_buffer.http.answers import V2_ROOT
from cio_buffer.ingest.routes import V2_BATCH, V2_ENTITY, door_of
from cio_buffer.ingest.track_v1.calls import BY_PATH, OF_A_PERSON, UNDER_A_NAME, UNSUBSCRIBED, find_call
from cio_buffer.operations import DeliveryEvent, ObjectOperation, PersonOperation
from cio_buffer.outbox.trail import (
    KINDS,
    LANES_MAX,
    MARK_BYTES,
    NO_MARK,
    ROUTES,
    TRAIL_BYTES,
    Trail,
    mark_of,
    pack_trail,
    unpack_trail,
)
from tests.ingest.said import made

trails = st.builds(
    Trail,
    st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES),
    st.integers(0, 2**63 - 1),
    st.sampled_from(KINDS),
    st.sampled_from(ROUTES),
    st.integers(0, LANES_MAX),
)


def pack(trail: Trail) -> bytes:
    return pack_trail(
        mark=trail.mark,
        accepted_at_ms=trail.accepted_at_ms,
        kind=trail.kind,
        route=trail.route,
        lanes=trail.lanes,
    )


@given(trails)
def test_it_comes_out_as_it_was_packed(trail: Trail) -> None:
    packed = pack(trail)
    assert (unpack_trail(packed), len(packed)) == (trail, TRAIL_BYTES)


@given(trails, trails)
def test_two_are_packed_alike_only_if_they_are_alike(one: Trail, other: Trail) -> None:
    assert (pack(one) == pack(other)) == (one == other)


def test_it_takes_few_bytes_because_there_are_millions() -> None:
    assert TRAIL_BYTES == 17


def test_more_lanes_than_it_can_count_are_many() -> None:
    for lanes in (LANES_MAX, LANES_MAX + 1, 100_000):
        assert unpack_trail(pack(Trail(NO_MARK, 1, "segment_add", "v1", lanes))).lanes == LANES_MAX


def test_what_it_has_no_word_for_is_unknown() -> None:
    trail = unpack_trail(pack(Trail(NO_MARK, 1, "fly", "by air", 1)))
    assert (trail.kind, trail.route) == ("", "")


@pytest.mark.parametrize("code", [len(KINDS), len(ROUTES), 255])
def test_words_of_a_newer_version_are_unknown(code: int) -> None:
    packed = bytearray(pack(Trail(NO_MARK, 1, "event", "v1", 1)))
    packed[-3:-1] = [max(code, len(KINDS)), code]
    trail = unpack_trail(bytes(packed))
    assert (trail.kind, trail.route, trail.lanes) == ("", "", 1)


ON_DISK = (
    " identify event page screen delete suppress unsuppress add_relationships delete_relationships add_device"
    " delete_device merge object_identify object_identify_anonymous object_delete object_add_relationships"
    " object_delete_relationships object_event delivery_event invite metric push_metric in_app_metric unsubscribe form"
    " segment_add segment_remove"
)


def test_words_stay_in_their_places_because_these_are_on_disk() -> None:
    stored = ON_DISK.split(" ")
    assert list(KINDS[: len(stored)]) == stored
    assert ROUTES[:5] == ("", "v1", "v2 entity", "v2 batch", "lines")


def test_every_word_stands_there_once_and_has_a_byte() -> None:
    for words in (KINDS, ROUTES):
        assert len(set(words)) == len(words) <= 256


@given(st.text(), st.text())
def test_ids_are_marked_apart(one: str, other: str) -> None:
    assert (mark_of(one) == mark_of(other)) == (one == other)
    assert len(mark_of(one)) == MARK_BYTES
    assert mark_of(one) != NO_MARK


ANYTHING = {
    "name": "b",
    "device": {"id": "t", "platform": "ios"},
    "primary": {"id": "5"},
    "secondary": {"id": "6"},
    "delivery_id": "d",
    "metric": "opened",
    "event": "opened",
    "payload": {"delivery_id": "d"},
    "data": {},
    "ids": ["5"],
}
"""Has what any v1 call asks for."""


def v1_lines() -> list[str]:
    """One call of each kind, and those of which the body makes another kind."""
    of_a_person = [
        f"{method} /api/v1/customers/5{tail and '/'}{tail.replace('*', 't')}" for method, tail in OF_A_PERSON
    ]
    under_a_name = [f"POST {head}1/{tail}" for head, tail in UNDER_A_NAME]
    return [*of_a_person, *(f"POST {path}" for path in BY_PATH), *under_a_name, "POST /unsubscribe/d"]


def test_every_call_of_v1_is_looked_at() -> None:
    makes = {find_call(*line.split())[0].make for line in v1_lines()}
    tables = (*OF_A_PERSON.values(), *BY_PATH.values(), *UNDER_A_NAME.values(), UNSUBSCRIBED)
    assert makes == {found.make for found in tables}


@pytest.mark.parametrize("line", v1_lines())
@pytest.mark.parametrize("more", [{}, {"type": "page"}, {"type": "screen"}, {"type": "odd"}, {"anonymous_id": "a"}])
def test_every_kind_that_v1_makes_has_its_word(line: str, more: dict[str, str]) -> None:
    for entry in made(line, json.dumps(ANYTHING | more).encode()):
        assert unpack_trail(entry.trail).kind == entry.kind != ""


@pytest.mark.parametrize("operation", [*get_args(PersonOperation), *get_args(ObjectOperation), DeliveryEvent])
def test_every_kind_of_v2_has_its_word(operation: type) -> None:
    assert operation.kind in KINDS


def test_no_word_is_there_for_nothing() -> None:
    """Of each kind there is some call or operation."""
    bodies = [ANYTHING, ANYTHING | {"type": "page"}, ANYTHING | {"type": "screen"}]
    of_v1 = {entry.kind for line in v1_lines() for body in bodies for entry in made(line, json.dumps(body).encode())}
    operations = (*get_args(PersonOperation), *get_args(ObjectOperation), DeliveryEvent)
    assert of_v1 | {operation.kind for operation in operations} == set(KINDS) - {""}


@given(st.sampled_from(["/api/v1/", V2_ROOT, V2_ENTITY, V2_BATCH, "/unsubscribe/", ""]), st.text())
def test_every_door_has_its_word(head: str, rest: str) -> None:
    assert door_of(head + rest) in set(ROUTES) - {""}
    assert [door_of(path) for path in (V2_ENTITY, V2_BATCH, "/push/events")] == ["v2 entity", "v2 batch", "v1"]
