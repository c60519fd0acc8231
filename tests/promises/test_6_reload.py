"""A key that is mended while the daemon runs: SIGHUP reads it and tries at once, and nothing was lost meanwhile."""

import asyncio
import random
import signal
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.apps import Apps, event, marks_in_effect
from tests.promises.conftest import Upstream
from tests.support.process import SITE_ID, TRACK_KEY, Daemon, until

HOURS = {"CIO_BUFFER__RETRY__BACKOFF_FIRST_S": "40000", "CIO_BUFFER__RETRY__BACKOFF_MAX_S": "80000"}
"""Whatever is tried within seconds is not tried by itself."""

AT_ONCE_S = 3.0
REGION = "/api/v1/accounts/region"
WRONG = "k3y-of-yesterday"


def key_file(daemon: Daemon) -> Path:
    return daemon.folder / "track_api_key"


def on_port(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{SITE_ID}:{key}".encode()).decode()}


@pytest.fixture
async def daemon(folder: Path, upstream: Upstream) -> AsyncIterator[Daemon]:
    """It has its key from a file, which holds a wrong one."""
    daemon = Daemon(folder, upstream.url, environ=HOURS)
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace('track_api_key = "key"', f'track_api_key_file = "{folder}/track_api_key"'))
    key_file(daemon).write_text(WRONG)
    try:
        async with daemon:
            yield daemon
    finally:
        print("the daemon said:", daemon.log.read_text()[-3_000:])
        assert WRONG not in daemon.log.read_text()


@pytest.fixture
def apps(daemon: Daemon, chance: random.Random) -> Apps:
    """By the UNIX socket, which asks for no key."""
    return Apps(daemon, chance)


async def reload(daemon: Daemon) -> dict[str, Any]:
    """SIGHUP; returns the line that it logs for it."""
    before = len(reloads(daemon))
    daemon.signal(signal.SIGHUP)
    await until(lambda: len(reloads(daemon)) > before)
    return reloads(daemon)[-1]


def reloads(daemon: Daemon) -> list[dict[str, Any]]:
    return [line for line in daemon.log_lines() if line["event"].startswith("config.reload")]


async def say(daemon: Daemon, person: str, mark: str) -> int:
    act = event(person, mark)
    assert act.v1
    method, path, body = act.v1
    return (await daemon.call(method, path, body))[0]


async def held_for_the_key(daemon: Daemon, *, waiting: int) -> None:
    for n in range(waiting):
        assert await say(daemon, f"person-{n % 7}", f"{n:03}") == 200
    seen = await daemon.until(lambda seen: seen["drain"]["paused"] == "credentials")
    assert seen["ledger"]["delivered"] == 0
    assert seen["upstream"]["trouble"] == "credentials_rejected"
    assert "SIGHUP" in seen["upstream"]["hint"]


async def test_the_right_key_and_sighup_and_all_of_it_arrives(daemon: Daemon, upstream: Upstream) -> None:
    assert daemon.process
    pid = daemon.process.pid
    await held_for_the_key(daemon, waiting=200)
    assert (await daemon.call("GET", REGION))[0] == 401
    key_file(daemon).write_text(TRACK_KEY + "\n")
    began = time.monotonic()
    line = await reload(daemon)
    assert (line["event"], line["level"], line["keys"]) == ("config.reloaded", "info", ["upstream.track_api_key"])
    assert line["needs_restart"] == []
    seen = await daemon.until_empty()
    assert time.monotonic() - began < AT_ONCE_S
    assert (seen["ledger"]["delivered"], seen["ledger"]["dead_lettered"]) == (200, 0)
    assert Counter(marks_in_effect(upstream)) == Counter(f"{n:03}" for n in range(200))
    assert (seen["drain"]["paused"], seen["upstream"]["trouble"]) == (None, None)
    assert (await daemon.call("GET", REGION))[0] == 200
    assert daemon.process.pid == pid


async def test_without_sighup_the_file_is_not_read(daemon: Daemon) -> None:
    """Which shows that the test above tests something: the wait would be hours."""
    await held_for_the_key(daemon, waiting=1)
    key_file(daemon).write_text(TRACK_KEY)
    await asyncio.sleep(0.5)
    assert (await daemon.status())["ledger"]["delivered"] == 0


async def test_a_broken_file_changes_nothing_and_says_so(daemon: Daemon) -> None:
    key_file(daemon).write_text(TRACK_KEY)
    await reload(daemon)
    good = daemon.config.read_text()
    for broken, what in (
        (good + "\n[upstream\n", "not TOML"),
        (good.replace("site_id", "sight_id"), "sight_id"),
        (good.replace("track_api_key_file", "track_api_key_env"), "track_api_key_env"),
        ("\udcff", "not UTF-8"),
    ):
        daemon.config.write_bytes(broken.encode(errors="surrogateescape"))
        line = await reload(daemon)
        assert (line["event"], line["level"]) == ("config.reload_refused", "error")
        assert what in line["problem"]
        assert line["problems"] >= 1
        assert line["hint"]
        assert await say(daemon, "ann", what) == 200
        assert (await daemon.until_empty())["ledger"]["dead_lettered"] == 0
    key_file(daemon).unlink()
    daemon.config.write_text(good)
    line = await reload(daemon)
    assert (line["event"], "No such file" in line["problem"]) == ("config.reload_refused", True)
    assert await say(daemon, "ann", "last") == 200
    await daemon.until_empty()
    assert TRACK_KEY not in [str(value) for line in reloads(daemon) for value in line.values()]


