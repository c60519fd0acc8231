"""`cio-buffer outbox check`: reads the store's file itself, whether or not a daemon runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from cio_buffer.cli.client import BAD_CONFIG, FINE, NO
from cio_buffer.clock import SystemClock
from cio_buffer.config import ConfigError, find, glance, render
from cio_buffer.doctor.integrity import Checked, check

UNUSABLE = 74
PROBLEMS_TOLD = 10


def check_store(config_path: Path | None, *, is_quick: bool, as_json: bool) -> int:
    """Print what was found; returns the exit code."""
    try:
        path = Path(glance(find(config_path, os.environ), os.environ).outbox.path)
    except ConfigError as mistakes:
        click.echo(render(mistakes.problems), err=True)
        return BAD_CONFIG
    checked = check(path, is_quick=is_quick, clock=SystemClock())
    if as_json:
        click.echo(msgspec.json.encode(checked))
    elif checked.verdict != "unusable":
        click.echo("\n".join(lines(checked)))
    if checked.verdict == "unusable":
        click.echo(f"error: {'; '.join(checked.problems)}\n  fix: {checked.fix}", err=True)
    return {"ok": FINE, "damaged": NO, "unusable": UNUSABLE}[checked.verdict]


def lines(checked: Checked) -> Iterator[str]:
    """One screen."""
    yield f"{checked.verdict}: {checked.path}"
    yield from (f"! {problem}" for problem in checked.problems[:PROBLEMS_TOLD])
    if more := len(checked.problems) - PROBLEMS_TOLD:
        yield from [f"! and {more} more: --json has them"] if more > 0 else []
    if entries := checked.entries:
        yield (
            f"  {entries.waiting + entries.parked:,} entries wait, {entries.parked:,} of them parked; "
            f"{entries.dead:,} dead letters; {entries.log_lines:,} lines of log"
        )
    elif checked.verdict == "ok":
        yield f"  of an older format ({checked.format}): its pages are whole, its entries were not counted"
    yield f"  {'quickly ' if checked.is_quick else ''}checked in {checked.took_s:.1f} s"
    if checked.fix:
        yield f"  fix: {checked.fix}"
