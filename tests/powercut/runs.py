"""One story lived and judged, in a process of its own: what `__main__` and pytest have done."""

import random
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from tests.powercut.cuts import Verdict, judge_cuts
from tests.powercut.guards import GUARDS
from tests.powercut.judge import Judge
from tests.powercut.stories import record

MEMORY = Path("/dev/shm")
"""Files in memory, where the machine has that: each image is files that are written, and opened three times."""


class Run(Struct, frozen=True, kw_only=True):
    """`guard`: what is taken away, of GUARDS; "" for nothing. Else as `judge_cuts` has it."""

    story: str
    seed: int
    guard: str = ""
    stride: int = 1
    images_max: int | None = None


def run(what: Run) -> Verdict:
    rng = random.Random(f"{what.seed} {what.story} {what.guard}")
    without = GUARDS[what.guard].without() if what.guard else nullcontext()
    with TemporaryDirectory(prefix="powercut-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        with without:
            recorded = record(what.story, rng, Path(folder))
        judge = Judge(Path(folder) / "judged")
        return judge_cuts(recorded, judge, rng, stride=what.stride, images_max=what.images_max)
