"""What needs a person."""

import msgspec
import pytest

from cio_buffer.admin.quarantine_words import quarantined
from cio_buffer.admin.status import Status
from cio_buffer.admin.warnings import warnings
from cio_buffer.upstream.troubles import TROUBLES
from tests.admin.rooms import Rooms, damaged

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


@pytest.mark.parametrize(
    ("dead", "told"),
    [
        ({"count": 1, "by_reason": {"refused": 1}}, "1 dead letter (1 refused): cio-buffer dead list"),
        (
            {"count": 1_203, "by_reason": {"expired": 1, "refused": 1_200, "forbidden": 2}},
            "1,203 dead letters (1,200 refused, 2 forbidden, 1 expired): cio-buffer dead list",
        ),
        ({"count": 3, "by_reason": {"refused": 2}}, "3 dead letters: cio-buffer dead list"),  # one died just now
        ({"count": 3}, "3 dead letters: cio-buffer dead list"),
    ],
)
async def test_dead_letters_need_a_person(dead, told):
    assert warnings(await seen(dead_letters=dead)) == [told]


async def test_dead_letters_that_are_gone_need_one_for_a_day():
    assert warnings(await seen(dead_letters={"evicted": 40, "purged": 9})) == []
    [told] = warnings(await seen(dead_letters={"evicted": 40, "evicted_lately": 12}))
    assert told.startswith("12 dead letters thrown away by the quota in the last 24 hours: look at")
    assert "keep_dead_for_s" in told


@pytest.mark.parametrize(("mib", "is_told"), [(79, False), (80, True), (100, True), (101, True)])
async def test_a_quota_of_dead_letters_that_is_nearly_full(mib, is_told):
    told = warnings(await seen(dead_letters={"bytes": mib << 20, "bytes_max": 100 << 20}))
    assert [one.partition(";")[0] for one in told] == ([f"dead letters take {mib} of 100 MiB"] if is_told else [])


SENT_AGAIN = "what was saved may have been delivered before; it is sent again under the same ids"
REMOVE = "cio-buffer outbox quarantine remove 20261125T070501.123Z"


@pytest.mark.parametrize(
    ("fields", "told", "is_removable"),
    [
        ({}, "99,740 operations and 3 dead letters are back, 260 and 0 are not", True),
        ({"lost": None, "dead_lost": None}, "3 dead letters are back; how many are not, nobody knows", True),
        ({"lost": None}, "are back, an unknown number and 0 are not", True),
        ({"saved": 1, "dead_saved": 1}, "1 operation and 1 dead letter are back", True),
        ({"state": "failed", "why": "OSError: gone"}, "salvaging it broke off (OSError: gone)", True),
        ({"state": "waiting", "saved": 0}, "what can be read of it is being brought back", False),
        ({"state": "salvaging", "saved": 0}, "what can be read of it is being brought back", False),
    ],
)
async def test_a_store_that_was_set_aside_is_told_until_it_is_removed(fields, told, is_removable):
    [warning] = warnings(await seen(outbox={"quarantined": [quarantined(damaged(**fields))]}))
    assert "a damaged store was set aside, 20261125T070501.123Z" in warning
    assert told in warning
    assert (REMOVE in warning) is (SENT_AGAIN in warning) is is_removable


async def test_a_folder_that_somebody_named_is_quoted_in_the_command():
    [warning] = warnings(await seen(outbox={"quarantined": [quarantined(damaged(name="a b; rm"))]}))
    assert warning.endswith("remove 'a b; rm'")


async def test_each_store_has_its_sentence():
    two = [quarantined(damaged()), quarantined(damaged(name="20261126T000000.000Z"))]
    assert len(warnings(await seen(outbox={"quarantined": two}))) == 2


async def test_while_a_store_is_salvaged_nothing_leaves():
    [warning] = warnings(await seen(outbox={"is_salvaging": True}))
    assert warning.startswith("nothing leaves while a damaged store is salvaged")


async def test_checkpoints_that_fail_are_told_while_they_do():
    errors = {"checkpoint": 1_234, "commit": 2}
    assert warnings(await seen(outbox={"errors": errors})) == []
    [warning] = warnings(await seen(outbox={"errors": errors, "is_checkpoint_failing": True}))
    assert "(1,234 times since the start)" in warning


async def test_an_older_daemon_says_nothing_of_them():
    """And so there is nothing to be told, nor to be divided by."""
    told = msgspec.to_builtins(await seen())
    del told["dead_letters"], told["lanes"], told["outbox"]["log_bytes"], told["outbox"]["log_lines"]
    for new in ("quarantined", "errors", "is_salvaging", "is_checkpoint_failing"):
        del told["outbox"][new]
    del told["ledger"]["salvaged"]
    assert warnings(msgspec.convert(told, Status)) == []
