"""The soak in small, so that it is there when it is needed."""

from pathlib import Path

from tests.soak.soak import Plan, soak


async def test_a_few_seconds_with_a_kill_and_a_freeze(folder: Path) -> None:
    plan = Plan(lasts_s=10.0, per_s=300.0, seed=1, faults=frozenset({"killed", "upstream loses answers"}))
    outcome = await soak(plan, folder)
    print(outcome.text)
    assert outcome.violations == []
    assert "1 x killed" in outcome.text or "1 x upstream" in outcome.text
