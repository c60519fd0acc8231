"""Each scenario at a tenth of its scale: what is promised holds. `python -m tests.simulation` runs the whole."""

import pytest

from tests.simulation.checks import problems
from tests.simulation.day import live
from tests.simulation.scenarios import SCENARIOS

SCALE = 0.1
SEED = 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_promised_holds(name: str) -> None:
    print(f"seed {SEED}")
    assert problems(live(SCENARIOS[name](SCALE), SEED)) == []
