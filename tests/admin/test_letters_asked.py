"""What may be asked about dead letters, and what each slip is told."""

import time
from typing import Any

import pytest
from msgspec import Raw

from cio_buffer.admin.letter_questions import ChangeQuestion, EditQuestion, ReplayQuestion
from cio_buffer.admin.letter_reading import (
    RECEIPTS_MAX,
    read_body,
    read_list_question,
    read_meaning,
    read_question,
    read_show_question,
    read_since,
)
from cio_buffer.admin.wrong import Declined
from cio_buffer.outbox.archive import EVERY_LETTER, Letters
from cio_buffer.outbox.entry import pack_lanes, unpack_lanes
from tests.admin.letterbox import NAMES, receipt

NOW = 1_700_000_000.0
DAY_MS = 86_400_000


def lane(name: str) -> int:
    (found,) = unpack_lanes(pack_lanes([name]))
    return found


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", EVERY_LETTER),
        ("reason=refused", Letters(reason="refused")),
        ("kind=identify&reason=expired", Letters(kind="identify", reason="expired")),
        ("person=id:5", Letters(lane=lane("id:5"))),
        ("person=email:Ann+b%40x.org", Letters(lane=lane("email:ann+b@x.org"))),
        ("person=cio_id:cio_0a", Letters(lane=lane("cio_id:0a"))),
        ("person=id:a%3Ab%2Fc", Letters(lane=lane("id:a:b/c"))),
        ("since=2h", Letters(since_ms=int(NOW * 1000) - 7_200_000)),
    ],
)
def test_a_query_says_which_letters_are_meant(query: str, wanted: Letters) -> None:
    question = read_list_question(query, NAMES, now=NOW)
    assert (question.wanted, question.limit, question.after) == (wanted, 100, 0)


def test_a_page_begins_after_the_last_letter_of_the_one_before() -> None:
    question = read_list_question(f"limit=7&after={receipt(3)}", NAMES, now=NOW)
    assert (question.limit, question.after) == (7, 3)


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ("reasno=refused", "invalid_filter", "'reasno'"),
        ("reason=a&reason=b", "invalid_filter", "twice"),
        ("reason=", "invalid_filter", "`reason` is empty"),
        ("kind=evnt", "invalid_filter", "'evnt'"),
        ("kind=", "invalid_filter", "no kind ''"),
        ("person=", "invalid_filter", "`person`"),
        ("person=5", "invalid_filter", "`person`"),
        ("person=name:5", "invalid_filter", "`person`"),
        ("person=id:", "invalid_filter", "`person`"),
        ("since=", "invalid_filter", "''"),
        ("since=yesterday", "invalid_filter", "'yesterday'"),
        ("since=2y", "invalid_filter", "'2y'"),
        ("since=-2h", "invalid_filter", "'-2h'"),
        ("limit=0", "invalid_filter", "`limit`"),
        ("limit=1001", "invalid_filter", "1000"),
        ("limit=ten", "invalid_filter", "`limit`"),
        ("limit=%D9%A3", "invalid_filter", "`limit`"),  # a digit, but not one of ours
        ("after=3", "invalid_cursor", "no cursor"),
        ("after=", "invalid_cursor", "no cursor"),
        ("reason=%FF", "invalid_filter", "UTF-8"),
    ],
)
def test_a_slip_in_a_query_is_told_and_never_guessed_at(query: str, code: str, told: str) -> None:
    with pytest.raises(Declined) as no:
        read_list_question(query, NAMES, now=NOW)
    assert (no.value.status, no.value.wrong.error) == (400, code)
    assert told in no.value.wrong.detail
    assert no.value.wrong.hint or code == "invalid_filter"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", NOW * 1000 - 90_000),
        ("1.5m", NOW * 1000 - 90_000),
        ("15 min", NOW * 1000 - 900_000),
        ("3d", NOW * 1000 - 3 * DAY_MS),
        ("2w", NOW * 1000 - 14 * DAY_MS),
        ("999999999w", 0),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-02", DAY_MS),
        ("1970-01-02T01:00:00", DAY_MS + 3_600_000),
        ("1970-01-02T01:00:00+01:00", DAY_MS),
        ("1960-01-01", 0),
    ],
)
def test_since_is_a_time_or_an_age(text: str, ms: float) -> None:
    assert read_since(text, now=NOW) == int(ms)


