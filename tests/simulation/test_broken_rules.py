"""Rules broken on purpose: the check that is there for each of them says so. One that cannot fail proves nothing."""

from collections.abc import Callable

import pytest

from cio_buffer.delivery import pacing, rate, verdict
from cio_buffer.delivery.breaker import Breaker
from cio_buffer.delivery.claimed import Claimed
from cio_buffer.delivery.concurrency import Concurrency
from cio_buffer.delivery.drain import Drain
from cio_buffer.delivery.lanes import Window
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.rate import Rate
from cio_buffer.delivery.retry import Backoff, RetryPolicy
from cio_buffer.delivery.verdict import DELIVERED, Meaning, Verdict
from cio_buffer.outbox import tables
from cio_buffer.outbox.entry import Delivered
from tests.simulation import checks
from tests.simulation.checks import Problems, problems
from tests.simulation.day import Outcome, Scenario, live
from tests.simulation.traffic import Flow, Kind
from tests.simulation.vendor import Down, Manners, Phase, Throttle, WrongKey

SEED = 1
Break = Callable[[pytest.MonkeyPatch], None]


def hold(**changed: object) -> Scenario:
    """Ten minutes of 401, and 36,000 operations that wait for their end."""
    usual = {
        "name": "hold",
        "says": "",
        "persons": 10_000,
        "flows": [Flow(per_s=60.0, from_s=0.0, until_s=900.0)],
        "until_s": 900.0,
        "phases": [Phase(60.0, 660.0, WrongKey())],
        "drain": "after a hold",
        "tick_s": 3.0,
    }
    return Scenario(**(usual | changed))


def crowd() -> Scenario:
    return hold(name="crowd", manners=Manners(workers=2, base_s=0.2, per_entry_s=0.0001))


def flood(**changed: object) -> Scenario:
    """More v1 calls than may leave."""
    flows = [
        Flow(per_s=130.0, from_s=40.0, until_s=60.0, kind=Kind.V1),
        Flow(per_s=50.0, from_s=0.0, until_s=90.0),
    ]
    usual = {"name": "flood", "says": "", "persons": 10_000, "flows": flows, "until_s": 90.0, "others_wait_max_s": 2.0}
    return Scenario(**(usual | changed))


def far() -> Scenario:
    """Answers take so long that all that may be under way is."""
    return flood(name="far", manners=Manners(base_s=0.5), others_wait_max_s=None)


def few() -> Scenario:
    """Thirty persons, whose operations meet all the time; a poison in a hundred; three minutes of 503."""
    flows = [Flow(per_s=100.0, from_s=0.0, until_s=300.0, odd=Kind.POISON, odd_every=100)]
    phases = [Phase(100.0, 280.0, Down("503"))]
    return Scenario(name="few", says="", persons=30, flows=flows, until_s=300.0, phases=phases)


def throttle() -> Scenario:
    flows = [Flow(per_s=50.0, from_s=40.0, until_s=100.0, kind=Kind.V1)]
    phases = [Phase(40.0, 100.0, Throttle(30.0))]
    return Scenario(name="throttle", says="", persons=10_000, flows=flows, until_s=100.0, phases=phases)


SHORT = [hold, crowd, flood, far, few, throttle]


@pytest.mark.parametrize("scenario", SHORT)
def test_unbroken_nothing_is_wrong(scenario: Callable[[], Scenario]) -> None:
    print(f"seed {SEED}")
    assert problems(live(scenario(), SEED)) == []


def no_ramp(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rate, "ramp", lambda self, now, for_s: None)


def a_ramp_of_minutes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pacing, "RAMP_MAX_S", 300.0)


def no_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rate, "wait_s", lambda self, now: 0.0)


def any_number_under_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Concurrency, "limit", property(lambda self: 40))


def no_learning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Concurrency, "limit", property(lambda self: 16))


