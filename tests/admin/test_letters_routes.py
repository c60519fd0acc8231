"""The admin socket's `/dead`, over a real socket, before an archive in memory."""

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from cio_buffer.admin.letter_routes import READ_TOGETHER
from tests.admin.letterbox import BODY, NAMES, Desk, dead, receipt
from tests.support.process import until

LETTER = {
    "receipt": receipt(1),
    "kind": "event",
    "accepted_at": "2023-11-14T22:13:21.123Z",
    "died_at": "2023-11-14T22:14:21.000Z",
    "reason": "refused",
    "vendor_reason": "required",
    "field": "name",
    "message": "must not be blank",
    "status": 400,
    "attempts": 2,
    "replays": 0,
    "call": None,
    "route": "v2 batch",
    "body_bytes": len(BODY),
}


class Caller:
    """Asks a desk: (status, what was said)."""

    def __init__(self, desk: Desk, session: ClientSession) -> None:
        self.desk, self.archive, self._session = desk, desk.archive, session

    def has(self, *letters: Any) -> None:
        self.archive.dead = {letter.seq: letter for letter in letters}

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.ask("GET", path)

    async def post(self, path: str, said: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, said if isinstance(said, bytes) else json.dumps(said).encode())

    async def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        async with self._session.request(method, f"http://localhost{path}", data=body) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json()

    def logged(self) -> list[dict[str, Any]]:
        lines = [dict(line) for line in self.desk.said]
        self.desk.said.clear()
        return lines


@pytest.fixture
async def ask() -> AsyncIterator[Caller]:
    desk = Desk(*(dead(seq) for seq in (1, 2, 3)))
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        await desk.open(Path(folder) / "admin.sock")
        async with ClientSession(connector=UnixConnector(f"{folder}/admin.sock")) as session:
            yield Caller(desk, session)
        await desk.close()


async def test_the_list_has_each_letter_and_nothing_of_its_body(ask: Caller) -> None:
    status, said = await ask.get("/dead")
    assert (status, said["next"], len(said["dead"])) == (200, None, 3)
    assert said["dead"][0] == LETTER
    assert [letter["receipt"] for letter in said["dead"]] == [receipt(1), receipt(2), receipt(3)]


async def test_nobody_died(ask: Caller) -> None:
    ask.has()
    assert await ask.get("/dead") == (200, {"dead": [], "next": None})


