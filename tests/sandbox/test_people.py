"""The rules about people: duplicates, stamps, who is who."""

from cio_buffer.sandbox import Ledger
from cio_buffer.sandbox.effects import Asked

from .conftest import event, identify

ULID = "01J00000000000000000000001"


def by(kind, value, attributes, **more):
    return {**identify("", attributes, **more), "identifiers": {kind: value}}


async def test_a_second_event_with_the_same_id_is_not_processed(call, sandbox, ledger):
    await call.batch(event("ann", "a", id=ULID), event("bob", "a", id=ULID), event("ann", "a"), event("ann", "a"))
    await call.send("POST", "/api/v1/customers/ann/events", json={"name": "a", "id": ULID})
    assert [arrival.outcome for arrival in ledger.arrivals] == ["taken", "duplicate", "taken", "taken", "duplicate"]
    assert [arrival.event_id for arrival in ledger.arrivals] == [ULID, ULID, None, None, ULID]
    assert len(sandbox.workspace.people.get(id="ann").events) == 3
    assert sandbox.workspace.people.get(id="bob") is None


async def test_an_id_in_an_identify_is_no_event_id(call, ledger):
    await call.send("PUT", "/api/v1/customers/ann", json={"id": "ann", "_timestamp": 17})
    assert (ledger.arrivals[0].event_id, ledger.arrivals[0].timestamp) == (None, 17)


async def test_an_older_stamp_does_not_overwrite_a_newer_value(call, sandbox):
    await call.batch(
        identify("ann", {"plan": "new", "gone": "x"}, timestamp=200),
        identify("ann", {"gone": None}, timestamp=300),
        identify("ann", {"plan": "old", "gone": "back", "city": "Rome"}, timestamp=100),
    )
    await call.send("PUT", "/api/v1/customers/ann", json={"plan": "older", "_timestamp": 50})
    assert sandbox.workspace.people.get(id="ann").attributes == {"plan": "new", "city": "Rome"}


async def test_of_equal_stamps_the_later_arrival_wins(call, sandbox):
    await call.batch(*[identify("ann", {"plan": plan}, timestamp=100) for plan in ("one", "two")])
    assert sandbox.workspace.people.get(id="ann").attributes == {"plan": "two"}


async def test_an_update_without_a_stamp_happened_when_it_arrived(call, sandbox, clock):
    await call.entity(**identify("ann", {"plan": "unstamped"}))
    await call.entity(**identify("ann", {"plan": "stale"}, timestamp=int(clock.now()) - 1))
    assert sandbox.workspace.people.get(id="ann").attributes == {"plan": "unstamped"}
    await call.entity(**identify("ann", {"plan": "fresh"}, timestamp=int(clock.now())))
    assert sandbox.workspace.people.get(id="ann").attributes == {"plan": "fresh"}


async def test_an_unknown_path_identifier_is_given_to_the_person_in_the_body(call, sandbox):
    await call.batch(by("email", "a@b.co", {"x": 1}), identify("5", {"email": "a@b.co"}))
    assert sandbox.workspace.people.get(id="5").attributes == {"x": 1}


async def test_two_different_people_in_one_identify_are_a_failure(call, sandbox):
    people = sandbox.workspace.people
    await call.batch(identify("5", {"email": "a@b.co"}), identify("6", {}), identify("6", {"email": "a@b.co", "x": 1}))
    assert people.get(id="6").attributes == {}
    assert list(people.failures) == ["identifiers belong to different people"]


async def test_an_id_only_and_an_email_only_person_are_merged_by_an_identify_that_names_both(call, sandbox):
    workspace = sandbox.workspace
    ties = [{"identifiers": {"object_type_id": "1", "object_id": "acme"}}]
    await call.batch(
        identify("5", {"anonymous_id": "older"}),
        by("email", "a@b.co", {"anonymous_id": "younger"}, cio_relationships=ties),
    )
    await call.send("POST", "/api/v1/segments/7/add_customers?id_type=email", json={"ids": ["a@b.co"]})
    await call.entity(**identify("5", {"email": "a@b.co"}))
    [both] = workspace.people.everyone()
    assert both.number == 1
    assert workspace.segment(7) == {both.cio_id}
    assert list(workspace.objects.get("1", "acme").people) == [both.cio_id]
    assert workspace.visitors.owner("younger") is both


