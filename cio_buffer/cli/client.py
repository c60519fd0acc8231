"""How commands ask the daemon: HTTP over its admin socket, with nothing that is slow to load."""

import http.client
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from msgspec import Struct

from cio_buffer.admin.wrong import Declined, Wrong
from cio_buffer.cli import complain
from cio_buffer.config import ConfigError, find, glance, render

FINE, NO, WRONG_USAGE, UNREACHABLE, BAD_CONFIG = 0, 1, 2, 69, 78
"""Exit codes. The last two as in sysexits.h."""

TIMEOUT_S = 10.0
"""For a connection, and for an answer to a read."""

NOT_THE_USAGE = ("invalid_receipt", "invalid_operation")
"""What is 400 for what was given, not for how the command was used."""

Told = TypeVar("Told")


class Unreachable(Exception):
    """Nobody answers, or nothing that we understand. `may_be_done`: a change was asked for, and may be made."""

    def __init__(self, detail: str, *, may_be_done: bool = False) -> None:
        super().__init__(detail)
        self.may_be_done = may_be_done


class Interrupted(Exception):
    """Ctrl-C, when a change had been asked for."""


class Answer(Struct, frozen=True):
    """What the daemon said."""

    status: int
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket. `read_timeout_s`: None waits for as long as the other end lives."""

    def __init__(self, path: str, *, read_timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path
        self._read_timeout_s = read_timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)
        self.sock.settimeout(self._read_timeout_s)


class AdminSocket:
    """The daemon's, at `path`. Both ways raise Unreachable, and Declined where the daemon says no."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, path: str) -> bytes:
        """Read."""
        return granted(self._ask(UnixConnection(self.path, read_timeout_s=TIMEOUT_S), "GET", path))

    def post(self, path: str, body: bytes, *, is_dry: bool = False) -> bytes:
        """Change something, which may take minutes: this waits for as long as the daemon lives.

        `is_dry`: nothing is changed by it. Raises Interrupted at Ctrl-C, unless it is dry.
        """
        connection = UnixConnection(self.path, read_timeout_s=None)
        return granted(self._ask(connection, "POST", path, body, is_change=not is_dry))

    def _ask(
        self, connection: UnixConnection, method: str, path: str, body: bytes | None = None, *, is_change: bool = False
    ) -> Answer:
        is_asked = False
        try:
            connection.connect()
            is_asked = is_change
            connection.request(method, path, body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except KeyboardInterrupt:
            if is_asked:
                raise Interrupted from None
            raise
        except (ConnectionResetError, BrokenPipeError, http.client.IncompleteRead):
            raise Unreachable("it went away before it answered", may_be_done=is_asked) from None
        except http.client.HTTPException as problem:
            raise Unreachable(f"it does not speak HTTP: {problem!r}", may_be_done=is_asked) from None
        except OSError as problem:
            raise Unreachable(said(problem), may_be_done=is_asked) from None
        finally:
            connection.close()


def said(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def granted(answer: Answer) -> bytes:
    """The body of a yes. Raises Declined for a no; Unreachable for one that is not in our words."""
    if answer.status == http.client.OK:
        return answer.body
    try:
        wrong = msgspec.json.decode(answer.body, type=Wrong)
    except msgspec.MsgspecError:
        raise Unreachable(f"it answers {answer.status}") from None
    raise Declined(answer.status, wrong)


def read(body: bytes, shape: type[Told]) -> Told:
    """An answer's body. Raises Unreachable for another shape: the daemon is too old or too new for this command."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as problem:
        raise Unreachable(f"this command does not understand its answer: {problem}") from None


def with_daemon(config_path: Path | None, admin_path: str | None, ask: Callable[[AdminSocket], int]) -> int:
    """What `ask` returns. Where it cannot be asked, or declines, an exit code, with the reason on stderr.

    Notes that were added to an exception of ours are told below it.
    """
    try:
        path = admin_path or os.environ.get("CIO_BUFFER_ADMIN") or admin_socket_of(config_path)
    except ConfigError as mistakes:
        click.echo(render(mistakes.problems), err=True)
        return BAD_CONFIG
    try:
        return ask(AdminSocket(path))
    except (Declined, Unreachable, Interrupted) as problem:
        code = complain_that(problem, path)
        for note in getattr(problem, "__notes__", ()):
            click.echo(note, err=True)
        return code


def admin_socket_of(config_path: Path | None) -> str:
    """Where the daemon that runs with this config listens. Raises ConfigError."""
    return glance(find(config_path, os.environ), os.environ).admin.unix_path


def complain_that(problem: Declined | Unreachable | Interrupted, path: str) -> int:
    """Say on stderr why it came to nothing; returns the exit code."""
    if isinstance(problem, Declined):
        return complain_of(problem)
    if isinstance(problem, Unreachable):
        return complain_of_nobody(path, problem)
    complain(
        "interrupted: this command ends, the daemon goes on",
        "what was asked for will be done all the same",
        "look at what is left: cio-buffer dead list",
    )
    return NO


def complain_of(no: Declined) -> int:
    """Say what the daemon declined; returns the exit code."""
    click.echo(f"error: {no.wrong.detail}" + (f"\n  fix: {no.wrong.hint}" if no.wrong.hint else ""), err=True)
    if no.status == http.client.SERVICE_UNAVAILABLE:
        return UNREACHABLE  # it can say nothing just now, not even no
    return WRONG_USAGE if no.status == http.client.BAD_REQUEST and no.wrong.error not in NOT_THE_USAGE else NO


def complain_of_nobody(path: str, problem: Unreachable) -> int:
    """Say that nobody answers; returns the exit code."""
    if problem.may_be_done:
        complain(
            f"no answer from the daemon at {path} ({problem})",
            "what was asked for may be done, or part of it",
            "look at what is left: cio-buffer dead list",
        )
    else:
        complain(
            f"no daemon answers at {path} ({problem})",
            "it is not running, or listens elsewhere, or this user may not ask",
            "start it with: cio-buffer run   or name its socket with --admin PATH",
        )
    return UNREACHABLE
