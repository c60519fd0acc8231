"""What the delivery rules promise about speed, said once more and otherwise: by integration, with no code of ours.

Times are seconds since it began again: after a hold, after 429s, or when a backlog stopped growing.
"""

from collections.abc import Callable
from math import inf

from msgspec import Struct

RAMP_MAX_S = 30.0
RAMP_FIRST = 0.1
"""Of the rate: where a ramp begins."""

BURST_S = 0.1
"""How much of a second's requests may leave together."""

WON_BACK_PER_S = 0.01
"""How much of the highest rate is won back in a second."""

STEP_S = 0.01
NEVER_S = 2e4

Speed = Callable[[float], float]
"""How many in a second, at a moment."""


class Limits(Struct, frozen=True, kw_only=True):
    """What bounds a drain: requests and answers in a second.

    `cycle_s`: from a request's sending until its entries are settled.
    """

    rate_per_s: float
    answers_per_s: float
    cycle_s: float


def ramped(at_s: float, ramp_s: float) -> float:
    """The share of the rate that may leave at a moment of a ramp that takes `ramp_s`."""
    return 1.0 if at_s >= ramp_s else RAMP_FIRST + (1.0 - RAMP_FIRST) * max(at_s, 0.0) / ramp_s


def ramp_allows(from_s: float, until_s: float, *, rate_per_s: float, ramp_s: float) -> float:
    """How many requests may leave between two moments: what the ramp gives, what may leave together, and one."""
    middle_s = min(max(ramp_s, from_s), until_s)  # the share is a line up to there, and a line from there
    given = sum(
        (ramped(first_s, ramp_s) + ramped(last_s, ramp_s)) / 2 * (last_s - first_s)
        for first_s, last_s in ((from_s, middle_s), (middle_s, until_s))
    )
    return rate_per_s * (given + BURST_S * ramped(until_s, ramp_s)) + 1.0


def coming_back(limits: Limits, held_s: float, *, hesitates_s: float = 0.0) -> Speed:
    """After everything was held for so long: the rate ramps, and requests under way double, answer by answer.

    `hesitates_s`: how long there is but one of them at first.
    """
    ramp_s = min(held_s, RAMP_MAX_S)

    def speed(at_s: float) -> float:
        in_flight = 2.0 ** min(max(at_s - hesitates_s, 0.0) // limits.cycle_s, 20.0)
        return min(limits.rate_per_s * ramped(at_s, ramp_s), in_flight / limits.cycle_s, limits.answers_per_s)

    return speed


def winning_back(limits: Limits, first_per_s: float) -> Speed:
    """After 429s: from what was being sent then, a little more each second."""
    growth = WON_BACK_PER_S * limits.rate_per_s
    return lambda at_s: min(first_per_s + growth * at_s, limits.rate_per_s, limits.answers_per_s)


def going_on(limits: Limits) -> Speed:
    """Nothing was wrong: as fast as ever."""
    return lambda at_s: min(limits.rate_per_s, limits.answers_per_s)


def drain_s(backlog: float, *, rest: float, added_per_s: Speed, taken_per_s: Speed) -> float:
    """How long until only `rest` is left of `backlog` and of what is added meanwhile; infinite for never."""
    at_s = 0.0
    while backlog > rest:
        backlog += (added_per_s(at_s) - taken_per_s(at_s)) * STEP_S
        at_s += STEP_S
        if at_s > NEVER_S:
            return inf
    return at_s
