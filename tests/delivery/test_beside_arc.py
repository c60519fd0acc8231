"""Our number of requests under way beside Vector's adaptive concurrency, before the same upstreams. Prints a table."""

import heapq
import random
from collections.abc import Callable
from statistics import fmean

import pytest
from msgspec import Struct

from cio_buffer.delivery.concurrency import Concurrency
from tests.delivery.arc import Arc

LASTS_S = 300.0
LIMIT_MAX = 64


class Upstream(Struct, frozen=True, kw_only=True):
    """Serves `hands` requests at a time, each in `service_s(now)`; refuses a share of them. No request is ever late."""

    says: str
    hands: int = 1_000
    service_s: Callable[[float], float] = lambda now: 0.1
    refused_share: float = 0.0


class Score(Struct, frozen=True, kw_only=True):
    """Of the requests that an upstream could have served: the share that was; and how many waited there on average."""

    served: float
    in_line: float


UPSTREAMS = [
    Upstream(says="eight hands", hands=8),
    Upstream(says="ten times slower after a minute", service_s=lambda now: 0.1 if now < 60.0 else 1.0),
    Upstream(says="slower and slower, a little each second", service_s=lambda now: 0.1 + now / 300.0),
    Upstream(says="two hands", hands=2, service_s=lambda now: 0.3),
    Upstream(says="one in fifty refused", refused_share=0.02),
]


def put_to(upstream: Upstream, rule: Concurrency | Arc, seed: int = 1) -> Score:
    """Keep as many requests under way as the rule lets be."""
    chance = random.Random(seed)
    under_way: list[tuple[float, float, bool]] = []
    hands = [0.0] * min(upstream.hands, LIMIT_MAX)
    heapq.heapify(hands)
    now, served, waited_s, possible = 0.0, 0, 0.0, 0.0
    while now < LASTS_S:
        while len(under_way) < rule.limit:
            rule.started(len(under_way) + 1)
            begins = max(heapq.heappop(hands), now)
            ends = begins + upstream.service_s(now) * chance.uniform(0.8, 1.2)
            heapq.heappush(hands, ends)
            waited_s += begins - now
            heapq.heappush(under_way, (ends, now, chance.random() < upstream.refused_share))
        before = now
        now, sent_at, is_refused = heapq.heappop(under_way)
        possible += len(hands) * (now - before) / upstream.service_s(now)
        served += not is_refused
        (rule.refused if is_refused else rule.answered)(sent_at=sent_at, now=now)
    return Score(served=served / possible, in_line=waited_s / LASTS_S)


def scores(upstream: Upstream, make: Callable[[int], Concurrency | Arc]) -> Score:
    runs = [put_to(upstream, make(LIMIT_MAX), seed) for seed in range(3)]
    return Score(served=fmean(run.served for run in runs), in_line=fmean(run.in_line for run in runs))


@pytest.mark.parametrize("upstream", UPSTREAMS, ids=lambda upstream: upstream.says)
def test_it_serves_no_less_and_keeps_no_longer_a_line(upstream: Upstream) -> None:
    ours, arc = scores(upstream, Concurrency), scores(upstream, Arc)
    print(f"{upstream.says:<42} ours {ours.served:4.0%}, {ours.in_line:4.1f} in line")
    print(f"{'':<42} arc  {arc.served:4.0%}, {arc.in_line:4.1f} in line")
    assert ours.served >= arc.served - 0.02
    assert ours.in_line <= max(arc.in_line, upstream.hands)
