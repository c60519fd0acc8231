"""A little of each of the faults that `python -m tests.faults` tries."""

import random

import pytest

from tests.faults.faults import FAULTS, why_not

SAMPLE = {
    "kills": 4,
    "disk_errors": 4,
    "slow_syncs": 2,
    "frozen": 2,
    "full": 1,
    "full_of_ours": 1,
    "full_greedy": 1,
    "read_only": 1,
}
"""How often, or for how many seconds. What takes long to come about is left to the command."""


@pytest.mark.parametrize("name", SAMPLE)
async def test_what_was_acknowledged_outlasts(name: str) -> None:
    if why := why_not(name):
        pytest.skip(why)
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"python -m tests.faults {name} --seed {seed}")
    found = await FAULTS[name](seed, SAMPLE[name])
    assert not found.violations, found.rows()
