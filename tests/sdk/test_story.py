"""The comparison itself: it sees what is different, and says where."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from async_customerio import AsyncAPIClient

from cio_buffer.sandbox import Sandbox
from tests.sdk.picture import differences, picture
from tests.sdk.roads import APP_KEY, Roads, sandbox
from tests.sdk.story import Say, Step, call_app, step, tell
from tests.sdk.test_async import both, track_client
from tests.sdk.words import LONG_AGO

EVENT = step("v2.send_entity", {"type": "person", "action": "event", "identifiers": {"id": "5"}, "name": "came"})


def told(**changes: Any) -> Step:
    return step("v2.send_entity", EVENT.args[0] | changes)


DIFFERENT = [
    (told(name="went"), "people / id 5 / events / 0 / name: 'came' straight, 'went' through the daemon"),
    (told(attributes={"a": 1}), "people / id 5 / events / 0 / data / a: None straight, 1 through the daemon"),
    (told(id="given-1"), "people / id 5 / events / 0 / id"),
    (told(timestamp=LONG_AGO), "people / id 5 / events / 0 / timestamp"),
    (told(identifiers={"id": "6"}), "people / id 6: None straight"),
    (step("v2.identify_person", {"id": "5"}, plan="pro"), "people / id 5 / attributes / plan"),
    (step("v2.add_person_device", {"id": "5"}, "token", "ios"), "people / id 5 / devices / token"),
    (step("v2.suppress_person", {"id": "5"}), "suppressed"),
    (step("v2.identify_object", {"object_type_id": "1", "object_id": "a"}), "objects / 1/a"),
    (step("add_to_segment", 7, [4]), "people / id 4 / segments"),
    (step("track_anonymous", "visitor", "came"), "visitors / waiting / visitor"),
    (step("track_anonymous", "", "came", recipient="a@example.com"), "invites"),
    (step("report_metric", "message-1", "opened"), "deliveries / message-1"),
    (step("submit_form", "form", id="5"), "forms"),
]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Sandbox, Sandbox]]:
    two = sandbox(), sandbox()
    yield two
    for one in two:
        await one.stop()


@pytest.mark.parametrize(("other", "place"), DIFFERENT, ids=[place for _, place in DIFFERENT])
async def test_a_difference_has_its_place(pair: tuple[Sandbox, Sandbox], other: Step, place: str) -> None:
    known = step("v2.identify_person", {"id": "4"})
    async with both(*[track_client(await one.start()) for one in pair]) as says:
        for said in (known, other):
            await says["by_us"](said)
        for said in (known, EVENT):
            await says["straight"](said)
    by_us, straight = (picture(one.workspace) for one in pair)
    assert any(line.startswith(place) for line in differences(straight, by_us)), (straight, by_us)
    assert not list(differences(straight, straight))


def instead(say: Say, said: Step, other: Step) -> Say:
    """Says `other` where `said` is meant."""

    async def lie(one: Step) -> Any:
        return await say(other if one == said else one)

    return lie


async def test_a_step_that_comes_out_differently_is_named(roads: Roads) -> None:
    async with both(track_client(roads.url), track_client(roads.straight_url)) as says:
        says["by_us"] = instead(says["by_us"], EVENT, told(name="went"))
        with pytest.raises(AssertionError, match=r"step 2, v2\.send_entity.* came out differently"):
            await tell([step("identify", 4), EVENT], roads, **says)


async def test_an_app_call_that_arrives_differently_is_named(roads: Roads) -> None:
    call = step("segments.create", "VIPs")
    clients = (AsyncAPIClient(APP_KEY, url=url) for url in (roads.url, roads.straight_url))
    different = [
        (step("segments.create", "VIPS"), r"body: '.*VIPs.*VIPS"),
        (step("segments.create", "VIPs", description=""), r"'Content-Length: 27' straight, 'Content-Length: 44'"),
        (step("segments.delete", 1), r"call: 'POST /v1/segments' straight, 'DELETE /v1/segments/1'"),
    ]
    async with both(*clients) as says:
        for other, place in different:
            lying = says | {"by_us": instead(says["by_us"], call, other)}
            with pytest.raises(AssertionError, match=rf"segments\.create\('VIPs'\) arrived differently[\s\S]*{place}"):
                await call_app([call], roads, **lying)
            for end in (roads.straight, roads.beyond):
                end.app_ledger.requests.clear()
