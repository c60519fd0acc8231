"""What was measured, against what, and the table that shows it."""

from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

COLUMNS = ("what", "ours", "limit", "ratio", "goal", "")


class Failed(Exception):
    """A benchmark did not measure what it says, so its numbers must not be shown."""


class Goal(Struct, frozen=True, kw_only=True):
    """One of the four: a bound of the ratio of ours to the limit, or one of ours in the row's own unit."""

    ratio_min: float | None = None
    ratio_max: float | None = None
    ours_min: float | None = None
    ours_max: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    """One number. `limit` is what it is held against, `limit_is` says what that is; `rounds` is all that was seen."""

    what: str
    unit: str
    ours: float
    limit: float | None = None
    limit_is: str = ""
    goal: Goal | None = None
    rounds: Mapping[str, Sequence[float]] = {}

    @property
    def ratio(self) -> float | None:
        return self.ours / self.limit if self.limit else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        if self.goal.ours_max is not None:
            return self.ours <= self.goal.ours_max
        if self.goal.ours_min is not None:
            return self.ours >= self.goal.ours_min
        if self.ratio is None:
            return False
        if self.goal.ratio_max is not None:
            return self.ratio <= self.goal.ratio_max
        return self.goal.ratio_min is not None and self.ratio >= self.goal.ratio_min


class Outcome(Struct, frozen=True):
    """A benchmark's rows, and how they were come by."""

    rows: Sequence[Row]
    notes: Sequence[str] = ()


def compare(
    what: str, unit: str, ours: Sequence[float], limit: Sequence[float], *, limit_is: str, goal: Goal | None = None
) -> Row:
    """A row of medians of rounds."""
    return Row(
        what=what,
        unit=unit,
        ours=median(ours),
        limit=median(limit),
        limit_is=limit_is,
        goal=goal,
        rounds={"ours": ours, "limit": limit},
    )


def median_row(what: str, unit: str, ours: Sequence[float], goal: Goal | None = None) -> Row:
    """A row of a median of rounds that is held against nothing else."""
    return Row(what=what, unit=unit, ours=median(ours), goal=goal, rounds={"ours": ours})


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([padded[0], "-" * max(map(len, padded)), *padded[1:]])


def cells(row: Row) -> tuple[str, ...]:
    limit = "" if row.limit is None else f"{number(row.limit)} {row.limit_is}"
    ratio = "" if row.ratio is None else f"{row.ratio:.0%}" if row.ratio < 10 else f"{row.ratio:.0f} x"
    verdict = {None: "", True: "met", False: "MISSED"}[row.is_met]
    return row.what, f"{number(row.ours)} {row.unit}", limit, ratio, wish(row), verdict


def wish(row: Row) -> str:
    """The goal in words."""
    if row.goal is None:
        return ""
    if row.goal.ours_max is not None:
        return f"at most {number(row.goal.ours_max)} {row.unit}"
    if row.goal.ours_min is not None:
        return f"at least {number(row.goal.ours_min)} {row.unit}"
    if row.goal.ratio_max is not None:
        return f"at most {row.goal.ratio_max:.0%}"
    return f"at least {row.goal.ratio_min:.0%}"


def number(value: float) -> str:
    """Three digits that count, and no more than are there."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
