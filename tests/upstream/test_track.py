"""How entries become requests, and what is read from replies."""

import json

import pytest

from cio_buffer.upstream.track import Complaint, batch_bytes, batch_request, complaints, event_as_v1, v1_request

BOUGHT = {"type": "person", "identifiers": {"id": "5"}, "action": "event", "name": "b", "id": "x", "timestamp": 1}


def as_v1(**more):
    said = event_as_v1(json.dumps(BOUGHT | more).encode())
    return (said[0], json.loads(said[1])) if said else None


@pytest.mark.parametrize("bodies", [[b"{}"], [b'{"a":1}', b"{}", b'{"b":[]}']])
def test_a_batch_is_a_join_of_bodies(bodies):
    request = batch_request(bodies)
    assert (request.method, request.path) == ("POST", "/api/v2/batch")
    assert json.loads(request.body) == {"batch": [json.loads(body) for body in bodies]}
    assert len(request.body) == batch_bytes(sum(map(len, bodies)), len(bodies))


def test_a_v1_call_leaves_as_it_came():
    request = v1_request("PUT /api/v1/customers/a%20b", b"{}")
    assert (request.method, request.path, request.body) == ("PUT", "/api/v1/customers/a%20b", b"{}")


@pytest.mark.parametrize(
    ("identifiers", "path"),
    [
        ({"id": "5"}, "/api/v1/customers/5/events"),
        ({"id": "a/b ü+"}, "/api/v1/customers/a%2Fb%20%C3%BC%2B/events"),
        ({"id": None, "email": "a@x.com"}, "/api/v1/customers/a%40x.com/events"),
        ({"cio_id": "f0"}, "/api/v1/customers/cio_f0/events"),
    ],
)
def test_an_event_in_v1_names_its_person_in_the_path(identifiers, path):
    assert as_v1(identifiers=identifiers) == (f"POST {path}", {"name": "b", "id": "x", "timestamp": 1, "data": {}})


def test_an_anonymous_event_in_v1_names_it_in_the_body():
    call, body = as_v1(identifiers={"anonymous_id": "a1"}, action="page", attributes={"a": None})
    assert call == "POST /api/v1/events"
    assert body == {"name": "b", "id": "x", "timestamp": 1, "type": "page", "data": {"a": None}, "anonymous_id": "a1"}


@pytest.mark.parametrize(
    "identifiers", [{"phone": "+1"}, {"id": "a@x.com"}, {"id": "cio_5"}, {"email": "a@b"}, {"id": "."}, {"id": ".."}]
)
def test_nobody_is_named_in_v1_who_would_be_taken_for_another(identifiers):
    assert as_v1(identifiers=identifiers) is None


def test_what_the_app_said_beside_is_kept_and_so_is_every_byte_of_it():
    body = json.dumps(BOUGHT | {"more": 1}).encode()[:-1] + b',"attributes":{"z":1E2,"a":10000000000000000000000}}'
    _, said = event_as_v1(body)
    assert b'"more":1,' in said
    assert b'"data":{"z":1E2,"a":10000000000000000000000}' in said


def test_v1_has_a_most_too():
    assert as_v1(attributes={"x": "x" * (100_000 - 9)})
    assert as_v1(attributes={"x": "x" * (100_000 - 8)}) is None


def test_a_body_too_deep_for_this_stack_is_not_said_in_v1():
    assert event_as_v1(b'{"attributes":' + b"[" * 5_000 + b"]" * 5_000 + b"}") is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"{}", []),
        (b"<html>", []),
        (b"[]", []),
        (b'{"errors":[]}', []),
        (b'{"errors":"x"}', [Complaint(message="x")]),
        (b'{"errors":[{"batch_index":2},null],"meta":[]}', [Complaint(index=2)]),
        (b'{"errors":null,"meta":{"errors":["bad"]}}', [Complaint(message="bad")]),
        (b'\xef\xbb\xbf{"errors":["bad"]}', [Complaint(message="bad")]),
        (b'{"errors":[{"batch_in', None),
        (b'{"errors":' + b"[" * 5_000 + b"]" * 5_000 + b"}", None),
        (b'{"errors":["bad"]}', [Complaint(message="bad")]),
        (b'{"errors":[{"detail":"d","status":"422"}]}', [Complaint(message="d")]),
        (b'{"meta":{"error":"bad"}}', [Complaint(message="bad")]),
        (b'{"meta":{"errors":["a","b"]}}', [Complaint(message="a"), Complaint(message="b")]),
        (
            b'{"errors":[{"batch_index":1,"reason":"required","field":"name","message":"m"}]}',
            [Complaint(index=1, reason="required", field="name", message="m")],
        ),
        (b'{"errors":[{"batch_index":true},{"batch_index":-1},{"batch_index":"1"}]}', [Complaint()] * 3),
        (b'{"errors":[{"message":["x"]}]}', [Complaint(message="['x']")]),
    ],
)
def test_complaints_are_read_in_every_shape(body, found):
    assert complaints(body) == found


def test_a_complaint_has_bounds():
    (one,) = complaints(json.dumps({"errors": ["x" * 5_000]}).encode())
    assert len(one.message) == 1_000
