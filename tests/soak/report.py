"""What a soak has seen, as text and as JSON."""

import statistics
from collections.abc import Sequence

from msgspec import Struct


class Extent(Struct, frozen=True, kw_only=True):
    """How much of something was used over time. `first` and `last`: the medians of those thirds of the time."""

    start: float
    median: float
    most: float
    end: float
    first: float
    last: float


class Waits(Struct, frozen=True, kw_only=True):
    """How long acknowledged calls took, milliseconds."""

    calls: int
    p50_ms: float
    p99_ms: float


class Report(Struct, frozen=True, kw_only=True):
    """`offered` to `dead`: operations. `lost`: entries that status called lost with damaged files; None: it cannot say.

    `dead`: poisons that were refused, each once; `refused_upstream`: how often one was. `cpu_s`: of each process.
    """

    seed: int
    lasted_s: float
    per_s: float
    offered: int
    acknowledged: int
    not_acknowledged: int
    delivered: int
    repeated: int
    dead: int
    refused_upstream: int
    requests: int
    missing: int
    saved: int
    lost: int | None
    faults: dict[str, int]
    in_peace: Waits
    in_trouble: Waits
    used: dict[str, Extent]
    cpu_s: dict[str, float]
    violations: list[str]


def extent(values: Sequence[float]) -> Extent:
    """Of at least one value."""
    third = max(len(values) // 3, 1)
    return Extent(
        start=values[0],
        median=statistics.median(values),
        most=max(values),
        end=values[-1],
        first=statistics.median(values[:third]),
        last=statistics.median(values[-third:]),
    )


def waits(times_s: Sequence[float]) -> Waits:
    if len(times_s) < 2:
        return Waits(calls=len(times_s), p50_ms=0.0, p99_ms=0.0)
    cuts = statistics.quantiles(times_s, n=100)
    return Waits(calls=len(times_s), p50_ms=cuts[49] * 1000, p99_ms=cuts[98] * 1000)


def text(report: Report) -> str:
    lost = "an unknown number" if report.lost is None else f"{report.lost:,}"
    faults = ", ".join(f"{count} x {kind}" for kind, count in sorted(report.faults.items()))
    cpu = ", ".join(f"{name} {share:.0f} %" for name, share in cpu_shares(report).items())
    lines = [
        f"soak of {report.lasted_s / 60:.1f} minutes at {report.per_s:,.0f} operations/s, seed {report.seed}",
        f"  offered {report.offered:,}   acknowledged {report.acknowledged:,}"
        f"   refused or cut off {report.not_acknowledged:,}",
        f"  delivered {report.delivered:,}   again under the same id {report.repeated:,}   dead {report.dead:,}"
        f" (refused {report.refused_upstream:,} times)   in {report.requests:,} requests",
        f"  faults: {sum(report.faults.values())}: {faults}",
        f"  damaged files: {report.saved:,} entries saved, {lost} lost;"
        f" acknowledged, and neither delivered nor dead: {report.missing:,}",
        f"  a call, p50 and p99: {told_waits(report.in_peace)} in peace, {told_waits(report.in_trouble)} in trouble",
        f"  of one core: {cpu}",
        f"  {'':<12} {'start':>8} {'median':>8} {'most':>8} {'end':>8}   {'1st third':>9} {'last third':>10}",
        *(told_extent(name, one) for name, one in report.used.items()),
        *(f"  VIOLATION {one}" for one in report.violations),
        f"  violations: {len(report.violations)}",
    ]
    return "\n".join(lines)


def cpu_shares(report: Report) -> dict[str, float]:
    """Percent of one core, over the whole time."""
    return {name: spent / report.lasted_s * 100 for name, spent in report.cpu_s.items()}


def told_waits(one: Waits) -> str:
    return f"{one.p50_ms:.1f} and {one.p99_ms:.1f} ms ({one.calls:,})"


def told_extent(name: str, one: Extent) -> str:
    values = f"{one.start:>8.0f} {one.median:>8.0f} {one.most:>8.0f} {one.end:>8.0f}"
    return f"  {name:<12} {values}   {one.first:>9.0f} {one.last:>10.0f}"