@pytest.mark.parametrize("letters", [1, 4, READ_TOGETHER, READ_TOGETHER + 1, 2 * READ_TOGETHER, 130])
@pytest.mark.parametrize("limit", [1, 3, READ_TOGETHER, READ_TOGETHER + 1, 100])
async def test_pages_add_up_to_the_whole_list(ask: Caller, letters: int, limit: int) -> None:
    ask.has(*(dead(3 * seq) for seq in range(1, letters + 1)))
    seen, after = [], ""
    while True:
        _, page = await ask.get(f"/dead?limit={limit}{after}")
        assert 1 <= len(page["dead"]) <= limit
        seen += [letter["receipt"] for letter in page["dead"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [receipt(3 * seq) for seq in range(1, letters + 1)]


async def test_filters_come_together(ask: Caller) -> None:
    ask.has(dead(1), dead(2, reason="expired"), dead(3, kind="identify"), dead(4), dead(5))
    ask.archive.people = {4: "email:ann+b@x.org"}
    for query, seqs in {
        "reason=expired": [2],
        "kind=identify": [3],
        "person=email:Ann%2bb@x.org": [4],
        "person=id:5&reason=refused&kind=event": [1, 5],
        "since=2023-11-14T22:14:24Z": [4, 5],
        "reason=nobody_died_of_it": [],
    }.items():
        _, said = await ask.get(f"/dead?{query}")
        assert [letter["receipt"] for letter in said["dead"]] == [receipt(seq) for seq in seqs], query


async def test_one_letter_is_told_with_each_request_that_it_was_in(ask: Caller) -> None:
    status, said = await ask.get(f"/dead/{receipt(1)}")
    assert status == 200
    assert said.items() > LETTER.items()
    assert set(said) - set(LETTER) == {"traceparent", "history"}
    first, last = said["history"]
    assert (first["number"], first["at"], first["took_s"]) == (7, "2023-11-14T22:13:20.128Z", 30.0)
    assert (first["status"], first["trouble"], first["outcome"]) == (None, "timeout", "held")
    assert (first["is_ambiguous"], first["until"]) == (True, "2023-11-14T22:14:00.123Z")
    assert (last["number"], last["status"], last["outcome"]) == (9, 400, "dead")
    assert (last["reason"], last["field"], last["message"]) == ("refused", "name", "must not be blank")
    assert (last["is_ambiguous"], last["until"]) == (False, None)


@pytest.mark.parametrize("body", [BODY, b'{"n":123456789012345678901234567890,"n":1e999, "a":"\\u00e9\xc3\xa9"}'])
async def test_a_body_that_is_json_is_shown_as_it_is(ask: Caller, body: bytes) -> None:
    ask.has(dead(1, body=body))
    async with ask._session.get(f"http://localhost/dead/{receipt(1)}?body=1") as answer:
        assert b'"body":' + body in await answer.read()


@pytest.mark.parametrize("body", [b"", b"a=b&c=d", b'{"a":"\xff"}', b"{", b'{"a":1} {}'])
async def test_any_other_body_is_shown_in_base64(ask: Caller, body: bytes) -> None:
    ask.has(dead(1, body=body))
    _, said = await ask.get(f"/dead/{receipt(1)}?body=1")
    assert base64.b64decode(said["body_base64"]) == body
    assert "body" not in said


async def test_a_receipt_can_be_written_in_any_case(ask: Caller) -> None:
    status, said = await ask.get(f"/dead/{receipt(1).lower()}")
    assert (status, said["receipt"]) == (200, receipt(1))


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("GET", "/dead?reasno=x", b"", (400, "invalid_filter")),
        ("GET", "/dead?after=x", b"", (400, "invalid_cursor")),
        ("GET", f"/dead/{receipt(1)[:-1]}", b"", (400, "invalid_receipt")),
        ("GET", f"/dead/{receipt(1)}/body", b"", (400, "invalid_receipt")),
        ("GET", f"/dead/{receipt(4)}", b"", (404, "unknown_receipt")),
        ("GET", f"/dead/{NAMES.receipt(1, 5)}", b"", (404, "unknown_receipt")),  # number 1, but of another moment
        ("GET", f"/dead/{receipt(1)}?bdoy=1", b"", (400, "invalid_filter")),
        ("GET", "/dead/replay", b"", (405, "method_not_allowed")),
        ("POST", "/dead", b'{"all":true}', (405, "method_not_allowed")),
        ("DELETE", f"/dead/{receipt(1)}", b"", (405, "method_not_allowed")),
        ("PUT", "/dead/purge", b'{"all":true}', (405, "method_not_allowed")),
        ("POST", "/dead/purge", b"", (400, "invalid_request")),
        ("POST", "/dead/purge", b"{}", (400, "invalid_request")),
        ("POST", "/dead/replay", b"{}", (400, "invalid_request")),
        ("POST", "/dead/replay", b'{"everything":true}', (400, "invalid_request")),
        ("POST", "/dead/purge", b'{"all":true,"after_newer":true}', (400, "invalid_request")),
        ("POST", "/dead/purge?reason=expired", b'{"all":true}', (400, "invalid_request")),
        ("POST", "/dead/replay", b'{"receipts":["nobody"]}', (400, "invalid_receipt")),
        ("POST", "/dead/purge", b'{"person":"5"}', (400, "invalid_filter")),
        ("POST", "/dead/edit", b'{"receipt":"%s"}' % receipt(1).encode(), (400, "invalid_request")),
        ("POST", "/dead/edit", b'{"receipt":"nobody","body":{}}', (400, "invalid_receipt")),
        ("POST", "/dead/edit", b'{"receipt":"%s","body":{}}' % receipt(4).encode(), (404, "unknown_receipt")),
        ("POST", "/dead/edit", b'{"receipt":"%s","body":[]}' % receipt(1).encode(), (400, "invalid_operation")),
        ("POST", "/dead/purge", b'{"reason":"%s"}' % (b"x" * 300_000), (413, "unreadable_body")),
    ],
)
async def test_a_slip_changes_nothing_and_is_told(
    ask: Caller, method: str, path: str, body: bytes, told: tuple[int, str]
) -> None:
    before = dict(ask.archive.dead)
    status, said = await ask.ask(method, path, body or None)
    assert (status, said["error"]) == told
    assert said["detail"]
    assert set(said) == {"error", "detail", "hint"}
    assert ask.archive.dead == before
    assert ask.logged() == []


