"""Which of the admin socket's rooms answers."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector

from tests.admin.letterbox import Desk, dead


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    desk = Desk(dead(1))
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        await desk.open(Path(folder) / "admin.sock")
        async with ClientSession(connector=UnixConnector(f"{folder}/admin.sock")) as session:
            yield session
        await desk.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/dead", 200, '"dead":['),
        ("GET", "/dead?limit=1", 200, '"dead":['),
        ("GET", "/deadly", 404, '"not_found"'),
        ("GET", "/trace?person=id:a%2Bb", 200, '"asked":"person=id:a%2Bb"'),
        ("GET", "/trace", 200, '"asked":""'),
        ("POST", "/trace", 405, '"method_not_allowed"'),
        ("GET", "/readyz", 200, '"ready":true'),
        ("GET", "/openapi.json", 200, "{}"),
        ("GET", "/quarantine", 200, '{"quarantine":[]}'),
        ("HEAD", "/quarantine", 200, ""),
        ("POST", "/quarantine", 405, '"method_not_allowed"'),
        ("GET", "/quarantine/remove", 405, '"method_not_allowed"'),
        ("GET", "/quarantine/elsewhere", 404, '"not_found"'),
        ("GET", "/quarantined", 404, '"not_found"'),
        ("GET", "/nowhere", 404, "/dead, /quarantine, /trace"),
        ("POST", "/nowhere", 405, '"method_not_allowed"'),
        ("POST", "/status", 405, '"method_not_allowed"'),
        ("HEAD", "/dead", 200, ""),
    ],
)
async def test_each_path_has_its_room(session: ClientSession, method: str, path: str, status: int, told: str) -> None:
    async with session.request(method, f"http://localhost{path}") as answer:
        assert answer.status == status
        assert told in await answer.text()