async def test_apps_may_show_the_new_key_and_the_one_before_it(daemon: Daemon, folder: Path) -> None:
    """A rotation: the new key is written beside the old one, and then the old one is taken away."""
    call = ("POST", "/api/v1/customers/ann/events", {"name": "did"})

    async def statuses(*keys: str) -> list[int]:
        return [(await daemon.call(*call, door="tcp", headers=on_port(key)))[0] for key in keys]

    assert await statuses(WRONG, TRACK_KEY, "local") == [200, 401, 401]
    (folder / "previous").write_text(WRONG)
    (folder / "local").write_text("local")
    key_file(daemon).write_text(TRACK_KEY)
    one_key = daemon.config.read_text()
    daemon.config.write_text(
        one_key.replace("[upstream]\n", f'[upstream]\ntrack_api_key_previous_file = "{folder}/previous"\n').replace(
            "[listen]\n", f'[listen]\nlocal_key_file = "{folder}/local"\n'
        )
    )
    line = await reload(daemon)
    assert line["keys"] == ["listen.local_key", "upstream.track_api_key", "upstream.track_api_key_previous"]
    assert await statuses(WRONG, TRACK_KEY, "local") == [200, 200, 200]
    daemon.config.write_text(one_key)
    await reload(daemon)
    assert await statuses(WRONG, TRACK_KEY, "local") == [401, 200, 401]


async def test_what_else_changed_is_named_and_waits_for_a_restart(daemon: Daemon, upstream: Upstream) -> None:
    key_file(daemon).write_text(TRACK_KEY)
    daemon.config.write_text(daemon.config.read_text().replace("request_timeout_s = 5", "request_timeout_s = 6"))
    line = await reload(daemon)
    assert (line["event"], line["needs_restart"]) == ("config.reloaded", ["upstream.request_timeout_s"])
    assert "restart" in line["hint"]


async def test_keys_of_another_workspace_are_left_where_they_are(daemon: Daemon, upstream: Upstream) -> None:
    """Its new site id would not go with them until a restart, so neither do they."""
    key_file(daemon).write_text(TRACK_KEY)
    await reload(daemon)
    daemon.config.write_text(daemon.config.read_text().replace(f'site_id = "{SITE_ID}"', 'site_id = "another"'))
    key_file(daemon).write_text("k3y-of-another")
    line = await reload(daemon)
    assert (line["event"], line["where"]) == ("config.reload_refused", "upstream.site_id")
    assert await say(daemon, "ann", "still") == 200
    await daemon.until_empty()
    assert marks_in_effect(upstream) == ["still"]


@pytest.mark.parametrize(
    ("status", "trouble"),
    [(401, "credentials_rejected"), (302, "redirected"), (404, "not_found"), (503, "unavailable")],
)
async def test_sighup_tries_at_once_whatever_it_waited_for(
    daemon: Daemon, upstream: Upstream, status: int, trouble: str
) -> None:
    """Whether everything was held, or only the one that failed."""
    key_file(daemon).write_text(TRACK_KEY)
    await reload(daemon)
    upstream.faults.answer(status, path_prefix="/api/")
    assert await say(daemon, "ann", "waits") == 200
    await daemon.until(lambda seen: seen["upstream"]["trouble"] == trouble)
    upstream.faults.clear()
    began = time.monotonic()
    assert (await reload(daemon))["keys"] == []
    await daemon.until_empty()
    assert time.monotonic() - began < AT_ONCE_S
    assert marks_in_effect(upstream) == ["waits"]


async def test_a_key_that_is_mended_at_customerio_needs_no_signal(folder: Path, upstream: Upstream) -> None:
    """Nobody touches the daemon: its next probe finds out."""
    upstream.faults.answer(401, path_prefix="/api/")
    async with Daemon(folder, upstream.url) as daemon:
        assert await say(daemon, "ann", "waits") == 200
        await daemon.until(lambda seen: seen["drain"]["paused"] == "credentials")
        upstream.faults.clear()
        await daemon.until_empty()
        assert reloads(daemon) == []
    assert marks_in_effect(upstream) == ["waits"]


async def test_signals_in_the_midst_of_traffic_lose_nothing(
    daemon: Daemon, upstream: Upstream, chance: random.Random
) -> None:
    """The key turns wrong and right again, at any moment, while apps go on."""

    async def turn() -> None:
        for n in range(40):
            key_file(daemon).write_text(TRACK_KEY if n % 2 else WRONG)
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(chance.uniform(0, 0.05))

    turning = asyncio.ensure_future(turn())
    said = 0
    while not turning.done():
        assert await say(daemon, f"person-{said % 5}", f"{said:05}") == 200
        said += 1
    await turning
    key_file(daemon).write_text(TRACK_KEY)
    await reload(daemon)
    seen = await daemon.until_empty()
    assert (seen["ledger"]["delivered"], seen["ledger"]["dead_lettered"]) == (said, 0)
    assert Counter(marks_in_effect(upstream)) == Counter(f"{n:05}" for n in range(said))
    assert seen["outbox"]["order_violations"] == 0
