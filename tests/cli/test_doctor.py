"""`cio-buffer doctor`: one line for each check, before the first start and beside a daemon that runs."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cio_buffer.sandbox import Sandbox
from tests.cli.conftest import command
from tests.support.process import Daemon

STORE = ["store.folder", "store.files", "store.filesystem", "disk.space", "disk.sync", "disk.write_cache"]
DOORS = ["socket.api", "access.group", "access.users", "socket.admin", "port.http"]
NAMES = ["config", *STORE, *DOORS, "daemon", "daemon.store", "upstream"]
"""Scripts lean on them."""


async def doctor(config: Path, *options: str, **environ: str) -> tuple[int, dict[str, Any], str]:
    """Its exit code, each check by its name, and what it wrote to stderr."""
    ended = await asyncio.to_thread(command, "doctor", "--config", config, "--json", *options, environ=environ)
    assert "Traceback" not in ended.stderr, ended.stderr
    found = json.loads(ended.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks) == [check["name"] for check in found["checks"]]
    return ended.returncode, checks | {"": found["state"]}, ended.stderr


def lasting(folder: Path) -> dict[str, Any]:
    """Inode, size and time of change of each file that the daemon has."""
    there = {path: path.stat() for path in folder.rglob("*") if path.name != "daemon.log"}
    return {str(path): (seen.st_ino, seen.st_size, seen.st_mtime_ns) for path, seen in there.items() if path.is_file()}


async def test_a_running_daemon_is_well_and_not_touched(daemon: Daemon, sandbox: Sandbox) -> None:
    before = lasting(daemon.folder)
    code, checks, err = await doctor(daemon.config)
    assert (code, err) == (0, "")
    assert [*checks] == [*NAMES, ""]
    assert {name for name in NAMES if checks[name]["state"] == "failed"} == set()
    for name in ("config", "socket.api", "socket.admin", "daemon", "daemon.store", "upstream"):
        assert checks[name]["state"] == "ok", checks[name]
    assert "somebody answers" in checks["socket.admin"]["seen"]
    assert lasting(daemon.folder) == before
    assert (await daemon.call("POST", "/api/v1/customers/5/events", {"name": "did"}))[0] == 200
    await daemon.until_empty()


async def test_its_port_is_known_as_its_own(daemon: Daemon) -> None:
    port = (await daemon.http_url()).rpartition(":")[2]
    address = f"127.0.0.1:{port}"
    _, checks, _ = await doctor(daemon.config, "--offline", CIO_BUFFER__LISTEN__HTTP_ADDRESS=address)
    assert checks["port.http"]["seen"] == f"a running daemon has {address}"


async def test_before_the_first_start_nothing_is_made(daemon: Daemon) -> None:
    await daemon.stop()
    store = daemon.folder / "elsewhere" / "outbox.db"
    before = lasting(daemon.folder)
    code, checks, _ = await doctor(daemon.config, CIO_BUFFER__OUTBOX__PATH=str(store))
    assert (code, checks[""], checks["daemon"]["state"]) == (0, "warning", "warning")
    assert "daemon.store" not in checks
    assert checks["store.folder"]["state"] == "ok"
    assert not store.parent.exists()
    assert lasting(daemon.folder) == before


async def test_a_killed_daemon_leaves_sockets_that_are_told(daemon: Daemon) -> None:
    await daemon.kill()
    code, checks, _ = await doctor(daemon.config, "--offline")
    assert (code, checks["socket.api"]["state"], checks["socket.admin"]["state"]) == (0, "warning", "warning")
    assert "killed" in checks["socket.api"]["seen"]


async def test_customer_io_is_left_alone_offline(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(401)
    code, checks, _ = await doctor(daemon.config, "--offline")
    assert (code, checks["upstream"]["seen"]) == (0, "not asked: --offline")


async def test_a_key_that_is_rejected_fails_and_is_not_shown(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(401)
    (daemon.folder / "key").write_text("sup3rsecret\n")
    text = daemon.config.read_text().replace('track_api_key = "key"', f'track_api_key_file = "{daemon.folder}/key"')
    daemon.config.write_text(text)
    code, checks, err = await doctor(daemon.config)
    assert (code, checks[""], checks["upstream"]["state"]) == (1, "failed", "failed")
    assert "credentials_rejected" in checks["upstream"]["seen"]
    assert "sup3rsecret" not in json.dumps(checks) + err


async def test_whatever_fails_is_1_and_all_is_told_at_once(daemon: Daemon) -> None:
    await daemon.stop()
    daemon.store.parent.chmod(0o777)
    daemon.store.chmod(0o644)
    (daemon.folder / "api.sock").write_text("no socket")
    code, checks, _ = await doctor(
        daemon.config,
        "--offline",
        CIO_BUFFER__LISTEN__UNIX_GROUP="nobody-has-it",
        CIO_BUFFER__LISTEN__UNIX_USERS="root, nobody-knows",
        CIO_BUFFER__OUTBOX__DISK_FREE_MIN_BYTES=str(1 << 60),
        CIO_BUFFER__ADMIN__UNIX_PATH=f"{daemon.folder}/{'x' * 120}",
    )
    assert code == 1
    failing = ["store.folder", "store.files", "disk.space", "socket.api", "access.group", "access.users"]
    for name in ("config", *failing, "socket.admin"):
        assert checks[name]["state"] == "failed", name
        assert checks[name]["fix"], name


async def test_a_config_that_cannot_be_read_is_all_that_can_be_said(folder: Path) -> None:
    (folder / "config.toml").write_text("[upstream")
    code, checks, _ = await doctor(folder / "config.toml")
    assert (code, [*checks]) == (1, ["config", ""])


async def test_for_people_each_check_has_a_line_and_what_to_do_another(daemon: Daemon) -> None:
    await daemon.stop()
    ended = await asyncio.to_thread(command, "doctor", "--config", daemon.config, "--offline")
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0] == f"ok       config            {daemon.config}: valid"
    at = next(number for number, line in enumerate(lines) if line.startswith("warning  daemon "))
    assert lines[at + 1].strip() == "fix: start it with: cio-buffer run"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_this_user_may_not_write_fails(daemon: Daemon) -> None:
    _, checks, _ = await doctor(daemon.config, "--offline", CIO_BUFFER__OUTBOX__PATH="/sys/outbox.db")
    assert checks["store.folder"]["state"] == "failed"
