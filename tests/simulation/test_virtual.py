"""Virtual time: it jumps, it is the same each time, and it does not wait for what cannot come."""

import asyncio
import time

import pytest

from tests.simulation.day import Outcome, Scenario, live
from tests.simulation.scenarios import v1
from tests.simulation.traffic import Flow
from tests.simulation.vendor import Phase, Throttle
from tests.simulation.virtual import TURN_S, VirtualClock, run


def test_a_year_takes_no_time() -> None:
    async def sleep_for_a_year() -> float:
        clock = VirtualClock(asyncio.get_running_loop())
        began = clock.monotonic()
        await clock.sleep(365 * 86_400.0)
        return clock.monotonic() - began

    began = time.monotonic()
    assert run(sleep_for_a_year()) == pytest.approx(365 * 86_400.0)
    assert time.monotonic() - began < 5.0


def test_timers_come_in_their_order() -> None:
    async def several() -> list[tuple[str, float]]:
        loop, came = asyncio.get_running_loop(), []
        clock = VirtualClock(loop)

        async def one(name: str, after_s: float) -> None:
            await clock.sleep(after_s)
            came.append((name, loop.time()))

        await asyncio.gather(one("c", 3.0), one("a", 0.001), one("b", 2.0))
        return came

    assert [(name, pytest.approx(at_s, abs=1e-3)) for name, at_s in run(several())] == [
        ("a", 0.001),
        ("b", 2.0),
        ("c", 3.0),
    ]


def test_an_event_cuts_a_wait_short() -> None:
    async def wait() -> float:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(1.0, event.set)
        await VirtualClock(loop).wait(event, 10.0)
        return loop.time()

    assert run(wait()) == pytest.approx(1.0, abs=1e-3)


def test_a_wait_too_short_for_a_float_ends() -> None:
    async def wait() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        await clock.sleep(1e6)
        began = clock.monotonic()
        while clock.monotonic() <= began + TURN_S:
            await clock.sleep(1e-18)

    run(wait())


def test_nobody_waits_for_what_cannot_come() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="waits"):
        run(wait())


def some_trouble() -> Scenario:
    flows = [Flow(per_s=200.0, from_s=0.0, until_s=60.0), *v1(0.1).flows[:1]]
    phases = [Phase(64.0, 70.0, Throttle(20.0))]
    return Scenario(name="some", says="", persons=1_000, flows=flows, until_s=70.0, phases=phases)


def seen(outcome: Outcome) -> list[object]:
    vendor = outcome.vendor
    return [list(part) for part in (vendor.sent_at, vendor.sizes, vendor.statuses, outcome.backlog)]


def test_a_seed_makes_one_run_and_another_seed_another() -> None:
    first, again, other = (seen(live(some_trouble(), seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