async def test_an_id_changes_only_by_cio_id(call, sandbox):
    people = sandbox.workspace.people
    await call.entity(**identify("5", {"email": "a@b.co"}))
    await call.entity(**by("email", "a@b.co", {"id": "6"}))
    assert people.get(id="6") is None
    await call.entity(**by("cio_id", people.get(id="5").cio_id, {"id": "6"}))
    assert people.get(id="5") is None
    assert people.get(id="6") is people.get(email="a@b.co")
    await call.entity(**identify("6", {"email": "new@b.co"}))
    assert people.get(email="new@b.co") is people.get(id="6")
    assert people.get(email="a@b.co") is None


async def test_nobody_is_created_by_update_or_by_an_unknown_cio_id(call, sandbox):
    ghost = {"identifiers": {"cio_id": "ffff"}}
    await call.batch(
        identify("5", {"_update": True}), {**identify("", {"id": "6"}), **ghost}, {**event("", "a"), **ghost}
    )
    assert len(sandbox.workspace.people) == 0
    assert len(sandbox.workspace.people.failures) == 3


async def test_earlier_anonymous_events_are_joined_in_their_place(call, sandbox, clock):
    await call.send("POST", "/api/v1/events", json={"name": "first", "anonymous_id": "anon"})
    await call.batch(event("ann", "second"), identify("ann", {"anonymous_id": "anon"}))
    clock.advance(299)
    await call.send("POST", "/api/v1/events", json={"name": "third", "anonymous_id": "anon"})
    clock.advance(2)
    await call.send("POST", "/api/v1/events", json={"name": "too late", "anonymous_id": "anon"})
    assert [one.name for one in sandbox.workspace.people.get(id="ann").events] == ["first", "second", "third"]


async def test_an_anonymous_event_is_kept_for_thirty_days(call, sandbox, clock):
    await call.send("POST", "/api/v1/events", json={"name": "old", "anonymous_id": "anon"})
    clock.advance(30 * 24 * 3600 + 1)
    await call.entity(**identify("ann", {"anonymous_id": "anon"}))
    assert sandbox.workspace.people.get(id="ann").events == []


async def test_an_anonymous_id_is_somebodys_for_good(call, sandbox):
    await call.batch(identify("ann", {"anonymous_id": "anon"}), identify("bob", {"anonymous_id": "anon"}))
    assert sandbox.workspace.visitors.owner("anon") is sandbox.workspace.people.get(id="ann")
    assert len(sandbox.workspace.people.failures) == 1


async def test_one_topic_of_the_preferences_changes_alone(call, sandbox):
    whole = {"cio_subscription_preferences": {"topics": {"topic_1": True, "topic_2": True}}}
    await call.batch(identify("ann", whole), identify("ann", {"cio_subscription_preferences.topics.topic_1": False}))
    topics = {"topic_1": False, "topic_2": True}
    assert sandbox.workspace.people.get(id="ann").attributes == {"cio_subscription_preferences": {"topics": topics}}


async def test_the_ledger_numbers_what_arrives(call, ledger, clock):
    await call.batch(event("ann", "a"), event("ann", "b"))
    clock.advance(5)
    await call.send("DELETE", "/api/v1/customers/ann?x=1")
    assert [(one.number, one.request, one.kind) for one in ledger.arrivals] == [
        (1, 1, "event"),
        (2, 1, "event"),
        (3, 2, "delete"),
    ]
    assert ledger.arrivals[2].at == clock.now()
    assert [(one.number, one.method, one.path, one.operations) for one in ledger.requests] == [
        (1, "POST", "/api/v2/batch", 2),
        (2, "DELETE", "/api/v1/customers/ann?x=1", 1),
    ]


def test_the_ledger_keeps_the_newest_and_counts_all():
    small = Ledger(limit=2)
    asked = Asked(api="v1", kind="delete", identifiers={"id": "5"}, body={})
    for at in range(5):
        small.record([(asked, "taken")], at=at, method="DELETE", path="/", status=200, body_bytes=0)
    assert [arrival.number for arrival in small.arrivals] == [4, 5]
    assert [request.number for request in small.requests] == [4, 5]
    assert (small.counts["taken"], small.arrivals_total) == (5, 5)
