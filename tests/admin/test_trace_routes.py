"""`GET /trace`: who may be asked for, how, and what is answered."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from cio_buffer.admin.story import Traced
from cio_buffer.admin.trace_query import PERSON_KINDS
from cio_buffer.admin.trace_routes import TraceRoutes
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.operations import PersonIdentifiers
from cio_buffer.outbox.entry import pack_lanes, unpack_lanes
from cio_buffer.outbox.names import Names
from tests.admin.stories import ACCEPTED_MS, NAMES, Stories, dead, known, sent
from tests.admin.stories import REFUSED as REFUSED_BY_CUSTOMER_IO
from tests.support.clock import FakeClock

DELIVERED = known(sent(812, 51))
DEAD = known(sent(812, 51, REFUSED_BY_CUSTOMER_IO, status=400), place="dead", dead=dead(300))


def receipt(seq: int = 7, ms: int = 0) -> str:
    return NAMES.receipt(seq, ACCEPTED_MS + ms)


def lanes(*names: str) -> tuple[int, ...]:
    return unpack_lanes(pack_lanes(names))


async def answer(archive: Stories, query: str, where: Whereabouts | None = None) -> web.Response:
    routes = TraceRoutes(archive, NAMES, lambda _: where, FakeClock(ACCEPTED_MS / 1000 + 20.0))  # type: ignore[arg-type]
    return await routes.answer(make_mocked_request("GET", "/trace"), query)


async def told(archive: Stories, query: str, where: Whereabouts | None = None) -> dict[str, Any]:
    """What a question that is answered is answered with."""
    response = await answer(archive, query, where)
    assert (response.status, response.content_type) == (HTTPStatus.OK, "application/json")
    return read(response)


async def declined(archive: Stories, query: str) -> tuple[int, str]:
    """The status and the code of a no, which has a sentence, too."""
    response = await answer(archive, query)
    wrong = read(response)
    assert set(wrong) == {"error", "detail", "hint"}
    assert wrong["detail"]
    assert wrong["hint"]
    return response.status, wrong["error"]


def read(response: web.Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    seen: dict[str, Any] = json.loads(response.body)
    return seen


async def test_a_receipt_is_answered_with_one_story():
    seen = await told(Stories(DELIVERED, known(seq=8)), f"receipt={receipt()}")
    assert list(seen) == list(Traced.__struct_fields__)
    assert (seen["is_more"], seen["log_since"]) == (False, "2026-11-25T03:12:43.120Z")
    assert seen["at"] == "2026-11-25T03:13:04.120Z"
    [story] = seen["stories"]
    assert list(story) == STORY
    assert (story["receipt"], story["state"]) == (receipt(), "delivered")
    assert [list(step) for step in story["steps"]] == [["at", "what", "sent"]] * 2
    assert story["steps"][0] == {"at": "2026-11-25T03:12:44.120Z", "what": "accepted", "sent": None}
    assert story["steps"][1]["sent"] == {
        "number": 812,
        "attempt": 1,
        "entries": 10,
        "is_v1": False,
        "status": 200,
        "trouble": None,
        "took_s": 0.2,
        "outcome": "delivered",
        "reason": "",
        "is_ambiguous": False,
        "vendor_reason": "",
        "field": "",
        "message": "",
        "until": None,
    }


STORY = [
    "receipt",
    "kind",
    "route",
    "state",
    "accepted_at",
    "ended_at",
    "attempts",
    "replays",
    "is_whole",
    "is_ambiguous",
    "held",
    "dead",
    "traceparent",
    "steps",
]
"""The fields that scripts may lean on."""


async def test_a_story_never_shows_what_is_in_the_operation():
    response = await answer(Stories(DEAD), f"receipt={receipt()}")
    assert b"never shown" not in (response.body or b"")  # type: ignore[operator]
    assert read(response)["stories"][0]["dead"]["message"] == "must be an email"


@pytest.mark.parametrize("written", [str.lower, lambda text: f"%20{text}%0A", lambda text: text.replace("0", "O")])
async def test_a_receipt_may_be_written_as_people_do(written):
    assert (await told(Stories(DELIVERED), f"receipt={written(receipt())}"))["stories"]


async def test_where_the_drain_has_it_is_asked_by_the_number_of_its_acceptance():
    asked: list[int] = []

    def whereabouts(seq: int) -> Whereabouts:
        asked.append(seq)
        return Whereabouts(state="in_flight", request=9, since_ms=ACCEPTED_MS + 19_000)

    routes = TraceRoutes(Stories(known(place="main")), NAMES, whereabouts, FakeClock(ACCEPTED_MS / 1000 + 20.0))  # type: ignore[arg-type]
    seen = read(await routes.answer(make_mocked_request("GET", "/trace"), f"receipt={receipt()}"))
    assert (asked, seen["stories"][0]["state"]) == ([7], "in_flight")
    assert seen["stories"][0]["steps"][-1]["sent"]["took_s"] == 1.0


@pytest.mark.parametrize(
    "written",
    [
        "nonsense",
        receipt()[:-1] + ("0" if receipt()[-1] != "0" else "1"),
        Names(b"another store").receipt(7, ACCEPTED_MS),
        NAMES.receipt(1_001, ACCEPTED_MS),  # not given out yet
        NAMES.receipt(7, ACCEPTED_MS + 1),  # another operation's number
        f"{receipt()}..nonsense",
        f"..{receipt()}",
    ],
)
async def test_a_receipt_that_this_store_never_gave_is_404(written):
    assert await declined(Stories(DELIVERED), f"receipt={written}") == (404, "unknown_receipt")


async def test_a_receipt_of_which_nothing_is_left_still_has_a_story():
    [story] = (await told(Stories(log_since=60_000), f"receipt={receipt(9)}"))["stories"]
    assert (story["receipt"], story["state"], story["is_whole"]) == (receipt(9), "ended", False)


async def test_all_operations_of_one_call():
    archive = Stories(DELIVERED, known(seq=9, place="main"))
    seen = await told(archive, f"receipt={receipt(7)}..{receipt(9)}")
    assert archive.asked == [7, 8, 9]
    assert [story["receipt"] for story in seen["stories"]] == [receipt(7), receipt(8), receipt(9)]
    assert [story["state"] for story in seen["stories"]] == ["delivered", "ended", "pending"]
    assert not seen["is_more"]


@pytest.mark.parametrize(("limit", "count", "is_more"), [("1", 1, True), ("2", 2, True), ("3", 3, False)])
async def test_of_a_call_no_more_is_told_than_asked_for(limit, count, is_more):
    seen = await told(Stories(), f"receipt={receipt(7)}..{receipt(9)}&limit={limit}")
    assert (len(seen["stories"]), seen["is_more"]) == (count, is_more)


@pytest.mark.parametrize("last", [receipt(6), receipt(9, ms=1)])
async def test_what_is_not_of_one_call_is_no_range(last):
    assert await declined(Stories(), f"receipt={receipt(7)}..{last}") == (400, "invalid_request")


@pytest.mark.parametrize(
    ("person", "lane"),
    [
        ("id:5", "id:5"),
        ("id:a:b", "id:a:b"),
        ("email:Ann%2Bnews@Example.com", "email:ann+news@example.com"),
        ("email:ann+news@example.com", "email:ann+news@example.com"),  # a plus is a plus
        ("phone:+4912", "phone:+4912"),
        ("cio_id:cio_03ab", "cio_id:03ab"),
        ("cio_id:03ab", "cio_id:03ab"),
        ("anonymous_id:%C3%A4", "anonymous_id:ä"),
        ("object:1:acme:x", "object:1:acme:x"),
        ("cio_object:c1", "cio_object:c1"),
        ("delivery:d1", "delivery:d1"),
    ],
)
async def test_a_person_is_looked_for_by_their_lane(person, lane):
    archive = Stories(DELIVERED)
    assert len((await told(archive, f"person={person}"))["stories"]) == 1
    assert archive.asked == [(lanes(lane), 20)]


async def test_a_person_may_have_several_names():
    archive = Stories()
    assert (await told(archive, "person=id:5&person=email:ann@example.com&limit=3"))["stories"] == []
    assert archive.asked == [(lanes("id:5", "email:ann@example.com"), 3)]


def test_every_name_that_a_person_has_may_be_asked_for():
    assert set(PersonIdentifiers.__struct_fields__) < set(PERSON_KINDS)


async def test_an_event_is_looked_for_by_its_id():
    archive = Stories(DELIVERED)
    assert len((await told(archive, f"event_id={quote('a b&c', safe='')}"))["stories"]) == 1
    assert archive.asked == [("a b&c", 20)]


async def test_a_search_says_whether_there_is_more():
    archive = Stories(DELIVERED, known(seq=8))
    archive.is_more = True
    assert (await told(archive, "person=id:5&limit=1"))["is_more"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_request"),
        ("limit=5", "invalid_request"),
        (f"receipt={receipt()}&event_id=x", "invalid_request"),
        ("person=id:5&event_id=x", "invalid_request"),
        ("receipt=", "invalid_filter"),
        ("event_id=", "invalid_filter"),
        (f"receipt={receipt()}&receipt={receipt()}", "invalid_filter"),
        ("event_id=a&event_id=b", "invalid_filter"),
        ("person=", "invalid_filter"),
        ("person=5", "invalid_filter"),
        ("person=id:", "invalid_filter"),
        ("person=name:ann", "invalid_filter"),
        ("person=object:1", "invalid_filter"),
        ("person=object::acme", "invalid_filter"),
        ("person=object:1:", "invalid_filter"),
        ("person=cio_id:cio_", "invalid_filter"),
        ("person=id:5&since=2h", "invalid_filter"),
        ("person=id:%ff", "invalid_filter"),
        ("person=id:\udcff", "invalid_filter"),
        ("&".join(["person=id:5"] * 101), "invalid_filter"),
        *(
            (f"person=id:5&limit={limit}", "invalid_filter")
            for limit in ("0", "1001", "-1", "x", "", "1.5", "²", "9" * 99)
        ),
    ],
)
async def test_a_question_that_cannot_be_answered_is_400(query, code):
    archive = Stories()
    assert await declined(archive, query) == (400, code)
    assert archive.asked == []


async def test_a_no_does_not_repeat_whom_was_asked_for():
    response = await answer(Stories(), "person=mail:ann@example.com")
    assert b"ann@" not in (response.body or b"")  # type: ignore[operator]


@pytest.mark.parametrize("limit", ["1", "20", "1000"])
async def test_a_limit_is_kept(limit):
    archive = Stories()
    await told(archive, f"event_id=x&limit={limit}")
    assert archive.asked == [("x", int(limit))]


@pytest.mark.parametrize("query", [f"receipt={receipt()}", "person=id:5", "event_id=x"])
async def test_a_store_that_cannot_be_read_is_503(query):
    archive = Stories()
    archive.is_readable = False
    assert await declined(archive, query) == (503, "store_unavailable")
    assert (await answer(archive, query)).headers["Retry-After"] == "1"


async def test_without_a_log_that_is_said():
    seen = await told(Stories(DELIVERED, log_since=None), "person=id:5")
    assert seen["log_since"] is None
    assert seen["stories"][0]["steps"][1]["what"] == "no_log"
