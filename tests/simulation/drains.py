"""How long the emptying of a backlog took, and how long it may take: what `model` says, given what a run was like."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from msgspec import Struct

from cio_buffer.daemon import WINDOW_ENTRIES_MAX
from tests.simulation.day import SAMPLE_S, Outcome, Scenario
from tests.simulation.model import Limits, Speed, coming_back, drain_s, going_on, winning_back
from tests.simulation.store import GROUP_S
from tests.simulation.traffic import Kind
from tests.simulation.vendor import Recovery, Slow, Throttle


class Drained(Struct, frozen=True, kw_only=True):
    """When a backlog was to be gone, and when it was. Seconds since the run began, and how long from there."""

    from_s: float
    backlog: int
    allowed_s: float
    took_s: float


def drained(outcome: Outcome) -> Drained | None:
    """How the emptying went that the scenario is about; None if it is about none."""
    scenario, vendor = outcome.scenario, outcome.vendor
    if scenario.drain is None:
        return None
    from_s, backlog, taken_per_s = DRAINS[scenario.drain](outcome)
    is_alone = scenario.drain in ALONE
    flows = [flow for flow in scenario.flows if (flow.kind == Kind.V1) or not is_alone]
    allowed_s = drain_s(
        backlog,
        rest=scenario.on_their_way,
        added_per_s=lambda at_s: sum(flow.per_s for flow in flows if flow.from_s <= from_s + at_s < flow.until_s),
        taken_per_s=taken_per_s,
    )
    return Drained(from_s=from_s, backlog=backlog, allowed_s=allowed_s, took_s=vendor.behind_until_s - from_s)


def after_a_hold(outcome: Outcome) -> tuple[float, int, Speed]:
    recovery = longest(outcome.vendor.recoveries)
    batch, limits = outcome.config.drain.batch_max_entries, limits_of(outcome, recovery.at_s)
    hesitates_s = HESITATES * limits.cycle_s if slowness(outcome.scenario, recovery.at_s) > 1.0 else 0.0
    speed = coming_back(limits, recovery.held_s, hesitates_s=hesitates_s)
    return recovery.at_s, recovery.backlog, lambda at_s: batch * speed(at_s)


def after_429s(outcome: Outcome) -> tuple[float, int, Speed]:
    """The rate won back begins at what was being sent at the end of them."""
    vendor = outcome.vendor
    from_s = max(phase.until_s for phase in outcome.scenario.phases if isinstance(phase.trouble, Throttle))
    lately = bisect_left(vendor.sent_at, from_s) - bisect_left(vendor.sent_at, from_s - 10.0)
    speed = winning_back(limits_of(outcome, from_s, entries=1), lately / 10.0)
    return from_s, waiting_at(outcome, from_s), lambda at_s: speed(at_s) - batches_per_s(outcome.scenario)


def after_too_many(outcome: Outcome) -> tuple[float, int, Speed]:
    """More was asked for than may leave, but nothing is wrong."""
    from_s = max(flow.until_s for flow in outcome.scenario.flows if flow.kind == Kind.V1)
    speed = going_on(limits_of(outcome, from_s, entries=1))
    return from_s, waiting_at(outcome, from_s), lambda at_s: speed(at_s) - batches_per_s(outcome.scenario)


def one_persons(outcome: Outcome) -> tuple[float, int, Speed]:
    """Never two requests of a person at a time: batch after batch."""
    from_s = max(flow.until_s for flow in outcome.scenario.flows if flow.kind == Kind.BUSY)
    batch, limits = outcome.config.drain.batch_max_entries, limits_of(outcome, from_s)
    return from_s, waiting_at(outcome, from_s), lambda at_s: batch / limits.cycle_s


HESITATES = 2
"""How many slow answers it takes to find out that they are not slow for our sake."""

DRAINS: dict[str, Callable[[Outcome], tuple[float, int, Speed]]] = {
    "after a hold": after_a_hold,
    "after 429s": after_429s,
    "after too many": after_too_many,
    "one person's": one_persons,
}
"""From when on, how many operations, how fast they may leave."""

ALONE = {"after 429s", "after too many"}
"""It is the v1 calls that wait. The others leave in a request a tick, beside them."""


def longest(recoveries: Sequence[Recovery]) -> Recovery:
    """The one after the longest hold; the start is none."""
    return max(recoveries[1:], key=lambda recovery: recovery.held_s)


def waiting_at(outcome: Outcome, at_s: float) -> int:
    return outcome.backlog[round(at_s / SAMPLE_S)]


def batches_per_s(scenario: Scenario) -> float:
    return 1.0 / scenario.tick_s


def limits_of(outcome: Outcome, at_s: float, *, entries: int = 0) -> Limits:
    """What bounded the drain from then on; `entries` in a request, 0 for as many as may be."""
    config, manners = outcome.config, outcome.scenario.manners
    entries = entries or config.drain.batch_max_entries
    service_s = slowness(outcome.scenario, at_s) * manners.service_s(entries)
    cycle_s = service_s + 2 * GROUP_S  # the settlement may have to wait for a commit that is under way
    in_flight = min(config.drain.requests_in_flight_max, away(outcome.scenario.persons, entries) / entries)
    answers_per_s = in_flight / cycle_s
    if manners.workers:
        answers_per_s = min(answers_per_s, manners.workers / service_s)
    return Limits(rate_per_s=config.drain.rate_max_per_s, answers_per_s=answers_per_s, cycle_s=cycle_s)


def away(persons: int, entries: int) -> float:
    """How many operations of those in hand can be under way at once.

    A request's worth of them is gathering. As many of the others as meet an earlier operation of their person, which is
    under way, wait for its answer; for half the time that one takes, on average.
    """
    others = WINDOW_ENTRIES_MAX - entries
    return others * (1.0 - others / (2.0 * persons))


def slowness(scenario: Scenario, at_s: float) -> float:
    """How many times as long as usual everything takes."""
    troubles = [phase.trouble for phase in scenario.phases if phase.from_s <= at_s < phase.until_s]
    return max((trouble.factor for trouble in troubles if isinstance(trouble, Slow)), default=1.0)
