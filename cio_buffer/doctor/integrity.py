"""Whether a store's file is whole, and adds up: read by a connection that cannot write, in one snapshot."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from cio_buffer.clock import Clock
from cio_buffer.doctor.books import imbalances, lanes_astray
from cio_buffer.errors import StoreUnusable
from cio_buffer.outbox import schema
from cio_buffer.outbox.beside import lock_of, size_of, wal_of
from cio_buffer.outbox.damaged import Damaged, is_damage
from cio_buffer.outbox.opening import check_ours, is_ours_by_header, pragma, read_mark
from cio_buffer.outbox.sqlite import count

PROBLEMS_MAX = 100
"""SQLite ends its own check after so many."""

WORDS_MAX = 160
STEPS_BETWEEN_SIGNALS = 1_000_000
"""SQLite's own steps, some 20 ms of them, after which Ctrl-C is heard."""

Verdict = Literal["ok", "damaged", "unusable"]


class Found(Struct, frozen=True, kw_only=True):
    """How many there are: `waiting` in the main lane, `parked` aside, `dead` letters, lines of the delivery log."""

    waiting: int
    parked: int
    dead: int
    log_lines: int


class Checked(Struct, frozen=True, kw_only=True):
    """What came of a check. "unusable": nothing could be said of the file, and `problems` says why.

    `entries` is null where they could not be counted: the file is damaged, or of an older `format`. `is_quick`: indexes
    were not held against their tables.
    """

    path: str
    verdict: Verdict
    problems: list[str]
    fix: str = ""
    format: int | None = None
    entries: Found | None = None
    is_quick: bool = False
    took_s: float = 0.0


