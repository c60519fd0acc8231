"""Writes a store with something of everything in it, by the code of whichever version runs this: see `make.py`.

Imports nothing but what each version has had. Beside the store it leaves `told.json`: what that version said of it.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from msgspec import structs

from cio_buffer.outbox import entry as entries
from cio_buffer.outbox import schema
from cio_buffer.outbox.contract import Room
from cio_buffer.outbox.entry import DeadLetter, Delivered, NewEntry, Parked, Settled, pack_lanes
from cio_buffer.outbox.sqlite import SqliteOutbox

NOW_S = 1_700_000_000
NOW_MS = NOW_S * 1000
PLENTY = Room(
    main_entries=1_000, main_bytes=10_000_000, parked_entries=1_000, parked_bytes=10_000_000, parked_v1_entries=1_000
)
REMEMBERS_CALLS, OUTLASTS_BAD_DAYS, ACCOUNTS = 2, 3, 4
"""From which version on there is that."""

LEARNT = b'{"rate_per_s":80.5,"in_flight":4.0,"latency_s":0.12}'
FINGERPRINTS = (b"repeated", b"unheard!")
ROUNDS = 80
"""So many commits of eight entries fill a WAL."""


class FrozenClock:
    def now(self) -> float:
        return float(NOW_S)

    def monotonic(self) -> float:
        return 1_000.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        await event.wait()


class Hand:
    """Claims and settles in the words of the version that runs."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self.outbox = outbox
        self.held: dict[str, entries.Entry] = {}
        self.accepted: dict[str, int] = {}
        self.requests = 0

    async def acquire(self) -> None:
        when = {"now_ms": NOW_MS, "wait_max_ms": 300_000} if schema.VERSION >= OUTLASTS_BAD_DAYS else {}
        self.lease = await self.outbox.acquire(**when)

    async def append(self, *names: str, lanes: str = "", fingerprint: bytes = b"", **more: object) -> None:
        """One call with an entry of each name. `lanes`: of all of them, apart by spaces."""
        called = {}
        if fingerprint and schema.VERSION >= REMEMBERS_CALLS:
            called = {"call": entries.AppCall(fingerprint=fingerprint, at_s=NOW_S)}
        seqs = await self.outbox.append([new_entry(name, lanes.split(), **more) for name in names], **called)
        self.accepted.update(zip(names, seqs, strict=True))

    async def claim(self) -> None:
        claim = await self.lease.claim(PLENTY, now_ms=NOW_MS)
        for one in (*claim.parked, *(met.entry for met in claim.main)):
            self.held[json.loads(one.body)["name"]] = one

    async def settle(self, settlement: object, *names: str, attempts: int = 1) -> None:
        """One request of these, that led to this for each."""
        settled = [Settled(self.held.pop(name), settlement, attempts) for name in names]
        when = {"now_ms": NOW_MS} if schema.VERSION >= OUTLASTS_BAD_DAYS else {}
        if schema.VERSION >= ACCOUNTS:
            settled, when["report"] = self.reported(settled)
        await self.lease.settle(settled, **when)

    def reported(self, settled: list[Settled]) -> tuple[list[Settled], object]:
        """With the attempt that each keeps, and what the log is told."""
        number = self.lease.first_request + self.requests
        self.requests += 1
        request = {"sent_at_ms": NOW_MS - 40, "took_ms": 40, "status": 207, "trouble": None}
        fate = fate_of(settled[0].settlement)
        inside = [one.entry for one in settled]
        fates = [(fate, None)] if fate else []
        is_v1 = inside[0].call is not None
        report = entries.Report(number=number, is_v1=is_v1, entries=inside, fates=fates, **request)
        if fate:
            history = [entries.Attempt(request=number, fate=fate, **request)]
            settled = [structs.replace(one, history=history) for one in settled]
        return settled, report

    async def replay(self, *names: str) -> None:
        if schema.VERSION >= ACCOUNTS:
            from cio_buffer.outbox.archive import Letters  # noqa: PLC0415 - earlier versions have none

            seqs = frozenset(self.accepted[name] for name in names)
            await self.outbox.archive.replay(Letters(seqs=seqs), after_newer=True)
            return
        letters = await self.outbox.dead_letters()
        await self.outbox.replay([one.seq for one in letters if json.loads(one.body)["name"] in names])


def new_entry(
    name: str, lanes: list[str], *, kind: str = "event", call: str | None = None, size: int = 0, trace: bool = False
) -> NewEntry:
    said = {"type": "person", "identifiers": {"id": lanes[0]}, "action": kind, "name": name, "filler": "x" * size}
    more = {}
    if schema.VERSION >= ACCOUNTS:
        from cio_buffer.outbox.trail import mark_of, pack_trail  # noqa: PLC0415 - earlier versions have none

        more["trail"] = pack_trail(
            mark=mark_of(name), accepted_at_ms=NOW_MS - 5_000, kind=kind, route="v1", lanes=len(lanes)
        )
    return NewEntry(
        kind=kind,
        lanes=pack_lanes(f"id:{lane}" for lane in lanes),
        body=json.dumps(said).encode(),
        accepted_at_ms=NOW_MS - 5_000,
        route="v1",
        call=call,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" if trace else None,
        **more,
    )