def no_lanes(patch: pytest.MonkeyPatch) -> None:
    def enter(self: Window, claimed: Claimed) -> None:
        for lane in claimed.entry.lanes:
            self._lanes.setdefault(lane, []).append(claimed)
        self._make_ready(claimed)

    patch.setattr(Window, "_enter", enter)


def all_is_delivered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryPolicy, "settle", lambda *_, **__: Delivered())


def nothing_is_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verdict, "judge_each", lambda told, status, entries: [DELIVERED] * entries)


def one_dies_with_all(patch: pytest.MonkeyPatch) -> None:
    judge_each = verdict.judge_each

    def of_all(told: object, status: int, entries: int) -> list[Verdict]:
        verdicts = judge_each(told, status, entries)
        bad = next((one for one in verdicts if one.meaning is Meaning.REFUSED), None)
        return [bad] * entries if bad else verdicts

    patch.setattr(verdict, "judge_each", of_all)


def neighbours_of_poison_go_again(patch: pytest.MonkeyPatch) -> None:
    judge_each = verdict.judge_each

    def undecided(told: object, status: int, entries: int) -> list[Verdict]:
        verdicts, again = judge_each(told, status, entries), Verdict(meaning=Meaning.UNDECIDED)
        return verdicts if entries == 1 or status == 200 else [again if one is DELIVERED else one for one in verdicts]

    patch.setattr(verdict, "judge_each", undecided)


def miscounted(patch: pytest.MonkeyPatch) -> None:
    delete_main = tables.delete_main
    patch.setattr(tables, "delete_main", lambda db, seqs: delete_main(db, seqs) // 2)


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "wait_s", lambda self, failures, jitter: 1.0)


def all_ask_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pacing, "in_flight_limit", property(lambda self: 16))


def never_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "is_open", property(lambda self: False))


def calls_first(patch: pytest.MonkeyPatch) -> None:
    def batches_last(self: Drain) -> list[Claimed]:
        if self._window.has_v1(only_newcomers=False):
            return self._window.take_v1()
        return self._window.take_batch(self._limits.batch) if self._batch_due_in_s() <= 0.0 else []

    patch.setattr(Drain, "_next", batches_last)


def undaunted_by_429s(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rate, "cut", lambda self, now: None)


def frightened_by_429s(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate, "CUT", 0.1)
    patch.setattr(rate, "GROWTH_PER_S", 0.003)


@pytest.mark.parametrize(
    ("scenario", "rule", "check"),
    [
        (hold, no_ramp, checks.no_burst),
        (hold, a_ramp_of_minutes, checks.drained_in_time),
        (hold, impatient, checks.one_asks_at_a_time),
        (hold, all_ask_at_once, checks.one_asks_at_a_time),
        (hold, never_held, checks.one_asks_at_a_time),
        (flood, no_rate, checks.never_above_the_rate),
        (flood, calls_first, checks.the_others_pass),
        (far, any_number_under_way, checks.never_above_the_rate),
        (few, no_lanes, checks.nothing_overtaken),
        (few, all_is_delivered, checks.nothing_lost),
        (few, nothing_is_refused, checks.nothing_lost),
        (few, one_dies_with_all, checks.nothing_lost),
        (few, neighbours_of_poison_go_again, checks.nothing_twice),
        (few, miscounted, checks.the_ledger_adds_up),
        (throttle, undaunted_by_429s, checks.polite_under_429s),
        (throttle, frightened_by_429s, checks.polite_under_429s),
        (crowd, no_learning, checks.no_line_of_our_making),
    ],
)
def test_a_broken_rule_is_noticed(
    monkeypatch: pytest.MonkeyPatch, scenario: Callable[[], Scenario], rule: Break, check: Callable[[Outcome], Problems]
) -> None:
    print(f"seed {SEED}")
    rule(monkeypatch)
    found = check(live(scenario(), SEED))
    print(*found, sep="\n")
    assert found
