"""`dead replay` and `dead purge`. What is meant by a filter is counted first, and asked about."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec
from msgspec import structs

from cio_buffer.admin.letter_questions import ChangeQuestion, ReplayQuestion
from cio_buffer.admin.letters import Purges, Replays
from cio_buffer.cli.client import FINE, NO, WRONG_USAGE, AdminSocket, read

Done = TypeVar("Done", Replays, Purges)

WARNING = (
    "warning: --after-newer sends also what newer operations of the same person have overtaken: an old identify would "
    "overwrite newer attributes"
)
OVERTAKEN = (
    "left dead, because newer operations of the same person were accepted since, or may have been where the log does "
    "not go back so far, and an old identify would overwrite newer attributes: {}. To send them all the same: "
    "--after-newer"
)


def replay_letters(daemon: AdminSocket, question: ReplayQuestion, *, is_sure: bool, as_json: bool) -> int:
    """Returns the exit code: NO where any of what was asked for stays dead, or is unknown."""
    if question.after_newer:
        click.echo(WARNING, err=True)

    def ask(question: ChangeQuestion) -> Replays:
        return read(daemon.post("/dead/replay", msgspec.json.encode(question), is_dry=question.dry_run), Replays)

    done = ask_or_do(question, ask, lambda done: done.replayed, "replayed", is_sure=is_sure)
    if done is None:
        return WRONG_USAGE
    tell(done, done.replayed, "replayed", as_json=as_json)
    if done.overtaken:
        click.echo(OVERTAKEN.format(done.overtaken), err=True)
    return NO if done.overtaken or done.unknown else FINE


def purge_letters(daemon: AdminSocket, question: ChangeQuestion, *, is_sure: bool, as_json: bool) -> int:
    """Returns the exit code: NO where any of what was asked for is unknown."""

    def ask(question: ChangeQuestion) -> Purges:
        return read(daemon.post("/dead/purge", msgspec.json.encode(question), is_dry=question.dry_run), Purges)

    done = ask_or_do(question, ask, lambda done: done.purged, "purged", is_sure=is_sure)
    if done is None:
        return WRONG_USAGE
    tell(done, done.purged, "purged", as_json=as_json)
    return NO if done.unknown else FINE


def ask_or_do(
    question: ChangeQuestion,
    ask: Callable[[ChangeQuestion], Done],
    count: Callable[[Done], int],
    word: str,
    *,
    is_sure: bool,
) -> Done | None:
    """What was done, or would be; None where somebody had to be asked, and nobody was there.

    Whoever names receipts knows what they do: no question. Raises click.Abort where the answer is no.
    """
    if question.receipts is not None or question.dry_run:
        return ask(question)
    foreseen = ask(structs.replace(question, dry_run=True))
    if not count(foreseen):
        return structs.replace(foreseen, dry_run=False)
    click.echo(f"to be {word}: {count(foreseen)}", err=True)
    if not is_sure and not sys.stdin.isatty():
        click.echo("error: without a terminal nobody can be asked\n  fix: if you are sure, say --yes", err=True)
        return None
    if not is_sure:
        click.confirm("Go on?", abort=True, err=True)
    return ask(question)


def tell(done: Replays | Purges, count: int, word: str, *, as_json: bool) -> None:
    """What was done to stdout, what could not be done to stderr."""
    would = "would be " if done.dry_run else ""
    click.echo(msgspec.json.encode(done) if as_json else f"{would}{word}: {count}")
    if done.unknown:
        click.echo(f"not among the dead letters: {', '.join(done.unknown)}", err=True)
