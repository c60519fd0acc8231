"""Tables and migrations, oldest first.

Only append to this file: a store that an older version wrote is brought up to date step by step, each step in a
transaction of its own.
"""

import sqlite3
from collections.abc import Callable
from functools import cache, wraps
from itertools import count

from cio_buffer.outbox.lean import Database, Migrations

APPLICATION_ID = 0x63696F62  # "ciob"
VERSION = 5
"""Raised with every migration: an older version of ours must not open a newer file."""

migrations = Migrations("cio_buffer")
versions = count(1)


def migration(change: Callable[[Database], None]) -> None:
    """Register it as the next one.

    The file's version is raised in the same transaction: what is left by a crash between two of them is a whole store
    of a version that was, and says which.
    """
    version = next(versions)

    @wraps(change)
    def apply(db: Database) -> None:
        change(db)
        db.execute(f"PRAGMA user_version = {version}")

    migrations(name=change.__name__)(apply)


ENTRY_COLUMNS = """
    seq            INTEGER PRIMARY KEY,  -- order of acceptance; assigned by us, never used twice
    lanes          BLOB    NOT NULL,     -- 64-bit hashes, 8 bytes each
    kind           TEXT    NOT NULL,
    accepted_at_ms INTEGER NOT NULL,     -- Unix
    route          TEXT,                 -- the door by which it came
    call           TEXT,                 -- "METHOD /path" of what leaves as a v1 request; NULL: rides in a v2 batch
    traceparent    TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    replays        INTEGER NOT NULL DEFAULT 0,
    origin         INTEGER,              -- a replay's first seq
    body           BLOB    NOT NULL      -- the bytes to send
"""


@migration
def create_outbox(db: Database) -> None:
    """The main lane has no second index: one by person makes each insert 10 to 25 times dearer at a million rows."""
    statements = [
        f"CREATE TABLE event ({ENTRY_COLUMNS}) STRICT",
        f"""CREATE TABLE parked ({ENTRY_COLUMNS},
            due_at_ms INTEGER,           -- set only while nothing parked stands before it in any of its lanes
            is_v1     INTEGER NOT NULL GENERATED ALWAYS AS (call IS NOT NULL) VIRTUAL) STRICT""",
        "CREATE INDEX parked_due ON parked(is_v1, due_at_ms) WHERE due_at_ms IS NOT NULL",
        "CREATE TABLE parked_lane (lane INTEGER, seq INTEGER, PRIMARY KEY (lane, seq)) STRICT, WITHOUT ROWID",
        f"""CREATE TABLE dead ({ENTRY_COLUMNS},
            died_at_ms INTEGER NOT NULL,
            reason     TEXT    NOT NULL, -- ours, from a short list
            field      TEXT    NOT NULL, -- Customer.io's
            message    TEXT    NOT NULL, -- Customer.io's; may hold personal data, so it is never logged
            status     INTEGER) STRICT""",
        """CREATE TABLE ledger (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            accepted INTEGER NOT NULL DEFAULT 0, replayed      INTEGER NOT NULL DEFAULT 0,
            delivered INTEGER NOT NULL DEFAULT 0, dead_lettered INTEGER NOT NULL DEFAULT 0,
            purged   INTEGER NOT NULL DEFAULT 0, parked        INTEGER NOT NULL DEFAULT 0,
            dead     INTEGER NOT NULL DEFAULT 0,
            seq_reserved INTEGER NOT NULL DEFAULT 0  -- no seq above this has been given out
        ) STRICT""",
        "INSERT INTO ledger (id) VALUES (1)",
    ]
    for statement in statements:
        db.execute(statement)


@migration
def remember_calls(db: Database) -> None:
    """Calls whose answers may be lost: in the ledger's row, which each commit writes anyway."""
    db.execute("ALTER TABLE ledger ADD COLUMN unanswered BLOB NOT NULL DEFAULT x''")


@migration
def outlast_bad_days(db: Database) -> None:
    """How often an entry was held, why Customer.io refused it, and what we have learnt of Customer.io."""
    db.execute("ALTER TABLE parked ADD COLUMN holds INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE parked ADD COLUMN held_for TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE dead ADD COLUMN vendor_reason TEXT NOT NULL DEFAULT ''")  # theirs; `reason` is ours
    db.execute("ALTER TABLE ledger ADD COLUMN learnt BLOB NOT NULL DEFAULT x''")


