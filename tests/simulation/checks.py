"""What must be true of every run, and what of some. Each check says what is wrong, in words; an empty list is good."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from tests.simulation.day import Outcome
from tests.simulation.drains import drained
from tests.simulation.model import BURST_S, RAMP_MAX_S, ramp_allows
from tests.simulation.traffic import Kind
from tests.simulation.vendor import Down, Throttle, WrongKey

Problems = list[str]

SETTLES_AFTER_S = 120.0
"""By then it is known that everything fails, and one request at a time asks."""

PROBE_EVERY_S = 150.0
"""How long a probe waits on average in the long run: full jitter, up to 300 s."""


def problems(outcome: Outcome) -> Problems:
    """All that is wrong with a run."""
    found = [problem for check in ALWAYS for problem in check(outcome)]
    return [f"{outcome.scenario.name}, seed {outcome.seed}: {problem}" for problem in found]


def nothing_lost(outcome: Outcome) -> Problems:
    """Each operation was taken in, or is dead because Customer.io refuses it, or is held behind what is blocked."""
    told, dead, left = outcome.told, outcome.dead, outcome.left
    arrived = bytes(outcome.vendor.arrived).ljust(len(told), b"\0")
    poison, gone = told.numbers(Kind.POISON), dead | left
    return [
        *some("vanished", {number for number, came in enumerate(arrived) if not came} - gone),
        *some("were taken in, and yet are dead or stored", {number for number in gone if arrived[number]}),
        *some("died without being poison", dead - poison),
        *some("are poison and did not die", poison - dead),
        *some("are held for no reason", left - blocked(outcome)),
        *some("are not held though blocked", told.numbers(Kind.BLOCKED) - left),
    ]


def some(what: str, numbers: set[int]) -> Problems:
    """A sentence about these operations, if there are any."""
    return [f"{len(numbers):,} operations {what}: {sorted(numbers)[:5]}"] if numbers else []


def blocked(outcome: Outcome) -> set[int]:
    """What no request gets past the firewall, and what its persons asked for later."""
    told = outcome.told
    firsts: dict[int, int] = {}
    for number in sorted(told.numbers(Kind.BLOCKED)):
        firsts.setdefault(told.person(number), number)
    return {number for number in outcome.left if number >= firsts.get(told.person(number), number + 1)}


def nothing_twice(outcome: Outcome) -> Problems:
    """Only what was taken in without our hearing of it may come again."""
    vendor = outcome.vendor
    if vendor.repeats > vendor.unheard:
        return [f"{vendor.repeats} operations came again, but of only {vendor.unheard} the answer was lost"]
    return []


def nothing_overtaken(outcome: Outcome) -> Problems:
    """A person's operations have their effect in the order in which they were accepted."""
    seen, counted = outcome.vendor.overtaken, outcome.violations
    return [
        *([f"{len(seen)} operations came after later ones of the same person: {seen[:3]}"] if seen else []),
        *([f"the drain itself counted {counted} out of order"] if counted else []),
    ]


def the_ledger_adds_up(outcome: Outcome) -> Problems:
    """What the store counted is what there is, and what happened."""
    ledger, vendor = outcome.audit.ledger, outcome.vendor
    happened = (len(outcome.told), vendor.taken, len(outcome.dead), len(outcome.left))
    counted = (ledger.accepted, ledger.delivered, ledger.dead_lettered, ledger.entries)
    return [
        *([] if outcome.audit.is_balanced else [f"the audit does not balance: {outcome.audit}"]),
        *([] if counted == happened else [f"(accepted, delivered, dead, left): counted {counted}, were {happened}"]),
    ]


def never_above_the_rate(outcome: Outcome) -> Problems:
    """Any second, wherever it begins, sees at most 1.1 times the rate; and never more are under way than may be."""
    drain, vendor = outcome.config.drain, outcome.vendor
    bound = drain.rate_max_per_s * (1.0 + BURST_S)
    most, at_s = fullest_second(vendor.sent_at)
    under_way = max(vendor.in_flight, default=0)
    found = []
    if most > bound + 1e-6:
        found.append(f"{most} requests within a second from {at_s:.3f} s on; {bound:g} is the bound")
    if under_way > drain.requests_in_flight_max:
        found.append(f"{under_way} requests under way; {drain.requests_in_flight_max} is the bound")
    return found


def fullest_second(sent_at: Sequence[float]) -> tuple[int, float]:
    """The most requests that left within any second, the end not included, and when that began."""
    most, at_s, last = 0, 0.0, 0
    for first, begin_s in enumerate(sent_at):
        while last < len(sent_at) and sent_at[last] < begin_s + 1.0:
            last += 1
        if last - first > most:
            most, at_s = last - first, begin_s
    return most, at_s


def no_burst(outcome: Outcome) -> Problems:
    """After the start and after each hold the requests of any second stay within what the ramp gives."""
    sent_at, rate = outcome.vendor.sent_at, outcome.config.drain.rate_max_per_s
    found = []
    for recovery in outcome.vendor.recoveries:
        ramp_s = min(recovery.held_s, RAMP_MAX_S)
        if excess := worst_excess(sent_at, recovery.at_s, ramp_s, rate):
            found.append(f"recovered at {recovery.at_s:.1f} s after {recovery.held_s:.1f} s: {excess}")
    return found


