"""`cio-buffer doctor`: the command. What it does is imported when it runs."""

from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  cio-buffer doctor
  cio-buffer doctor --offline --json | jq '.checks[] | select(.state != "ok")'
"""


@click.command("doctor", epilog=EXAMPLES)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The config file (TOML)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--offline", "is_offline", is_flag=True, help="Do not ask Customer.io.")
def doctor_command(config_path: Path | None, as_json: bool, is_offline: bool) -> None:
    """Look whether all is well around the daemon: config, disk, sockets, permissions, key and region.

    To be run as the user that the daemon runs as, before its first start or while it runs: nothing of it is touched.
    The disk is measured with a scratch file beside the store, which is removed again. Customer.io is asked once, with
    the key, in which region the workspace lives; no key is ever shown.

    Exit code 1: something failed; 0: nothing did, though there may be warnings.
    """
    from cio_buffer.cli.doctor_running import doctor  # noqa: PLC0415

    raise SystemExit(doctor(config_path, is_offline=is_offline, as_json=as_json))
