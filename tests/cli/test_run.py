"""`cio-buffer run`: how it starts, how it refuses to, and how it stops."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cio_buffer.daemon import end_without_memory
from cio_buffer.sandbox import Sandbox
from tests.cli.conftest import command
from tests.outbox.test_upgrades import unpack
from tests.support.process import Daemon, clean_environ, until

EVENT = {"name": "did"}
PATH = "/api/v1/customers/ann/events"


def config(folder: Path, store: Path) -> Path:
    """The config of another daemon, with sockets of its own."""
    file = folder / "other.toml"
    file.write_text(
        f'[listen]\nunix_path = "{folder}/other-api.sock"\nhttp_address = ""\n'
        f'[admin]\nunix_path = "{folder}/other-admin.sock"\n'
        '[upstream]\nsite_id = "site"\ntrack_api_key = "key"\ntrack_url = "http://127.0.0.1:9"\n'
        f'[outbox]\npath = "{store}"\ndisk_free_min_bytes = 0\n'
    )
    return file


def test_every_mistake_in_the_config_is_told_at_once(folder: Path) -> None:
    file = folder / "config.toml"
    file.write_text(
        '[upstream]\nregoin = "eu"\ntrack_url = "http://127.0.0.1:9"\nsite_id = "site"\ntrack_api_key = "key"\n'
        '[drain]\nrate_max_per_s = "fast"\n[boat]\n'
    )
    ended = command("run", "--config", file)
    assert ended.returncode == 78
    assert ended.stdout == ""
    assert [ended.stderr.count(f"{word}: ") for word in ("error", "why", "fix")] == [3, 3, 3]
    assert all(told in ended.stderr for told in ("regoin", "region", "rate_max_per_s", "boat", "line 2"))
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("certificate", "told"),
    [("nowhere", "No such file"), ("config.toml", "cannot use"), ("", "tls_cert_file")],
)
def test_a_certificate_that_cannot_be_used_is_told(folder: Path, certificate: str, told: str) -> None:
    file = config(folder, folder / "outbox.db")
    path = f"{folder}/{certificate}" if certificate else ""
    environ = {
        "CIO_BUFFER__LISTEN__HTTPS_ADDRESS": "127.0.0.1:0",
        "CIO_BUFFER__LISTEN__TLS_CERT_FILE": path,
        "CIO_BUFFER__LISTEN__TLS_KEY_FILE": f"{folder}/key",
    }
    ended = command("run", "--config", file, environ=environ)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert told in ended.stderr
    assert "openssl" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_user_that_nobody_knows_is_told(folder: Path) -> None:
    environ = {"CIO_BUFFER__LISTEN__UNIX_USERS": "root, nobody-knows"}
    ended = command("run", "--config", config(folder, folder / "outbox.db"), environ=environ)
    assert ended.returncode == 78
    assert "there is no user 'nobody-knows'" in ended.stderr


def test_a_config_that_is_not_there_is_told(folder: Path) -> None:
    ended = command("run", "--config", folder / "nowhere.toml")
    assert ended.returncode == 78
    assert "nowhere.toml" in ended.stderr


async def test_a_store_that_another_daemon_holds_is_left_to_it(daemon: Daemon) -> None:
    ended = await asyncio.to_thread(command, "run", "--config", config(daemon.folder, daemon.store))
    assert ended.returncode == 75
    assert f"another process has {daemon.store} open" in ended.stderr
    assert (await daemon.call("POST", PATH, EVENT))[0] == 200


async def test_a_second_daemon_does_not_take_the_first_ones_sockets(daemon: Daemon) -> None:
    file = config(daemon.folder, daemon.folder / "other.db")
    file.write_text(file.read_text().replace("other-", ""))
    ended = await asyncio.to_thread(command, "run", "--config", file)
    assert ended.returncode == 1
    assert "somebody else serves" in ended.stderr
    assert (await daemon.call("POST", PATH, EVENT))[0] == 200
    assert (await daemon.status())["ledger"]["accepted"] == 1


def test_a_file_of_somebody_elses_is_refused_and_left_as_it_was(folder: Path) -> None:
    foreign = folder / "bookmarks.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE bookmark (url TEXT)")
    db.close()
    before = foreign.read_bytes()
    ended = command("run", "--config", config(folder, foreign))
    assert ended.returncode == 74
    assert "bookmarks.db" in ended.stderr
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_leaves_on_disk_what_could_not_be_delivered_and_says_how_much(
    daemon: Daemon, sandbox: Sandbox, number: signal.Signals
) -> None:
    sandbox.faults.answer(503)
    for _ in range(3):
        assert (await daemon.call("POST", PATH, EVENT))[0] == 200
    daemon.signal(number)
    assert await daemon.ended() == 0
    last = daemon.log_lines()[-1]
    assert (last["event"], last["entries_on_disk"]) == ("daemon.stopped", 3)
    assert not (daemon.folder / "api.sock").exists()
    assert not (daemon.folder / "admin.sock").exists()
    sandbox.faults.clear()
    await daemon.start()
    assert (await daemon.until_empty())["ledger"]["delivered"] == 3


async def test_a_stop_delivers_what_can_be_delivered(daemon: Daemon, sandbox: Sandbox) -> None:
    for _ in range(20):
        assert (await daemon.call("POST", PATH, EVENT))[0] == 200
    assert await daemon.stop() == 0
    assert daemon.log_lines()[-1]["entries_on_disk"] == 0
    assert len(sandbox.ledger.in_effect()) == 20


async def test_a_second_signal_stops_at_once(daemon: Daemon, sandbox: Sandbox) -> None:
    """Within a last effort that may take 20 seconds, and a request that would."""
    sandbox.faults.delay(60)
    assert (await daemon.call("POST", PATH, EVENT))[0] == 200
    await until(lambda: sandbox.ledger.requests_total == 1)
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    await until(lambda: "daemon.stopping" in daemon.log.read_text())
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0
    assert time.monotonic() - began < 4  # requests time out after 5
    assert daemon.log_lines()[-1]["entries_on_disk"] == 1


async def test_a_second_signal_does_not_wait_for_an_app_call(folder: Path, sandbox: Sandbox) -> None:
    url = await sandbox.start()
    sandbox.faults.delay(60)
    async with Daemon(folder, url, environ={"CIO_BUFFER__UPSTREAM__APP_URL": url}) as daemon:
        call = asyncio.ensure_future(daemon.call("GET", "/v1/customers", headers={"Authorization": "Bearer x"}))
        await until(lambda: sandbox.app_ledger.requests_total == 1)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        await until(lambda: "daemon.stopping" in daemon.log.read_text())
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert time.monotonic() - began < 4  # it is given up after 9
        await asyncio.gather(call, return_exceptions=True)


SLOW = """
import functools, sqlite3, sys
from cio_buffer import cli, daemon
from cio_buffer.outbox.sqlite import SqliteOutbox

