"""Draws a day with an outage: backlog, requests, delay; and beside it, enlarged, how the backlog leaves."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from tests.simulation.day import SAMPLE_S, Outcome
from tests.simulation.drains import longest

GREY, BLUE, ORANGE, GREEN = "#7d8590", "#3b82f6", "#d97706", "#16a34a"
"""Each is told from white and from near-black alike."""

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "a day",  # the same day makes the same file
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, and is wider than what it is shown in
    "font.size": 10,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": GREY,
    "axes.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}

POINTS = 240
BEFORE_S, AFTER_S = 60.0, 180.0
"""What is enlarged, around the moment of recovery."""

Series = tuple[Sequence[float], Sequence[float]]


def draw_day(outcome: Outcome, path: Path) -> None:
    """Write an SVG that is legible on white and on black."""
    with mpl.rc_context(STYLE):
        drawn = StringIO()
        figure_of(outcome).savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    path.write_text(lean(drawn.getvalue()))


def lean(svg: str) -> str:
    """The same picture in a third of the bytes: tenths of a point are enough, and so is the reader's own font."""
    in_lines = re.sub(r" ?\n([Lz])", r"\1", svg)
    in_tenths = re.sub(r"\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), in_lines)
    return re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", in_tenths)


def figure_of(outcome: Outcome) -> Figure:
    """The whole day on the left, on the right the minutes in which the backlog leaves."""
    recovery_s = longest(outcome.vendor.recoveries).at_s
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    columns = figure.subplots(3, 2, sharex="col", sharey="row", width_ratios=(3, 2)).T
    for axes, span in zip(
        columns, ((0.0, outcome.ended_s), (recovery_s - BEFORE_S, recovery_s + AFTER_S)), strict=True
    ):
        draw_column(axes, outcome, span)
    draw_scales(columns, outcome, recovery_s)
    return figure


def draw_column(axes: Sequence[Any], outcome: Outcome, span: tuple[float, float]) -> None:
    """Backlog, requests and delay, one below the other."""
    drawn = ((backlog, BLUE), (requests_per_s, ORANGE), (delay_s, GREEN))
    for place, (series, colour) in zip(axes, drawn, strict=True):
        times, values = bends(*series(outcome, span))
        place.fill_between(times, values, color=colour, alpha=0.25, linewidth=0)
        place.plot(times, values, color=colour, linewidth=1.2)
        place.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)
        place.spines[["top", "right"]].set_visible(False)
        place.set_xlim(*span)
        for phase in outcome.scenario.phases:
            place.axvspan(phase.from_s, phase.until_s, color=GREY, alpha=0.12, linewidth=0)


def draw_scales(columns: Any, outcome: Outcome, recovery_s: float) -> None:
    """Say what is seen, and in which units."""
    day, after = columns
    day[0].set_ylabel("operations\nwaiting")
    day[0].yaxis.set_major_formatter(FuncFormatter(in_short))
    rate_per_s = outcome.config.drain.rate_max_per_s
    for place in (day[1], after[1]):
        place.axhline(rate_per_s, color=GREY, linewidth=0.8, linestyle="--")
    day[1].set_ylabel("requests/s")
    for place, most_seen in zip(day, (max(outcome.backlog), rate_per_s, outcome.scenario.until_s / 2), strict=True):
        place.set_ylim(0.0, 1.12 * most_seen)
    day[2].set_ylabel("delay")
    day[2].yaxis.set_major_locator(MultipleLocator(7_200.0))
    day[2].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 3_600.0:g} h"))
    day[2].xaxis.set_major_locator(MultipleLocator(7_200.0))
    day[2].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 3_600.0:g} h"))
    after[2].set_xticks([recovery_s + minute * 60.0 for minute in range(4)])
    after[2].set_xticklabels(["0", *(f"{minute} min" for minute in range(1, 4))])
    began_s = min(phase.from_s for phase in outcome.scenario.phases)
    ended_s = max(phase.until_s for phase in outcome.scenario.phases)
    day[0].set_title(f"{(ended_s - began_s) / 3_600.0:g} hours without Customer.io", fontsize=10)
    took_s = outcome.vendor.behind_until_s - recovery_s
    waited = in_short(longest(outcome.vendor.recoveries).backlog, 0)
    after[0].set_title(f"{waited} operations leave in {took_s:.0f} s", fontsize=10)


def in_short(value: float, _: int) -> str:
    """A large number as people say it."""
    return f"{value / 1e6:.3g} million" if value >= 1e6 else f"{value:,.0f}"


def backlog(outcome: Outcome, span: tuple[float, float]) -> Series:
    samples = outcome.backlog
    return series_of(lambda from_s, until_s: most(samples, from_s / SAMPLE_S, until_s / SAMPLE_S), span)


def requests_per_s(outcome: Outcome, span: tuple[float, float]) -> Series:
    """The fullest second of each part of the span."""
    seconds = Counter(map(int, outcome.vendor.sent_at))
    return series_of(lambda from_s, until_s: max(seconds[at_s] for at_s in range(int(from_s), int(until_s))), span)


def delay_s(outcome: Outcome, span: tuple[float, float]) -> Series:
    """How long the slowest of those that arrived had been on its way; what is between arrivals is a line."""
    arrivals = [(at_s, ms) for at_s, ms in sorted(outcome.vendor.worst_by_second.items()) if span[0] <= at_s < span[1]]
    step_s = (span[1] - span[0]) / POINTS
    worst: dict[int, int] = {}
    for at_s, ms in arrivals:
        place = int((at_s - span[0]) / step_s)
        worst[place] = max(worst.get(place, 0), ms)
    return [span[0] + (place + 0.5) * step_s for place in worst], [ms / 1000.0 for ms in worst.values()]


def series_of(value: Callable[[float, float], float], span: tuple[float, float]) -> Series:
    """A value for each part of the span, which has whole seconds."""
    step_s = ceil((span[1] - span[0]) / POINTS)
    begins = range(int(span[0]), int(span[1]) - step_s + 1, step_s)
    return [begin_s + step_s / 2 for begin_s in begins], [value(begin_s, begin_s + step_s) for begin_s in begins]


def bends(times: Sequence[float], values: Sequence[float]) -> Series:
    """The same without what lies on a level line."""
    kept = [
        place
        for place, value in enumerate(values)
        if not 0 < place < len(values) - 1 or not values[place - 1] == value == values[place + 1]
    ]
    return [times[place] for place in kept], [values[place] for place in kept]


def most(samples: "array[int]", first: float, last: float) -> float:
    return max(samples[int(first) : max(int(last), int(first) + 1)], default=0)