def test_a_time_without_a_zone_is_utc_wherever_the_daemon_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        assert read_since("1970-01-02", now=NOW) == DAY_MS
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("query", "is_asked"), [("", False), ("body=1", True), ("body=true", True), ("body=0", False)])
def test_a_body_is_only_shown_where_it_is_asked_for(query: str, is_asked: bool) -> None:
    assert read_show_question(query) is is_asked


@pytest.mark.parametrize("query", ["body=", "body=yes", "bdoy=1", "body=1&body=1"])
def test_a_body_that_is_not_clearly_asked_for_is_a_slip(query: str) -> None:
    with pytest.raises(Declined):
        read_show_question(query)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"all": True}, EVERY_LETTER),
        ({"all": True, "reason": "refused"}, Letters(reason="refused")),
        ({"reason": "refused"}, Letters(reason="refused")),
        ({"since": "2h", "limit": 3}, Letters(since_ms=int(NOW * 1000) - 7_200_000)),
        ({"receipts": ["A"]}, EVERY_LETTER),  # what they are called is read elsewhere
    ],
)
def test_a_change_says_what_it_is_about(said: dict[str, Any], wanted: Letters) -> None:
    assert read_meaning(ChangeQuestion(**said), now=NOW) == wanted


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "not said which"),
        ({"limit": 3}, "not said which"),
        ({"dry_run": True}, "not said which"),
        ({"receipts": []}, "names 1 to"),
        ({"receipts": ["A"] * (RECEIPTS_MAX + 1)}, "names 1 to"),
        ({"receipts": ["A"], "all": True}, "Beside receipts"),
        ({"receipts": ["A"], "reason": "refused"}, "Beside receipts"),
        ({"reason": ""}, "`reason` is empty"),
        ({"all": True, "reason": ""}, "`reason` is empty"),
        ({"all": True, "limit": 0}, "`limit`"),
        ({"all": True, "limit": 10**30}, "`limit`"),
    ],
)
def test_nothing_said_is_not_everything(said: dict[str, Any], told: str) -> None:
    with pytest.raises(Declined) as no:
        read_meaning(ChangeQuestion(**said), now=NOW)
    assert no.value.status == 400
    assert told in no.value.wrong.detail


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "truncated"),
        (b"all", "malformed"),
        (b"\xff", "malformed"),
        (b'{"all": "yes"}', "all"),
        (b'{"al": true}', "al"),
        (b'{"all": true, "receipts": [5]}', "receipts"),
        (b"[]", "array"),
        (b'{"all": true} {}', "malformed"),
    ],
)
def test_a_body_that_is_not_what_is_expected_is_told(body: bytes, told: str) -> None:
    with pytest.raises(Declined) as no:
        read_question(body, ReplayQuestion)
    assert no.value.wrong.error == "invalid_request"
    assert told in no.value.wrong.detail


def test_only_a_replay_can_go_after_what_is_newer() -> None:
    assert read_question(b'{"all":true,"after_newer":true}', ReplayQuestion).after_newer
    with pytest.raises(Declined):
        read_question(b'{"all":true,"after_newer":true}', ChangeQuestion)


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b'"body":{"n":123456789012345678901234567890, "n":1e999}', b'{"n":123456789012345678901234567890, "n":1e999}'),
        (b'"body_base64":"YT1i"', b"a=b"),
        (b'"body_base64":""', b""),
    ],
)
def test_a_new_body_comes_to_the_byte(said: bytes, body: bytes) -> None:
    assert read_body(read_question(b'{"receipt":"A",%s}' % said, EditQuestion)) == body


@pytest.mark.parametrize(
    "said", [{}, {"body": Raw(b"{}"), "body_base64": ""}, {"body_base64": "?"}, {"body_base64": "YT1"}]
)
def test_exactly_one_new_body_is_needed(said: dict[str, Any]) -> None:
    with pytest.raises(Declined):
        read_body(EditQuestion(receipt="A", **said))
