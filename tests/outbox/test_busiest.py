"""The busiest lanes: exact while little waits, near the truth in a store that is too large to be read."""

import random
import sqlite3
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_buffer.outbox import busiest as busy
from cio_buffer.outbox import places
from cio_buffer.outbox.busiest import busiest, lane_sample
from cio_buffer.outbox.places import inhabited, spread
from cio_buffer.outbox.schema import migrate

HOT, WARM, COLD = -7, 2**62, 5
MILLION = 1_000_000
Lanes = Sequence[int]


class Store:
    """A store in memory, of which a test says what waits in it."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.db)

    def fill(self, rows: Iterable[tuple[int, Lanes]], table: str = "event") -> None:
        """Entries by number and lanes. The ledger counts them."""
        self.db.execute("BEGIN")
        packed = ((seq, struct.pack(f"<{len(lanes)}q", *lanes), str(seq).encode()) for seq, lanes in rows)
        insert = f"INSERT INTO {table} (seq, lanes, kind, accepted_at_ms, call, body) VALUES (?, ?, 'event', 0, 'P', ?)"
        count = self.db.executemany(insert, packed).rowcount
        parked = count if table == "parked" else 0
        self.db.execute("UPDATE ledger SET accepted = accepted + ?, parked = parked + ?", (count, parked))
        self.db.execute("COMMIT")

    def park(self, rows: Sequence[tuple[int, Lanes]]) -> None:
        self.fill(rows, "parked")
        self.db.executemany(
            "INSERT INTO parked_lane (lane, seq) VALUES (?, ?)", [(lane, seq) for seq, lanes in rows for lane in lanes]
        )


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.db.close()


def told(store: Store, count: int = 10, chance: random.Random | None = None) -> list[tuple[int, int, bool]]:
    return [(one.lane, one.entries, one.is_estimate) for one in busiest(store.db, count, chance)]


# Little waits: all of it is counted


def test_nothing_waits(store: Store) -> None:
    assert busiest(store.db, 10) == []
    assert lane_sample(store.db, HOT) is None


def test_entries_that_touch_no_lane_or_several(store: Store) -> None:
    store.fill([(1, []), (2, [HOT, WARM]), (9, [HOT]), (10, []), (11, [])])
    assert told(store) == [(HOT, 2, False), (WARM, 1, False)]


def test_what_is_parked_waits_too(store: Store) -> None:
    store.fill([(4, [HOT]), (5, [WARM])])
    store.park([(1, [WARM]), (2, [WARM, COLD])])
    assert told(store, 2) == [(WARM, 3, False), (HOT, 1, False)]


LANE = st.sampled_from([HOT, WARM, COLD, 0, 1, -1, -(2**63), 2**63 - 1])
ENTRY = st.sets(LANE, max_size=4)


@given(main=st.lists(ENTRY, max_size=30), parked=st.lists(ENTRY, max_size=30), count=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_small_stores_are_counted_to_the_entry(main: list[set[int]], parked: list[set[int]], count: int) -> None:
    store = Store()
    store.fill((3 * seq, sorted(lanes)) for seq, lanes in enumerate(main, 1))
    store.park([(3 * seq + 1, sorted(lanes)) for seq, lanes in enumerate(parked, 1)])
    truth = Counter(lane for lanes in (*main, *parked) for lane in lanes)
    found = told(store, count)
    assert [entries for _, entries, _ in found] == sorted(truth.values(), reverse=True)[:count]
    assert all(truth[lane] == entries and not is_estimate for lane, entries, is_estimate in found)
    assert len({lane for lane, _, _ in found}) == len(found)
    assert all(lane_sample(store.db, lane) for lane in truth)
    store.db.close()


def test_the_last_that_is_counted_and_the_first_that_is_judged(store: Store) -> None:
    store.fill((seq, [HOT]) for seq in range(1, busy.EXACT_MAX + 1))
    assert told(store) == [(HOT, busy.EXACT_MAX, False)]
    store.fill([(MILLION, [HOT])])
    assert told(store) == [(HOT, busy.EXACT_MAX + 1, True)]


# Much waits: a sample is judged by


def lanes_by_share(chance: random.Random) -> Lanes:
    """Of entries: 40 % touch HOT, 12 % WARM, 1 % COLD beside another, the rest nobody else's."""
    at = chance.random()
    return [HOT] if at < 0.40 else [WARM] if at < 0.52 else [COLD, own(chance)] if at < 0.53 else [own(chance)]


