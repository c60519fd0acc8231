"""`cio-buffer outbox`: the check of a store's file, and the damaged ones that were set aside."""

import asyncio
import io
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cio_buffer.cli import main
from cio_buffer.sandbox import Sandbox
from tests.admin.rooms import damaged
from tests.cli.conftest import command
from tests.cli.desk import DeskThread
from tests.support.process import Daemon

NAME = damaged().name
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def desk(folder: Path) -> Iterator[DeskThread]:
    with DeskThread(folder / "admin.sock") as desk:
        yield desk


@pytest.fixture
def cli(desk: DeskThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cio-buffer outbox quarantine`, in this process and without a terminal: exit code, stdout, stderr."""
    for name in [name for name in os.environ if name.startswith("CIO_BUFFER")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CIO_BUFFER_ADMIN", str(desk.path))

    def run(*arguments: str, answer: str | None = None) -> tuple[int, str, str]:
        typed = io.StringIO(answer or "")
        monkeypatch.setattr(typed, "isatty", lambda: answer is not None)
        monkeypatch.setattr(sys, "stdin", typed)
        with pytest.raises(SystemExit) as ended:
            main(["outbox", "quarantine", *arguments], prog_name="cio-buffer")
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def test_no_store_that_was_set_aside_is_no_trouble(cli: Cli) -> None:
    assert cli("list") == (0, "", "no damaged store is set aside\n")
    assert cli("list", "--json") == (0, '{"quarantine":[]}\n', "")


def test_the_list_says_what_was_saved_and_lost(cli: Cli, desk: DeskThread) -> None:
    desk.desk.quarantine.there = [damaged(), damaged(name="b\x1b[31m", state="salvaging", why="torn")]
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{NAME}  salvaged  12.4 MiB",
        "  database disk image is malformed (SQLITE_CORRUPT)",
        "  99,740 operations and 3 dead letters are back, 260 and 0 are not",
        f"  {damaged().path}",
        "b?[31m  is being salvaged  12.4 MiB",
        "  torn",
        f"  {damaged().path}",
    ]


def test_the_list_for_scripts_has_each_field(cli: Cli, desk: DeskThread) -> None:
    desk.desk.quarantine.there = [damaged(lost=None)]
    code, out, _ = cli("list", "--json")
    [one] = json.loads(out)["quarantine"]
    assert (code, one["name"], one["saved"], one["lost"], one["state"]) == (0, NAME, 99_740, None, "over")


def test_a_removal_is_sure_or_asked_for(cli: Cli, desk: DeskThread) -> None:
    there = desk.desk.quarantine.there = [damaged()]
    code, out, err = cli("remove", NAME)
    assert (code, out) == (2, "")
    assert "--yes" in err
    code, out, err = cli("remove", NAME, answer="n\n")
    assert (code, out) == (1, "")
    assert desk.desk.quarantine.there == there
    assert cli("remove", NAME, answer="y\n")[:2] == (0, f"removed: {NAME}, 12.4 MiB\n")
    assert desk.desk.quarantine.there == []


def test_a_removal_for_scripts(cli: Cli, desk: DeskThread) -> None:
    desk.desk.quarantine.there = [damaged()]
    assert cli("remove", NAME, "--yes", "--json") == (0, f'{{"name":"{NAME}","bytes":13000000}}\n', "")


def test_an_unknown_name_is_told(cli: Cli) -> None:
    code, out, err = cli("remove", "nothing", "--yes")
    assert (code, out) == (1, "")
    assert "No damaged store 'nothing'" in err
    assert "quarantine list" in err


def test_one_that_is_not_salvaged_is_kept(cli: Cli, desk: DeskThread) -> None:
    desk.desk.quarantine.there = [damaged(state="waiting")]
    code, _, err = cli("remove", NAME, "--yes")
    assert code == 1
    assert f"{NAME} is not salvaged yet" in err
    assert desk.desk.quarantine.there


def test_where_nobody_answers_it_is_69(cli: Cli, desk: DeskThread) -> None:
    desk.close()
    assert cli("list")[0] == 69


async def check(daemon: Daemon, *options: str) -> tuple[int, str, str]:
    ended = await asyncio.to_thread(command, "outbox", "check", "--config", daemon.config, *options)
    return ended.returncode, ended.stdout, ended.stderr


async def test_a_running_daemon_is_not_disturbed_by_a_check(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(503, headers={"Retry-After": "60"})
    for number in range(5):
        assert (await daemon.call("POST", f"/api/v1/customers/{number}/events", {"name": "did"}))[0] == 200
    code, out, err = await check(daemon)
    assert (code, err) == (0, "")
    assert out.startswith(f"ok: {daemon.store}\n  5 entries wait, ")
    code, out, _ = await check(daemon, "--json", "--quick")
    told = json.loads(out)
    assert (code, told["verdict"], told["is_quick"], told["problems"]) == (0, "ok", True, [])
    assert told["entries"]["waiting"] + told["entries"]["parked"] == 5
    assert (await daemon.call("POST", "/api/v1/customers/6/events", {"name": "did"}))[0] == 200
    assert (await daemon.status())["outbox"]["errors"] == {}
    assert await daemon.stop() == 0


async def test_damage_is_1_and_shown_on_one_screen(daemon: Daemon) -> None:
    await daemon.stop()
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as db:
        db.execute("UPDATE ledger SET accepted = 7, dead = 3")
    code, out, err = await check(daemon)
    assert (code, err) == (1, "")
    assert out.startswith(f"damaged: {daemon.store}\n! the ledger says 7 entries wait, and 0 are there\n")
    assert "\n  fix: " in out


async def test_no_file_is_74_and_says_what_to_do(daemon: Daemon) -> None:
    await daemon.stop()
    daemon.store.unlink()
    for options in ((), ("--json",)):
        code, out, err = await check(daemon, *options)
        assert code == 74
        assert err.startswith(f"error: there is no file {daemon.store}\n  fix: ")
        assert json.loads(out)["verdict"] == "unusable" if options else not out
    assert not daemon.store.exists()


def test_a_config_that_cannot_be_read_is_78(folder: Path) -> None:
    ended = command("outbox", "check", "--config", folder / "nowhere.toml")
    assert (ended.returncode, ended.stdout) == (78, "")


def test_the_help_says_that_a_check_pins_the_log() -> None:
    assert "pins the write-ahead log" in " ".join(command("outbox", "check", "--help").stdout.split())
