"""The command line. Each command imports what it needs when it runs: those that only ask stay quick."""

from pathlib import Path
from typing import IO

import click

from cio_buffer import __version__
from cio_buffer.cli.dead import dead
from cio_buffer.cli.doctor import doctor_command
from cio_buffer.cli.outbox import outbox
from cio_buffer.cli.trace import trace_command

CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The config file (TOML)."
)


@click.group(epilog="Start here:  cio-buffer demo")
@click.version_option(__version__, prog_name="cio_buffer")
def main() -> None:
    """A sidecar between your app and Customer.io: on disk before it says yes, delivered in order."""


@main.command("run", epilog="Example:  cio-buffer run --config /etc/cio-buffer/config.toml")
@CONFIG
def run_command(config_path: Path | None) -> None:
    """Run the daemon, in the foreground, until SIGTERM or Ctrl-C."""
    from cio_buffer.cli.run import run  # noqa: PLC0415

    raise SystemExit(run(config_path))


@main.command("demo")
def demo_command() -> None:
    """Watch it work: a daemon, a simulated Customer.io that fails for three seconds, and the books at the end."""
    from cio_buffer.cli.demo import demo  # noqa: PLC0415

    raise SystemExit(demo())


@main.command("status", epilog="Example:  cio-buffer status --json | jq .ledger")
@CONFIG
@click.option("--admin", "admin_path", metavar="PATH", help="The daemon's admin socket.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status_command(config_path: Path | None, admin_path: str | None, as_json: bool) -> None:
    """Say how the daemon is. Exit code 1: something needs a person; 69: no daemon answers."""
    from cio_buffer.cli.status import status  # noqa: PLC0415

    raise SystemExit(status(config_path, admin_path, as_json=as_json))


main.add_command(dead)
main.add_command(outbox)
main.add_command(doctor_command)
main.add_command(trace_command)


@main.group("generate")
def generate() -> None:
    """Print what other tools read."""


@generate.command("openapi", epilog="Example:  cio-buffer generate openapi > openapi.json")
def openapi_command() -> None:
    """The local API as an OpenAPI 3.1 document."""
    import msgspec  # noqa: PLC0415

    from cio_buffer.admin.openapi import document  # noqa: PLC0415

    click.echo(msgspec.json.format(msgspec.json.encode(document()), indent=2))


def complain(what: str, why: str, fix: str, file: IO[str] | None = None) -> None:
    """A message on stderr: what happened, why it matters, what to do."""
    click.echo(f"error: {what}\n  why: {why}\n  fix: {fix}", err=file is None, file=file)
