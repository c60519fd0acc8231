"""The same random v1 calls straight to Customer.io and through us: the same people, events and devices come of it."""

from itertools import count
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdk.picture import differences, picture
from tests.sdk.roads import Roads
from tests.support.process import AUTHORIZATION

NUMBERS = count()
LONG_AGO, LATER = 1_500_000_000, 1_600_000_000
WHO = ["a", "b", "c", "a/b", "jürgen", "5", "a@x.com", "B@x.com", "c+d@x.com", "a@localhost", "cio_nobody", "+49 1"]
VISITORS, TOKENS, THINGS = ["v1", "v2"], ["t1", "a:b/c"], ["acme", "initech"]

people = st.sampled_from(["a", "b"]) | st.sampled_from(WHO)
scalars = st.sampled_from([None, "", "x", "ü" * 5, 0, 1, -1, 1.5, True, False, 10**12, "x" * 1_001])
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from(["k", "l"]), scalars, max_size=2)
stamps = st.sampled_from([LONG_AGO, LATER, LATER + 1])


def said(*required: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of which only the required fields are always there."""
    optional = {name: value for name, value in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


ties = said(
    "identifiers",
    identifiers=st.builds(lambda name: {"object_type_id": "1", "object_id": name}, st.sampled_from(THINGS)),
    relationship_attributes=st.dictionaries(st.sampled_from(["role"]), scalars, max_size=1),
)
relationships = said(
    "action",
    "relationships",
    action=st.sampled_from(["add_relationships", "delete_relationships"]),
    relationships=st.lists(ties, min_size=1, max_size=2),
)
attributes = said(
    plan=values,
    note=values,
    id=people,
    email=st.sampled_from(["a@x.com", "b@x.com", "new@x.com"]),
    anonymous_id=st.sampled_from(VISITORS),
    created_at=stamps,
    unsubscribed=scalars,
    _timestamp=stamps,
    _update=st.booleans(),
    cio_relationships=relationships,
)
events = said(
    "name",
    name=st.sampled_from(["bought", " viewed ", "", "x" * 101, "/home"]),
    type=st.sampled_from(["event", "page", "screen", "purchase", None]),
    id=st.sampled_from(["first", "second"]),
    timestamp=stamps,
    data=st.none() | st.dictionaries(st.sampled_from(["price", "recipient"]), values, max_size=2),
    extra=scalars,
)
devices = said(
    "id",
    "platform",
    id=st.sampled_from(TOKENS),
    platform=st.sampled_from(["ios", "android", "web"]),
    last_used=st.sampled_from([LATER, str(LATER), None]),
    attributes=st.none() | st.dictionaries(st.sampled_from(["app_version", "push_enabled"]), st.just("1"), max_size=2),
    flat=st.just("1"),
)
sides = st.one_of(
    st.builds(lambda name: {"id": name}, st.sampled_from(["a", "b", "c", 5])),
    st.builds(lambda name: {"email": name}, st.sampled_from(["a@x.com", "b@x.com"])),
)
Call = tuple[str, str, dict[str, Any] | None]


def of(person: str, method: str, tail: str = "", body: dict[str, Any] | None = None) -> Call:
    return method, f"/api/v1/customers/{quote(person, safe='')}{tail}", body


calls: st.SearchStrategy[Call] = st.one_of(
    st.builds(lambda ties: of("a", "PUT", "", {"cio_relationships": ties}), relationships),
    st.builds(lambda person, body: of(person, "PUT", "", body), people, attributes),
    st.builds(lambda person, body: of(person, "POST", "/events", body), people, events),
    st.builds(lambda person, body: of(person, "PUT", "/devices", {"device": body}), people, devices),
    st.builds(
        lambda person, token: of(person, "DELETE", f"/devices/{quote(token, safe='')}"), people, st.sampled_from(TOKENS)
    ),
    st.builds(lambda person, what: of(person, "POST", f"/{what}"), people, st.sampled_from(["suppress", "unsuppress"])),
    st.builds(lambda person: of(person, "DELETE"), people),
    st.builds(
        lambda body, name: ("POST", "/api/v1/events", body | name), events, said(anonymous_id=st.sampled_from(VISITORS))
    ),
    st.builds(
        lambda one, other: ("POST", "/api/v1/merge_customers", {"primary": one, "secondary": other}), sides, sides
    ),
    st.builds(
        lambda number, what, names: ("POST", f"/api/v1/segments/{number}/{what}_customers", {"ids": names}),
        st.sampled_from([1, 2]),
        st.sampled_from(["add", "remove"]),
        st.lists(people, min_size=1, max_size=3),
    ),
    st.builds(
        lambda metric: ("POST", "/api/v1/metrics", {"delivery_id": "d1", "metric": metric}),
        st.sampled_from(["opened", "clicked"]),
    ),
)


def in_world(number: int, call: Call) -> Call:
    """The same call about people and things of another world, so that each example begins with nobody."""
    method, path, body = call
    text = msgspec.json.encode(body).decode() if body is not None else "null"
    for name in (*WHO, *VISITORS, *THINGS, "b@x.com", "new@x.com", "first", "second", "d1"):
        own = in_other_words(name, number)
        text = text.replace(f'"{name}"', f'"{own}"')
        path = path.replace(f"/customers/{quote(name, safe='')}/", f"/customers/{quote(own, safe='')}/")
        if path.endswith(f"/customers/{quote(name, safe='')}"):
            path = path.removesuffix(quote(name, safe="")) + quote(own, safe="")
    return method, path, msgspec.json.decode(text)


def in_other_words(name: str, number: int) -> str:
    return name if name.startswith("cio_") else f"{number}.{name}"


def of_world(number: int, seen: dict[str, Any]) -> dict[str, Any]:
    """What a picture shows of one world."""
    mark = f" {number}."
    return {
        "people": {name: one for name, one in seen["people"].items() if f"{mark}" in f" {name}"},
        "objects": {name: one for name, one in seen["objects"].items() if f"/{number}." in name},
        "visitors": {
            how: {name: one for name, one in found.items() if name.startswith(f"{number}.")}
            for how, found in seen["visitors"].items()
        },
        "suppressed": [name for name in seen["suppressed"] if mark in name],
        "deliveries": {name: len(one) for name, one in seen["deliveries"].items() if name.startswith(f"{number}.")},
    }


async def say(base: str, session: ClientSession, told: list[Call]) -> list[int]:
    statuses = []
    for method, path, body in told:
        async with session.request(method, base + path, json=body) as answer:
            await answer.read()
            statuses.append(answer.status)
    return statuses


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(calls, min_size=1, max_size=12))
async def test_the_same_comes_of_the_same_calls(roads: Roads, told: list[Call]) -> None:
    number = next(NUMBERS)
    told = [in_world(number, call) for call in told]
    async with ClientSession(headers={"Authorization": AUTHORIZATION}) as session:
        straight = await say(roads.straight_url, session, told)
        ours = await say(roads.url, session, told)
    await roads.daemon.until_empty()
    assert 500 not in ours
    assert all(here == 200 for there, here in zip(straight, ours, strict=True) if there == 200)
    seen = [of_world(number, picture(sandbox.workspace)) for sandbox in (roads.straight, roads.beyond)]
    assert not list(differences(*seen)), "\n".join([*differences(*seen), *map(str, told)])
