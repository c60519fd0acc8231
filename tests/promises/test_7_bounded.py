"""Bounded: disk stops at a quota, with a 503 and Retry-After; a damaged file is no reason not to start."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.outbox.disk_pages import PAGE, root_of
from tests.promises.apps import Act, Apps, event, marks_in_effect
from tests.promises.conftest import Upstream
from tests.support.process import Daemon

SMALL = "bytes_max = 67_108_864\nballast_bytes = 1_048_576"


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


async def quarantined(daemon: Daemon) -> list[dict[str, Any]]:
    """What was set aside, once it is known what could be saved."""
    seen = await daemon.until(lambda seen: not seen["outbox"]["is_salvaging"])
    found: list[dict[str, Any]] = seen["outbox"]["quarantined"]
    return found


async def say_all(apps: Apps, acts: list[Act]) -> None:
    for start in range(0, len(acts), 10):
        assert await apps.say(acts[start : start + 10])


def words_of(person: str, first: int, last: int) -> list[Act]:
    return [event(person, f"{person}/{n}") for n in range(first, last)]


@pytest.mark.parametrize("table", ["event", "ledger", "dead"])
async def test_a_damaged_file_is_set_aside_and_what_it_held_is_delivered_in_order(
    daemon: Daemon, apps: Apps, upstream: Upstream, table: str
) -> None:
    await upstream.go_down()
    await say_all(apps, words_of("ann", 0, 300))
    assert await daemon.stop() == 0
    overwrite(daemon.store, (root_of(daemon.store, table) - 1) * PAGE, b"\xa5" * PAGE)
    assert await daemon.start() < 10
    await say_all(apps, words_of("ann", 300, 310))
    (aside,) = await quarantined(daemon)
    await upstream.come_up()
    seen = await daemon.until_empty()
    assert marks_in_effect(upstream) == [f"ann/{n}" for n in range(310)]
    lost = None if table == "ledger" else 0  # then nobody knows how many there were
    assert (aside["saved"], aside["lost"], seen["ledger"]["salvaged"]) == (300, lost, 300)
    assert (Path(aside["path"]) / "outbox.db").exists()
    assert seen["ledger"]["balanced"]
    assert seen["ledger"]["accepted"] == 10


@pytest.mark.parametrize("how", ["garbage", "emptied", "half of it"])
async def test_with_whatever_in_its_file_it_starts_and_accepts(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random, how: str
) -> None:
    await upstream.go_down()
    await say_all(apps, words_of("ann", 0, 300))
    await daemon.kill()
    size = daemon.store.stat().st_size
    content = {"garbage": chance.randbytes(size), "emptied": b"", "half of it": daemon.store.read_bytes()[: size // 2]}
    daemon.store.write_bytes(content[how])
    await daemon.start()
    await upstream.come_up()
    await say_all(apps, words_of("bob", 0, 10))
    await quarantined(daemon)
    seen = await daemon.until_empty()
    marks = marks_in_effect(upstream)
    assert [mark for mark in marks if mark.startswith("bob")] == [f"bob/{n}" for n in range(10)]
    assert [mark for mark in marks if mark.startswith("ann")] == [f"ann/{n}" for n in range(300)]  # the WAL has them
    assert seen["ledger"]["balanced"]


async def test_damage_that_comes_while_it_runs_is_found_and_set_aside(
    daemon: Daemon, apps: Apps, upstream: Upstream
) -> None:
    """By a reader that counts what is there: nobody has asked for those pages yet."""
    await upstream.go_down()
    await say_all(apps, words_of("ann", 0, 300))
    await daemon.stop()
    await daemon.start()  # with an empty WAL: the file's own pages count
    overwrite(daemon.store, (root_of(daemon.store, "parked_lane") - 1) * PAGE, b"\xa5" * PAGE)
    overwrite(daemon.store, (root_of(daemon.store, "dead") - 1) * PAGE, b"\xa5" * PAGE)
    n = 300
    while not (await daemon.status())["outbox"]["quarantined"]:
        await say_all(apps, words_of("ann", n, n + 1))
        n += 1
    await quarantined(daemon)
    await upstream.come_up()
    seen = await daemon.until_empty()
    assert marks_in_effect(upstream) == [f"ann/{k}" for k in range(n)]
    assert seen["ledger"]["balanced"]


async def test_a_full_outbox_refuses_drains_and_accepts_again_by_itself(folder: Path, upstream: Upstream) -> None:
    await upstream.go_down()
    async with Daemon(folder, upstream.url, store=SMALL) as daemon:
        accepted, status = 0, 200
        while True:
            status, headers = await daemon.headers("POST", "/api/v2/batch", {"batch": big_ones(accepted)})
            if status != 200:
                break
            accepted += TOGETHER
        assert (status, "Retry-After" in headers) == (503, True)
        assert (await daemon.status())["reasons"] == ["outbox_full"]
        await upstream.come_up()
        await daemon.until_empty()
        await daemon.until(lambda seen: seen["state"] == "ready")
        assert len(marks_in_effect(upstream)) == accepted
        assert (await daemon.call("POST", "/api/v2/entity", event("ann", "after").v2))[0] == 200


TOGETHER = 20


def big_ones(first: int) -> list[dict[str, Any]]:
    """Events of 20 KB, one person's each."""
    return [
        event(f"person-{n}", str(n)).v2 | {"attributes": {"mark": str(n), "big": "x" * 20_000}}
        for n in range(first, first + TOGETHER)
    ]


async def test_a_stop_is_never_a_loss(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """What is not delivered at the deadline stays on disk, and the last line says how much that is."""
    await upstream.go_down()
    await say_all(apps, words_of("ann", 0, 50))
    assert await daemon.stop() == 0
    last = daemon.log_lines()[-1]
    assert (last["event"], last["entries_on_disk"]) == ("daemon.stopped", 50)
    await upstream.come_up()
    await daemon.start()
    await daemon.until_empty()
    assert marks_in_effect(upstream) == [f"ann/{n}" for n in range(50)]
