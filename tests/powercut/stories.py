"""The lives of a store that are recorded."""

import asyncio
import os
import random
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox import file, opening, schema
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.corpus.make import ENDINGS, archive_of
from tests.outbox.disk_pages import PAGE, root_of
from tests.powercut.cuts import Recording, cuts
from tests.powercut.day import INGEST, RESTARTS, SETTLING, TROUBLE, Chances, Day, Doing, live
from tests.powercut.disk import Image, Resized, Synced, Written
from tests.powercut.judge import BYTES_MAX, PLACES, STORE, name_in
from tests.powercut.recorder import Recorder, read_image, write_image
from tests.powercut.system_calls import watching
from tests.powercut.told import Place, Told
from tests.powercut.vfs import registered
from tests.support.clock import FakeClock

WAL_BYTES = (32_768, 131_072, 524_288)
"""Bytes after which there is a checkpoint: after a commit or two, after a few, or hardly ever."""

LONG_WAL = ("failed sync", "set aside", "emptied", "hit in use")
"""Stories in which it matters what is in the WAL alone."""


def lived(chances: Chances, steps: int) -> Doing:
    async def story(day: Day) -> None:
        await day.open()
        await live(day, chances, steps)
        await day.rng.choice((day.crash, day.restart, day.hand.backend.close))()

    return story


async def failed_sync(day: Day) -> None:
    """The disk fails to sync a commit, and drops it. Whoever stays alive, or starts anew, loses nothing of the rest.

    But for one hole: a power cut while that start empties the WAL, up to its first commit, meets a WAL that has less
    in it than was copied from it. Staying alive has none.
    """
    await day.open()
    await live(day, INGEST, day.rng.randint(1, 4))
    day.recorder.fails_to_sync = lambda name: name.endswith("-wal")
    with suppress(OutboxUnavailable):
        await day.append()
    day.recorder.fails_to_sync = lambda _: False
    if day.rng.random() < 0.3:
        while day.hand.outbox.condition().refusing:
            await asyncio.sleep(0.005)
    else:
        await day.lives.die()
        begins = len(day.recorder.log)
        await day.open()
        day.told.blind.append(range(begins, len(day.recorder.log)))
    await live(day, INGEST, day.rng.randint(1, 4))


async def set_aside(day: Day) -> None:
    """The file is damaged where no entry was, so that nothing may be lost: neither of the old one nor of the new."""
    await lived_through_damage(day, day.rng.choice(("dead", "parked", "marks", "first page")))


async def emptied(day: Day) -> None:
    """The same of a file that has nothing in it any more: all there is is in its WAL."""
    await lived_through_damage(day, "all")


async def lived_through_damage(day: Day, what: str) -> None:
    is_in_wal = what in WHERE_ALL_IS_IN_THE_WAL
    await day.open()
    if is_in_wal:
        await live(day, {Day.append_little: 1}, day.rng.randint(2, 5))
    else:
        await live(day, {Day.group: 2, Day.append: 2, Day.deliver: 1}, day.rng.randint(2, 6))
    await (day.lives.die if is_in_wal or day.rng.random() < 0.5 else day.lives.close)()
    day.told.is_damaged()
    damage(day.recorder, what)
    day.hand.outbox = await day.lives.open()
    await live(day, {Day.group: 1, Day.append: 1}, day.rng.randint(1, 2))
    while day.hand.outbox.condition().is_salvaging:
        await asyncio.sleep(0.001)
    day.hand.lease = await day.hand.acquire()
    await live(day, INGEST, 1)
    await day.lives.die()


async def hit_in_use(day: Day) -> None:
    """Damage is met by a reader, while apps are calling."""
    await day.open()
    await live(day, INGEST, day.rng.randint(2, 5))
    day.told.is_damaged()
    damage(day.recorder, "dead")
    calls = [asyncio.ensure_future(day.append()) for _ in range(day.rng.randint(0, 4))]
    with suppress(OutboxUnavailable):
        await day.hand.outbox.archive.letters()
    await asyncio.gather(*calls)
    while [one.state for one in day.hand.outbox.set_aside()] != ["over"] or day.hand.outbox.condition().is_salvaging:
        await asyncio.sleep(0.001)
    day.hand.lease = await day.hand.acquire()
    day.hand.held.clear()
    await live(day, INGEST, 2)
    await day.lives.die()