@migration
def account_for_every_entry(db: Database) -> None:
    """The delivery log; what an entry leaves in it; dead letters under the number of their acceptance."""
    for table in ("event", "parked", "dead"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN trail BLOB NOT NULL DEFAULT x''")  # see trail.py
        db.execute(f"ALTER TABLE {table} ADD COLUMN history TEXT NOT NULL DEFAULT ''")  # attempts, one a line, as JSON
        db.execute(f"ALTER TABLE {table} ADD COLUMN replayed_at_ms INTEGER")
        db.execute(f"ALTER TABLE {table} ADD COLUMN passable_since_ms INTEGER")  # since then what is newer may pass it
    statements = [
        "UPDATE dead SET seq = origin, origin = NULL WHERE origin IS NOT NULL",
        "CREATE INDEX event_origin ON event(origin) WHERE origin IS NOT NULL",  # of replays only: others pay nothing
        "CREATE INDEX parked_origin ON parked(origin) WHERE origin IS NOT NULL",
        "CREATE INDEX dead_died ON dead(died_at_ms)",
        "CREATE INDEX dead_reason ON dead(reason)",
        """CREATE TABLE log (
            id        INTEGER PRIMARY KEY,  -- in the order of writing
            at_ms     INTEGER NOT NULL,     -- Unix; of a request, when it was sent
            what      TEXT    NOT NULL,     -- "sent", or what else befell its entries, or all
            request   INTEGER,              -- its number
            took_ms   INTEGER NOT NULL DEFAULT 0,
            status    INTEGER,              -- NULL: no answer came
            trouble   TEXT,                 -- why not
            is_v1     INTEGER NOT NULL DEFAULT 0,
            entries   INTEGER NOT NULL,
            first_seq INTEGER,              -- the lowest and the highest number in it
            last_seq  INTEGER,
            fates     BLOB    NOT NULL,     -- of those that were not delivered; empty: all were
            seqs      BLOB    NOT NULL,     -- 4 or 8 bytes each above first_seq; empty: each follows the other
            trails    BLOB    NOT NULL) STRICT""",
        "CREATE TABLE log_lanes (id INTEGER PRIMARY KEY, lanes BLOB NOT NULL) STRICT",  # apart: read whole by a search
        "CREATE UNIQUE INDEX log_request ON log(request) WHERE request IS NOT NULL",
        "CREATE INDEX log_seqs ON log(first_seq, last_seq) WHERE first_seq IS NOT NULL",
        "CREATE INDEX log_wide ON log(first_seq, last_seq) WHERE last_seq - first_seq > 4095",
        "CREATE INDEX log_lives ON log(what) WHERE what IN ('started', 'stopped')",
        "ALTER TABLE ledger ADD COLUMN dead_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger ADD COLUMN dead_purged INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger ADD COLUMN dead_evicted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger ADD COLUMN log_lines INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ledger ADD COLUMN log_since_ms INTEGER NOT NULL DEFAULT 0",  # before it no log was kept
        "ALTER TABLE ledger ADD COLUMN last_request INTEGER NOT NULL DEFAULT 0",  # the highest that was logged
        "ALTER TABLE ledger ADD COLUMN store_id BLOB NOT NULL DEFAULT x''",
        "UPDATE dead SET passable_since_ms = CASE WHEN replays > 0 THEN accepted_at_ms ELSE died_at_ms END",
        """UPDATE ledger SET store_id = randomblob(16), dead_bytes = (
               SELECT coalesce(sum(length(body) + length(message) + length(vendor_reason) + length(field)), 0)
               FROM dead)""",
    ]
    for statement in statements:
        db.execute(statement)


@migration
def outlast_damage(db: Database) -> None:
    """What was taken over from a damaged store is counted: it came in, but nobody's call brought it."""
    db.execute("ALTER TABLE ledger ADD COLUMN salvaged INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE salvage (
            name       TEXT PRIMARY KEY,  -- of the folder that it was taken from
            saved      INTEGER NOT NULL,  -- entries that waited
            dead_saved INTEGER NOT NULL) STRICT, WITHOUT ROWID"""
    )


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether every table and index is as a new store of today has it. What else there is, is not ours to judge."""
    return not made_anew() - described(connection)


@cache
def made_anew() -> frozenset[tuple[str, str]]:
    """What a new store has: 3 ms."""
    db = Database(memory=True, execute_plugins=False)
    migrations.apply(db)
    return frozenset(described(db.conn))


def described(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Each table and index by its name, and the statement that made it; but for those of sqlite-utils.

    Those are made in two steps: a crash in between leaves a table without its index, for good, and nobody misses it.
    """
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name NOT LIKE '\\_%' ESCAPE '\\'"
    )
    return {(name, sql) for name, sql in rows}


def format_of(connection: sqlite3.Connection) -> int:
    """Which version's tables a file of ours has; 0 if it has none."""
    return VERSION - len(migrations.pending(Database(connection, execute_plugins=False)))


def migrate(connection: sqlite3.Connection) -> bool:
    """Bring the schema up to date; True if anything had to be done."""
    is_outdated = format_of(connection) < VERSION
    if is_outdated:
        migrations.apply(Database(connection, execute_plugins=False))
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # versions 1 to 4 raised it afterwards
        connection.execute(f"PRAGMA user_version = {VERSION}")
    return is_outdated
