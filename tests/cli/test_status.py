"""`cio-buffer status`: for people, for scripts, and where nobody answers."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cio_buffer.sandbox import Sandbox
from tests.cli.conftest import command
from tests.support.process import Daemon, until

DOCUMENTED: dict[str, Any] = {
    **dict.fromkeys(("version", "state", "reasons", "uptime_s", "mode", "listening")),
    "ledger": [
        "accepted",
        "replayed",
        "delivered",
        "dead_lettered",
        "purged",
        "pending",
        "held",
        "in_flight",
        "balanced",
    ],
    "outbox": ["entries", "bytes", "bytes_max", "oldest_age_s", "order_violations"],
    "drain": ["state", "paused", "entries_per_s", "in_flight", "in_flight_limit"],
    "upstream": ["track_url", "recent", "next_try_in_s"],
    "passthrough": ["requests", "failed"],
}
"""The fields that scripts may lean on."""


async def status(*arguments: object, **environ: str) -> tuple[int, str, str]:
    """The command's exit code, and what it wrote to stdout and to stderr."""
    ended = await asyncio.to_thread(command, "status", *map(str, arguments), environ=environ)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("there", ["nothing", "a leftover socket"])
async def test_nobody_there_is_69_and_says_what_to_do(folder: Path, daemon: Daemon, there: str) -> None:
    """Also where a kill left the socket's file."""
    await (daemon.kill if there == "a leftover socket" else daemon.stop)()
    code, out, err = await status("--admin", folder / "admin.sock")
    assert (code, out) == (69, "")
    assert err.startswith(f"error: no daemon answers at {folder}/admin.sock")
    assert "cio-buffer run" in err
    assert "Traceback" not in err


async def test_the_json_has_the_documented_fields_and_no_others(daemon: Daemon) -> None:
    code, out, err = await status("--config", daemon.config, "--json")
    assert (code, err) == (0, "")
    seen = json.loads(out)
    assert list(seen) == list(DOCUMENTED)
    for part, fields in DOCUMENTED.items():
        if fields:
            assert list(seen[part]) == fields, part
    assert (seen["state"], seen["reasons"], seen["mode"]) == ("ready", [], "live")
    assert seen["listening"][0] == f"unix:{daemon.folder}/api.sock"
    assert seen["listening"][1].startswith("http://127.0.0.1:")
    assert "key" not in out.replace("upstream", "")


async def test_the_socket_is_found_by_option_environment_and_config(daemon: Daemon) -> None:
    admin = f"{daemon.folder}/admin.sock"
    for code, out, _ in (
        await status("--admin", admin, "--config", "/nowhere.toml"),
        await status(CIO_BUFFER_ADMIN=admin),
        await status(CIO_BUFFER_CONFIG=str(daemon.config)),
    ):
        assert code == 0
        assert out.startswith("cio_buffer ")


async def test_one_screen_tells_how_it_is(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(503)
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    await until(lambda: sandbox.ledger.requests_total > 0)
    code, out, _ = await status("--config", daemon.config)
    assert code == 0  # an outage upstream is what it is for
    for told in ("ready", "1 accepted = 0 delivered + 0 dead lettered + 1 still held", "paused: outage", "x 503"):
        assert told in out


async def test_a_key_that_is_rejected_needs_a_person(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(401)
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    await daemon.until(lambda seen: seen["drain"]["paused"] == "credentials")
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert "\n! Customer.io rejects the site id or the Track key" in out


async def test_wrong_books_need_a_person(daemon: Daemon) -> None:
    await daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute("UPDATE ledger SET accepted = accepted + 1")
    store.close()
    await daemon.start()
    await daemon.until(lambda seen: not seen["ledger"]["balanced"])
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert "\n! the ledger does not agree" in out
