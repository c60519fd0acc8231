"""`cio-buffer doctor`: asks, measures, prints each check as it is made."""

import asyncio
import os
from pathlib import Path

import click
import msgspec

from cio_buffer.admin.status import Status
from cio_buffer.admin.wrong import Declined
from cio_buffer.cli.client import FINE, NO, AdminSocket, Unreachable, read
from cio_buffer.cli.request_words import plain
from cio_buffer.clock import SystemClock
from cio_buffer.config import Config, find
from cio_buffer.doctor import region
from cio_buffer.doctor.findings import Check, diagnosis
from cio_buffer.doctor.rounds import examine
from cio_buffer.upstream.transport import Reply

NAME_WIDTH, STATE_WIDTH = 18, 9


def doctor(config_path: Path | None, *, is_offline: bool, as_json: bool) -> int:
    """Print what was found; returns the exit code: NO if anything failed."""
    checks = []
    for check in examine(
        find(config_path, os.environ),
        os.environ,
        clock=SystemClock(),
        ask_daemon=ask_daemon,
        ask_region=None if is_offline else ask_region,
    ):
        checks.append(check)
        if not as_json:
            click.echo("\n".join(lines(check)))
    found = diagnosis(checks)
    if as_json:
        click.echo(msgspec.json.encode(found))
    return NO if found.state == "failed" else FINE


def lines(check: Check) -> list[str]:
    told = [f"{check.state:{STATE_WIDTH}}{check.name:{NAME_WIDTH}}{plain(check.seen)}"]
    return told + ([f"{' ' * STATE_WIDTH}  fix: {plain(check.fix)}"] if check.fix else [])


def ask_daemon(path: str) -> tuple[Status | None, str]:
    """Its status, or why it tells none."""
    try:
        return read(AdminSocket(path).get("/status"), Status), ""
    except (Declined, Unreachable) as problem:
        return None, str(problem)


def ask_region(config: Config, url: str) -> Reply:
    upstream = config.upstream
    return asyncio.run(
        region.ask(
            url,
            site_id=upstream.site_id,
            api_key=upstream.track_api_key.reveal(),
            connect_timeout_s=upstream.connect_timeout_s,
            request_timeout_s=upstream.request_timeout_s,
        )
    )
