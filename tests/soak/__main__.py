"""All of it, for a while: `uv run python -m tests.soak [--minutes 20] [--rate 2000] [--seed N] [--without KIND]...`.

A daemon under steady load, a random fault every few seconds, and at the end the question whether anything that was
acknowledged is missing, came out of order or counted twice, and whether anything has grown. Exit code 1 if so.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.soak.faults import mounted, unmount
from tests.soak.soak import Plan, soak

STORE_MIB = 768


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=2_000.0, help="operations a second")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--without", action="append", default=[], help="a kind of fault to leave out")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    plan = Plan(lasts_s=given.minutes * 60, per_s=given.rate, seed=given.seed, without=frozenset(given.without))
    with tempfile.TemporaryDirectory(prefix="cio-soak-") as name:
        folder = Path(name)
        if not mounted(folder / "store", STORE_MIB):
            print("no small disk could be mounted: it will not be filled")
        try:
            outcome = uvloop.run(soak(plan, folder))
        finally:
            unmount(folder / "store")
    print(outcome.text)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
