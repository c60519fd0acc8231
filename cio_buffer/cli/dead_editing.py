"""`dead edit`. Whatever was typed is kept until the daemon has taken it."""

import base64
import os
import sys
import tempfile
from pathlib import Path

import click
import msgspec
from msgspec import Raw, Struct, structs

from cio_buffer.admin.letter_questions import EditQuestion
from cio_buffer.admin.letters import Edits, LetterInFull, is_json
from cio_buffer.admin.wrong import Declined
from cio_buffer.cli.client import FINE, NO, WRONG_USAGE, AdminSocket, Interrupted, Unreachable, read
from cio_buffer.cli.dead_changing import OVERTAKEN, WARNING
from cio_buffer.cli.dead_reading import address
from cio_buffer.cli.dead_text import body_of

STDIN = "-"


class Typed(Struct, frozen=True, kw_only=True):
    """A new body, and the file that it is in. `is_draft`: nobody needs that file once the daemon has the body."""

    body: bytes
    path: Path | None
    is_draft: bool = False


def edit_letter(daemon: AdminSocket, question: EditQuestion, body_path: str | None, *, as_json: bool) -> int:
    """Returns the exit code: NO where nothing was changed, or was to be replayed and was not."""
    if body_path is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo("error: there is no terminal for an editor\n  fix: give the new body by --body FILE|-", err=True)
        return WRONG_USAGE
    typed = typed_in(body_path) if body_path else typed_by_hand(daemon, question.receipt)
    if typed is None:
        click.echo("nothing was changed", err=True)
        return NO
    if question.replay and question.after_newer:
        click.echo(WARNING, err=True)
    answer = send(daemon, question, typed)
    done = read(answer, Edits)
    click.echo(answer.decode().rstrip() if as_json else f"edited: 1\nreplayed: {done.replayed}")
    if done.overtaken:
        click.echo(OVERTAKEN.format(done.overtaken), err=True)
    return NO if question.replay and not done.replayed else FINE


def send(daemon: AdminSocket, question: EditQuestion, typed: Typed) -> bytes:
    """The daemon's answer. Whoever is not answered, or refused, is told where their text is."""
    try:
        answer = daemon.post("/dead/edit", msgspec.json.encode(with_body(question, typed.body)))
    except (Declined, Unreachable, Interrupted) as problem:
        path = typed.path or draft(typed.body)
        problem.add_note(f"what you wrote is in {path}")
        raise
    if typed.path and typed.is_draft:
        typed.path.unlink(missing_ok=True)
    return answer


def with_body(question: EditQuestion, body: bytes) -> EditQuestion:
    """What is no JSON goes in base64, and so comes to whoever can say what is wrong with it."""
    if is_json(body):
        return structs.replace(question, body=Raw(body))
    return structs.replace(question, body_base64=base64.b64encode(body).decode())


def typed_in(body_path: str) -> Typed:
    """What is in a file, or on stdin."""
    if body_path == STDIN:
        return Typed(body=sys.stdin.buffer.read(), path=None)
    return Typed(body=Path(body_path).read_bytes(), path=Path(body_path))


def typed_by_hand(daemon: AdminSocket, receipt: str) -> Typed | None:
    """What $EDITOR made of the letter's body; None where that is what it was."""
    letter = read(daemon.get(address(receipt, with_body=True)), LetterInFull)
    before = body_of(letter)
    shown = msgspec.json.format(before, indent=2) + b"\n" if is_json(before) else before
    path = draft(shown)
    try:
        click.edit(filename=str(path))
    except BaseException:  # the editor broke, or was broken off: what was typed into it may be there all the same
        if changed(path, shown) is not None:
            click.echo(f"what you wrote is in {path}", err=True)
        raise
    after = changed(path, shown)
    return None if after is None else Typed(body=as_sent(after, before), path=path, is_draft=True)


def changed(path: Path, shown: bytes) -> bytes | None:
    """What is in the file now. Where that is what was there before, None, and the file is gone."""
    after = path.read_bytes() if path.exists() else shown
    if after == shown:
        path.unlink(missing_ok=True)
        return None
    path.chmod(0o600)  # an editor may have put another file in its place
    return after


def as_sent(after: bytes, before: bytes) -> bytes:
    """Without what only made it readable: an editor's line end, and our own white space."""
    if is_json(before):
        return msgspec.json.format(after, indent=-1) if is_json(after) else after
    return after if before.endswith(b"\n") else after.removesuffix(b"\n")


def draft(body: bytes) -> Path:
    """A file that only its owner may read."""
    number, path = tempfile.mkstemp(prefix="dead-letter-", suffix=".json")
    with os.fdopen(number, "wb") as file:
        file.write(body)
    return Path(path)
