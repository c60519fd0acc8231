"""The days to live through. `scale` 1.0 is the whole: 500 operations a second of 100,000 persons."""

from collections.abc import Callable

from tests.simulation.day import Scenario
from tests.simulation.traffic import Flow, Kind
from tests.simulation.vendor import Down, Manners, Phase, Slow, Throttle, WrongKey

HOUR_S = 3_600.0
PER_S, PERSONS = 500.0, 100_000
OTHERS_PER_S = 50.0
"""Beside v1 calls, at any scale: what is too much for a rate is a matter of requests."""


def outage(scale: float) -> Scenario:
    return a_day(scale, before_s=300.0, after_s=300.0)


def drawn_day(scale: float) -> Scenario:
    """The same, with enough around it for a picture; apps speak so often that requests are what they would be."""
    return a_day(scale, before_s=3 * HOUR_S, after_s=3 * HOUR_S, tick_s=0.05)


def a_day(scale: float, *, before_s: float, after_s: float, tick_s: float = 2.0) -> Scenario:
    """Six hours without Customer.io, with as much before and after as one wants to see."""
    trouble = (Down("torn"), Down("503"), Down("connect"), Down("timeout"))
    lasts_s = (5.0, 2 * HOUR_S - 5.0, 2 * HOUR_S, 2 * HOUR_S)
    begins_s = [before_s + sum(lasts_s[:place]) for place in range(len(lasts_s))]
    until_s = before_s + 6 * HOUR_S + after_s
    return Scenario(
        name="outage",
        drain="after a hold",
        says="six hours of 503, refused connections and timeouts",
        persons=PERSONS,
        flows=[Flow(per_s=PER_S * scale, from_s=0.0, until_s=until_s)],
        until_s=until_s,
        phases=[
            Phase(begin_s, begin_s + last_s, its)
            for begin_s, last_s, its in zip(begins_s, lasts_s, trouble, strict=True)
        ],
        tick_s=tick_s,
    )


def throttled(_: float) -> Scenario:
    """What leaves in batches is hardly ever too many requests: so it is v1 calls, which leave alone, that meet 429s."""
    return Scenario(
        name="throttled",
        drain="after 429s",
        says="429 to what is above 25 requests/s, at first without, then with a Retry-After",
        persons=PERSONS,
        flows=[
            Flow(per_s=40.0, from_s=30.0, until_s=300.0, kind=Kind.V1),
            Flow(per_s=OTHERS_PER_S, from_s=0.0, until_s=300.0),
        ],
        until_s=300.0,
        phases=[Phase(40.0, 140.0, Throttle(25.0)), Phase(180.0, 280.0, Throttle(25.0, retry_after="2"))],
    )


def slow(scale: float) -> Scenario:
    return Scenario(
        name="slow",
        drain="after a hold",
        says="ten times slower for an hour, with two hours' backlog to empty meanwhile",
        persons=PERSONS,
        flows=[Flow(per_s=PER_S * scale, from_s=0.0, until_s=2.4 * HOUR_S)],
        until_s=2.4 * HOUR_S,
        phases=[
            Phase(300.0, 300.0 + 2 * HOUR_S, Down("connect")),
            Phase(300.0 + 2 * HOUR_S, 300.0 + 3 * HOUR_S, Slow(10.0)),
        ],
        tick_s=2.0,
    )


def crowded(scale: float) -> Scenario:
    return Scenario(
        name="crowded",
        drain="after a hold",
        drain_margin=1.25,  # to find out how many requests are too many, some must be too few
        says="a Customer.io that serves four requests at a time, after an hour's outage",
        persons=PERSONS,
        flows=[Flow(per_s=PER_S * scale, from_s=0.0, until_s=1.5 * HOUR_S)],
        until_s=1.5 * HOUR_S,
        phases=[Phase(600.0, 4_200.0, Down("connect"))],
        manners=Manners(workers=4, base_s=0.2, per_entry_s=0.0001),
    )


def busy(scale: float) -> Scenario:
    return Scenario(
        name="busy",
        drain="one person's",
        says="one person's million events within half a minute, among everybody else's",
        persons=PERSONS,
        flows=[
            Flow(per_s=1_000_000 / 30.0, from_s=60.0, until_s=60.0 + 30.0 * scale, kind=Kind.BUSY),
            Flow(per_s=PER_S * scale, from_s=0.0, until_s=600.0),
        ],
        until_s=600.0,
    )


def poison(scale: float) -> Scenario:
    return poisoned(scale, "poison", "one in a thousand is refused by name (207)", Manners(poison_by=207))


def poison_400(scale: float) -> Scenario:
    return poisoned(scale, "poison-400", "one in a thousand has its request refused (400)", Manners(poison_by=400))


def poisoned(scale: float, name: str, says: str, manners: Manners) -> Scenario:
    """With a backlog, so that full batches meet the poison too."""
    return Scenario(
        name=name,
        says=says,
        persons=PERSONS,
        flows=[Flow(per_s=PER_S * scale, from_s=0.0, until_s=0.5 * HOUR_S, odd=Kind.POISON, odd_every=1_000)],
        until_s=0.5 * HOUR_S,
        phases=[Phase(300.0, 900.0, Down("503"))],
        manners=manners,
    )


def firewall(scale: float) -> Scenario:
    per_s = PER_S * scale
    return Scenario(
        name="firewall",
        others_wait_max_s=2.0,
        says="a firewall refuses one body, for ever",
        persons=PERSONS,
        flows=[Flow(per_s=per_s, from_s=0.0, until_s=HOUR_S, odd=Kind.BLOCKED, odd_every=round(per_s * HOUR_S))],
        until_s=HOUR_S,
        is_held=True,
    )


def wrong_key(scale: float) -> Scenario:
    """A night's traffic is a tenth of the day's."""
    return Scenario(
        name="wrong-key",
        drain="after a hold",
        tick_s=10.0,
        says="401 to everything from ten at night to eight in the morning",
        persons=PERSONS,
        flows=[Flow(per_s=PER_S * scale / 10, from_s=0.0, until_s=11 * HOUR_S)],
        until_s=11 * HOUR_S,
        phases=[Phase(0.5 * HOUR_S, 10.5 * HOUR_S, WrongKey())],
    )


def v1(_: float) -> Scenario:
    return Scenario(
        name="v1",
        drain="after too many",
        others_wait_max_s=2.0,
        says="130 calls/s that must leave alone, where 100 requests/s may leave, for a minute",
        persons=PERSONS,
        flows=[
            Flow(per_s=130.0, from_s=40.0, until_s=100.0, kind=Kind.V1),
            Flow(per_s=OTHERS_PER_S, from_s=0.0, until_s=180.0),
        ],
        until_s=180.0,
    )


SCENARIOS: dict[str, Callable[[float], Scenario]] = {
    "outage": outage,
    "throttled": throttled,
    "slow": slow,
    "crowded": crowded,
    "busy": busy,
    "poison": poison,
    "poison-400": poison_400,
    "firewall": firewall,
    "wrong-key": wrong_key,
    "v1": v1,
}
