"""What needs a person."""

import msgspec
import pytest

from cio_buffer.admin.warnings import warnings
from cio_buffer.upstream.troubles import TROUBLES
from tests.admin.rooms import Rooms

PEOPLE = {"credentials_rejected", "forbidden", "redirected", "not_found", "tls", "dns", "not_customer_io"}


async def seen(*, state="ready", reasons=(), **parts):
    """A status where all is well but for `parts`: of each section, what is otherwise."""
    status = await Rooms().observer.status()
    for part, fields in parts.items():
        status = msgspec.structs.replace(status, **{part: msgspec.structs.replace(getattr(status, part), **fields)})
    return msgspec.structs.replace(status, state=state, reasons=list(reasons))


async def trouble(word, paused):
    return await seen(
        drain={"paused": paused, "state": "paused" if paused else "running"},
        upstream={"trouble": word, "hint": TROUBLES[word].hint},
    )


async def test_a_good_day_needs_nobody():
    assert warnings(await seen()) == []


@pytest.mark.parametrize("word", TROUBLES)
async def test_a_person_is_called_for_what_does_not_end_by_itself(word):
    assert warnings(await trouble(word, "outage")) == ([TROUBLES[word].hint] if word in PEOPLE else [])


@pytest.mark.parametrize("word", TROUBLES)
async def test_while_others_pass_nobody_is_called(word):
    assert warnings(await trouble(word, None)) == []


@pytest.mark.parametrize(
    ("full_in_s", "is_told"), [(None, False), (3_600.0, False), (3_599.0, True), (40.0, True), (0.0, True)]
)
async def test_an_outbox_that_is_full_within_the_hour(full_in_s, is_told):
    told = warnings(await seen(outbox={"full_in_s": full_in_s}))
    assert len(told) == is_told
    assert all("raise outbox.bytes_max" in warning for warning in told)


async def test_an_outbox_that_is_full_is_told_once():
    full = await seen(state="refusing", reasons=["outbox_full"], outbox={"full_in_s": 0.0})
    assert warnings(full) == ["operations are refused: outbox_full"]


async def test_what_waits_for_too_long_is_told_with_its_age():
    [told] = warnings(await seen(outbox={"is_stale": True, "oldest_age_s": 75 * 3_600.0}))
    assert "75 h" in told
    assert "no campaign starts" in told


@pytest.mark.parametrize(
    ("behind_s", "paused", "is_told"), [(599.0, None, False), (601.0, None, True), (601.0, "outage", False)]
)
async def test_more_calls_that_leave_alone_than_may_leave(behind_s, paused, is_told):
    found = warnings(await seen(drain={"v1_behind_s": behind_s, "paused": paused}))
    assert any("one by one" in one for one in found) is is_told
