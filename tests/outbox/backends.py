"""What the contract is tested against: backends that can crash, and a drain's hand to claim and settle with."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import structs

from cio_buffer.clock import Clock
from cio_buffer.outbox.archive import EVERY_LETTER, Dead, Found, Keeping, Known, Letters, Tidied
from cio_buffer.outbox.contract import Claim, Lease, Outbox, Room
from cio_buffer.outbox.entry import (
    Attempt,
    DeadLetter,
    Delivered,
    Entry,
    Fate,
    NewEntry,
    Report,
    Settled,
    Settlement,
    hash_lane,
    pack_lanes,
)
from cio_buffer.outbox.history import lengthened
from cio_buffer.outbox.sqlite import SqliteOutbox
from cio_buffer.outbox.trail import NO_MARK, mark_of, pack_trail
from tests.outbox.requests import Outcome, Request, attempt_of, fate_of, report_of
from tests.support.clock import FakeClock

NOW_MS = 1_700_000_000_000
WAIT_MAX_MS = 300_000
PLENTY = Room(
    main_entries=1_000, main_bytes=1_000_000, parked_entries=1_000, parked_bytes=1_000_000, parked_v1_entries=1_000
)
REFUSED = DeadLetter(reason="refused", vendor_reason="required", field="name", message="was missing", status=422)
FOREVER = Keeping(log_for_s=1e9, log_bytes=2**40, dead_for_s=1e9, dead_bytes=2**40)


class Backend(Protocol):
    """Opens and closes outboxes, one at a time, on the same data."""

    async def open(self) -> Outbox: ...

    async def crash(self) -> Outbox:
        """Open what is left when the process that has it open is gone from one moment to the next."""
        ...

    async def close(self) -> None: ...


class SqliteBackend:
    """Crashes by opening a copy of the files as they are, without what closing would do to them."""

    def __init__(self, folder: Path, clock: Clock, *, keeps_log: bool = True) -> None:
        self._folder, self._clock = folder, clock
        self.keeps_log = keeps_log  # from the next opening on
        self._lives = 0

    async def open(self) -> SqliteOutbox:
        self._outbox = SqliteOutbox(
            self._folder / str(self._lives) / "outbox.db",
            clock=self._clock,
            bytes_max=2**30,
            disk_free_min_bytes=0,
            keeps_log=self.keeps_log,
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


def operation(
    name: str,
    *lanes: str,
    kind: str = "identify",
    event_id: str = "",
    at_ms: int = NOW_MS - 1_000,
    call: str | None = None,
    route: str = "v1",
    size: int = 0,
) -> NewEntry:
    """An entry with all that ingest gives it: a kind, a route, and what the log keeps of it."""
    mark = mark_of(event_id) if event_id else NO_MARK
    return NewEntry(
        kind=kind,
        lanes=pack_lanes(lanes),
        body=name.ljust(size).encode(),
        accepted_at_ms=at_ms,
        call=call,
        route=route,
        trail=pack_trail(mark=mark, accepted_at_ms=at_ms, kind=kind, route=route, lanes=len(set(lanes))),
    )


def hashed(*lanes: str) -> list[int]:
    """Lanes as an archive is asked for them."""
    return [int.from_bytes(hash_lane(lane), "little", signed=True) for lane in lanes]


def name_of(stored: Entry | Dead) -> str:
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
        self.tries: dict[str, list[Attempt]] = {}
        self.requests = 0

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
        self.requests = 0
        return self

    async def acquire(self) -> Lease:
        """Another lease. It is not in this hand yet."""
        return await self.outbox.acquire(now_ms=self.now_ms, wait_max_ms=WAIT_MAX_MS)

    async def append(self, *entries: NewEntry) -> Sequence[int]:
        return await self.outbox.append(entries)

    async def replay(self, *seqs: int) -> int:
        """Put dead letters back, whatever has happened since; returns how many."""
        return (await self.outbox.archive.replay(Letters(seqs=frozenset(seqs)), after_newer=True)).replayed

    async def take(self, *, now_ms: int | None = None, **room: int) -> Claim:
        """Claim, with plenty of room except where `room` says less."""
        now_ms = self.now_ms if now_ms is None else now_ms
        claim = await self.lease.claim(structs.replace(PLENTY, **room), now_ms=now_ms)
        for claimed in (*claim.parked, *(met.entry for met in claim.main)):
            self.held[name_of(claimed)] = claimed
            self.tries[name_of(claimed)] = []
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

    async def request(
        self,
        outcomes: dict[str, Outcome],
        *,
        took_ms: int = 40,
        status: int | None = 207,
        trouble: str | None = None,
    ) -> Report:
        """Send one with these in it, which is over now: all of it in one settlement, with its report."""
        entries = [self.held[name] for name in outcomes]
        request = Request(
            number=self.lease.first_request + self.requests,
            sent_at_ms=self.now_ms - took_ms,
            took_ms=took_ms,
            is_v1=entries[0].call is not None,
            status=status,
            trouble=trouble,
        )
        self.requests += 1
        fates = [fate_of(outcome) for outcome in outcomes.values()]
        for name, fate in zip(outcomes, fates, strict=True):
            self.tries[name] += [attempt_of(request, fate)] if fate else []
        settled = [
            Settled(self.held[name], outcome, self.held[name].attempts + 1, self.tries[name])
            for name, outcome in outcomes.items()
            if not isinstance(outcome, Fate)
        ]
        report = report_of(request, entries, fates)
        await self.lease.settle(settled, now_ms=self.now_ms, report=report)
        return report

    async def bury(self, *entries: NewEntry, why: DeadLetter = REFUSED) -> Sequence[int]:
        """Store these and have them die, in one request of all; returns their numbers."""
        seqs = await self.append(*entries)
        await self.take()
        await self.request({one.body.decode().rstrip(): why for one in entries})
        return seqs

    async def deliver(self, *entries: NewEntry) -> Sequence[int]:
        """Store these and have them delivered, in one request of all; returns their numbers."""
        seqs = await self.append(*entries)
        await self.take()
        await self.request({one.body.decode().rstrip(): Delivered() for one in entries})
        return seqs

    async def letters(self, wanted: Letters = EVERY_LETTER) -> list[str]:
        """The names of dead letters."""
        return [name_of(letter) for letter in await self.outbox.archive.letters(wanted)]

    async def dead_bytes(self) -> int:
        """Of all dead letters, as they are read."""
        letters = await self.outbox.archive.letters(limit=1_000)
        return sum(
            letter_bytes(len(one.body), one.history, one.vendor_reason, one.field, one.message) for one in letters
        )

    async def known(self, seq: int) -> Known:
        """What is known of one entry, of which something is."""
        (known,) = (await self.outbox.archive.trace(seq)).known
        return known

    async def story(self, seq: int) -> list[str]:
        """What befell one entry, without starts and stops; of requests, what came of them for it."""
        happenings = (await self.known(seq)).happenings
        return [one.fate.what if one.fate else one.what for one in happenings if one.what not in ("started", "stopped")]

    async def tidy(self, **keeping: float) -> Tidied:
        """Throw away what need not be kept, to the end, where all is kept of which `keeping` says nothing."""
        total = Tidied(0, 0, 0, is_done=False)
        while not total.is_done:
            step = await self.outbox.archive.tidy(
                structs.replace(FOREVER, **keeping), now_ms=int(self.clock.now() * 1_000)
            )
            total = Tidied(
                total.requests + step.requests,
                total.letters_by_age + step.letters_by_age,
                total.letters_by_bytes + step.letters_by_bytes,
                step.is_done,
            )
        return total


def these(*seqs: int) -> Letters:
    return Letters(seqs=frozenset(seqs))


def letter_bytes(body_bytes: int, history: Sequence[Attempt], *words: str) -> int:
    """What of a dead letter the outbox counts as its bytes: all that can be long, with Customer.io's words."""
    return body_bytes + len(lengthened("", history)) + sum(map(len, words))


def seqs_in(found: Found) -> list[int]:
    """The numbers of those that were found."""
    return [known.seq for known in found.known]
