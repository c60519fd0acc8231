"""`cio-buffer outbox quarantine`: the damaged stores that were set aside."""

import sys
from collections.abc import Iterator

import click
import msgspec

from cio_buffer.admin.quarantine_words import Quarantine, Removal, Removed, quarantined
from cio_buffer.admin.status import QuarantinedStatus
from cio_buffer.admin.warnings import saved_and_lost
from cio_buffer.cli.client import FINE, WRONG_USAGE, AdminSocket, read
from cio_buffer.cli.request_words import plain

MIB = 1_048_576
STATES = {
    "waiting": "waits to be salvaged",
    "salvaging": "is being salvaged",
    "over": "salvaged",
    "failed": "salvaging broke off",
}


def list_quarantine(daemon: AdminSocket, *, as_json: bool) -> int:
    """Print them; returns the exit code. None is as good an answer as many."""
    body = daemon.get("/quarantine")
    there = [quarantined(one) for one in read(body, Quarantine).quarantine]
    if as_json:
        click.echo(body.decode().rstrip())
    elif there:
        click.echo("\n".join(line for one in there for line in lines(one)))
    else:
        click.echo("no damaged store is set aside", err=True)
    return FINE


def lines(one: QuarantinedStatus) -> Iterator[str]:
    yield f"{plain(one.name)}  {STATES[one.state]}  {one.bytes / MIB:.1f} MiB"
    yield f"  {plain(one.why)}"
    if one.state in ("over", "failed"):
        yield f"  {saved_and_lost(one)}"
    yield f"  {plain(one.path)}"


def remove_quarantined(daemon: AdminSocket, name: str, *, is_sure: bool, as_json: bool) -> int:
    """Have one deleted; returns the exit code. Raises click.Abort where the answer is no."""
    if not is_sure and not sys.stdin.isatty():
        click.echo("error: without a terminal nobody can be asked\n  fix: if you are sure, say --yes", err=True)
        return WRONG_USAGE
    if not is_sure:
        click.confirm(f"Delete {plain(name)} for good, with what was not saved of it?", abort=True, err=True)
    body = daemon.post("/quarantine/remove", msgspec.json.encode(Removal(name=name)))
    removed = read(body, Removed)
    click.echo(body.decode().rstrip() if as_json else f"removed: {removed.name}, {removed.bytes / MIB:.1f} MiB")
    return FINE