def worst_excess(sent_at: Sequence[float], began_s: float, ramp_s: float, rate_per_s: float) -> str:
    """Says which second of a ramp was the worst, if any was too full."""
    worst = (0.0, "")
    first = bisect_left(sent_at, began_s)
    begins = takewhile(lambda at_s: at_s < began_s + ramp_s, (sent_at[place] for place in range(first, len(sent_at))))
    for place, begin_s in enumerate(begins, first):
        count = bisect_left(sent_at, begin_s + 1.0) - place
        after_s = begin_s - began_s
        allowed = ramp_allows(after_s, after_s + 1.0, rate_per_s=rate_per_s, ramp_s=ramp_s)
        said = f"{count} requests in the second from {after_s:.2f} s on, the ramp gives {allowed:.1f}"
        worst = max(worst, (count - allowed, said))
    return worst[1]


def one_asks_at_a_time(outcome: Outcome) -> Problems:
    """While nothing passes, one request at a time asks whether it does again, and not often."""
    vendor, found = outcome.vendor, []
    stops = [phase for phase in outcome.scenario.phases if isinstance(phase.trouble, Down | WrongKey)]
    for phase in stops:
        first, last = (bisect_left(vendor.sent_at, at_s) for at_s in (phase.from_s, phase.until_s))
        settled = bisect_left(vendor.sent_at, phase.from_s + SETTLES_AFTER_S)
        if any(vendor.in_flight[place] > 1 for place in range(settled, last)):
            found.append(f"several requests at once while all of them fail, from {phase.from_s:g} s on")
        allowed = 30.0 + 1.5 * (phase.until_s - phase.from_s) / PROBE_EVERY_S
        if last - first > allowed:
            found.append(f"{last - first} requests while all of them fail, from {phase.from_s:g} s on")
    return found


def drained_in_time(outcome: Outcome) -> Problems:
    """A backlog leaves within 10 % (or what the scenario says) of what rate, ramp, latency and batch size allow."""
    its = drained(outcome)
    if its is None or 0.0 < its.took_s <= outcome.scenario.drain_margin * its.allowed_s:
        return []
    return [f"{its.backlog:,} operations took {its.took_s:.1f} s to leave; {its.allowed_s:.1f} s would have done"]


def the_others_pass(outcome: Outcome) -> Problems:
    """What leaves in batches does not wait for what cannot leave, or leaves alone; unless it is the same person's."""
    bound_s, delays = outcome.scenario.others_wait_max_s, outcome.vendor.delays[False]
    waited_s = percentile(delays, 0.9) / 1000.0
    if bound_s is not None and waited_s > bound_s:
        return [f"a tenth of the others waited for more than {waited_s:.1f} s; {bound_s:g} s is the bound"]
    return []


def percentile(counts: Counter[int], share: float) -> int:
    """The smallest value that so large a share of them does not exceed; 0 of none."""
    left = share * counts.total()
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0.0:
            return value
    return 0


def polite_under_429s(outcome: Outcome) -> Problems:
    """Few requests meet a 429, and what Customer.io would take is mostly used."""
    found, vendor = [], outcome.vendor
    for phase in outcome.scenario.phases:
        if isinstance(phase.trouble, Throttle):
            first, last = (bisect_left(vendor.sent_at, at_s) for at_s in (phase.from_s, phase.until_s))
            refused = sum(vendor.statuses[place] == 429 for place in range(first, last))
            used = (last - first - refused) / (phase.until_s - phase.from_s) / phase.trouble.per_s
            if refused > THROTTLED_MAX * (last - first):
                found.append(f"{refused} of {last - first} requests met a 429, from {phase.from_s:g} s on")
            if used < USED_MIN:
                found.append(f"only {used:.0%} of what the 429s leave was used, from {phase.from_s:g} s on")
    return found


THROTTLED_MAX, USED_MIN = 0.02, 0.5
"""A rate that is cut by 0.3 and grows by 1 % of the highest a second meets the limit every 8 s or so; each time costs a
pause of a second or two, and the ramp after it."""


def no_line_of_our_making(outcome: Outcome) -> Problems:
    """Where few requests are served at a time, not many more are sent: they would only wait there."""
    its, vendor, workers = drained(outcome), outcome.vendor, outcome.scenario.manners.workers
    if not its or not workers:
        return []
    first, last = (bisect_left(vendor.sent_at, at_s) for at_s in (its.from_s, its.from_s + its.took_s))
    mean = sum(vendor.in_flight[first:last]) / max(last - first, 1)
    if mean > IN_LINE_MAX * workers:
        return [f"{mean:.1f} requests under way where {workers} are served at a time"]
    return []


IN_LINE_MAX = 3.0
"""It is noticed by answers that take twice as long as usual, a round later."""

ALWAYS = [
    nothing_lost,
    nothing_twice,
    nothing_overtaken,
    the_ledger_adds_up,
    never_above_the_rate,
    no_burst,
    one_asks_at_a_time,
    drained_in_time,
    the_others_pass,
    polite_under_429s,
    no_line_of_our_making,
]
