"""`cio-buffer dead`: for people, for scripts, and what becomes of what was typed."""

import asyncio
import io
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cio_buffer.cli import main
from cio_buffer.sandbox import Sandbox
from tests.admin.letterbox import BODY, NAMES, dead, receipt
from tests.cli.conftest import command
from tests.cli.desk import PATIENCE_S, DeskThread
from tests.support.process import Daemon, clean_environ

WARNING = "an old identify would overwrite newer attributes"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def desk(folder: Path) -> Iterator[DeskThread]:
    with DeskThread(folder / "admin.sock") as desk:
        yield desk


@pytest.fixture
def drafts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    drafts = folder / "drafts"
    drafts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    return drafts


@pytest.fixture
def cli(desk: DeskThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cio-buffer dead`, in this process and without a terminal: exit code, stdout, stderr."""
    for name in [name for name in os.environ if name.startswith("CIO_BUFFER")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CIO_BUFFER_ADMIN", str(desk.path))

    def run(*arguments: str, typed: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        with pytest.raises(SystemExit) as ended:
            main(["dead", *arguments], prog_name="cio-buffer")
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def test_the_list_is_a_table_without_payloads(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead[2] = dead(2, kind="object_identify_anonymous", reason="expired", status=None, replays=1)
    code, out, err = cli("list")
    head, *rows = out.splitlines()
    assert (code, err, len(rows)) == (0, "", 3)
    assert head.split() == ["RECEIPT", "KIND", "DIED", "(UTC)", "ATTEMPTS", "REPLAYS", "REASON", "WHY"]
    for column in ("RECEIPT", "KIND", "DIED", "ATTEMPTS", "REPLAYS", "REASON", "WHY"):
        at = head.index(column)
        assert all(at == 0 or row[at - 2 : at] == "  " for row in rows), column
        assert all(row[at] != " " for row in rows), column
    assert rows[0].split(maxsplit=7)[:2] == [receipt(1), "event"]
    assert rows[0].endswith("2023-11-14 22:14:21  2         0        refused   400 required (name): must not be blank")
    assert rows[1].endswith("expired   required (name): must not be blank")
    assert "identifiers" not in out


def test_an_empty_list_is_no_trouble(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead.clear()
    assert cli("list") == (0, "", "no dead letter\n")
    assert cli("list", "--reason", "expired") == (0, "", "no dead letter that this lets through\n")
    assert cli("list", "--json") == (0, '{"dead":[],"next":null}\n', "")


def test_the_list_is_filtered_by_the_daemon(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead = {seq: dead(seq) for seq in (1, 2, 3)} | {4: dead(4, reason="expired", kind="identify")}
    desk.archive.people = {4: "email:ann+b &c@x.org"}
    for filters in (
        ["--reason", "expired"],
        ["--kind", "identify"],
        ["--person", "email:Ann+b &c@x.org"],
        ["--since", "2023-11-14T22:14:24Z"],
        ["--reason", "expired", "--kind", "identify", "--since", "3d"],
    ):
        _, out, _ = cli("list", "--json", *filters)
        assert [letter["receipt"] for letter in json.loads(out)["dead"]] == [receipt(4)], filters


def test_pages_follow_each_other(cli: Cli) -> None:
    code, out, err = cli("list", "--limit", "2")
    assert (code, len(out.splitlines())) == (0, 3)
    assert err == f"there are more: --after {receipt(2)}, or --all\n"
    _, out, err = cli("list", "--limit", "2", "--after", receipt(2), "--json")
    assert (len(json.loads(out)["dead"]), json.loads(out)["next"], err) == (1, None, "")
    assert cli("list", "--after", receipt(3)) == (0, "", "no dead letter that this lets through\n")


def test_all_are_listed_however_many(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead = {seq: dead(seq) for seq in range(1, 2102)}
    _, out, _ = cli("list", "--all", "--json")
    assert len(json.loads(out)["dead"]) == 2101
    _, out, err = cli("list", "--all")
    assert (len(out.splitlines()), out.count("RECEIPT"), err) == (2102, 1, "")
    _, out, _ = cli("list", "--limit", "1500", "--json")
    assert (len(json.loads(out)["dead"]), json.loads(out)["next"]) == (1500, receipt(1500))
    _, out, _ = cli("list")
    assert len(out.splitlines()) == 101


def test_a_terminal_obeys_nothing_that_customer_io_said(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead = {1: dead(1, message="\x1b[2Jgone\n\x9b31m", field="a\rb", body=b'{"a":"\xc2\x9b31m"}')}
    for arguments in (["list"], ["show", receipt(1), "--body"]):
        _, out, _ = cli(*arguments)
        assert all(sign.isprintable() for sign in out.replace("\n", "")), out
    assert '{"a":"\\u009b31m"}' in out


def test_one_letter_is_told_in_full_and_its_body_only_on_demand(cli: Cli, desk: DeskThread) -> None:
    desk.archive.dead[1] = dead(1, call="POST /api/v1/events", traceparent="00-ab-cd-01", replays=2)
    code, out, err = cli("show", receipt(1))
    assert (code, err) == (0, "")
    for told in (
        f"receipt      {receipt(1)}\n",
        f"kind         event, {len(BODY)} bytes\n",
        "v1 call      POST /api/v1/events\n",
        "accepted     2023-11-14 22:13:21.123 UTC, by Track v2, in a batch\n",
        "died         2023-11-14 22:14:21.000 UTC, attempts that count: 2, replayed 2 times\n",
        "reason       refused\n",
        "why          400 required (name): must not be blank\n",
        "traceparent  00-ab-cd-01\n",
        "requests     2023-11-14 22:13:20.128  request 7: no answer within 30 s. It may have been taken in. Held",
        "\n             2023-11-14 22:14:19.848  request 9: 400 after ",
        "Dead: refused",
        f"next         cio-buffer dead replay {receipt(1)}\n",
    ):
        assert told in out, told
    assert "identifiers" not in out
    _, out, _ = cli("show", receipt(1), "--body")
    assert out.endswith(f"\n\n{BODY.decode()}\n")
    _, out, _ = cli("show", receipt(1), "--body", "--json")
    assert json.loads(out)["body"] == json.loads(BODY)


@pytest.mark.parametrize("arguments", [["show"], ["edit", "--body", "-"]])
def test_a_receipt_that_nobody_has_exits_1(cli: Cli, arguments: list[str], drafts: Path) -> None:
    code, out, err = cli(*arguments, receipt(9), typed=b"{}")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: There is no dead letter '{receipt(9)}'\n  fix: ")
    code, out, err = cli(*arguments, receipt(9)[:-1], typed=b"{}")
    assert (code, out) == (1, "")
    assert err.startswith("error: This is no receipt of a dead letter: it has a slip in it")


@pytest.mark.parametrize("change", ["replay", "purge"])
def test_changed_by_receipt_without_a_question(cli: Cli, desk: DeskThread, change: str) -> None:
    word = {"replay": "replayed", "purge": "purged"}[change]
    assert cli(change, receipt(1), receipt(2)) == (0, f"{word}: 2\n", "")
    assert list(desk.archive.dead) == [3]
    assert cli(change, receipt(1), receipt(3)) == (1, f"{word}: 1\n", f"not among the dead letters: {receipt(1)}\n")
    code, out, err = cli(change, receipt(3), "--json")
    assert (code, json.loads(out)["unknown"], json.loads(out)[word]) == (1, [receipt(3)], 0)
    assert receipt(3) in err


@pytest.mark.parametrize(("change", "word"), [("replay", "replayed"), ("purge", "purged")])
def test_in_bulk_the_count_comes_first_and_yes_is_needed(cli: Cli, desk: DeskThread, change: str, word: str) -> None:
    desk.archive.dead[2] = dead(2, reason="expired")
    code, out, err = cli(change, "--reason", "refused")
    assert (code, out) == (2, "")
    assert err == f"to be {word}: 2\nerror: without a terminal nobody can be asked\n  fix: if you are sure, say --yes\n"
    assert len(desk.archive.dead) == 3
    assert cli(change, "--reason", "refused", "--dry-run") == (0, f"would be {word}: 2\n", "")
    assert len(desk.archive.dead) == 3
    assert cli(change, "--reason", "refused", "--limit", "1", "--yes") == (0, f"{word}: 1\n", f"to be {word}: 1\n")
    assert list(desk.archive.dead) == [2, 3]
    code, out, err = cli(change, "--all", "--yes", "--json")
    assert (code, json.loads(out)[word], json.loads(out)["dry_run"], err) == (0, 2, False, f"to be {word}: 2\n")
    assert cli(change, "--all") == (0, f"{word}: 0\n", "")  # nothing to ask about


def test_what_was_overtaken_stays_dead_and_is_explained(cli: Cli, desk: DeskThread) -> None:
    desk.archive.overtaken = {1, 2}
    code, out, err = cli("replay", receipt(1), receipt(3))
    assert (code, out) == (1, "replayed: 1\n")
    assert WARNING in err
    assert "--after-newer" in err
    code, out, err = cli("replay", "--all", "--yes")
    assert (code, out) == (1, "replayed: 0\n")
    assert "were accepted since" in err
    code, out, err = cli("replay", "--all", "--yes", "--after-newer")
    assert (code, out) == (0, "replayed: 2\n")
    assert err.startswith("warning: --after-newer")
    assert WARNING in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["purge"],
        ["purge", "--limit", "3", "--yes"],
        ["purge", "--dry-run"],
        ["purge", receipt(1), "--all"],
        ["replay", receipt(1), "--reason", "refused"],
        ["purge", "--all", "--limit", "0"],
        ["purge", "--all", "--after-newer"],
        ["purge", "--reason", "", "--yes"],
        ["replay", "--kind", "evnt", "--yes"],
        ["replay", "--person", "5", "--yes"],
        ["replay", "--since", "yesterday", "--yes"],
        ["list", "--all", "--limit", "3"],
        ["list", "--after", "3"],
        ["list", "--since", "2y"],
        ["list", receipt(1)],
        ["show"],
        ["edit"],
        ["edit", receipt(1)],  # no terminal for an editor
        ["edit", receipt(1), "--body", "/nowhere"],
        ["bury"],
    ],
)
def test_wrong_usage_is_2_and_changes_nothing(cli: Cli, desk: DeskThread, arguments: list[str]) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert "rror: " in err
    assert "Traceback" not in err
    assert list(desk.archive.dead) == [1, 2, 3]


@pytest.mark.parametrize("arguments", [["replay"], ["purge", receipt(1), "--all"], ["list", "--all", "--limit", "3"]])
def test_wrong_usage_is_told_without_a_daemon(cli: Cli, desk: DeskThread, arguments: list[str]) -> None:
    desk.close()
    assert cli(*arguments)[0] == 2


def test_nobody_there_is_69_and_a_config_that_cannot_be_read_is_78(
    cli: Cli, desk: DeskThread, folder: Path, monkeypatch: pytest.MonkeyPatch, drafts: Path
) -> None:
    desk.close()
    for arguments in (
        ["list"],
        ["show", receipt(1)],
        ["replay", receipt(1)],
        ["purge", "--all", "--yes"],
        ["edit", receipt(1), "--body", "-"],
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (69, "")
        assert f"no daemon answers at {desk.path}" in err
    monkeypatch.delenv("CIO_BUFFER_ADMIN")
    file = folder / "config.toml"
    file.write_text("[admin\n")
    code, out, err = cli("list", "--config", str(file))
    assert (code, out) == (78, "")
    assert "config.toml" in err


def test_a_store_that_cannot_be_used_says_neither_yes_nor_no(cli: Cli, desk: DeskThread) -> None:
    desk.archive.is_usable = False
    code, out, err = cli("replay", receipt(1))
    assert (code, out) == (69, "")
    assert "part of the change may be done" in err


def test_a_body_from_a_file_or_from_stdin(cli: Cli, desk: DeskThread, folder: Path, drafts: Path) -> None:
    file = folder / "mended.json"
    file.write_bytes(b'{"n": 1e999}\n')
    assert cli("edit", receipt(1), "--body", str(file)) == (0, "edited: 1\nreplayed: 0\n", "")
    assert desk.archive.dead[1].body == b'{"n": 1e999}'
    code, out, _ = cli("edit", receipt(1), "--body", "-", "--replay", "--json", typed=b'{"a":"\xff"}')
    assert (code, json.loads(out)) == (0, {"receipt": receipt(1), "kind": "page", "replayed": 1, "overtaken": 0})
    assert (list(desk.archive.dead), list(drafts.iterdir()), file.exists()) == ([2, 3], [], True)


def test_edited_but_overtaken_exits_1(cli: Cli, desk: DeskThread) -> None:
    desk.archive.overtaken = {1}
    code, out, err = cli("edit", receipt(1), "--body", "-", "--replay", typed=b"{}")
    assert (code, out) == (1, "edited: 1\nreplayed: 0\n")
    assert WARNING in err
    code, out, err = cli("edit", receipt(1), "--body", "-", "--replay", "--after-newer", typed=b"{}")
    assert (code, out) == (0, "edited: 1\nreplayed: 1\n")
    assert err.startswith("warning: --after-newer")


@pytest.mark.parametrize("trouble", ["refused", "nobody there"])
def test_what_was_piped_in_is_kept_where_it_was_not_taken(
    cli: Cli, desk: DeskThread, drafts: Path, trouble: str
) -> None:
    if trouble == "nobody there":
        desk.close()
    code, out, err = cli("edit", receipt(1), "--body", "-", typed=b"not JSON \xff")
    assert (code, out) == ({"refused": 1, "nobody there": 69}[trouble], "")
    if trouble == "refused":
        assert err.startswith("error: name: must not be blank\n  fix: nothing was changed")
    [kept] = drafts.iterdir()
    assert err.endswith(f"what you wrote is in {kept}\n")
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (b"not JSON \xff", 0o600)


def test_a_refused_file_is_left_where_it_is(cli: Cli, folder: Path, drafts: Path) -> None:
    file = folder / "mended.json"
    file.write_text("[]")
    code, _, err = cli("edit", receipt(1), "--body", str(file))
    assert (code, list(drafts.iterdir())) == (1, [])
    assert err.endswith(f"what you wrote is in {file}\n")


@pytest.mark.parametrize("name", ["list", "show", "replay", "purge", "edit"])
def test_help_opens_with_examples(cli: Cli, name: str) -> None:
    code, out, _ = cli(name, "--help")
    first = out.splitlines()[2]
    assert (code, first.strip().startswith(f"cio-buffer dead {name}")) == (0, True)
    assert "--json" in out


class Terminal:
    """The command on a terminal of its own, as a person has it."""

    def __init__(self, desk: DeskThread, *arguments: str, editor: str = "false") -> None:
        self._ours, theirs = pty.openpty()
        environ = clean_environ() | {"CIO_BUFFER_ADMIN": str(desk.path), "EDITOR": editor, "COLUMNS": "100"}
        environ.pop("VISUAL", None)
        environ["TMPDIR"] = str(desk.path.parent / "drafts")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cio_buffer", "dead", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, told: str) -> None:
        """Wait until it is on the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while told not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._look(), self.shown

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def ended(self) -> int:
        while self._look():
            pass
        os.close(self._ours)
        return self.process.wait(PATIENCE_S)

    def _look(self) -> bool:
        """False when nothing more can come."""
        if not select.select([self._ours], [], [], PATIENCE_S)[0]:
            raise AssertionError(f"nothing comes any more: {self.shown}")
        try:
            more = os.read(self._ours, 4096)
        except OSError:  # EIO: whoever had the other end is gone
            return False
        self.shown += more.decode().replace("\r\n", "\n")
        return bool(more)


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, []), ("n\n", 1, [1, 2, 3]), ("\n", 1, [1, 2, 3])])
def test_a_person_is_asked(desk: DeskThread, answer: str, code: int, left: list[int]) -> None:
    terminal = Terminal(desk, "purge", "--all")
    terminal.until("to be purged: 3\nGo on? [y/N]: ")
    assert len(desk.archive.dead) == 3
    terminal.type(answer)
    assert (terminal.ended(), list(desk.archive.dead)) == (code, left)


def editor(folder: Path, does: str) -> str:
    """What $EDITOR may be: a program that does something to the file."""
    file = folder / "editor.py"
    file.write_text(f"import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n{does}\n")
    (folder / "drafts").mkdir(exist_ok=True)
    return f"{sys.executable} {file}"


def test_the_editor_opens_with_the_body_and_what_it_leaves_is_sent(desk: DeskThread, folder: Path) -> None:
    body = b'{"name":"did","attributes":{"n":123456789012345678901234567890,"at":1e999}}'
    desk.archive.dead[1] = dead(1, body=body)
    does = f"pathlib.Path({str(folder / 'seen')!r}).write_text(text)\nfile.write_text(text.replace('did', 'done'))"
    terminal = Terminal(desk, "edit", receipt(1), editor=editor(folder, does))
    assert terminal.ended() == 0, terminal.shown
    assert '\n  "name": "did",\n' in (folder / "seen").read_text()
    assert desk.archive.dead[1].body == body.replace(b"did", b"done")
    assert list((folder / "drafts").iterdir()) == []


def test_a_form_is_edited_as_it_is(desk: DeskThread, folder: Path) -> None:
    desk.archive.dead[1] = dead(1, body=b"{a=b&c=d")  # begins as the desk likes it
    terminal = Terminal(desk, "edit", receipt(1), editor=editor(folder, "file.write_text(text + '&e=f\\n')"))
    assert terminal.ended() == 0, terminal.shown
    assert desk.archive.dead[1].body == b"{a=b&c=d&e=f"


def test_an_editor_that_is_closed_again_changes_nothing(desk: DeskThread, folder: Path) -> None:
    terminal = Terminal(desk, "edit", receipt(1), "--replay", editor=editor(folder, ""))
    assert (terminal.ended(), terminal.shown) == (1, "nothing was changed\n")
    assert (desk.archive.dead[1].body, list((folder / "drafts").iterdir())) == (BODY, [])


@pytest.mark.parametrize(
    "does",
    [
        "file.write_text('[1,')",
        "file.write_text('[1,')\nsys.exit(3)",
        "other = file.with_name('other')\nother.write_text('[1,')\nother.chmod(0o644)\nother.rename(file)",
    ],
    ids=["refused", "the editor breaks", "the editor puts another file in its place"],
)
def test_nothing_that_was_typed_is_lost(desk: DeskThread, folder: Path, does: str) -> None:
    terminal = Terminal(desk, "edit", receipt(1), editor=editor(folder, does))
    assert terminal.ended() == 1
    [kept] = (folder / "drafts").iterdir()
    assert str(kept) in terminal.shown.replace("\n", "")
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("[1,", 0o600)
    assert desk.archive.dead[1].body == BODY


def test_an_editor_that_breaks_with_nothing_typed_leaves_nothing(desk: DeskThread, folder: Path) -> None:
    for does in ("sys.exit(3)", "file.unlink()"):
        terminal = Terminal(desk, "edit", receipt(1), editor=editor(folder, does))
        assert terminal.ended() == 1
        assert list((folder / "drafts").iterdir()) == []
        assert "Traceback" not in terminal.shown


def test_ctrl_c_ends_the_command_and_not_the_change(desk: DeskThread) -> None:
    desk.hold()
    terminal = Terminal(desk, "replay", receipt(1))
    deadline = time.monotonic() + PATIENCE_S
    while not desk.archive.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ended() == 1
    assert "the daemon goes on" in terminal.shown
    assert "Traceback" not in terminal.shown
    desk.go_on()
    while 1 in desk.archive.dead:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_change_is_waited_for_however_long_and_lost_with_its_daemon(
    cli: Cli, desk: DeskThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cio_buffer.cli.client.TIMEOUT_S", 0.2)
    desk.hold()
    later = threading.Timer(0.6, desk.go_on)
    later.start()
    assert cli("replay", receipt(1)) == (0, "replayed: 1\n", "")
    desk.hold()
    monkeypatch.setattr(desk.archive, "may_go_on", NeverSet())
    later = threading.Timer(0.2, desk.close)
    later.start()
    code, out, err = cli("purge", receipt(2))
    later.join()
    assert (code, out) == (69, "")
    assert "it went away before it answered" in err
    assert "may be done, or part of it" in err


class NeverSet:
    """In place of an event that nobody will set."""

    def set(self) -> None: ...

    async def wait(self) -> None:
        await asyncio.Event().wait()


def test_a_pipe_that_closes_is_no_trouble(desk: DeskThread) -> None:
    """As in `dead list | head -1`."""
    desk.archive.dead = {seq: dead(seq) for seq in range(1, 2001)}
    with subprocess.Popen(
        [sys.executable, "-m", "cio_buffer", "dead", "list", "--all", "--admin", str(desk.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environ(),
    ) as listing:
        assert listing.stdout
        assert listing.stderr
        assert listing.stdout.readline().startswith(b"RECEIPT")
        listing.stdout.close()
        assert listing.wait(PATIENCE_S) == 1
        assert listing.stderr.read() == b""


def test_as_a_process(desk: DeskThread) -> None:
    ended = command("dead", "show", receipt(1), "--body", "--json", "--admin", desk.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    said: dict[str, Any] = json.loads(ended.stdout)
    assert NAMES.read_receipt(said["receipt"]).seq == 1
    desk.archive.dead[1] = dead(1, body=b"a=b")
    ended = command("dead", "show", receipt(1), "--body", "--json", "--admin", desk.path)
    assert b64decode(json.loads(ended.stdout)["body_base64"]) == b"a=b"


async def dead_command(daemon: Daemon, *arguments: str) -> tuple[int, str, str]:
    ended = await asyncio.to_thread(command, "dead", *arguments, "--config", daemon.config)
    return ended.returncode, ended.stdout, ended.stderr


async def test_the_real_daemon_mends_and_delivers(daemon: Daemon, sandbox: Sandbox, folder: Path) -> None:
    """An event that is refused, edited and sent again; an identify that was overtaken, and is only sent on demand."""
    sandbox.faults.refuse(lambda body: "poison" in json.dumps(body))
    paths = {"event": "/api/v1/customers/ann/events", "identify": "/api/v1/customers/bob"}
    assert (await daemon.call("POST", paths["event"], {"name": "did", "data": {"note": "poison"}}))[0] == 200
    assert (await daemon.call("PUT", paths["identify"], {"plan": "poison"}))[0] == 200
    await daemon.until(lambda seen: seen["ledger"]["dead_lettered"] == 2)
    assert (await daemon.call("PUT", paths["identify"], {"plan": "free"}))[0] == 200
    await daemon.until(lambda seen: seen["ledger"]["delivered"] == 1)

    code, out, _ = await dead_command(daemon, "list", "--json", "--since", "1h")
    event, identify = json.loads(out)["dead"]
    assert (code, event["kind"], identify["kind"]) == (0, "event", "identify")
    _, out, _ = await dead_command(daemon, "list", "--json", "--person", "id:bob")
    assert [letter["receipt"] for letter in json.loads(out)["dead"]] == [identify["receipt"]]
    _, out, _ = await dead_command(daemon, "show", event["receipt"], "--body", "--json")
    shown = json.loads(out)
    assert [attempt["outcome"] for attempt in shown["history"]][-1] == "dead"

    file = folder / "mended.json"
    file.write_text(json.dumps(shown["body"] | {"name": ""}))
    code, _, err = await dead_command(daemon, "edit", event["receipt"], "--body", str(file), "--replay")
    assert code == 1
    assert "name" in err
    file.write_text(json.dumps(shown["body"] | {"attributes": {"note": "mended"}}))
    code, out, _ = await dead_command(daemon, "edit", event["receipt"], "--body", str(file), "--replay")
    assert (code, out) == (0, "edited: 1\nreplayed: 1\n")
    await daemon.until(lambda seen: seen["ledger"]["delivered"] == 2)

    code, _, err = await dead_command(daemon, "replay", "--all", "--yes")
    assert (code, WARNING in err) == (1, True)
    sandbox.faults.clear()
    code, out, _ = await dead_command(daemon, "replay", "--all", "--yes", "--after-newer")
    assert (code, out) == (0, "replayed: 1\n")
    seen = await daemon.until(lambda seen: seen["ledger"]["delivered"] == 3)
    assert seen["ledger"]["balanced"]
    assert await dead_command(daemon, "list") == (0, "", "no dead letter\n")
    events = [line["event"] for line in daemon.log_lines() if line["event"].startswith("dead.")]
    assert events == ["dead.edited", "dead.replayed", "dead.replayed"]
    assert "mended" not in daemon.log.read_text()


async def test_the_longest_event_can_be_edited_too(daemon: Daemon, sandbox: Sandbox, folder: Path) -> None:
    """It is a v1 call, as no batch could carry it."""
    sandbox.faults.refuse(lambda body: "poison" in json.dumps(body))
    said = {"name": "did", "data": {"note": "poison" + "x" * 95_000}}
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", said))[0] == 200
    await daemon.until(lambda seen: seen["ledger"]["dead_lettered"] == 1)
    _, out, _ = await dead_command(daemon, "list", "--json")
    [letter] = json.loads(out)["dead"]
    _, out, _ = await dead_command(daemon, "show", letter["receipt"], "--body", "--json")
    file = folder / "mended.json"
    file.write_text(json.dumps(json.loads(out)["body"]).replace("poison", "cure"))
    code, out, err = await dead_command(daemon, "edit", letter["receipt"], "--body", str(file), "--replay")
    assert (code, out) == (0, "edited: 1\nreplayed: 1\n"), err
    await daemon.until(lambda seen: seen["ledger"]["delivered"] == 1)