@pytest.mark.parametrize(("method", "path"), [("GET", "/dead/purge"), ("POST", "/dead/replays"), ("PUT", "/status")])
async def test_who_comes_by_another_method_is_told_which(ask: Caller, method: str, path: str) -> None:
    await ask.ask(method, path)
    assert ask.headers["Allow"] == ("POST" if path == "/dead/purge" else "GET, HEAD")


async def test_replayed_by_receipt_unknown_ones_are_named(ask: Caller) -> None:
    slip = receipt(9).lower()
    asked = {"receipts": [receipt(1), receipt(3), slip, NAMES.receipt(2, 77)]}
    status, said = await ask.post("/dead/replay", asked)
    unknown = [slip, NAMES.receipt(2, 77)]
    assert (status, said) == (200, {"replayed": 2, "overtaken": 0, "unknown": unknown, "dry_run": False})
    assert list(ask.archive.dead) == [2]
    assert ask.logged() == [
        {"event": "dead.replayed", "replayed": 2, "overtaken": 0, "after_newer": False, "log_level": "info"}
    ]


async def test_a_receipt_that_is_only_unknown_replays_nothing_else(ask: Caller) -> None:
    """No letter left of what was named must not become no filter at all."""
    for change, counts in (("replay", {"replayed": 0, "overtaken": 0}), ("purge", {"purged": 0})):
        _, said = await ask.post(f"/dead/{change}", {"receipts": [receipt(9)]})
        assert said == counts | {"unknown": [receipt(9)], "dry_run": False}
    assert len(ask.archive.dead) == 3


async def test_what_was_overtaken_stays_unless_that_is_said(ask: Caller) -> None:
    ask.archive.overtaken = {2}
    _, said = await ask.post("/dead/replay", {"all": True})
    assert (said["replayed"], said["overtaken"], list(ask.archive.dead)) == (2, 1, [2])
    _, said = await ask.post("/dead/replay", {"all": True, "after_newer": True})
    assert (said["replayed"], said["overtaken"], list(ask.archive.dead)) == (1, 0, [])
    assert [line["after_newer"] for line in ask.logged()] == [False, True]


async def test_a_dry_run_counts_changes_nothing_and_logs_nothing(ask: Caller) -> None:
    ask.archive.overtaken = {2}
    _, said = await ask.post("/dead/replay", {"reason": "refused", "dry_run": True})
    assert said == {"replayed": 2, "overtaken": 1, "unknown": [], "dry_run": True}
    _, said = await ask.post("/dead/purge", {"all": True, "limit": 2, "dry_run": True})
    assert said == {"purged": 2, "unknown": [], "dry_run": True}
    assert len(ask.archive.dead) == 3
    assert ask.logged() == []


async def test_purged_by_filter_up_to_a_limit(ask: Caller) -> None:
    ask.has(dead(1), dead(2, reason="expired"), dead(3), dead(4))
    _, said = await ask.post("/dead/purge", {"reason": "refused", "limit": 2})
    assert said == {"purged": 2, "unknown": [], "dry_run": False}
    assert list(ask.archive.dead) == [2, 4]
    assert ask.logged() == [{"event": "dead.purged", "purged": 2, "log_level": "info"}]


