"""Any operations bad, refused in any way, split in any way: the bad ones die, the good ones are taken in."""

import asyncio
import json
import tempfile
from collections import Counter
from math import ceil, log2
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_buffer.upstream.transport import Reply
from tests.delivery.world import World, number_of

WHOLE = ("400", "413", "422")
NAMED = ("207", "200", "207 twice", "207 and nonsense")
UNNAMED = ("207 unnamed", "200 unnamed", "207 of text", "207 below 0", "207 empty", "207 cut off", "200 cut off")


def refusal(mode: str, bad: list[int]) -> Reply:
    """How the vendor says that the operations at `bad` are bad."""
    told = [{"batch_index": index, "reason": "invalid", "field": "name", "message": "bad"} for index in bad]
    status, _, how = mode.partition(" ")
    match how:
        case "twice":
            told += [{**one, "field": "id"} for one in told]
        case "and nonsense":
            told += [{"batch_index": 10_000}, {"batch_index": "x"}, {"message": "of nobody"}]
        case "unnamed":
            told = [{"reason": "invalid", "message": "one of them"}]
        case "of text":
            told = [{**one, "batch_index": str(one["batch_index"])} for one in told]
        case "below 0":
            told = [{**one, "batch_index": -1 - index} for index, one in enumerate(told)]
        case "empty":
            told = []
        case "cut off":
            return Reply(status=int(status), body=json.dumps({"errors": told}).encode()[:-3])
    return Reply(status=int(status), body=json.dumps({"errors": told}).encode())


class Vendor:
    """Refuses what is bad, by a mode that may differ from request to request. What it took in, it counts."""

    def __init__(self, bad: set[int], modes: list[str]) -> None:
        self.bad, self.modes = bad, modes
        self.taken: Counter[int] = Counter()
        self.requests = 0

    def __call__(self, operations: list[dict[str, object]]) -> Reply:
        numbers = [number_of(operation) for operation in operations]
        bad = [index for index, number in enumerate(numbers) if number in self.bad]
        mode = self.modes[self.requests % len(self.modes)]
        self.requests += 1
        is_refused_whole = bool(bad) and mode in WHOLE
        if not is_refused_whole:
            self.taken.update(number for number in numbers if number not in self.bad)
        if not bad:
            return Reply(status=200, body=b"{}")
        if mode == "200 cut off" and len(numbers) == 1:
            mode = "200"  # whoever is told 200 and nothing that can be read has to believe it
        return refusal(mode, bad)


async def drain_all(folder: Path, vendor: Vendor, lanes: list[list[int]], **limits: object) -> World:
    """Append one entry for each of `lanes`, and step until all is settled."""
    world = await World(folder, **limits).open()
    world.api.otherwise = vendor
    await world.append(*(world.entry(n, *(f"id:{lane}" for lane in of)) for n, of in enumerate(lanes)))
    await world.until_idle(patience=2_000)
    return world


LANES = st.lists(st.lists(st.integers(0, 8), max_size=2, unique=True), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lanes=LANES,
    data=st.data(),
    modes=st.one_of(
        st.lists(st.sampled_from(WHOLE + NAMED), min_size=1, max_size=4),
        st.lists(st.sampled_from(WHOLE + NAMED + UNNAMED), min_size=1, max_size=4),
    ),
    entries_max=st.integers(1, 40),
    bytes_max=st.sampled_from([60, 200, 500_000]),
    in_flight_max=st.integers(1, 4),
    same_lane=st.booleans(),
    window=st.sampled_from([5, 20, 1_000]),
)
def test_exactly_the_bad_ones_die_and_each_good_one_is_taken_in_once(
    lanes: list[list[int]], data: st.DataObject, modes: list[str], **limits: object
) -> None:
    bad = data.draw(st.sets(st.sampled_from(range(len(lanes)))), label="bad")
    vendor = Vendor(bad, modes)

    async def check(folder: Path) -> None:
        world = await drain_all(folder, vendor, lanes, **limits)
        letters = await world.outbox.archive.letters(limit=1_000)
        assert {json.loads(letter.body)["n"] for letter in letters} == bad
        assert set(vendor.taken) == set(range(len(lanes))) - bad
        if not set(modes) & set(UNNAMED):  # where nobody is named, the others have to be asked again, under their ids
            assert set(vendor.taken.values()) <= {1}
            assert all(letter.attempts >= 1 for letter in letters)
        assert world.drain.order.violations == 0
        assert (await world.outbox.audit()).is_balanced
        await world.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


@pytest.mark.parametrize("mode", [*WHOLE, "207 unnamed", "207 empty", "200 unnamed"])
@pytest.mark.parametrize("culprit", [0, 1, 499, 500, 777, 998, 999])
async def test_one_culprit_costs_few_requests(tmp_path: Path, mode: str, culprit: int) -> None:
    vendor = Vendor({culprit}, [mode])
    world = await drain_all(tmp_path, vendor, [[n] for n in range(1_000)])
    assert vendor.requests <= 1 + 2 * ceil(log2(1_000))
    (letter,) = await world.outbox.archive.letters()
    assert letter.seq == culprit + 1
    await world.close()


@pytest.mark.parametrize("status", [500, 403])
@pytest.mark.parametrize("culprit", [0, 500, 999])
async def test_one_culprit_that_fails_every_request_costs_few_and_is_held(
    tmp_path: Path, status: int, culprit: int
) -> None:
    """While others pass: until it stands alone. Then it is asked for ever more rarely, alone."""

    def answer(operations: list[dict[str, object]]) -> Reply:
        return Reply(status=status if any(one["n"] == culprit for one in operations) else 200)

    world = await World(tmp_path).open()
    world.api.otherwise = answer
    await world.append(*(world.entry(n, f"id:{n}") for n in range(1_000)))
    for _ in range(60):
        await world.step()
        world.clock.advance(0.5)
    alone = [request for request in world.api.seen if request == [culprit]]
    assert sorted(world.api.taken) == [n for n in range(1_000) if n != culprit]
    assert len(world.api.seen) - len(alone) <= 1 + 2 * ceil(log2(1_000))
    assert 1 <= len(alone) <= 12
    assert world.outbox.ledger().parked == 1
    assert world.drain.pacing.hold is None
    await world.close()
