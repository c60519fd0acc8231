"""`python -m tests.simulation`: lives through days of trouble in minutes, says what happened, and draws one of them."""

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tests.simulation.checks import percentile, problems
from tests.simulation.day import Outcome, live
from tests.simulation.drains import drained
from tests.simulation.scenarios import SCENARIOS, drawn_day

HEADS = ("scenario", "operations", "requests", "left in", "allowed", "9 of 10 within", "last", "CPU", "  what happens")


@click.command()
@click.option("--seed", type=int, help="The same seed makes the same run; else one is drawn.")
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Only this; repeatable.")
@click.option("--scale", type=click.FloatRange(0.1, 1.0), default=1.0, show_default=True, help="Of 500 operations/s.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the day of the outage there.")
def simulate(*, seed: int | None, names: Sequence[str], scale: float, picture: Path | None) -> None:
    """Run all scenarios, or what is named; exit 1 if a promise was broken. The whole takes a quarter of an hour."""
    if picture and names and "outage" not in names:
        raise click.UsageError("the picture is of the outage; name that too")
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}, scale {scale:g}\n")
    click.echo(line(HEADS))
    found = []
    for name in names or SCENARIOS:
        is_drawn = picture is not None and name == "outage"
        outcome = live(drawn_day(scale) if is_drawn else SCENARIOS[name](scale), seed)
        click.echo(line(row(outcome)))
        wrong = problems(outcome)
        for problem in wrong:
            click.echo(f"    {problem}")
        found += wrong
        if is_drawn and picture is not None:
            draw(outcome, picture)
    click.echo(f"\n{len(found)} promises broken" if found else "\nall promises kept")
    sys.exit(1 if found else 0)


def row(outcome: Outcome) -> Iterator[str]:
    """What is worth knowing of a run, under HEADS."""
    vendor, its = outcome.vendor, drained(outcome)
    delays = vendor.delays[False] + vendor.delays[True]
    yield outcome.scenario.name
    yield f"{len(outcome.told):,}"
    yield f"{len(vendor.sent_at):,}"
    yield f"{its.took_s:.1f} s" if its else ""
    yield f"{its.allowed_s:.1f} s" if its else ""
    yield f"{percentile(delays, 0.9) / 1000.0:,.1f} s"
    yield f"{max(delays) / 1000.0:,.1f} s"
    yield f"{outcome.cpu_s:.0f} s"
    yield f"  {outcome.scenario.says}"


def line(cells: Iterator[str] | Sequence[str]) -> str:
    first, *numbers, last = cells
    return f"{first:<12}" + "".join(f"{number:>15}" for number in numbers) + last


def draw(outcome: Outcome, path: Path) -> None:
    from tests.simulation.picture import draw_day  # noqa: PLC0415  what it imports takes a second

    draw_day(outcome, path)


if __name__ == "__main__":
    simulate(prog_name="python -m tests.simulation")
