"""What one lease has claimed from the SQLite store, and how it is given out and settled.

Everything here runs in the writer's thread, claims after the commit of every settlement that was asked for before
them. The rules were model-checked; ARCHITECTURE.md, "Lanes", has the stories that break each simpler version.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from cio_buffer.outbox import letters, tables
from cio_buffer.outbox.contract import Claim, FromMain, Room
from cio_buffer.outbox.entry import DeadLetter, Delivered, Entry, Parked, Released, Report, Settled
from cio_buffer.outbox.store import Store


class Claims:
    """A cursor in the main lane, and the set of parked entries in hand. Both live in memory alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursor = 0
        self._claimed: set[int] = set()
        self._leaving: set[int] = set()

    def claim(self, db: sqlite3.Connection, room: Room, now_ms: int) -> Claim:
        """Keeps `contract.Lease.claim`: what cannot be read whole is not claimed."""
        self._claimed -= self._leaving
        self._leaving.clear()
        cursor, claimed = self._cursor, set(self._claimed)
        try:
            return self._claim(db, room, now_ms)
        except BaseException:
            self._cursor, self._claimed = cursor, claimed
            raise

    def _claim(self, db: sqlite3.Connection, room: Room, now_ms: int) -> Claim:
        main, is_at_end = self._claim_main(db, room)
        parked, is_v1_due = self._claim_parked(db, room, now_ms)  # second: it looks at where the cursor has come to
        behind = self._behind(db, main)
        return Claim(
            parked=parked,
            main=[FromMain(entry, entry.seq in behind) for entry in main],
            is_at_end=is_at_end,
            is_v1_due=is_v1_due,
            next_due_at_ms=tables.next_due(db, now_ms) if self._has_parked() else None,
        )

    def settle(
        self,
        db: sqlite3.Connection,
        settled: Sequence[Settled],
        *,
        now_ms: int,
        died_at_ms: int,
        report: Report | None = None,
    ) -> None:
        """Keeps `contract.Lease.settle`, within a transaction that may have to be tried again.

        `now_ms` is what due times are on, `died_at_ms` what an operator's watch shows.
        """
        if report is not None:
            self._store.report(db, report)
        self._settle(db, settled, now_ms=now_ms, died_at_ms=died_at_ms)

    def is_in_hand(self, seq: int, *, is_parked: bool) -> bool:
        """Whether a waiting entry has been claimed."""
        return seq in self._claimed - self._leaving if is_parked else seq <= self._cursor

    def _settle(self, db: sqlite3.Connection, settled: Sequence[Settled], *, now_ms: int, died_at_ms: int) -> None:
        main = [one for one in settled if one.entry.seq not in self._claimed]
        delivered = [one.entry.seq for one in main if type(one.settlement) is Delivered]
        self._store.counts["delivered"] += tables.delete_main(db, delivered)
        if len(delivered) == len(settled):
            return  # as nearly always
        main = [one for one in main if type(one.settlement) is not Delivered]
        parked = [one for one in settled if one.entry.seq in self._claimed]
        self._bury(db, "event", main, died_at_ms)
        self._bury(db, "parked", parked, died_at_ms)
        died = [one.entry.seq for one in main if isinstance(one.settlement, DeadLetter)]
        self._store.counts["dead_lettered"] += tables.delete_main(db, died)
        self._leave_parked(db, parked, now_ms)
        self._park(db, main, parked, now_ms)
        self._leaving.update(one.entry.seq for one in parked)

    def _claim_main(self, db: sqlite3.Connection, room: Room) -> tuple[list[Entry], bool]:
        if room.main_entries <= 0 or room.main_bytes <= 0:
            return [], False
        main = tables.read_main(db, after=self._cursor, limit=room.main_entries, max_bytes=room.main_bytes)
        bytes_left = room.main_bytes - sum(len(entry.body) for entry in main)
        is_at_end = len(main) < room.main_entries and bytes_left > 0
        # At the end the cursor also passes what is parked beyond it, which would otherwise never be claimed.
        self._cursor = self._store.committed_seq if is_at_end else main[-1].seq
        return main, is_at_end

    def _claim_parked(self, db: sqlite3.Connection, room: Room, now_ms: int) -> tuple[list[Entry], bool]:
        if not self._has_parked():
            return [], False
        v1_limit = max(room.parked_v1_entries, 0)
        v1_roots = self._due_roots(db, is_v1=True, now_ms=now_ms, limit=v1_limit + 1)
        taken = self._take(db, v1_roots[:v1_limit], room.parked_bytes)
        is_v1_due = len(v1_roots) > len(taken)
        entries_left, bytes_left = room.parked_entries, room.parked_bytes - sum(len(entry.body) for entry in taken)
        if entries_left > 0:
            roots = self._take(db, self._due_roots(db, is_v1=False, now_ms=now_ms, limit=entries_left), bytes_left)
            bytes_left -= sum(len(entry.body) for entry in roots)
            taken += roots
            companions = [root for root in roots if not root.holds]  # who was held leaves alone
            taken += self._follow(db, companions, entries_left - len(roots), bytes_left)
        return sorted(taken, key=lambda entry: entry.seq), is_v1_due

    def _has_parked(self) -> bool:
        return self._store.committed["parked"] > 0

    def _due_roots(self, db: sqlite3.Connection, *, is_v1: bool, now_ms: int, limit: int) -> list[int]:
        """Up to `limit` parked entries that may be claimed for their time, longest due first."""
        due = tables.due(db, is_v1=is_v1, now_ms=now_ms, limit=limit + len(self._claimed))
        return [seq for seq in due if seq <= self._cursor and seq not in self._claimed][:limit]

    def _take(self, db: sqlite3.Connection, seqs: Sequence[int], max_bytes: int) -> list[Entry]:
        """Claim `seqs` in the order given, until one uses up `max_bytes`."""
        found = {entry.seq: entry for entry in tables.read_parked(db, seqs)}
        taken: list[Entry] = []
        for seq in seqs:
            if max_bytes > 0 and not self._is_behind(db, found[seq]):
                taken.append(found[seq])
                self._claimed.add(seq)
                max_bytes -= len(found[seq].body)
        return taken

    def _follow(self, db: sqlite3.Connection, leaders: Iterable[Entry], limit: int, max_bytes: int) -> list[Entry]:
        """Claim what stands next behind `leaders`, and so on: a person with much that is parked fills a batch."""
        followers: list[Entry] = []
        to_visit = list(leaders)
        for leader in to_visit:
            next_seqs = {after for lane in leader.lanes if (after := tables.successor(db, lane, leader.seq))}
            for entry in tables.read_parked(db, next_seqs):
                if len(followers) >= limit or max_bytes <= 0:
                    return followers
                is_free = entry.call is None and entry.seq <= self._cursor and entry.seq not in self._claimed
                if is_free and not self._is_behind(db, entry):
                    self._claimed.add(entry.seq)
                    followers.append(entry)
                    to_visit.append(entry)
                    max_bytes -= len(entry.body)
        return followers

    def _behind(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> set[int]:
        """Those of `entries` that `_is_behind`. One look tells which lanes need a closer one: mostly few or none."""
        if not self._has_parked():
            return set()
        closed = tables.lanes_with_parked(db, {lane for entry in entries for lane in entry.lanes})
        return {entry.seq for entry in entries if not closed.isdisjoint(entry.lanes) and self._is_behind(db, entry)}

    def _is_behind(self, db: sqlite3.Connection, entry: Entry) -> bool:
        """Whether something parked and unclaimed stands before it.

        What stands next before it speaks for all the others: it was claimed after them, and leaves when they do.
        """
        before = (tables.predecessor(db, lane, entry.seq) for lane in entry.lanes)
        return any(seq is not None and seq not in self._claimed for seq in before)

    def _bury(self, db: sqlite3.Connection, table: str, settled: Iterable[Settled], died_at_ms: int) -> None:
        for one in settled:
            if isinstance(one.settlement, DeadLetter):
                size = letters.bury(db, table, one, one.settlement, died_at_ms=died_at_ms)
                if size is not None:
                    self._store.counts["dead"] += 1
                    self._store.counts["dead_bytes"] += size

    def _leave_parked(self, db: sqlite3.Connection, settled: Iterable[Settled], now_ms: int) -> None:
        """Take out what is delivered or dead; what stood behind it may now leave."""
        counts = self._store.counts
        lanes: set[int] = set()
        for one in settled:
            if isinstance(one.settlement, Delivered | DeadLetter):
                gone = tables.delete_parked(db, one.entry)
                counts["delivered" if isinstance(one.settlement, Delivered) else "dead_lettered"] += gone
                counts["parked"] -= gone
                lanes.update(one.entry.lanes)
        tables.promote(db, lanes, now_ms)

    def _park(self, db: sqlite3.Connection, main: Sequence[Settled], parked: Sequence[Settled], now_ms: int) -> None:
        """Move aside all that is to be parked, then say who of them may leave, and when."""
        newly = [
            (one, wish)
            for one in main
            if isinstance(wish := one.settlement, Parked) and tables.park(db, one.entry, one.attempts, wish)
        ]
        again = [(one, wish) for one in parked if isinstance(wish := one.settlement, Parked)]
        for one in parked:
            if isinstance(one.settlement, Released) and one.history:
                tables.remember_attempts(db, one.entry.seq, one.attempts)
                letters.remember(db, "parked", one.entry.seq, one.history)
        self._store.counts["parked"] += len(newly)
        for one, wish in again:
            tables.remember_tries(db, one.entry.seq, one.attempts, wish)
        for one, wish in (*newly, *again):
            letters.remember(db, "parked", one.entry.seq, one.history)
            tables.schedule(db, one.entry, wish.due_at_ms, now_ms)