def own(chance: random.Random) -> int:
    return chance.getrandbits(63)


def shuffled(seqs: Iterable[int]) -> Iterator[tuple[int, Lanes]]:
    chance = random.Random(1)
    return ((seq, lanes_by_share(chance)) for seq in seqs)


def in_bursts(seqs: Iterable[int]) -> Iterator[tuple[int, Lanes]]:
    """Imports: 1,000 entries of one lane at a stretch."""
    chance = random.Random(2)
    lanes: Lanes = []
    for place, seq in enumerate(seqs):
        lanes = lanes_by_share(chance) if place % 1_000 == 0 else lanes
        yield seq, lanes


def in_two_halves(seqs: Iterable[int]) -> Iterator[tuple[int, Lanes]]:
    """What came before a gap is another's than what came after."""
    return ((seq, [HOT] if seq < MILLION else [WARM]) for seq in seqs)


def after_restarts(count: int, entries: int) -> Iterator[int]:
    """So many starts, a million numbers apart, with so many entries each."""
    return (start * MILLION + seq for start in range(count) for seq in range(1, entries + 1))


def behind_what_a_slow_lane_left() -> Iterator[int]:
    """A window's worth of entries with everybody else's gone from between them, and then a backlog without gaps."""
    yield from range(1, 10 * MILLION, 500)
    yield from range(10 * MILLION, 10 * MILLION + 100_000)


def far_apart() -> Iterator[int]:
    yield from range(1, 30_001)
    yield from range(2_000 * MILLION, 2_000 * MILLION + 90_000)


SHAPES = {
    "one after the other": lambda: shuffled(range(1, 120_001)),
    "every other one is gone": lambda: shuffled(range(1, 200_001, 2)),
    "most are gone": lambda: shuffled(sorted(random.Random(3).sample(range(20 * MILLION), 120_000))),
    "imports": lambda: in_bursts(range(1, 200_001)),
    "ten starts": lambda: shuffled(after_restarts(10, 12_000)),
    "a start a minute": lambda: shuffled(after_restarts(1_400, 80)),
    "one long gap": lambda: in_two_halves(far_apart()),
    "a slow lane": lambda: in_two_halves(behind_what_a_slow_lane_left()),
}


@pytest.mark.parametrize("table", ["event", "parked"])
@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_large_store_the_busiest_are_judged_well(store: Store, shape: str, table: str) -> None:
    """A lane with a tenth of what waits or more: by some hundredths of itself; one with a hundredth, by a third."""
    truth: Counter[int] = Counter()
    entries = 0
    rows = []
    for seq, lanes in SHAPES[shape]():
        truth.update(lanes)
        entries += 1
        rows.append((seq, lanes))
    store.fill(rows, table)
    for seed in (11, 12, 13):
        found = {one.lane: one for one in busiest(store.db, 10, random.Random(seed))}
        for lane, right in truth.most_common(3):
            share = right / entries
            if share >= 0.01:
                assert found[lane].is_estimate
                within = 0.05 if share >= 0.1 else 0.4
                assert found[lane].entries == pytest.approx(right, rel=within), (shape, seed, lane)
        assert all(truth[one.lane] > 20 for one in found.values())


def test_without_chance_the_same_store_is_told_the_same_way(store: Store) -> None:
    store.fill(shuffled(range(1, 100_001)))
    assert told(store) == told(store)
    assert told(store) != told(store, chance=random.Random(5))


def test_where_nobody_is_busy_nobody_is_named(store: Store) -> None:
    """What is met once in a sample would stand for thousands."""
    store.fill((seq, [seq]) for seq in range(1, 100_001))
    assert told(store) == []


def test_a_burst_is_not_taken_for_a_busy_lane(store: Store) -> None:
    """A thousandth, all in one spot: it may be met there, and would seem to be more than it is."""
    chance = random.Random(4)
    store.fill((seq, [HOT] if 50_000 <= seq < 50_030 else [own(chance)]) for seq in range(1, 100_001))
    for seed in range(20):
        assert told(store, chance=random.Random(seed)) == []


def test_beside_a_large_table_a_small_one_is_counted(store: Store) -> None:
    store.fill((seq, [HOT]) for seq in range(1, 100_001))
    store.park([(seq, [COLD]) for seq in range(200_000, 200_003)])
    assert told(store) == [(HOT, 100_000, True), (COLD, 3, True)]


