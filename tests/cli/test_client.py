"""How commands ask the daemon, whatever answers there; and what they need not load for it."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from cio_buffer.admin.wrong import Declined
from cio_buffer.cli.client import (
    AdminSocket,
    Interrupted,
    Unreachable,
    admin_socket_of,
    read,
    with_daemon,
)
from tests.support.process import clean_environ

PATIENCE_S = 10.0
SLOW = ("aiohttp", "asyncio", "sqlite3", "sqlite_utils", "structlog", "uvloop", "yarl", "cio_buffer.outbox.sqlite")


class Stub:
    """Answers one call with `said`, as it is, and goes away; keeps what it was asked."""

    def __init__(self, path: Path, said: bytes) -> None:
        self.said, self.asked = said, b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        visitor, _ = self._listener.accept()
        with visitor:
            visitor.settimeout(PATIENCE_S)
            while not self._is_whole():
                self.asked += visitor.recv(65_536)
            visitor.sendall(self.said)

    def _is_whole(self) -> bool:
        head, end, body = self.asked.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return bool(end) and len(body) >= int(length[1] if length else 0)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "admin.sock"


@pytest.fixture
def answers(path: Path) -> Iterator["list[Stub]"]:
    stubs: list[Stub] = []
    yield stubs
    for stub in stubs:
        stub.close()


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


NO = b'{"error":"unknown_receipt","detail":"There is none","hint":"look elsewhere"}'


def test_a_yes_is_its_body(path: Path, answers: list[Stub]) -> None:
    answers.append(Stub(path, http(200, b"{}")))
    assert AdminSocket(str(path)).get("/dead?limit=1") == b"{}"
    answers[0].close()
    assert answers[0].asked.startswith(b"GET /dead?limit=1 HTTP/1.1\r\nHost: localhost\r\n")


def test_a_change_is_posted(path: Path, answers: list[Stub]) -> None:
    answers.append(Stub(path, http(200, b"{}")))
    assert AdminSocket(str(path)).post("/dead/purge", b'{"all":true}') == b"{}"
    answers[0].close()
    assert answers[0].asked.startswith(b"POST /dead/purge HTTP/1.1\r\n")
    assert answers[0].asked.endswith(b'\r\n\r\n{"all":true}')


@pytest.mark.parametrize("status", [400, 404, 503])
def test_a_no_in_our_words_is_declined(path: Path, answers: list[Stub], status: int) -> None:
    answers.append(Stub(path, http(status, NO)))
    with pytest.raises(Declined) as no:
        AdminSocket(str(path)).get("/dead/x")
    assert (no.value.status, no.value.wrong.hint) == (status, "look elsewhere")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (http(500, b"<html>"), "it answers 500"),
        (http(404, b"[]"), "it answers 404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "went away"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "went away"),
    ],
)
def test_whatever_else_answers_is_nobody(path: Path, answers: list[Stub], said: bytes, told: str) -> None:
    answers.append(Stub(path, said))
    with pytest.raises(Unreachable, match=told) as problem:
        AdminSocket(str(path)).get("/status")
    assert not problem.value.may_be_done


@pytest.mark.parametrize("there", ["nothing", "a file", "a leftover socket", "a name that is too long"])
def test_nobody_there(path: Path, there: str) -> None:
    if there == "a file":
        path.write_text("")
    elif there == "a leftover socket":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    elif there == "a name that is too long":
        path = path.with_name("x" * 200)
    for ask in (lambda daemon: daemon.get("/dead"), lambda daemon: daemon.post("/dead/purge", b"{}")):
        with pytest.raises(Unreachable) as problem:
            ask(AdminSocket(str(path)))
        assert not problem.value.may_be_done


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_change_whose_answer_is_lost_may_be_done(path: Path, answers: list[Stub], is_dry: bool) -> None:
    answers.append(Stub(path, b""))
    with pytest.raises(Unreachable) as problem:
        AdminSocket(str(path)).post("/dead/purge", b"{}", is_dry=is_dry)
    assert problem.value.may_be_done is not is_dry


class Shape(Struct):
    count: int


def test_an_answer_in_another_shape_is_not_understood() -> None:
    assert read(b'{"count":1,"newer":2}', Shape).count == 1
    with pytest.raises(Unreachable, match="does not understand"):
        read(b'{"counts":1}', Shape)


@pytest.mark.parametrize(
    ("problem", "code", "told"),
    [
        (Unreachable("it sleeps"), 69, "no daemon answers at /a.sock (it sleeps)"),
        (Unreachable("it sleeps", may_be_done=True), 69, "may be done, or part of it"),
        (Interrupted(), 1, "the daemon goes on"),
    ],
)
def test_each_end_has_its_code_and_its_words(
    problem: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(_: AdminSocket) -> int:
        problem.add_note("and there is this to say")
        raise problem

    assert with_daemon(None, "/a.sock", ask) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.endswith("\nand there is this to say\n")


@pytest.mark.parametrize(
    ("no", "code"),
    [
        ((400, b"invalid_filter"), 2),
        ((400, b"invalid_request"), 2),
        ((400, b"invalid_receipt"), 1),
        ((400, b"invalid_operation"), 1),
        ((404, b"unknown_receipt"), 1),
        ((503, b"store_unavailable"), 69),
        ((405, b"method_not_allowed"), 1),
    ],
)
def test_a_no_becomes_an_exit_code(
    path: Path, answers: list[Stub], no: tuple[int, bytes], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = no
    answers.append(Stub(path, http(status, NO.replace(b"unknown_receipt", error))))

    def ask(daemon: AdminSocket) -> int:
        daemon.get("/dead")
        return 0

    assert with_daemon(None, str(path), ask) == code
    assert capsys.readouterr().err == "error: There is none\n  fix: look elsewhere\n"


def test_the_socket_is_found_by_option_environment_and_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(config: Path | None, option: str | None) -> str:
        found: list[str] = []
        assert with_daemon(config, option, lambda daemon: found.append(daemon.path) or 7) == 7
        return found[0]

    config = folder / "config.toml"
    config.write_text('[admin]\nunix_path = "/by/config.sock"\n')
    monkeypatch.setenv("CIO_BUFFER_ADMIN", "/by/environment.sock")
    assert asked(config, "/by/option.sock") == "/by/option.sock"
    assert asked(config, None) == "/by/environment.sock"
    monkeypatch.delenv("CIO_BUFFER_ADMIN")
    assert asked(config, None) == admin_socket_of(config) == "/by/config.sock"


def test_a_config_that_cannot_be_read_is_78(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folder / "config.toml"
    config.write_text("[admin\n")
    assert with_daemon(config, None, lambda _: 0) == 78
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "dead list",
        "dead show R",
        "dead replay R",
        "dead purge --all --yes",
        "dead edit R --body /dev/null",
        "trace R",
    ],
)
def test_nothing_slow_is_loaded_to_ask(command: str, path: Path) -> None:
    """They run in scripts, many times."""
    script = (
        "import sys\nfrom cio_buffer.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([name for name in {SLOW!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *command.split(), "--admin", str(path)],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (69, "[]\n"), ended.stderr
