"""`python -m tests.bench`: runs benchmarks, prints one table."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import structs

from cio_buffer.outbox.opening import filesystem_of
from tests.bench import accept, drain, load, log_cost, machine, memory, passthrough, replay, start, store, trace
from tests.bench.plan import QUICK, Plan
from tests.bench.processes import ROOT
from tests.bench.report import Failed, Outcome, table

BENCHMARKS: dict[str, Callable[[Plan, Path], Outcome]] = {
    "accept": accept.run,
    "store": store.run,
    "memory": memory.run,
    "start": start.run,
    "drain": drain.run,
    "log_cost": log_cost.run,
    "trace": trace.run,
    "replay": replay.run,
    "passthrough": passthrough.run,
}
NEED_WRK = {"accept", "memory"}
DISK_MIN_BYTES = 4_000_000_000
IS_QUICK = "A quick run: smaller and shorter than what the goals speak of, so a goal that is met here is no proof."


@click.command()
@click.argument("names", nargs=-1, metavar=" ".join(f"[{name}]" for name in BENCHMARKS))
@click.option("--quick", is_flag=True, help="Smaller sizes, shorter rounds: all in a few minutes.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each benchmark that goes in rounds.")
@click.option("--seconds", type=click.IntRange(1), help="How long each round of load lasts.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=ROOT.parent,
    help="On a real disk, with 4 GB free; beside the checkout unless told.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all rounds there.")
def bench(
    *, names: Sequence[str], quick: bool, rounds: int | None, seconds: int | None, folder: Path, json_file: Path | None
) -> None:
    """Measure all of it, or what is named. Works in a temporary folder under --folder, on a real disk."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = names or list(BENCHMARKS)
    check(chosen, folder)
    plan = planned(quick, rounds, seconds)
    with tempfile.TemporaryDirectory(prefix="cio-buffer-bench-", dir=folder) as place:
        here = machine.look(Path(place))
        try:
            outcomes = {name: measure(name, plan, Path(place, name)) for name in chosen}
        except Failed as problem:
            raise click.ClickException(str(problem)) from None
    show(outcomes, here, is_quick=quick)
    if json_file:
        json_file.write_bytes(in_json(outcomes, here, plan, is_quick=quick))


def check(chosen: Sequence[str], folder: Path) -> None:
    """Raise click's errors for what cannot be measured here."""
    if unknown := set(chosen) - set(BENCHMARKS):
        raise click.UsageError(
            f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    if NEED_WRK & set(chosen) and not load.has_wrk():
        raise click.ClickException(load.MISSING)
    if filesystem_of(folder) == "tmpfs":
        raise click.ClickException(f"{folder} is in memory: nothing is durable there; name another with --folder")
    if shutil.disk_usage(folder).free < DISK_MIN_BYTES:
        raise click.ClickException(
            f"{folder} has less than {DISK_MIN_BYTES / 1e9:g} GB free; name another with --folder"
        )


def planned(is_quick: bool, rounds: int | None, round_s: int | None) -> Plan:
    plan = QUICK if is_quick else Plan()
    if rounds:
        plan = structs.replace(
            plan,
            accept_rounds=rounds,
            store_rounds=rounds,
            start_rounds=rounds,
            drain_rounds=rounds,
            trace_rounds=rounds,
        )
    if round_s:
        plan = structs.replace(plan, accept_round_s=float(round_s), memory_load_s=float(round_s))
    return plan


def measure(name: str, plan: Plan, folder: Path) -> Outcome:
    """Run one benchmark in a folder of its own, which is gone afterwards."""
    click.echo(f"{name} ...", err=True)
    folder.mkdir()
    try:
        return BENCHMARKS[name](plan, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(outcomes: dict[str, Outcome], here: machine.Machine, *, is_quick: bool) -> None:
    click.echo(f"\n{machine.describe(here)}\n")
    click.echo(table([row for outcome in outcomes.values() for row in outcome.rows]))
    click.echo("")
    for outcome in outcomes.values():
        for note in outcome.notes:
            click.echo(note)
    if is_quick:
        click.echo(IS_QUICK)


def in_json(outcomes: dict[str, Outcome], here: machine.Machine, plan: Plan, *, is_quick: bool) -> bytes:
    rows = [
        {"benchmark": name, **structs.asdict(row), "ratio": row.ratio, "is_met": row.is_met}
        for name, outcome in outcomes.items()
        for row in outcome.rows
    ]
    notes = [note for outcome in outcomes.values() for note in outcome.notes]
    said = {"is_quick": is_quick, "machine": here, "plan": plan, "rows": rows, "notes": notes}
    return msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"


if __name__ == "__main__":
    bench(prog_name="python -m tests.bench")