def test_calls_that_touch_a_thousand_lanes_do_not_fill_the_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends early, and what was read is taken for the rest, from all over the table."""
    chance = random.Random(6)
    store.fill(
        (seq, [HOT if seq > 1_500 else WARM, *(own(chance) for _ in range(200))] if seq % 3 else [])
        for seq in range(1, 3_001)
    )
    monkeypatch.setattr(busy, "LANES_MAX", 20_000)
    seen = busy.look_at(store.db, "event", 3_000, random.Random(7))
    assert busy.LANES_MAX <= len(seen.lanes) < 1.2 * busy.LANES_MAX
    found = {lane: entries for lane, entries, _ in told(store)}
    assert min(found.values()) > 300
    assert found[HOT] + found[WARM] == pytest.approx(2_000, rel=0.1)


def test_a_ledger_that_is_wrong_is_no_reason_to_fail(store: Store) -> None:
    store.fill([(1, [HOT])])
    for wrong in (-5, 0, 3 * MILLION):
        store.db.execute("UPDATE ledger SET accepted = ?", (wrong,))
        assert [one.lane for one in busiest(store.db, 3)] == [HOT]
        lane_sample(store.db, HOT)
        lane_sample(store.db, COLD)


def test_what_is_read_at_once_is_bounded(store: Store) -> None:
    """Whatever waits, a step reads little, and all of them together not much more than the sample."""
    store.fill(shuffled(after_restarts(40, 5_000)))
    found = spread(store.db, "event", 200_000, wanted=busy.SAMPLE_ENTRIES, chance=random.Random(8))
    assert places.PLACES <= len(found) < 2 * places.PLACES
    seen = busy.sampled(store.db, "event", found)
    assert seen.entries == pytest.approx(busy.SAMPLE_ENTRIES, rel=0.05)


# An entry of a lane


def test_one_that_is_parked_is_found_by_its_lane(store: Store) -> None:
    store.fill((seq, [WARM]) for seq in range(1, 60_001))
    store.park([(70_000, [COLD]), (70_001, [HOT, WARM])])
    assert lane_sample(store.db, HOT) == (b"70001", "P")


def test_a_busy_lane_of_a_large_store_has_a_sample(store: Store) -> None:
    rows = dict(shuffled(range(1, 200_001)))
    store.fill(rows.items())
    for seed in range(5):
        for lane in (HOT, WARM, COLD):
            found = lane_sample(store.db, lane, random.Random(seed))
            assert found is not None
            assert lane in rows[int(found[0])]
    assert lane_sample(store.db, 12345) is None


# Where to look


@given(
    seqs=st.sets(st.integers(1, 5_000), min_size=1, max_size=60) | st.sets(st.integers(1, 2**62), min_size=1),
    wanted=st.integers(1, 200),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_places_cover_what_they_should(seqs: set[int], wanted: int, seed: int) -> None:
    """No number without its span, and all of them together as wide as was wanted."""
    store = Store()
    store.fill((seq, []) for seq in seqs)
    spans = inhabited(store.db, "event")
    assert spans == sorted(spans)
    assert all(any(first <= seq <= last for first, last in spans) for seq in seqs)
    assert all(first in seqs and last in seqs for first, last in spans)
    numbers = sum(last - first + 1 for first, last in spans)
    found = spread(store.db, "event", len(seqs), wanted=wanted, chance=random.Random(seed))
    assert all(any(first <= low <= high <= last for first, last in spans) for low, high in found)
    width = min(max(-(-wanted * numbers // (places.PLACES * len(seqs))), 1), numbers)
    assert sum(high - low + 1 for low, high in found) == places.PLACES * width
    store.db.close()


def test_every_entry_is_met_as_often_as_any_other(store: Store) -> None:
    """Also the first behind a gap, and the last before one."""
    seqs = [*range(1, 41), *range(5_000, 5_040), *range(90_000, 90_400, 10)]
    store.fill((seq, [seq]) for seq in seqs)
    met: Counter[int] = Counter()
    for seed in range(40):
        for low, high in spread(store.db, "event", 120, wanted=2_400, chance=random.Random(seed)):
            met.update(seqs[bisect_left(seqs, low) : bisect_right(seqs, high)])
    assert set(met) == set(seqs)
    assert max(met.values()) < 1.3 * min(met.values())
