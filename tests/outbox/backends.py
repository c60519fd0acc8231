"""What the contract is tested against: backends that can crash, and a drain's hand to claim and settle with."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import structs

from cio_buffer.clock import Clock
from cio_buffer.outbox.contract import Claim, Lease, Outbox, Room
from cio_buffer.outbox.entry import Entry, NewEntry, Settled, Settlement, pack_lanes
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.support.clock import FakeClock

NOW_MS = 1_700_000_000_000
WAIT_MAX_MS = 300_000
PLENTY = Room(
    main_entries=1_000, main_bytes=1_000_000, parked_entries=1_000, parked_bytes=1_000_000, parked_v1_entries=1_000
)


class Backend(Protocol):
    """Opens and closes outboxes, one at a time, on the same data."""

    async def open(self) -> Outbox: ...

    async def crash(self) -> Outbox:
        """Open what is left when the process that has it open is gone from one moment to the next."""
        ...

    async def close(self) -> None: ...


class SqliteBackend:
    """Crashes by opening a copy of the files as they are, without what closing would do to them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._lives = 0

    async def open(self) -> SqliteOutbox:
        self._outbox = SqliteOutbox(
            self._folder / str(self._lives) / "outbox.db", clock=self._clock, bytes_max=2**30, disk_free_min_bytes=0
        )
        await self._outbox.open()
        return self._outbox

    async def crash(self) -> SqliteOutbox:
        self._lives += 1
        shutil.copytree(self._folder / str(self._lives - 1), self._folder / str(self._lives))
        await self.close()
        return await self.open()

    async def close(self) -> None:
        await self._outbox.close()


BACKENDS: dict[str, Callable[[Path, Clock], Backend]] = {"sqlite": SqliteBackend}


def entry(name: str, *lanes: str, at_ms: int = NOW_MS - 1_000, call: str | None = None, size: int = 0) -> NewEntry:
    """An entry that tests know by its name, which is its body, filled up to `size`."""
    body = name.ljust(size).encode()
    return NewEntry(kind="event", lanes=pack_lanes(lanes), body=body, accepted_at_ms=at_ms, call=call)


def v1(name: str, *lanes: str, at_ms: int = NOW_MS - 1_000, size: int = 0) -> NewEntry:
    """An entry that leaves alone."""
    return entry(name, *lanes, at_ms=at_ms, call="POST /api/v1/events", size=size)


def name_of(stored: Entry) -> str:
    return stored.body.decode().rstrip()


class Hand:
    """An outbox on a backend, and what was claimed from it, by name.

    `now_ms` is what the drain's clock shows, which need not agree with `clock`, the store's.
    """

    def __init__(self, backend: Backend, clock: FakeClock) -> None:
        self.backend, self.clock = backend, clock
        self.now_ms = NOW_MS
        self.outbox: Outbox
        self.lease: Lease
        self.held: dict[str, Entry] = {}

    async def open(self) -> "Hand":
        return await self._hold(await self.backend.open())

    async def crash(self) -> None:
        await self._hold(await self.backend.crash())

    async def reopen(self) -> None:
        await self.backend.close()
        await self.open()

    async def _hold(self, outbox: Outbox) -> "Hand":
        self.outbox = outbox
        self.lease = await self.acquire()
        self.held.clear()
        return self

    async def acquire(self) -> Lease:
        """Another lease. It is not in this hand yet."""
        return await self.outbox.acquire(now_ms=self.now_ms, wait_max_ms=WAIT_MAX_MS)

    async def append(self, *entries: NewEntry) -> Sequence[int]:
        return await self.outbox.append(entries)

    async def take(self, *, now_ms: int | None = None, **room: int) -> Claim:
        """Claim, with plenty of room except where `room` says less."""
        now_ms = self.now_ms if now_ms is None else now_ms
        claim = await self.lease.claim(structs.replace(PLENTY, **room), now_ms=now_ms)
        for claimed in (*claim.parked, *(met.entry for met in claim.main)):
            self.held[name_of(claimed)] = claimed
        return claim

    async def main(self, *, now_ms: int | None = None, **room: int) -> list[str]:
        """The names that a claim brings from the main lane."""
        return [name_of(met.entry) for met in (await self.take(now_ms=now_ms, **room)).main]

    async def parked(self, *, now_ms: int | None = None, **room: int) -> list[str]:
        """The names that a claim brings from the parked ones."""
        return [name_of(one) for one in (await self.take(now_ms=now_ms, **room)).parked]

    async def settle(self, settlement: Settlement, *names: str, attempts: int = 1) -> None:
        await self.settle_each(dict.fromkeys(names, settlement), attempts=attempts)

    async def settle_each(self, settlements: dict[str, Settlement], *, attempts: int = 1) -> None:
        settled = [Settled(self.held[name], how, attempts) for name, how in settlements.items()]
        await self.lease.settle(settled, now_ms=self.now_ms)