class Connection(sqlite3.Connection):
    def execute(self, sql, *parameters):
        if sql.startswith(sys.argv[1]):
            print("it has come to that", flush=True)
            super().execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
        return super().execute(sql, *parameters)

def connect(path):
    return sqlite3.connect(path, isolation_level=None, factory=Connection)

daemon.SqliteOutbox = functools.partial(SqliteOutbox, connect=connect)
cli.main(["run", "--config", sys.argv[2]])
"""
"""A daemon on whose disk opening a store takes for ever, from some statement on."""


HELD_UP = """
import asyncio, sys
from cio_buffer import cli, daemon

async def open_sockets(*_):
    print("it has come to that", flush=True)
    await asyncio.Event().wait()

daemon.open_sockets = open_sockets
cli.main(["run", "--config", sys.argv[1]])
"""
"""One that does not come to opening its doors."""


@pytest.fixture
def old(folder: Path) -> Daemon:
    """A daemon that is not running, and its store, which an earlier version of us has written."""
    daemon = Daemon(folder, "http://127.0.0.1:9")
    unpack(daemon.store, 3)
    return daemon


@asynccontextmanager
async def stuck(daemon: Daemon, script: str, *arguments: str) -> AsyncIterator[None]:
    """Such a one in its place, once it has come to where it does not go on by itself."""
    run = [sys.executable, "-c", script, *arguments, daemon.config]
    with daemon.log.open("wb") as told:
        process = subprocess.Popen(run, stdout=told, stderr=told, env=clean_environ())  # noqa: ASYNC220 - a millisecond
    daemon.process = process
    try:
        await until(lambda: "it has come to that" in daemon.log.read_text() or process.poll() is not None)
        yield
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("statement", ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM INTO", "UPDATE dead SET seq"])
async def test_a_stop_while_the_store_is_being_opened_ends_that_and_loses_nothing(
    old: Daemon, statement: str, number: signal.Signals
) -> None:
    """Whether it empties a long WAL, copies the store, or migrates it. A reload that is asked for has to wait."""
    async with stuck(old, SLOW, statement):
        old.signal(signal.SIGHUP)
        began = time.monotonic()
        old.signal(number)
        assert await old.ended() == 0
        assert time.monotonic() - began < 2
    assert "Traceback" not in old.log.read_text()
    events = [(line["event"], line.get("store")) for line in old.log_lines()]
    assert events == [("daemon.starting", None), ("daemon.stopping", None), ("daemon.stopped", "not opened yet")]
    old.log.unlink()
    async with old:
        assert (await old.status())["ledger"]["accepted"] == 677
        assert told_of_the_store(old)[-1] == ("store.migrated", 29)


async def test_an_upgrade_says_where_the_store_is_as_it_was(old: Daemon) -> None:
    async with old:
        assert told_of_the_store(old) == [("store.backed_up", None), ("store.migrated", 29)]
        told = next(line for line in old.log_lines() if line["event"] == "store.backed_up")
        assert (told["path"], told["format"]) == (f"{old.store}.format-3.backup", 3)
        assert told["path"].rpartition("/")[2] in os.listdir(old.store.parent)
        await old.stop()
        old.log.unlink()
        await old.start()
        assert told_of_the_store(old) == [("store.opened", 29)]


async def test_an_upgrade_that_has_no_room_for_a_copy_says_so(folder: Path) -> None:
    daemon = Daemon(folder, "http://127.0.0.1:9", environ={"CIO_BUFFER__OUTBOX__DISK_FREE_MIN_BYTES": str(2**62)})
    unpack(daemon.store, 3)
    async with daemon:
        told = next(line for line in daemon.log_lines() if line["event"] == "store.not_backed_up")
        assert (told["level"], told["format"], told["reason"]) == ("warning", 3, "disk_low")
        assert told_of_the_store(daemon)[-1] == ("store.migrated", 29)


def told_of_the_store(daemon: Daemon) -> list[tuple[str, int | None]]:
    return [(line["event"], line.get("entries")) for line in daemon.log_lines() if line["event"].startswith("store.")]


async def test_a_stop_before_the_doors_are_open_says_what_is_on_disk(old: Daemon) -> None:
    """The store is open, and somebody holds up what comes next."""
    async with stuck(old, HELD_UP):
        old.signal(signal.SIGTERM)
        assert await old.ended() == 0
    last = old.log_lines()[-1]
    assert (last["event"], last["entries_on_disk"]) == ("daemon.stopped", 29)


async def test_every_socket_answers_probes(daemon: Daemon) -> None:
    for path, expected in (("/healthz", {"status": "ok"}), ("/readyz", {"ready": True, "reasons": []})):
        for status, body in (
            await daemon.call("GET", path, door="unix"),
            await daemon.call("GET", path, door="tcp"),
            await daemon.call("GET", f"{path}?verbose", door="tcp"),
            await daemon.admin(path),
        ):
            assert (status, json.loads(body)) == (200, expected)


def test_help_names_the_commands_and_where_to_start() -> None:
    ended = command("--help")
    assert ended.returncode == 0
    assert all(word in ended.stdout for word in ("run", "demo", "status", "cio-buffer demo"))


@pytest.mark.parametrize("arguments", [["dance"], ["run", "--colour"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert command(*arguments).returncode == 2


def test_a_daemon_without_memory_ends_so_that_it_can_be_started_again() -> None:
    ended: list[int] = []
    loop = asyncio.new_event_loop()
    end_without_memory(loop, {"message": "no", "exception": MemoryError()}, ended.append)
    loop.close()
    assert ended == [1]
