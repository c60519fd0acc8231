"""How long apps wait for their 200 while all dead letters are replayed, beside how long they wait usually.

Both in one daemon, one after the other, with the same load: so many operations a second in calls of ten, each sent at
its time whether or not the one before was answered; a call's wait counts from that time. The letters are of a kind that
sets state, so each is looked up in the log and in what waits before it may go.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, UnixConnector
from msgspec import structs

from cio_buffer.outbox.letters import BYTES, FATE
from cio_buffer.outbox.tables import ALWAYS_STORED
from tests.bench.backlog import entries, fill, open_store
from tests.bench.lone import percentile
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, sink
from tests.bench.report import Failed, Goal, Outcome, Row
from tests.support.process import Daemon

OPERATIONS_PER_S, IN_A_CALL, PEOPLE = 2_000, 10, 5_000
RATIO_MAX = 2.0
SETTLE_S = 2.0


def run(plan: Plan, folder: Path) -> Outcome:
    write(folder, plan.letters)
    os.sync()  # else the first checkpoint would sync what we wrote
    usual_s, meanwhile_s, took_s = asyncio.run(measure(folder, plan))
    what = f"accept, {OPERATIONS_PER_S:,} operations/s, beside a replay of {plan.letters:,}"
    rows = [
        Row(
            what=f"{what}: p{percent}",
            unit="ms",
            ours=1e3 * percentile(meanwhile_s, percent),
            limit=1e3 * percentile(usual_s, percent),
            limit_is="usual",
            goal=goal,
        )
        for percent, goal in ((50, None), (99, Goal(ratio_max=RATIO_MAX)))
    ]
    took = Row(what=f"replay of {plan.letters:,} meanwhile", unit="s", ours=took_s)
    note = f"replay: {len(usual_s):,} calls before, {len(meanwhile_s):,} meanwhile; order_violations was 0 in the end"
    return Outcome([*rows, took], [note])


def write(folder: Path, letters: int) -> None:
    """A store in which nothing but dead letters is; they died under the eyes of its log."""
    store, db = open_store(folder / "store" / "outbox.db")
    try:
        fill(store, db, [structs.replace(entry, kind="identify") for entry in entries()], letters)
        db.execute("BEGIN IMMEDIATE")
        store.begin(db)
        at_ms = store.now_ms()
        db.execute(
            f"""INSERT INTO dead (seq, {ALWAYS_STORED}, passable_since_ms, {FATE})
                SELECT seq, {ALWAYS_STORED}, ?, ?, 'refused', '', '', '', 400 FROM event""",
            (at_ms, at_ms),
        )
        db.execute("DELETE FROM event")
        store.counts["dead"] = store.counts["dead_lettered"] = letters
        store.counts["dead_bytes"] = db.execute(f"SELECT sum({BYTES}) FROM dead").fetchone()[0]
        store.before_commit(db)
        db.execute("COMMIT")
        store.after_commit(db)
    finally:
        store.close()


async def measure(folder: Path, plan: Plan) -> tuple[list[float], list[float], float]:
    """What calls waited for their answer before and meanwhile, and what the replay took; all in seconds."""
    with sink() as server:
        async with Daemon(folder, server.url, environ=AS_SHIPPED) as daemon:
            async with under_load(folder) as waited_s:
                await asyncio.sleep(SETTLE_S)
                waited_s.clear()
                await asyncio.sleep(plan.replay_usual_s)
                usual_s = list(waited_s)
                waited_s.clear()
                began = time.monotonic()
                await replay(folder, plan.letters)
                took_s, meanwhile_s = time.monotonic() - began, list(waited_s)
            seen = await daemon.until_empty()
    check(seen, plan.letters)
    return usual_s, meanwhile_s, took_s


def check(seen: dict[str, Any], letters: int) -> None:
    """Raises Failed unless all was replayed, delivered, in order and counted."""
    ledger = seen["ledger"]
    is_right = ledger["replayed"] == letters and ledger["balanced"] and not seen["outbox"]["order_violations"]
    if not is_right or ledger["dead_lettered"] != letters:
        raise Failed(f"the replay did not come out: {seen}")


async def replay(folder: Path, letters: int) -> None:
    connector = UnixConnector(str(folder / "admin.sock"))
    async with (
        ClientSession(connector=connector, timeout=ClientTimeout(None)) as admin,
        admin.post("http://localhost/dead/replay", data=b'{"all": true}') as answer,
    ):
        told = await answer.json()
    if told.get("replayed") != letters:
        raise Failed(f"not all letters were replayed: {told}")


@asynccontextmanager
async def under_load(folder: Path) -> AsyncIterator[list[float]]:
    """For as long as this lasts apps send; yields what each call waited, in seconds. Raises Failed for any but 200."""
    waited_s: list[float] = []
    connector = UnixConnector(str(folder / "api.sock"), limit=0)
    async with ClientSession(connector=connector) as session, asyncio.TaskGroup() as calls:
        sending = calls.create_task(send(session, calls, waited_s))
        yield waited_s
        sending.cancel()


async def send(session: ClientSession, calls: asyncio.TaskGroup, waited_s: list[float]) -> None:
    """Call after call, each at its time."""
    began, count = time.monotonic(), 0
    while True:
        due_at = began + count * IN_A_CALL / OPERATIONS_PER_S
        await asyncio.sleep(max(due_at - time.monotonic(), 0.0))
        calls.create_task(call(session, due_at, count, waited_s))
        count += 1


async def call(session: ClientSession, due_at: float, count: int, waited_s: list[float]) -> None:
    async with session.post("http://localhost/api/v2/batch", data=batch(count)) as answer:
        said = await answer.read()
    if answer.status != 200:
        raise Failed(f"the daemon answered {answer.status}: {said!r}")
    waited_s.append(time.monotonic() - due_at)


def batch(count: int) -> bytes:
    people = [(count * IN_A_CALL + place) % PEOPLE for place in range(IN_A_CALL)]
    operations = [
        b'{"type":"person","action":"event","identifiers":{"id":"app-%d"},"name":"order_completed"}' % person
        for person in people
    ]
    return b'{"batch":[' + b",".join(operations) + b"]}"
