"""`cio-buffer outbox`: its commands. What they do is imported when they run."""

from pathlib import Path

import click

from cio_buffer.cli.dead import Asking, the_daemon

CHECK_EXAMPLES = """\b
Examples:
  cio-buffer outbox check
  cio-buffer outbox check --quick --json | jq .problems
"""
QUARANTINE_EXAMPLES = """\b
Examples:
  cio-buffer outbox quarantine list
  cio-buffer outbox quarantine remove 20261125T070501.123Z
"""


@click.group("outbox")
def outbox() -> None:
    """The store's file: whether it is whole, and what was set aside because it was not."""


@outbox.command("check", epilog=CHECK_EXAMPLES)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The config file (TOML)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--quick", "is_quick", is_flag=True, help="Do not hold each index against its table.")
def check_command(config_path: Path | None, as_json: bool, is_quick: bool) -> None:
    """Read all of the store's file, and say whether it is whole and its ledger adds up.

    Nothing is written, and the daemon may run meanwhile. While the check runs it pins the write-ahead log, which grows
    by what comes in: on a large and busy store, choose a quiet hour. Beside a store that no daemon has open, SQLite
    leaves an empty -wal and a -shm, which the next start uses.

    Exit code 0: it is whole; 1: it is not; 74: there is no such file, or it cannot be read, or it is not ours.
    """
    from cio_buffer.cli.outbox_check import check_store  # noqa: PLC0415

    raise SystemExit(check_store(config_path, is_quick=is_quick, as_json=as_json))


@outbox.group("quarantine", epilog=QUARANTINE_EXAMPLES)
def quarantine() -> None:
    """Damaged stores that were set aside: they are kept until you remove them, and count towards outbox.bytes_max."""


@quarantine.command("list")
@the_daemon
def list_command(asking: Asking) -> None:
    """List them, and what was saved of each."""
    from cio_buffer.cli.outbox_quarantine import list_quarantine  # noqa: PLC0415

    asking.exit_with(lambda daemon: list_quarantine(daemon, as_json=asking.as_json))


@quarantine.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@the_daemon
def remove_command(asking: Asking, name: str, yes: bool) -> None:
    """Delete one for good, with what could not be saved of it.

    Exit code 1: there is none of that name, or it is not salvaged yet.
    """
    from cio_buffer.cli.outbox_quarantine import remove_quarantined  # noqa: PLC0415

    asking.exit_with(lambda daemon: remove_quarantined(daemon, name, is_sure=yes, as_json=asking.as_json))
