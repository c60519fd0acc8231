"""`python -m tests.powercut`: cuts the power a hundred thousand times, says what came of it, and shows that it would
have been found if anything were missing.

Exits with 0 if all is well, 1 if not, and 77 where it cannot run: see `library.py`.
"""

import itertools
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import mkdtemp

import click

from tests.powercut.cuts import Bad, Verdict
from tests.powercut.guards import GUARDS
from tests.powercut.library import NotHere, load_apsw
from tests.powercut.recorder import write_image
from tests.powercut.runs import Run, run
from tests.powercut.stories import STORIES

CANNOT_RUN = 77
GUARD_IMAGES, GUARD_TRIES = 500, 12
"""A guard that was taken away has to be missed within so many images of so many recordings."""

SHOWN = 20

ROUND = (
    *("ingest", "settling", "trouble", "restarts", "recovery", "failed sync"),
    *("ingest", "settling", "trouble", "restarts", "recovery", "failed sync"),
    *("making", "upgrade", "set aside", "emptied", "hit in use"),
)
"""All stories, the dearer ones less often."""

BATCH = 64
"""Stories handed to the workers at once; whoever is done with the last waits for the other."""

STRIDES = {"set aside": 3, "emptied": 3, "hit in use": 3}
"""Where each image is salvaged, which takes 7 times as long, of so many points one; another one each time."""


@click.command()
@click.option(
    "--images", "wanted", type=click.IntRange(1), default=100_000, show_default=True, help="At least so many."
)
@click.option("--seed", type=int, help="Else one is drawn. Threads differ from run to run, so images do too, a little.")
@click.option("--story", "names", multiple=True, type=click.Choice(list(STORIES)), help="Only this; repeatable.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--minutes", type=float, default=15.0, show_default=True, help="What is not done by then is a failure.")
def cut_power(*, wanted: int, seed: int | None, names: tuple[str, ...], workers: int, minutes: float) -> None:
    """Live through stories, cut the power at each operation, and open what is left."""
    try:
        load_apsw()
    except NotHere as why:
        click.echo(f"power cuts cannot be simulated here: {why}")
        sys.exit(CANNOT_RUN)
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        missed = unnoticed_guards(pool, seed)
        verdicts = collect(pool, names or ROUND, seed, wanted, began + minutes * 60)
        pool.terminate()
    took_s = time.monotonic() - began
    total = tell(verdicts)
    bad = sum(one.bad_images for one in verdicts)
    click.echo(f"\n{total:,} images, {bad:,} of them bad, in {took_s:.0f} s")
    if total < wanted:
        click.echo(f"that is less than {wanted:,}: the time was over")
    keep([bad for one in verdicts for bad in one.bad])
    sys.exit(1 if bad or missed or total < wanted else 0)


def unnoticed_guards(pool: Pool, seed: int) -> list[str]:
    """Take away each guard; returns those that nobody missed."""
    unnoticed = []
    for name, guard in GUARDS.items():
        tries = [
            Run(story=guard.story, seed=seed + n, guard=name, stride=3, images_max=GUARD_IMAGES)
            for n in range(GUARD_TRIES)
        ]
        images = 0
        for verdict in pool.imap(run, tries):
            images += verdict.images.total()
            if verdict.bad_images:
                click.echo(f"without it: {guard.says}: missed after {images} images ({verdict.bad[0].problems[0]})")
                break
        else:
            click.echo(f"without it: {guard.says}: NOBODY MISSED IT in {images} images")
            unnoticed.append(name)
    return unnoticed


def collect(pool: Pool, names: tuple[str, ...], seed: int, wanted: int, ends_at: float) -> list[Verdict]:
    """One story after the other, over and over, until there are enough images or the time is over."""
    verdicts: list[Verdict] = []
    images = 0
    endless = (
        Run(story=name, seed=seed + n, stride=STRIDES.get(name, 1)) for n, name in enumerate(itertools.cycle(names))
    )
    for runs in batches(endless, BATCH):
        for verdict in pool.imap_unordered(run, runs):
            verdicts.append(verdict)
            images += verdict.images.total()
            if images >= wanted or time.monotonic() > ends_at:
                return verdicts
    raise AssertionError("it is endless")


def batches(runs: Iterator[Run], size: int) -> Iterator[list[Run]]:
    while True:
        yield list(itertools.islice(runs, size))


def tell(verdicts: list[Verdict]) -> int:
    """A line for each story; returns how many images there were."""
    click.echo(f"\n{'story':<14}{'lived':>8}{'operations':>12}{'none':>9}{'all':>9}{'torn':>9}{'bad':>7}")
    for story in dict.fromkeys(one.story for one in verdicts):
        its = [one for one in verdicts if one.story == story]
        images = sum((one.images for one in its), Counter[str]())
        kinds = "".join(f"{images[kind]:>9,}" for kind in ("none", "all", "torn"))
        operations, bad = sum(one.operations for one in its), sum(one.bad_images for one in its)
        click.echo(f"{story:<14}{len(its):>8}{operations:>12,}{kinds}{bad:>7,}")
    return sum(one.images.total() for one in verdicts)


def keep(bad: list[Bad]) -> None:
    """Leave the files of the first bad images somewhere, so that they can be looked at."""
    for one in bad[:SHOWN]:
        folder = Path(mkdtemp(prefix=f"powercut-{one.story.replace(' ', '-')}-"))
        write_image(folder, one.cut.image)
        click.echo(f"{one.story}, after {one.cut.moment} operations, {one.cut.kept} of the rest kept: {folder}")
        for problem in one.problems[:5]:
            click.echo(f"    {problem}")


if __name__ == "__main__":
    cut_power(prog_name="python -m tests.powercut")
