"""The archive of one SQLite file: it reads by connections of its own and changes in the writer's queue, by and by."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from msgspec import structs

from cio_buffer.clock import Clock
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox import busiest, forgetting, letters, log, search, tables
from cio_buffer.outbox.archive import (
    EVERY_LETTER,
    LETTER_BYTES,
    BusyLane,
    Dead,
    Forgotten,
    Found,
    Keeping,
    Letters,
    Replayed,
    Tidied,
)
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.outbox.letters import Leftover, lanes_of, only
from cio_buffer.outbox.overtaken import changes_state, overtaken
from cio_buffer.outbox.store import Store

PAGE = 20_000
"""How many dead letters a bulk change looks at together; it reads the log once for each page."""

CHANGED_TOGETHER, CHANGED_BYTES = 50, 1_000_000
"""How many go in one commit, and bytes: 40 µs each, and apps wait for their 200 meanwhile."""

REST_SHARE = 6
"""After each of these commits, so many times as long as it took belongs to others alone. A replay of 100,000 then takes
half a minute; without rests, and by 200, four seconds, in which apps' p99 is 330 ms, with them 18."""

PRUNED_TOGETHER, PRUNED_BYTES = 1_000, 2_000_000
"""Lines of the log, and bytes, that go in one commit: some 80 full requests."""


class Run(Protocol):
    """`SqliteOutbox.run`."""

    def __call__(self, function: Callable[[sqlite3.Connection], Any], *, is_news: bool = False) -> Awaitable[Any]: ...


