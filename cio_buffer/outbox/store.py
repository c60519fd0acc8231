"""The SQLite file as its one thread sees it: numbering, the ledger, and what becomes of a file that is damaged."""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cio_buffer.clock import Clock
from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import letters, log, quarantine, tables
from cio_buffer.outbox.archive import What
from cio_buffer.outbox.backup import throw_away_expired
from cio_buffer.outbox.contract import Sizes
from cio_buffer.outbox.damaged import Damaged, is_damage, is_full, name_of
from cio_buffer.outbox.entry import ANSWER_KEPT_S, AppCall, NewEntry, Report, pack_calls, unpack_calls, unpack_lanes
from cio_buffer.outbox.file import CHECKPOINT_BYTES, StoreFile
from cio_buffer.outbox.heritage import found_in, inherit, ledger_of, lowest_next
from cio_buffer.outbox.letters import Leftover
from cio_buffer.outbox.log import NEVER_MS, Line
from cio_buffer.outbox.opening import Connect, has_lost_its_head
from cio_buffer.outbox.quarantine import Before
from cio_buffer.outbox.space import PAGE_BYTES, Space
from cio_buffer.outbox.transaction import transaction

SEQS_RESERVED = 1_000_000
"""How many numbers are promised at a time never to be used twice: one more page written per million entries."""

SECONDS_BETWEEN_LOOKS = 1.0
BACKUPS_SEEN_EVERY_S = 3_600.0

CALLS_MAX = 20_000
"""How many unanswered calls are stored at most: 240 KB in each commit, while thousands hang up on us."""


