"""`python -m tests.faults`: everything, or what is named; exits with 1 if anything was found."""

import asyncio
import random
import signal
import sys
import time

import click

from tests.faults.faults import FAULTS, TIMES, why_not
from tests.faults.report import Finding

PATIENCE_S = 1_200.0
"""What is not over by then hangs."""


async def try_one(name: str, seed: int, times: int) -> Finding:
    found = Finding(name)
    began = time.monotonic()
    if why := why_not(name):
        found.skipped = why
    else:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await FAULTS[name](seed, times)
        except Exception as problem:
            found.violations.append(f"seed {seed}: it broke off with {problem!r}")
    found.took_s = time.monotonic() - began
    return found


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAULTS)))
@click.option("--seed", type=int, help="Else one is drawn. Processes and threads take their own time all the same.")
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True)
def main(*, names: tuple[str, ...], seed: int | None, kills: int) -> None:
    """Let process, disk and memory fail under load, and look whether anything acknowledged was lost."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind then either
    is_bad = False
    for name in names or FAULTS:
        found = asyncio.run(try_one(name, seed, kills if name == "kills" else TIMES[name]))
        click.echo("\n".join(found.rows()))
        sys.stdout.flush()
        is_bad |= bool(found.violations)
    sys.exit(1 if is_bad else 0)


if __name__ == "__main__":
    main()