WHERE_ALL_IS_IN_THE_WAL = ("marks", "first page", "all")
"""Damage that shows before the WAL is emptied into the file: to where it says whose it is, or to everything."""


def damage(recorder: Recorder, what: str) -> None:
    """Hit the store's file there, or a table's first page; of "all" there is nothing left, not even junk."""
    path = recorder.root / STORE
    size = {"marks": 12, "all": 0}.get(what, PAGE)
    at = {"marks": 60, "first page": 0, "all": 0}.get(what)
    if at is None:
        at = (root_of(path, what) - 1) * PAGE
    junk = b"\xa5" * size
    if what == "all":
        os.truncate(path, 0)
        recorder.note(Resized(STORE, 0))
    else:
        with path.open("r+b") as opened:
            opened.seek(at)
            opened.write(junk)
        recorder.note(Written(STORE, at, junk))
    recorder.note(Synced(STORE))


STORIES: dict[str, Doing] = {
    "making": lived(INGEST, 2),
    "ingest": lived(INGEST, 12),
    "settling": lived(SETTLING, 14),
    "trouble": lived(TROUBLE, 14),
    "restarts": lived(RESTARTS, 8),
    "recovery": lived(RESTARTS, 2),
    "upgrade": lived(RESTARTS, 2),
    "failed sync": failed_sync,
    "set aside": set_aside,
    "emptied": emptied,
    "hit in use": hit_in_use,
}


def record(story: str, rng: random.Random, folder: Path) -> Recording:
    """Live through a story once."""
    start, known = begin(story, rng, folder)
    recorder = Recorder(folder / "lives", start)
    told = known(lambda: len(recorder.log))
    day = Day(recorder, told, rng)
    with (
        wal_of(max(WAL_BYTES) if story in LONG_WAL else rng.choice(WAL_BYTES)),
        registered(recorder),
        watching(recorder),
    ):
        asyncio.run(live_out(day, STORIES[story]))
        recorder.check_complete()
    return Recording(story=story, start=start, log=recorder.log, told=told)


async def live_out(day: Day, story: Doing) -> None:
    await story(day)


Known = Callable[[Callable[[], int]], Told]


def begin(story: str, rng: random.Random, folder: Path) -> tuple[Image, Known]:
    """What the disk has at first, and what is known of that."""
    match story:
        case "making":
            return {}, lambda now: Told(now, {})
        case "upgrade":
            return older(rng.randrange(1, schema.VERSION), rng.choice(ENDINGS), folder / "older")
        case "recovery":
            return torn(rng, folder)
        case _:
            return ready(folder / "ready"), lambda now: Told(now, {})


def ready(folder: Path) -> Image:
    """A store with nothing in it: to make one takes more operations than to live with it."""

    async def make() -> None:
        outbox = SqliteOutbox(folder / STORE, clock=FakeClock(), bytes_max=BYTES_MAX, disk_free_min_bytes=0)
        await outbox.open()
        await outbox.close()

    write_image(folder, {})
    asyncio.run(make())
    return read_image(folder)


def older(version: int, ending: str, folder: Path) -> tuple[Image, Known]:
    """One that an older version wrote."""
    write_image(folder, {})
    with tarfile.open(archive_of(version, ending)) as tar:
        tar.extractall(folder, filter="data")
    (folder / "told.json").unlink()
    image = read_image(folder)
    with closing(sqlite3.connect(folder / STORE)) as db:
        rows = db.execute(PLACES).fetchall()
    there: dict[str, Place] = {name_in(body): place for place, _, body in rows}

    def known(now: Callable[[], int]) -> Told:
        told = Told(now, there)
        told.copied = frozenset(there)
        return told

    return image, known


def torn(rng: random.Random, folder: Path) -> tuple[Image, Known]:
    """What one power cut left: another may come while that is being opened."""
    recorded = record(rng.choice(("ingest", "trouble", "restarts")), rng, folder)
    found = rng.choice([cut for cut in cuts(recorded, rng, 7) if cut.kept != "none"])
    return found.image, lambda now: recorded.told.until(found.moment, now)


@contextmanager
def wal_of(size: int) -> Iterator[None]:
    """A checkpoint after so many bytes, and of the WAL no more than half of that kept."""
    with patch.object(file, "CHECKPOINT_BYTES", size), patch.dict(opening.SETTINGS, journal_size_limit=size // 2):
        yield
