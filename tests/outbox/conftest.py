from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.outbox.backends import BACKENDS, Hand
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
async def hand(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Hand]:
    """Every test that uses it ends with a count of what is there."""
    hand = await Hand(BACKENDS[request.param](tmp_path, clock), clock).open()
    yield hand
    audit = await hand.outbox.audit()
    await hand.backend.close()
    assert audit.is_balanced
    assert audit.ledger == hand.outbox.ledger()
    assert audit.measured == audit.sizes == hand.outbox.sizes()
