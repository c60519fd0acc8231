"""`dead list` and `dead show`. Pages are asked for one by one, and printed as they come."""

import shutil
import sys
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import click
import msgspec

from cio_buffer.admin.letter_questions import Filters
from cio_buffer.admin.letters import Letter, LetterInFull, Letters
from cio_buffer.cli.client import FINE, AdminSocket, read
from cio_buffer.cli.dead_text import letter_lines, rows

LIMIT = 100
"""How many are listed, if nothing is said."""

PAGE = 1_000
"""What the daemon gives at most."""


def list_letters(daemon: AdminSocket, filters: Filters, *, limit: int | None, after: str | None, as_json: bool) -> int:
    """Print them, up to `limit`; returns the exit code. None is as good an answer as many."""
    letters: list[Letter] = []
    cursor = after
    is_first = True
    for page in pages(daemon, filters, limit=limit, after=after):
        cursor = page.next
        if as_json:
            letters += page.dead
            continue
        for row in rows(page.dead, with_head=is_first, width=width()):
            click.echo(row)
        is_first = is_first and not page.dead
    if as_json:
        click.echo(msgspec.json.encode(Letters(dead=letters, next=cursor)))
    elif is_first:
        click.echo("no dead letter" + (" that this lets through" if filters.is_narrow or after else ""), err=True)
    elif cursor:
        click.echo(f"there are more: --after {cursor}, or --all", err=True)
    return FINE


def pages(daemon: AdminSocket, filters: Filters, *, limit: int | None, after: str | None) -> Iterator[Letters]:
    """At least one."""
    left, cursor = limit, after
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        given = {name: value for name, value in msgspec.to_builtins(filters).items() if value is not None}
        asked = given | {"limit": str(size)} | ({"after": cursor} if cursor else {})
        page = read(daemon.get(f"/dead?{urlencode(asked, quote_via=quote, safe='')}"), Letters)
        yield page
        left, cursor = None if left is None else left - len(page.dead), page.next
        if cursor is None:
            return


def show_letter(daemon: AdminSocket, receipt: str, *, with_body: bool, as_json: bool) -> int:
    """Print one; returns the exit code."""
    body = daemon.get(address(receipt, with_body=with_body))
    letter = read(body, LetterInFull)
    click.echo(body.decode().rstrip() if as_json else "\n".join(letter_lines(letter)))
    return FINE


def address(receipt: str, *, with_body: bool) -> str:
    return f"/dead/{quote(receipt, safe='')}" + ("?body=1" if with_body else "")


def width() -> int | None:
    """How many letters a line may have; None where nobody looks at it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