def refused() -> DeadLetter:
    more = {"vendor_reason": "required"} if schema.VERSION >= OUTLASTS_BAD_DAYS else {}
    return DeadLetter(reason="refused", field="name", message="was missing", status=422, **more)


def held(due_in_ms: int) -> Parked:
    more = {"holds": 2, "held_for": "unavailable"} if schema.VERSION >= OUTLASTS_BAD_DAYS else {}
    return Parked(NOW_MS + due_in_ms, **more)


def fate_of(settlement: object) -> object:
    if isinstance(settlement, DeadLetter):
        return entries.Fate(what="dead", reason="refused", vendor_reason="required", field="name")
    if isinstance(settlement, Parked):
        return entries.Fate(what="held", reason="unavailable", until_ms=settlement.due_at_ms)
    return None


async def live(hand: Hand) -> None:
    """A bad day, as far as the store sees it. `tests/outbox/test_upgrades.py` knows what is left."""
    post = "POST /api/v1/customers/{id}/events"
    await hand.append(*(f"delivered {n}" for n in range(6)), lanes="gus")
    await hand.claim()
    await hand.settle(Delivered(), *(f"delivered {n}" for n in range(6)))
    await hand.append("letter 1", lanes="ann", kind="identify")
    await hand.append("letter 2", "letter 4", lanes="bob", trace=True)
    await hand.append("letter 3", lanes="ann", call=post)
    await hand.claim()
    await hand.settle(refused(), "letter 1", "letter 2", "letter 4", attempts=2)
    await hand.settle(refused(), "letter 3")
    await hand.replay("letter 2", "letter 3")
    await hand.claim()
    await hand.settle(refused(), "letter 2", attempts=3)
    await hand.settle(held(5_000), "letter 3", attempts=2)
    await hand.append("held", "behind held", lanes="cyd")
    await hand.append("held call", lanes="dan", call=post)
    await hand.append("held merge", lanes="eve fay", kind="merge")
    await hand.append("behind merge", lanes="fay", kind="identify", size=9_000)
    await hand.claim()
    await hand.settle(held(60_000), "held", attempts=4)
    await hand.settle(held(1_000), "held call", attempts=1)
    await hand.settle(held(30_000), "held merge", attempts=1)
    await hand.settle(Parked(), "behind held", "behind merge", attempts=0)
    if schema.VERSION >= OUTLASTS_BAD_DAYS:
        hand.outbox.note_learnt(LEARNT)
    await hand.append(*(f"waiting {n}" for n in range(20)), lanes="gus", fingerprint=FINGERPRINTS[0])
    await hand.append("waiting too", lanes="cyd", kind="identify", size=20_000, fingerprint=FINGERPRINTS[1])
    await hand.append("waiting call", lanes="hal", call=post, trace=True)
    await hand.replay("letter 4")


async def fill_the_wal(hand: Hand) -> None:
    for n in range(ROUNDS):
        names = [f"passed {n} {m}" for m in range(8)]
        await hand.append(*names, lanes=f"ida-{n}", size=300)
        await hand.claim()
        await hand.settle(Delivered(), *names)


def tell(folder: Path, hand: Hand, learnt: bytes) -> None:
    told = {
        "format": schema.VERSION,
        "ledger": structs.asdict(hand.outbox.ledger()),
        "accepted": {name: seq for name, seq in hand.accepted.items() if not name.startswith("passed")},
        "receipts": {},
        "learnt": learnt.decode(),
        "unanswered": [one.decode() for one in FINGERPRINTS] if schema.VERSION >= REMEMBERS_CALLS else [],
    }
    if schema.VERSION >= ACCOUNTS:
        names = hand.outbox.names
        told["receipts"] = {name: names.receipt(seq, NOW_MS - 5_000) for name, seq in told["accepted"].items()}
    (folder / "told.json").write_text(json.dumps(told, indent=1) + "\n")


async def write(folder: Path, *, is_killed: bool) -> None:
    outbox = SqliteOutbox(folder / "outbox.db", clock=FrozenClock(), bytes_max=2**30, disk_free_min_bytes=0)
    await outbox.open()
    hand = Hand(outbox)
    await hand.acquire()
    if is_killed:
        await fill_the_wal(hand)
    await live(hand)
    assert (await outbox.audit()).is_balanced
    tell(folder, hand, LEARNT if schema.VERSION >= OUTLASTS_BAD_DAYS else b"")
    if is_killed:
        os.kill(os.getpid(), signal.SIGKILL)
    await outbox.close()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(mode=0o700)
    asyncio.run(write(Path(sys.argv[1]), is_killed=sys.argv[2] == "killed"))