class Cannot(Exception):
    """Why nothing can be said of a file; `fix` says what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


DAMAGED_FIX = (
    "stop the daemon and copy the store's folder; then start it: where it meets the damage it sets the file aside, "
    "goes on with a new one, and brings back what can be read"
)
OUT_OF_STEP_FIX = "nothing is lost by it, but it should not be: please report it, with this output"
PERMISSION_FIX = (
    "run it as the user that the daemon runs as (sudo -u cio-buffer cio-buffer outbox check): even to read, SQLite "
    "needs the files beside it, -wal and -shm"
)
NOT_OURS_FIX = "look at outbox.path in the config"
NEWER_FIX = "use the cio-buffer that the daemon uses, or a newer one"
NOT_THERE_FIX = "it is made when the daemon first starts; if it has been, look at outbox.path in the config"
BUSY_FIX = "try again in a moment"


def check(path: Path, *, is_quick: bool, clock: Clock) -> Checked:
    """Check the store at `path`. Pins its write-ahead log meanwhile, so that this grows; raises KeyboardInterrupt."""
    began = clock.monotonic()
    try:
        checked = look(path, is_quick=is_quick)
    except Cannot as problem:
        checked = Checked(path=str(path), verdict="unusable", problems=[str(problem)], fix=problem.fix)
    return structs.replace(checked, is_quick=is_quick, took_s=round(clock.monotonic() - began, 3))


def look(path: Path, *, is_quick: bool) -> Checked:
    """Raises Cannot."""
    known_format = format_written_beside(path)
    if not exists(path):
        raise Cannot(f"there is no file {path}", NOT_THERE_FIX)
    if not size_of(path):
        if known_format is None and not size_of(wal_of(path)):
            raise Cannot(f"{path} is empty", NOT_THERE_FIX)
        return damaged(path, ["there is nothing in it any more"])
    is_ours = known_format is not None or is_ours_by_header(path)
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            db.set_progress_handler(lambda: None, STEPS_BETWEEN_SIGNALS)
            return look_into(db, path, known_format, is_quick=is_quick)
        finally:
            db.close()
    except Damaged as problem:
        return damaged(path, [str(problem)])
    except StoreUnusable as problem:
        raise Cannot(str(problem), NEWER_FIX if "newer" in str(problem) else NOT_OURS_FIX) from None
    except sqlite3.Error as problem:
        if is_damage(problem) and is_ours:
            return damaged(path, [told(problem)])
        raise cannot(path, problem) from None


def look_into(db: sqlite3.Connection, path: Path, known_format: int | None, *, is_quick: bool) -> Checked:
    """Raises Damaged, StoreUnusable, sqlite3.Error; KeyboardInterrupt at Ctrl-C."""
    db.execute("BEGIN")
    check_ours(db, path, known_format)
    version = int(pragma(db, "user_version"))
    if not version:
        raise Cannot(f"{path} has no tables yet", NOT_THERE_FIX)
    problems = [*says_sqlite(db, is_quick=is_quick)]
    if problems or version != schema.VERSION:  # older tables are not as we count them
        return of(path, problems, DAMAGED_FIX, version)
    if not schema.is_whole(db):
        return of(path, ["its tables are not as they were made"], DAMAGED_FIX, version)
    audit = count(db)
    found = Found(waiting=audit.waiting, parked=audit.parked, dead=audit.dead, log_lines=audit.measured.log_lines)
    return of(path, [*imbalances(audit), *lanes_astray(db)], OUT_OF_STEP_FIX, version, found)


def of(path: Path, problems: list[str], fix: str, version: int, found: Found | None = None) -> Checked:
    return Checked(
        path=str(path),
        verdict="damaged" if problems else "ok",
        problems=problems,
        fix=fix if problems else "",
        format=version,
        entries=found,
    )


def damaged(path: Path, problems: list[str]) -> Checked:
    return Checked(path=str(path), verdict="damaged", problems=problems, fix=DAMAGED_FIX)


def says_sqlite(db: sqlite3.Connection, *, is_quick: bool) -> Iterator[str]:
    """What SQLite finds wrong: pages and indexes by their numbers, never what is stored."""
    name = "quick_check" if is_quick else "integrity_check"
    try:
        for (row,) in db.execute(f"PRAGMA {name}({PROBLEMS_MAX})"):
            if row != "ok":
                yield from (plain(line) for line in str(row).splitlines() if not line.startswith("*** in database"))
    except sqlite3.Error as problem:
        if not is_damage(problem):
            raise
        yield told(problem)  # it went no further


def format_written_beside(path: Path) -> int | None:
    """What the lock file says that was written here last; None where it says nothing, or may not be read."""
    try:
        return read_mark(lock_of(path).read_bytes()[:64])
    except OSError:
        return None


def exists(path: Path) -> bool:
    """Raises Cannot where that may not even be asked."""
    try:
        return path.exists()
    except OSError as problem:
        raise Cannot(f"cannot look at {path} ({problem.strerror})", PERMISSION_FIX) from None


def cannot(path: Path, problem: sqlite3.Error) -> Cannot:
    """Why SQLite does not read a file, by its code."""
    code = (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF
    fixes = {
        sqlite3.SQLITE_CANTOPEN: PERMISSION_FIX,
        sqlite3.SQLITE_PERM: PERMISSION_FIX,
        sqlite3.SQLITE_AUTH: PERMISSION_FIX,
        sqlite3.SQLITE_READONLY: PERMISSION_FIX,
        sqlite3.SQLITE_BUSY: BUSY_FIX,
        sqlite3.SQLITE_LOCKED: BUSY_FIX,
        sqlite3.SQLITE_NOTADB: NOT_OURS_FIX,
    }
    if code == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt
    return Cannot(f"cannot read {path}: {told(problem)}", fixes.get(code, "look at the disk, and at the kernel's log"))


def told(problem: sqlite3.Error) -> str:
    """SQLite's words for a code; not those of one exception, which may quote a torn page."""
    name = getattr(problem, "sqlite_errorname", type(problem).__name__)
    return f"database disk image is malformed ({name})" if is_damage(problem) else f"SQLite says {name}"


def plain(words: str) -> str:
    """On one line, short, and with nothing in it that a terminal would obey."""
    return re.sub(r"[^ -~]", "?", words)[:WORDS_MAX]
