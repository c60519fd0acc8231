"""What the admin socket says of damaged stores that were set aside, and how one is removed."""

import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, UnixConnector

from cio_buffer.outbox.contract import SetAside
from cio_buffer.telemetry import log
from tests.admin.letterbox import Desk
from tests.admin.rooms import damaged
from tests.support.clock import FakeClock

NAME = damaged().name


class Asked:
    """The desk, and a session to ask it."""

    def __init__(self, desk, session):
        self.quarantine, self._session = desk.quarantine, session

    async def get(self, path="/quarantine"):
        async with self._session.get(f"http://localhost{path}") as answer:
            return answer.status, json.loads(await answer.text())

    async def remove(self, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self._session.post("http://localhost/quarantine/remove", data=data) as answer:
            return answer.status, json.loads(await answer.text())


@pytest.fixture
async def asked():
    desk = Desk()
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        await desk.open(Path(folder) / "admin.sock")
        async with ClientSession(connector=UnixConnector(f"{folder}/admin.sock")) as session:
            yield Asked(desk, session)
        await desk.close()


async def test_the_list_has_each_store_in_full(asked):
    asked.quarantine.there = [damaged(), damaged(name="later", state="salvaging", lost=None)]
    status, told = await asked.get()
    assert status == 200
    assert msgspec.convert(told["quarantine"], list[SetAside]) == asked.quarantine.there


@pytest.mark.parametrize("state", ["over", "failed"])
async def test_one_that_is_salvaged_is_removed_and_the_others_stay(asked, state):
    other = damaged(name="other")
    asked.quarantine.there = [damaged(state=state), other]
    assert await asked.remove({"name": NAME}) == (200, {"name": NAME, "bytes": 13_000_000})
    assert asked.quarantine.there == [other]


@pytest.mark.parametrize("state", ["waiting", "salvaging"])
async def test_one_that_is_not_salvaged_yet_is_kept(asked, state):
    asked.quarantine.there = [damaged(state=state)]
    status, told = await asked.remove({"name": NAME})
    assert (status, told["error"]) == (409, "not_salvaged")
    assert len(asked.quarantine.there) == 1


async def test_a_name_that_nobody_knows_is_404_also_where_somebody_else_was_quicker(asked):
    assert (await asked.remove({"name": NAME}))[0] == 404
    asked.quarantine.there, asked.quarantine.may_vanish = [damaged()], False
    status, told = await asked.remove({"name": NAME})
    assert (status, told["error"]) == (404, "unknown_name")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"name": 5}', b'{"name": "x", "yes": true}', b"\xff"])
async def test_what_makes_no_sense_is_400_and_removes_nothing(asked, body):
    asked.quarantine.there = [damaged(name="x")]
    status, told = await asked.remove(body)
    assert (status, told["error"]) == (400, "invalid_request")
    assert asked.quarantine.there


async def test_a_question_in_the_address_is_no_question(asked):
    assert (await asked.get("/quarantine?state=over"))[0] == 400


async def test_a_disk_that_refuses_is_503(asked):
    asked.quarantine.there, asked.quarantine.is_deletable = [damaged()], False
    status, told = await asked.remove({"name": NAME})
    assert (status, told["error"]) == (503, "store_unavailable")
    assert "Permission denied" in told["detail"]


def test_two_stores_that_are_salvaged_in_one_minute_are_both_told():
    fold = log.FoldRepeats(FakeClock())
    for name in ("one", "two"):
        line = {"level": "warning", "event": log.STORE_SALVAGED, "name": name}
        assert fold(None, "warning", dict(line)) == line
