"""The soak in small, so that it is there when it is needed."""

from pathlib import Path

from tests.soak.report import text
from tests.soak.soak import Plan, soak


async def test_a_few_seconds_with_a_kill_and_lost_answers(folder: Path) -> None:
    kinds = frozenset({"killed", "upstream loses answers"})
    report = await soak(Plan(lasts_s=10.0, per_s=300.0, seed=5, faults=kinds, fault_every_s=(0.5, 1.5)), folder)
    print(text(report))
    assert report.violations == []
    assert set(report.faults) == kinds
    assert report.acknowledged > 1_000
    assert report.missing == 0