class Store:
    """Everything here runs in the writer's thread; what others read are single attributes, replaced whole."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        bytes_max: int,
        disk_free_min_bytes: int,
        ballast_bytes: int = 0,
        keeps_log: bool = True,
        connect: Connect,
    ) -> None:
        self.path = path
        space = Space(path, bytes_max=bytes_max, disk_free_min_bytes=disk_free_min_bytes, ballast_bytes=ballast_bytes)
        self.file = StoreFile(path, clock=clock, connect=connect, space=space)
        self.generation = 0  # how many stores were set aside since the start
        self.keeps_log = keeps_log
        self.store_id = b""
        self.newcomers: set[int] | None = None  # the lanes of what comes in, while somebody wants to know
        self._clock = clock
        self._bytes_max = bytes_max
        self._looked_at = self._backups_seen_at = -math.inf
        self.counts: dict[str, int] = {}
        self.next_seq = 1
        self.committed: dict[str, int] = {}
        self.committed_seq = 0
        self.calls: list[AppCall] = []
        self.committed_calls: list[AppCall] = []
        self.calls_before: list[AppCall] = []
        self.learnt = self._learnt_committed = b""
        self._has_begun = False
        self._is_known = False  # whether `committed` tells of the file that is there

    @property
    def db(self) -> sqlite3.Connection:
        """Raises StoreUnusable while the file could not be opened again."""
        return self.file.db

    def open(self, known_format: int | None = None) -> sqlite3.Connection:
        """Have the file open; one that is damaged is set aside, and another begun.

        `known_format`: what was written here before. Raises StoreUnusable where the file cannot be ours.
        """
        self.file.known_format = known_format
        self.file.space.fit_ballast()
        try:
            quarantine.finish(self.path, self._clock.now())
        except OSError as problem:
            raise StoreUnusable(f"cannot set aside what is left of {self.path}: {problem.strerror}") from None
        try:
            if known_format is not None and has_lost_its_head(self.path):
                raise Damaged("its first bytes are not as we wrote them")
            self._open_twice()
        except Damaged as damage:
            self.set_aside(str(damage))
        return self.db

    def _open_twice(self) -> None:
        """What looks damaged is looked at again before anything is made of it."""
        try:
            self.reopen()
        except Damaged:
            self.reopen()

    def reopen(self) -> None:
        """Open it, anew if it was open; on a full disk with the ballast's room. Raises Damaged, or StoreUnusable."""
        try:
            self._reopen()
        except StoreUnusable as problem:
            if not (is_full(problem.__context__) and self.file.space.give_up_ballast()):
                raise
            self._reopen()

    def _reopen(self) -> None:
        self.file.let_go()
        self._see_what_is_gone()
        db = self.file.open()
        try:
            self._begin(db)
        except (OSError, sqlite3.Error) as problem:
            self.file.close()
            if is_damage(problem):
                raise Damaged(name_of(problem)) from None
            raise StoreUnusable(f"cannot read {self.path}: {problem}") from None
        except BaseException:
            self.file.close()
            raise

    def _see_what_is_gone(self) -> None:
        """Where setting aside broke off between the database and its WAL, have that follow: SQLite would delete it.

        What is begun then is another store, though nobody said so.
        """
        try:
            if not self.path.exists():
                quarantine.finish(self.path, self._clock.now())
                self.generation += self._is_known
                self._is_known = False
        except OSError as problem:
            raise StoreUnusable(f"cannot set aside what is left of {self.path}: {problem.strerror}") from None

    def set_aside(self, why: str) -> None:
        """Move the damaged file out of the way and begin another. Raises StoreUnusable where that cannot be done."""
        self.file.set_aside(self._before(why))
        self.generation += 1
        self._is_known = False
        self.reopen()

    def _before(self, why: str) -> Before:
        """What is known of the file: of one that was in use, all that matters."""
        now = self._clock.now()
        if not self._is_known:
            return found_in(self.path, why, now)
        return Before(
            why=why,
            store_id=self.store_id.hex(),
            highest_seq=max(self.next_seq, self.counts["seq_reserved"], lowest_next(now)),
            last_request=self.counts["last_request"],
            waiting=ledger_of(self.committed).entries,
            dead=self.committed["dead"],
        )

    def _begin(self, db: sqlite3.Connection) -> None:
        if heirlooms := [quarantine.before(folder) for folder in quarantine.unfinished(self.path)]:
            inherit(db, heirlooms, self._clock.now())
        self.counts = tables.load_counts(db)
        self.committed = dict(self.counts)
        if not self._is_known and not self.generation:
            self.calls = self._recent(unpack_calls(tables.load_unanswered(db)))
            self.committed_calls, self.calls_before = self.calls, self.calls
            self.learnt = self._learnt_committed = tables.load_learnt(db)
        self.store_id = tables.load_store_id(db)
        self.committed_seq = max(self.counts["seq_reserved"], tables.highest_seq(db))
        self.next_seq = self.committed_seq + 1
        self._is_known = True
        # The second line of defence, far behind the quota: parking and dying need pages too, and must not fail for it.
        pages_max = (2 * self._bytes_max + CHECKPOINT_BYTES) // PAGE_BYTES
        db.execute(f"PRAGMA max_page_count = {pages_max}").fetchall()
        self._looked_at = self._clock.monotonic()
        self.file.space.look(db)

    def insert(
        self, db: sqlite3.Connection, appends: Sequence[Sequence[NewEntry]], calls: Sequence[AppCall] = ()
    ) -> list[range]:
        """Store all appends of a group, in order, with as few statements as will do; returns each one's numbers."""
        self.calls = [*self.calls, *calls]
        numbers = []
        for entries in appends:
            numbers.append(range(self.next_seq, self.next_seq + len(entries)))
            self.next_seq += len(entries)
        if numbers:
            entries = [entry for append in appends for entry in append]
            tables.insert(db, entries, numbers[0].start)
            self.counts["accepted"] += len(entries)
            if self.newcomers is not None:
                self.newcomers.update(lane for entry in entries for lane in unpack_lanes(entry.lanes))
        return numbers

    def remember(self, call: AppCall) -> None:
        """Keep a call that counted as answered."""
        self.calls = [*(one for one in self.calls if one is not call), call]

    def revive(self, db: sqlite3.Connection, chosen: Sequence[Leftover]) -> None:
        """Put dead letters, which are there, back at the tail, in order."""
        letters.revive(db, [letter.seq for letter in chosen], self.next_seq, now_ms=self.now_ms())
        self.next_seq += len(chosen)
        self._end_letters(db, chosen, "replayed", "replayed")

    def throw_away(self, db: sqlite3.Connection, chosen: Sequence[Leftover], what: What) -> None:
        """Delete dead letters, which are there: "purged" by a person, or "evicted" by their quota."""
        letters.remove(db, [letter.seq for letter in chosen])
        self._end_letters(db, chosen, what, "dead_purged" if what == "purged" else "dead_evicted")

    def _end_letters(self, db: sqlite3.Connection, chosen: Sequence[Leftover], what: What, counted: str) -> None:
        if chosen:
            self.count_out(chosen, counted)
            self.note(db, *log.line_about(what, self.now_ms(), chosen))

    def count_out(self, chosen: Sequence[Leftover], counted: str) -> None:
        """These are dead letters no longer."""
        self.counts[counted] += len(chosen)
        self.counts["dead"] -= len(chosen)
        self.counts["dead_bytes"] -= sum(letter.bytes for letter in chosen)

    def edit(self, db: sqlite3.Connection, letter: Leftover, anew: NewEntry) -> None:
        """Give a dead letter, which is there, another body."""
        letters.replace(db, letter.seq, anew)
        edited = letters.leftovers(db, letters.only([letter.seq]))
        self.counts["dead_bytes"] += edited[0].bytes - letter.bytes
        self.note(db, *log.line_about("edited", self.now_ms(), edited))

    def note_newcomers(self) -> set[int]:
        """From here on put the lanes of what comes in into this set, until `ignore_newcomers`."""
        self.newcomers = set()
        return self.newcomers

    def ignore_newcomers(self) -> None:
        self.newcomers = None

    def report(self, db: sqlite3.Connection, report: Report) -> None:
        """Log a request that is over."""
        self.counts["last_request"] = max(self.counts["last_request"], report.number)
        if self.keeps_log:
            self.note(db, *log.line_of(report))

    def begin(self, db: sqlite3.Connection) -> None:
        """Log that somebody begins to drain; closing logs the end of it.

        Where no log is kept, the ledger's row says that it has a hole, until one is kept again.
        """
        if not self.keeps_log:
            self.counts["log_since_ms"] = NEVER_MS
        elif self.counts["log_since_ms"] == NEVER_MS:
            self.counts["log_since_ms"] = self.now_ms()
        self.note(db, *log.line_of_life("started", self.now_ms()))
        self._has_begun = self.keeps_log

    def note(self, db: sqlite3.Connection, line: Line, lanes: bytes) -> None:
        """Add a line to the log, unless none is kept or it is there."""
        if self.keeps_log and (grown := log.write(db, line, lanes)) is not None:
            self.counts["log_lines"] += 1
            self.counts["log_bytes"] += grown

    def now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def before_commit(self, db: sqlite3.Connection) -> None:
        """Write the ledger with what it counts. A commit that counts nothing is a probe, and has to write too."""
        if self.next_seq > self.counts["seq_reserved"]:
            self.counts["seq_reserved"] = self.next_seq + SEQS_RESERVED
        elif self.counts == self.committed:
            self.counts["seq_reserved"] += 1  # of a row that stays the same SQLite writes nothing
        self.calls = self._recent(self.calls)
        self._learnt_saving = self.learnt  # once: another may be noted before the commit has returned
        tables.save_counts(db, self.counts, pack_calls(self.calls), self._learnt_saving)

    def after_commit(self, db: sqlite3.Connection) -> None:
        self.committed, self.committed_calls = dict(self.counts), self.calls
        self.committed_seq, self._learnt_committed = self.next_seq - 1, self._learnt_saving
        with suppress(OSError):  # it is committed, whatever befalls the housekeeping
            if self.file.checkpoint_if_due():
                self._looked_at = -math.inf  # within a second 86 MB came in, and ran past a floor of 20 MiB

    def probe(self) -> None:
        """After a failure: a commit of nothing, on the connection that failed, and then a checkpoint.

        The next commit overwrites the frames that a failed sync may have lost; whoever starts anew would trust them.
        On a full disk a checkpoint comes before it too: the WAL that it begins anew takes no more room.
        Raises what went wrong.
        """
        if not self.file.is_open:
            self._open_twice()
        if self.file.was_full:
            with suppress(sqlite3.Error):
                self.file.checkpoint()
        db = self.db
        try:
            with transaction(db):
                self.before_commit(db)
        except BaseException:
            self.after_rollback()
            raise
        self.after_commit(db)
        self.file.checkpoint()

    def look_at_room(self) -> None:
        """See whether appends may be taken, if that was not done just now. Where it cannot be seen, nothing changes."""
        if self._clock.monotonic() - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = self._clock.monotonic()
            with suppress(OSError, sqlite3.Error, StoreUnusable):
                self.file.care()
            self._throw_away_backups()

    def _throw_away_backups(self) -> None:
        """Once an hour, of those whose time is over."""
        if self._clock.monotonic() - self._backups_seen_at >= BACKUPS_SEEN_EVERY_S:
            self._backups_seen_at = self._clock.monotonic()
            with suppress(OSError):
                throw_away_expired(self.path, self._clock.now())

    def after_rollback(self) -> None:
        """Forget what was counted. Numbers that were given out stay unused; what was learnt awaits the next commit."""
        self.counts, self.calls = dict(self.committed), self.committed_calls

    def close(self) -> None:
        """Write down that we end and what was learnt, empty the WAL if nobody reads it, and let go."""
        if not self.file.is_open:
            return
        db = self.db
        try:
            db.execute("PRAGMA busy_timeout = 0").fetchall()
            self._say_goodbye(db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            pass  # the WAL keeps it all; the next start empties it
        finally:
            self.file.close()

    def _say_goodbye(self, db: sqlite3.Connection) -> None:
        """One last commit, if it has something to say. It is no promise, so nobody hears where that fails."""
        if self.learnt == self._learnt_committed and not self._has_begun:
            return
        with suppress(sqlite3.Error), transaction(db):
            if self._has_begun:
                self.note(db, *log.line_of_life("stopped", self.now_ms()))
            self.before_commit(db)

    def _recent(self, calls: Sequence[AppCall]) -> list[AppCall]:
        """Those that may still be repeated: not answered for certain, and not old."""
        oldest = int(self._clock.now()) - ANSWER_KEPT_S
        return [call for call in calls[-CALLS_MAX:] if not call.is_answered and call.at_s > oldest]


def sizes_of(counts: dict[str, int]) -> Sizes:
    """What else is in it."""
    return Sizes(**{name: counts[name] for name in Sizes.__struct_fields__})
