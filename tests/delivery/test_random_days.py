"""Random days, from a seed: lanes, refusals, outages, lost answers, crashes. What is promised holds on each of them."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cio_buffer.outbox.entry import NewEntry
from cio_buffer.upstream.transport import Reply
from tests.delivery.world import World, number_of

LANES = [f"id:{n}" for n in range(5)]


class Day:
    """One random history."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.lanes_of: dict[int, tuple[str, ...]] = {}
        self.poison: set[int] = set()
        self.cursed: dict[int, int] = {}  # fails each request it is in, with this status, until the day ends
        self.trouble = 0.0
        world.api.otherwise = self.answer

    def answer(self, operations: list[dict[str, object]]) -> Reply:
        numbers = [number_of(operation) for operation in operations]
        bad = [index for index, n in enumerate(numbers) if n in self.poison]
        if self.chance.random() < self.trouble:
            return self.chance.choice(
                [
                    Reply(status=503),
                    Reply(status=500),
                    Reply(status=429, retry_after="2"),
                    Reply(trouble="timeout"),
                    Reply(trouble="connect"),
                    Reply(trouble="dns"),
                    Reply(trouble="tls"),
                    Reply(status=401),
                    Reply(status=403),
                    Reply(status=404),
                    Reply(status=302),
                    Reply(status=200, body=b"<html>sign in</html>"),
                    *([] if bad else [Reply(trouble="torn")]),  # taken in, but nobody heard
                ]
            )
        if cursed := [self.cursed[n] for n in numbers if n in self.cursed]:
            return Reply(status=cursed[0])
        if not bad:
            return Reply(status=200, body=b"{}")
        if self.chance.random() < 0.5 or self.world.api.paths[-1] != "/api/v2/batch":
            return Reply(status=self.chance.choice([400, 413]))
        errors = [{"batch_index": index, "reason": "invalid"} for index in bad]
        return Reply(status=207, body=json.dumps({"errors": errors}).encode())

    def entries(self) -> Iterator[NewEntry]:
        for _ in range(self.chance.randrange(1, 12)):
            n = len(self.lanes_of)
            lanes = tuple(self.chance.sample(LANES, self.chance.choice([0, 1, 1, 1, 2, 3])))
            self.lanes_of[n] = lanes
            if self.chance.random() < 0.05:
                self.poison.add(n)
            elif self.chance.random() < 0.03:
                self.cursed[n] = self.chance.choice([500, 503, 403])
            yield self.world.entry(n, *lanes, v1=self.chance.random() < 0.25)

    async def live(self) -> None:
        for _ in range(self.chance.randrange(10, 60)):
            match self.chance.randrange(9):
                case 0 | 1 | 2:
                    await self.world.append(*self.entries())
                case 3:
                    self.trouble = self.chance.choice([0.0, 0.2, 0.5, 1.0])
                case 4:
                    self.world.clock.advance(self.chance.uniform(0, 20))
                case 5 if self.chance.random() < 0.4:
                    await self.world.crash()
                case 6:
                    await self.world.drain.step()  # and do not wait for what it sent
                case 7:
                    self.world.clock.jump(self.chance.choice([-1, 1]) * self.chance.choice([0.5, 60.0, 86_400.0]))
                case _:
                    await self.world.step()
        self.trouble, self.cursed = 0.0, {}
        await self.world.until_idle()

    def first_taken(self, lane: str) -> list[int]:
        return list(dict.fromkeys(n for n in self.world.api.taken if lane in self.lanes_of[n]))


@pytest.mark.parametrize("block", range(8))
async def test_whatever_a_day_brings(tmp_path: Path, block: int) -> None:
    for seed in range(block * 25, (block + 1) * 25):
        print(f"seed {seed}")
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        limits = {
            "entries_max": chance.choice([1, 3, 10]),
            "window": chance.choice([4, 20, 1_000]),
            "v1_max": chance.choice([1, 3, 100]),
            "in_flight_max": chance.choice([1, 2, 4]),
            "same_lane": chance.random() < 0.8,
        }
        world = await World(folder, seed=seed, **limits).open()
        day = Day(world, chance)
        await day.live()
        good = set(day.lanes_of) - day.poison
        assert set(world.api.taken) == good  # nothing lost
        letters = await world.outbox.archive.letters(limit=1_000)
        assert {json.loads(letter.body)["n"] for letter in letters} == day.poison  # nobody else harmed
        for lane in LANES:
            assert day.first_taken(lane) == sorted(day.first_taken(lane)), lane
        assert world.drain.order.violations == 0
        assert (await world.outbox.audit()).is_balanced
        await world.close()
