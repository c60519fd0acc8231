"""`cio-buffer trace`: what became of an operation, told from its acceptance on.

Nothing is imported here but what the command line itself needs: the rest when it runs.
"""

from collections.abc import Sequence
from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  cio-buffer trace 01KDJ4X2N0A7QF
  cio-buffer trace --person email:ann@example.com --person id:5
  cio-buffer trace --event-id 01ARZ3NDEKTSV4RRFFQ69G5FAV --json | jq '.stories[].state'
"""
LIMIT_MAX = 1_000


@click.command("trace", epilog=EXAMPLES)
@click.argument("receipt", required=False)
@click.option("--person", "people", multiple=True, metavar="KIND:VALUE", help="Whose; once for each of their names.")
@click.option("--event-id", metavar="ID", help="The event's own id.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The config file (TOML)."
)
@click.option("--admin", "admin_path", metavar="PATH", help="The daemon's admin socket.")
def trace_command(  # noqa: PLR0917
    receipt: str | None,
    people: Sequence[str],
    event_id: str | None,
    limit: int,
    as_json: bool,
    config_path: Path | None,
    admin_path: str | None,
) -> None:
    """Tell what became of an operation: accepted, each request it was in, its end.

    RECEIPT is what the app was given in the header X-Cio-Buffer-Receipt, also FIRST..LAST of a call that brought
    several. Exit code 1: nothing is known of such an operation; 69: no daemon answers.
    """
    asked = [("receipt", receipt or ""), *(("person", one) for one in people), ("event_id", event_id or "")]
    given = [(name, value) for name, value in asked if value]
    if len({name for name, _ in given}) != 1:
        raise click.UsageError("say one of RECEIPT, --person KIND:VALUE and --event-id ID")
    raise SystemExit(trace(config_path, admin_path, [*given, ("limit", str(limit))], as_json=as_json))


def trace(config_path: Path | None, admin_path: str | None, asked: Sequence[tuple[str, str]], *, as_json: bool) -> int:
    """Print what is known of what is `asked` for, in (name, value) as `GET /trace` takes it; returns the exit code."""
    import sys  # noqa: PLC0415
    from shutil import get_terminal_size  # noqa: PLC0415
    from urllib.parse import quote, urlencode  # noqa: PLC0415

    from cio_buffer.admin.story import Traced  # noqa: PLC0415
    from cio_buffer.cli.client import FINE, NO, AdminSocket, read, with_daemon  # noqa: PLC0415
    from cio_buffer.cli.telling import nothing_found, told  # noqa: PLC0415

    def tell(daemon: AdminSocket) -> int:
        query = urlencode(asked, quote_via=quote, safe="", errors="surrogateescape")
        body = daemon.get(f"/trace?{query}")
        traced = read(body, Traced)
        if as_json:
            click.echo(body.decode().rstrip())
        elif traced.stories:
            click.echo(told(traced, get_terminal_size().columns if sys.stdout.isatty() else None))
        if not traced.stories:
            click.echo(nothing_found(traced), err=True)
        return FINE if traced.stories else NO

    return with_daemon(config_path, admin_path, tell)
