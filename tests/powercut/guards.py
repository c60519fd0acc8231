"""What the store does for power cuts' sake, taken away: each time the suite has to find entries missing.

So it is known that it would. Nothing of this is in the product: what is taken away is replaced from here.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

from msgspec import Struct

from cio_buffer.outbox import opening, quarantine
from cio_buffer.outbox.writer import Job, Writer

HOPS = 8
"""Rounds of the event loop after which whoever waited for an answer has written down when it came."""


class Guard(Struct, frozen=True, kw_only=True):
    """`without` takes it away for as long as a story is recorded."""

    story: str
    says: str
    without: Callable[[], AbstractContextManager[object]]


def not_full() -> AbstractContextManager[object]:
    return patch.dict(opening.SETTINGS, synchronous=1)


@contextmanager
def answered_early(is_early: Callable[[Job], bool]) -> Iterator[None]:
    """Such jobs are answered before what they ask for is committed."""
    commit = Writer._commit

    def answer_and_commit(writer: Writer, writes: Sequence[Job]) -> None:
        early = [job for job in writes if is_early(job)]
        next_seq = writer._store.next_seq
        for job in writes:
            if job.kind == "append":
                job.result = range(next_seq, next_seq + len(job.entries))
                next_seq += len(job.entries)
        writer._deliver(early)
        heard = threading.Event()
        writer._call_in_loop(after_hops, writer._loop, HOPS, heard.set)
        heard.wait(1.0)
        commit(writer, writes)

    with patch.object(Writer, "_commit", answer_and_commit):
        yield


def appends(job: Job) -> bool:
    return job.kind == "append"


def settles(job: Job) -> bool:
    return job.run is not None and job.run.__qualname__.startswith("SqliteLease.settle.")


def after_hops(loop: asyncio.AbstractEventLoop, hops: int, done: Callable[[], None]) -> None:
    if hops:
        loop.call_soon(after_hops, loop, hops - 1, done)
    else:
        done()


@contextmanager
def full_wal_at_start() -> Iterator[None]:
    """Nor is it looked at, which copies it too."""
    with patch.object(opening, "empty_wal", lambda _: None), nobody_looks_at_the_wal():
        yield


def nobody_looks_at_the_wal() -> AbstractContextManager[object]:
    return patch.object(opening, "check_wal", lambda *_: None)


@contextmanager
def wal_left_behind() -> Iterator[None]:
    """Nor does anybody notice that there is one beside a new store."""
    move = quarantine.move

    def move_all_but_the_wal(file: Path, folder: Path) -> None:
        if not file.name.endswith("-wal"):
            move(file, folder)

    with patch.object(quarantine, "move", move_all_but_the_wal), nobody_looks_at_the_wal():
        yield


GUARDS = {
    "FULL": Guard(story="ingest", says="synchronous=NORMAL", without=not_full),
    "append": Guard(
        story="ingest", says="appends are answered before the commit", without=lambda: answered_early(appends)
    ),
    "settle": Guard(
        story="settling", says="settlements are answered before the commit", without=lambda: answered_early(settles)
    ),
    "start": Guard(
        story="failed sync", says="no checkpoint at the start, after a failed sync", without=full_wal_at_start
    ),
    "wal": Guard(story="emptied", says="a damaged store is set aside without its WAL", without=wal_left_behind),
}