Look = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class SqliteArchive:
    """Keeps `archive.Archive`."""

    def __init__(
        self,
        store: Store,
        *,
        run: Run,
        look: Look,
        is_in_hand: Callable[..., bool],
        is_salvaging: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """`run` has something done by the writer's thread, `look` by a reader. `is_in_hand(seq, is_parked=)` says
        whether the drain has an entry; `is_salvaging`, whether what was thrown away now might come back."""
        self._is_salvaging = is_salvaging
        self._store = store
        self._run, self._look, self._is_in_hand = run, look, is_in_hand
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def letters(self, wanted: Letters = EVERY_LETTER, *, after: int = 0, limit: int = 100) -> Sequence[Dead]:
        found: list[Dead] = await self._look(partial(letters.read, wanted=wanted, after=after, limit=limit))
        return found

    async def count_letters(self, wanted: Letters = EVERY_LETTER, *, limit: int | None = None) -> int:
        count: int = await self._look(partial(letters.count, wanted=wanted, limit=limit))
        return count

    async def reasons(self) -> dict[str, int]:
        reasons: dict[str, int] = await self._look(letters.reasons)
        return reasons

    async def replay(
        self, wanted: Letters, *, limit: int | None = None, after_newer: bool = False, is_dry: bool = False
    ) -> Replayed:
        replayed = left = 0
        async with self._one_at_a_time:
            try:
                after = 0
                while page := await self._page(wanted, after, limit, replayed + left):
                    after = page[-1].seq
                    stay, newcomers = (set[int](), set[int]()) if after_newer else await self._overtaken(page)
                    go = [letter for letter in page if letter.seq not in stay]
                    done = len(go) if is_dry else await self._revive(go, newcomers)
                    replayed, left = replayed + done, left + len(page) - done
            finally:  # in the writer's queue: what was asked for before may still look at them
                ended = asyncio.ensure_future(self._run(lambda _: self._store.ignore_newcomers()))
                ended.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Replayed(replayed, left)

    async def purge(self, wanted: Letters, *, limit: int | None = None, is_dry: bool = False) -> int:
        if is_dry:
            return await self.count_letters(wanted, limit=limit)
        if self._is_salvaging():
            raise OutboxUnavailable("a damaged store is being salvaged: what is thrown away now might come back")
        purged, after = 0, 0
        async with self._one_at_a_time:
            while page := await self._page(wanted, after, limit, purged):
                after = page[-1].seq
                purged += await self._throw_away(page)
        return purged

    async def edit(self, seq: int, anew: NewEntry) -> bool:
        def edit(db: sqlite3.Connection) -> bool:
            found = letters.leftovers(db, only([seq]))
            for letter in found:
                self._store.edit(db, letter, anew)
            return bool(found)

        is_done: bool = await self._run(edit)
        return is_done

    async def trace(self, seq: int) -> Found:
        return await self._search(partial(search.by_number, seq=seq))

    async def trace_lane(self, lanes: Sequence[int], *, limit: int) -> Found:
        return await self._search(partial(search.by_lanes, lanes=lanes, limit=limit))

    async def trace_event(self, event_id: str, *, limit: int) -> Found:
        return await self._search(partial(search.by_event, event_id=event_id, limit=limit))

    async def busiest_lanes(self, count: int = 10) -> Sequence[BusyLane]:
        lanes: list[BusyLane] = await self._look(partial(busiest.busiest, count=count))
        return lanes

    async def lane_sample(self, lane: int) -> tuple[bytes, str | None] | None:
        sample: tuple[bytes, str | None] | None = await self._look(partial(busiest.lane_sample, lane=lane))
        return sample

    async def tidy(self, keeping: Keeping, *, now_ms: int) -> Tidied:
        is_log_due, is_dead_due = await self._look(partial(self._what_is_due, keeping=keeping, now_ms=now_ms))
        lines: int = await self._run(partial(self._prune, keeping=keeping, now_ms=now_ms)) if is_log_due else 0
        by_age, by_bytes = (0, 0)
        if is_dead_due:
            by_age, by_bytes = await self._run(partial(self._evict, keeping=keeping, now_ms=now_ms))
        return Tidied(lines, by_age, by_bytes, is_done=not (lines or by_age or by_bytes))

    async def forget(self, lanes: Sequence[int]) -> Forgotten:
        waiting = dead = 0
        in_hand: set[int] = set()  # some touch more than one of the lanes
        for lane in lanes:
            traces = await self._look(partial(forgetting.find, lane=lane))
            for seqs in chunks(traces.event):
                gone, held = await self._run(partial(self._forget_main, seqs=seqs))
                waiting, in_hand = waiting + gone, in_hand | held
            for seqs in chunks(traces.parked):
                gone, held = await self._run(partial(self._forget_parked, seqs=seqs), is_news=True)
                waiting, in_hand = waiting + gone, in_hand | held
            for seqs in chunks(traces.dead):
                dead += await self._run(partial(self._forget_dead, seqs=seqs))
            for ids in chunks(traces.lines):
                await self._run(partial(self._forget_lines, ids=ids, lane=lane))
        return Forgotten(waiting, dead, len(in_hand))

    async def _search(self, how: Callable[[sqlite3.Connection], Found]) -> Found:
        found: Found = await self._look(how)
        return structs.replace(found, highest_seq=self._store.committed_seq)

    async def _page(self, wanted: Letters, after: int, limit: int | None, done: int) -> list[Leftover]:
        size = PAGE if limit is None else min(PAGE, limit - done)
        page: list[Leftover] = await self._look(partial(letters.page, wanted=wanted, after=after, limit=size))
        return page

    async def _overtaken(self, page: Sequence[Leftover]) -> tuple[set[int], set[int]]:
        """Those of a page that have been overtaken; and the lanes of what comes in from now on, as it comes.

        Noting begins in the writer's queue: so whatever is not noted was committed before the look.
        """
        newcomers: set[int] = await self._run(lambda _: self._store.note_newcomers())
        stay: set[int] = await self._look(partial(overtaken, candidates=page))
        return stay, newcomers

    async def _revive(self, page: Sequence[Leftover], newcomers: set[int]) -> int:
        """Replay them, but for those that `newcomers` have overtaken."""

        def revive(db: sqlite3.Connection, seqs: Sequence[int]) -> int:
            found = letters.leftovers(db, only(seqs))
            go = [one for one in found if not (changes_state(one.kind) and newcomers.intersection(lanes_of(one)))]
            for some in log.in_lines(go):
                self._store.revive(db, some)
            return len(go)

        revived = 0
        for seqs in light_chunks(page):
            revived += await self._unhurried(partial(revive, seqs=seqs), is_news=True)
        return revived

    async def _throw_away(self, page: Sequence[Leftover]) -> int:
        def throw_away(db: sqlite3.Connection, seqs: Sequence[int]) -> int:
            found = letters.leftovers(db, only(seqs))
            for some in log.in_lines(found):
                self._store.throw_away(db, some, "purged")
            return len(found)

        thrown = 0
        for seqs in light_chunks(page):
            thrown += await self._unhurried(partial(throw_away, seqs=seqs))
        return thrown

    async def _unhurried(self, change: Callable[[sqlite3.Connection], int], *, is_news: bool = False) -> int:
        """Do one commit of many, and then let the others have theirs."""
        began = self._clock.monotonic()
        changed: int = await self._run(change, is_news=is_news)
        if (took_s := self._clock.monotonic() - began) > 0.0:
            await self._clock.sleep(REST_SHARE * took_s)
        return changed

    def _what_is_due(self, db: sqlite3.Connection, *, keeping: Keeping, now_ms: int) -> tuple[bool, bool]:
        """Whether any of the log, and any dead letter, is to be thrown away. A look costs less than a commit."""
        begins_at_ms, oldest = log.begins_at_ms(db), letters.oldest(db, 1)
        is_log_old = begins_at_ms is not None and begins_at_ms < now_ms - int(keeping.log_for_s * 1000)
        is_log_due = is_log_old or (begins_at_ms is not None and self._log_excess(keeping) > 0)
        is_dead_old = any(letter.died_at_ms < now_ms - int(keeping.dead_for_s * 1000) for letter in oldest)
        return is_log_due, is_dead_old or (bool(oldest) and self._dead_excess(keeping) > 0)

    def _log_excess(self, keeping: Keeping) -> int:
        counts = self._store.counts
        return counts["log_bytes"] + log.LINE_BYTES * counts["log_lines"] - keeping.log_bytes

    def _dead_excess(self, keeping: Keeping) -> int:
        counts = self._store.counts
        return counts["dead_bytes"] + LETTER_BYTES * counts["dead"] - keeping.dead_bytes

    def _prune(self, db: sqlite3.Connection, *, keeping: Keeping, now_ms: int) -> int:
        before_ms = now_ms - int(keeping.log_for_s * 1000)
        lines, freed = log.prune(
            db,
            before_ms=before_ms,
            excess_bytes=self._log_excess(keeping),
            limit=PRUNED_TOGETHER,
            bytes_max=PRUNED_BYTES,
        )
        self._store.counts["log_lines"] -= lines
        self._store.counts["log_bytes"] -= freed
        return lines

    def _evict(self, db: sqlite3.Connection, *, keeping: Keeping, now_ms: int) -> tuple[int, int]:
        before_ms, excess = now_ms - int(keeping.dead_for_s * 1000), self._dead_excess(keeping)
        old: list[Leftover] = []
        surplus: list[Leftover] = []
        for letter in letters.oldest(db, CHANGED_TOGETHER):
            if letter.died_at_ms < before_ms:
                old.append(letter)
            elif excess > 0:
                surplus.append(letter)
            excess -= letter.bytes + LETTER_BYTES
        for some in log.in_lines([*old, *surplus]):
            self._store.throw_away(db, some, "evicted")
        return len(old), len(surplus)

    def _forget_main(self, db: sqlite3.Connection, *, seqs: Sequence[int]) -> tuple[int, set[int]]:
        free = [seq for seq in seqs if not self._is_in_hand(seq, is_parked=False)]
        gone = tables.delete_main(db, free)
        self._store.counts["purged"] += gone
        return gone, set(seqs).difference(free)

    def _forget_parked(self, db: sqlite3.Connection, *, seqs: Sequence[int]) -> tuple[int, set[int]]:
        free = [entry for entry in tables.read_parked(db, seqs) if not self._is_in_hand(entry.seq, is_parked=True)]
        gone = sum(tables.delete_parked(db, entry) for entry in free)
        tables.promote(db, {lane for entry in free for lane in entry.lanes}, self._store.now_ms())
        self._store.counts["purged"] += gone
        self._store.counts["parked"] -= gone
        return gone, set(seqs).difference(entry.seq for entry in free)

    def _forget_dead(self, db: sqlite3.Connection, *, seqs: Sequence[int]) -> int:
        found = letters.leftovers(db, only(seqs))
        letters.remove(db, [letter.seq for letter in found])
        self._store.count_out(found, "dead_purged")
        return len(found)

    def _forget_lines(self, db: sqlite3.Connection, *, ids: Sequence[int], lane: int) -> None:
        for line_id in ids:
            lines, freed = forgetting.blank(db, line_id, lane)
            self._store.counts["log_lines"] -= lines
            self._store.counts["log_bytes"] -= freed


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """What goes in one commit each."""
    for start in range(0, len(numbers), CHANGED_TOGETHER):
        yield numbers[start : start + CHANGED_TOGETHER]


def light_chunks(page: Sequence[Leftover]) -> Iterator[Sequence[int]]:
    """The same of dead letters, by their numbers; long ones go in smaller company."""
    chunk: list[int] = []
    size = 0
    for letter in page:
        if chunk and (len(chunk) == CHANGED_TOGETHER or size + letter.bytes > CHANGED_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter.seq)
        size += letter.bytes
    if chunk:
        yield chunk