async def test_many_receipts_are_looked_up_in_small_reads(ask: Caller) -> None:
    ask.has(*(dead(seq) for seq in range(1, 121)))
    _, said = await ask.post("/dead/purge", {"receipts": [receipt(seq) for seq in range(1, 130)]})
    assert (said["purged"], said["unknown"]) == (120, [receipt(seq) for seq in range(121, 130)])
    assert ask.archive.asked == 1 + -(-129 // READ_TOGETHER)


@pytest.mark.parametrize(
    "given", [{"body": {"type": "person"}}, {"body_base64": base64.b64encode(b'{"a":1}').decode()}]
)
async def test_an_edited_letter_stays_dead(ask: Caller, given: dict[str, Any]) -> None:
    status, said = await ask.post("/dead/edit", {"receipt": receipt(2)} | given)
    assert (status, said) == (200, {"receipt": receipt(2), "kind": "page", "replayed": 0, "overtaken": 0})
    assert ask.archive.dead[2].body in (b'{"type": "person"}', b'{"a":1}')
    [line] = ask.logged()
    assert line == {"event": "dead.edited", "receipt": receipt(2), "kind": "page", "log_level": "info"}


async def test_edited_and_replayed_at_once(ask: Caller) -> None:
    ask.archive.overtaken = {3}
    _, said = await ask.post("/dead/edit", {"receipt": receipt(2), "body": {}, "replay": True})
    assert (said["replayed"], said["overtaken"]) == (1, 0)
    _, said = await ask.post("/dead/edit", {"receipt": receipt(3), "body": {}, "replay": True})
    assert (said["replayed"], said["overtaken"]) == (0, 1)
    assert ask.archive.dead[3].body == b"{}"
    _, said = await ask.post("/dead/edit", {"receipt": receipt(3), "body": {}, "replay": True, "after_newer": True})
    assert (said["replayed"], list(ask.archive.dead)) == (1, [1])
    events = [line["event"] for line in ask.logged()]
    assert events == ["dead.edited", "dead.replayed"] * 3


async def test_what_is_wrong_with_a_new_body_is_told(ask: Caller) -> None:
    _, said = await ask.post("/dead/edit", {"receipt": receipt(1), "body": []})
    assert said["detail"] == "name: must not be blank"
    assert "nothing was changed" in said["hint"]


async def test_changes_are_made_one_at_a_time_and_reads_go_on(ask: Caller) -> None:
    ask.archive.may_go_on.clear()
    first = asyncio.ensure_future(ask.post("/dead/replay", {"receipts": [receipt(1)]}))
    await until(lambda: ask.archive.under_way == 1)
    others = [asyncio.ensure_future(ask.post("/dead/purge", {"all": True})) for _ in range(3)]
    for _ in range(3):
        assert (await ask.get("/dead"))[0] == 200
    assert (ask.archive.under_way, any(one.done() for one in (first, *others))) == (1, False)
    ask.archive.may_go_on.set()
    said = [done[1] for done in await asyncio.gather(first, *others)]
    assert said[0]["replayed"] == 1
    assert sorted(one["purged"] for one in said[1:]) == [0, 0, 2]
    assert ask.archive.most_under_way == 1


async def test_a_change_goes_on_when_whoever_asked_for_it_is_gone(ask: Caller) -> None:
    ask.archive.may_go_on.clear()
    asked = asyncio.ensure_future(ask.post("/dead/replay", {"all": True}))
    await until(lambda: ask.archive.under_way == 1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert (await ask.get("/dead"))[0] == 200  # by then the desk knows that the other is gone
    ask.archive.may_go_on.set()
    await until(lambda: not ask.archive.dead)


@pytest.mark.parametrize(
    ("method", "path", "said", "told"),
    [
        ("GET", "/dead", None, "just now"),
        ("GET", f"/dead/{receipt(1)}", None, "just now"),
        ("POST", "/dead/replay", {"all": True}, "part of the change may be done"),
        ("POST", "/dead/purge", {"receipts": [receipt(1)]}, "part of the change may be done"),
        ("POST", "/dead/edit", {"receipt": receipt(1), "body": {}}, "part of the change may be done"),
    ],
)
async def test_a_store_that_cannot_be_used_is_503(ask: Caller, method: str, path: str, said: Any, told: str) -> None:
    ask.archive.is_usable = False
    status, answer = await ask.ask(method, path, said and json.dumps(said).encode())
    assert (status, answer["error"], ask.headers["Retry-After"]) == (503, "store_unavailable", "1")
    assert told in answer["detail"]
    ask.archive.is_usable = True
    assert (await ask.post("/dead/replay", {"all": True}))[1]["replayed"] == 3  # nobody holds the door


async def test_nothing_that_is_logged_tells_who_or_what(ask: Caller) -> None:
    await ask.post("/dead/replay", {"person": "email:ann@example.com"})
    await ask.post("/dead/edit", {"receipt": receipt(1), "body": {"secret": 1}, "replay": True})
    await ask.post("/dead/purge", {"person": "id:5"})
    said = json.dumps(ask.logged())
    assert "ann@" not in said
    assert "secret" not in said
    assert "id:5" not in said
