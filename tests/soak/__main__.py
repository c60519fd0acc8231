"""All of it, for a while: `uv run python -m tests.soak [--minutes 20] [--rate 2000] [--seed N] [--without KIND]...`.

A daemon under steady load, a random fault every few seconds, and at the end the question whether anything that was
acknowledged is missing, came out of order or counted twice, and whether anything has grown. Exit code 1 if so.
`--keep` leaves the store and the log of the daemon, `--json FILE` writes the result for programs.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from tests.soak.faults import mounted, unmount
from tests.soak.report import Report, text
from tests.soak.soak import Plan, soak

STORE_MIB = 768


def main() -> int:
    given = arguments()
    print(f"seed {given.seed}", flush=True)
    plan = Plan(lasts_s=given.minutes * 60, per_s=given.rate, seed=given.seed, without=frozenset(given.without))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born without
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # which clears up
    with tempfile.TemporaryDirectory(prefix="cio-soak-") as name:
        folder = Path(name)
        try:
            report = in_folder(plan, folder)
        except KeyboardInterrupt:
            print("ended before its time")
            return 130
        finally:
            if given.keep:
                keep(folder)
            unmount(folder / "store")
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    print(text(report))
    return 1 if report.violations else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=2_000.0, help="operations a second")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--without", action="append", default=[], help="a kind of fault to leave out, such as damage")
    parser.add_argument("--keep", action="store_true", help="leave the store and the log, and say where")
    parser.add_argument("--json", type=Path, help="a file for the result")
    return parser.parse_args()


def in_folder(plan: Plan, folder: Path) -> Report:
    """Its store on a small disk of its own, where one can be mounted; the caller unmounts it."""
    if not mounted(folder / "store", STORE_MIB):
        print("no small disk could be mounted: it will not be filled")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(soak(plan, folder))


def keep(folder: Path) -> None:
    """A copy: the disk that the store is on goes away."""
    kept = Path(tempfile.mkdtemp(prefix="cio-soaked-"))
    shutil.copytree(folder / "store", kept / "store", ignore=shutil.ignore_patterns("*.ballast", "foreign"))
    shutil.copy(folder / "daemon.log", kept)
    print(f"kept in {kept}")


if __name__ == "__main__":
    sys.exit(main())
