"""Opens the SQLite file, in an order that a crash at any point cannot hurt.

Lock, look at what the file is, set it up, empty the WAL, migrate. The order and each setting were measured; see
ARCHITECTURE.md, "The store".
"""

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cio_buffer.errors import StoreHeld, StoreUnusable
from cio_buffer.outbox import schema
from cio_buffer.outbox.backup import Upgrade, prepare_upgrade
from cio_buffer.outbox.beside import lock_of, size_of, sync_folder, wal_of
from cio_buffer.outbox.damaged import Damaged, is_damage
from cio_buffer.outbox.pages import commits

NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"}

WAL_BYTES_KEPT = 16_777_216
"""Not 0: a WAL that is kept is overwritten in place, which syncs faster than growing."""

SETTINGS = {
    "page_size": 4096,  # larger pages write 2 to 3 times the WAL bytes for batches of 10 to 100
    "auto_vacuum": 0,
    "journal_mode": "wal",
    "fullfsync": 1,  # where a plain fsync stops at the disk's cache (macOS)
    "checkpoint_fullfsync": 1,
    "synchronous": 2,  # FULL: in WAL mode NORMAL can lose the last commits in a power cut, and our 200 promised them
    "wal_autocheckpoint": 0,  # automatic checkpoints swallow I/O errors; the writer makes its own
    "journal_size_limit": WAL_BYTES_KEPT,
    "busy_timeout": 5_000,
    "cache_size": -16_384,
    "mmap_size": 0,  # with mmap an I/O error becomes SIGBUS
    "temp_store": 2,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 1,  # keeps personal data out of free pages
}

MARK_BYTES_MAX = 64

Connect = Callable[[str], sqlite3.Connection]


def connect(path: str) -> sqlite3.Connection:
    """Open `path`; transactions are ours to begin and end."""
    return sqlite3.connect(path, isolation_level=None, cached_statements=128)


class StoreLock:
    """One process owns the store. The lock is on a file beside it and goes with the process, however that ends.

    It says which format was written here last: `format`, None where nothing was. By that a store of ours whose first
    bytes are damaged is told from a file that never was ours.
    """

    def __init__(self, store: Path) -> None:
        """Raises StoreHeld if another process has it, StoreUnusable if the file cannot be made."""
        lock = lock_of(store)
        try:
            self._fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StoreUnusable(f"cannot open {lock}: {problem.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise StoreHeld(f"another process has {store} open") from None
        except OSError as problem:
            os.close(self._fd)
            raise StoreUnusable(f"cannot lock {store}: {problem.strerror}") from None
        self._folder = store.parent
        self.format = read_mark(os.pread(self._fd, MARK_BYTES_MAX, 0))

    def mark(self) -> None:
        """The store is open: from now on a file there that looks like none of ours is damaged."""
        if self.format != schema.VERSION:
            with suppress(OSError):  # then the next start has to do with the file's own first bytes
                os.pwrite(self._fd, f"cio_buffer outbox, format {schema.VERSION}\n".encode(), 0)
                os.fsync(self._fd)
                sync_folder(self._folder)

    def release(self) -> None:
        os.close(self._fd)


def read_mark(text: bytes) -> int | None:
    """The format that a lock file tells of."""
    found = re.match(rb"cio_buffer outbox, format (\d{1,4})\n", text)
    return int(found[1]) if found else None


def prepare_folder(store: Path) -> None:
    """Make the store's folder, readable by us alone; refuse one where WAL cannot work."""
    try:
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreUnusable(f"cannot make the folder {store.parent}: {problem.strerror}") from None
    kind = filesystem_of(store.parent)
    if kind in NETWORK_FILESYSTEMS:
        raise StoreUnusable(f"{store.parent} is on {kind}: SQLite's WAL needs a local filesystem")


def filesystem_of(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of filesystem that `folder` is on, "" where that cannot be told."""
    try:
        lines = mountinfo.read_text().splitlines()
    except OSError:
        return ""
    mounts = {}
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounts[fields.split()[4].replace("\\040", " ")] = rest.split()[0]
    here = folder.resolve()
    return next((mounts[str(place)] for place in (here, *here.parents) if str(place) in mounts), "")


def open_store(
    path: Path,
    connect: Connect = connect,
    *,
    known_format: int | None = None,
    keep_free_bytes: int = 0,
    on_upgrade: Callable[[Upgrade], None] = lambda _: None,
) -> tuple[sqlite3.Connection, bool]:
    """Open the file for the one thread that writes it; returns the connection and whether it was migrated.

    `known_format`: what was written here before, as the lock has it. `keep_free_bytes`: a backup leaves as much of the
    disk. `on_upgrade` is told what is about to be migrated, once there is a backup of it, or none. Raises Damaged where
    the file is ours and makes no sense, StoreUnusable where it is not ours, is newer than we are, or cannot be written.
    """
    if path.exists() and not size_of(path) and (known_format is not None or size_of(wal_of(path))):
        raise Damaged("there is nothing in it any more")  # SQLite would begin anew, and delete the WAL
    ends = commits(wal_of(path))
    umask = os.umask(0o077)
    try:
        connection = connect(str(path))
        try:
            check_ours(connection, path, known_format)
            apply_settings(connection)
            if ends:
                check_wal(connection, ends)
            empty_wal(connection)
            if upgrade := prepare_upgrade(connection, path, keep_free_bytes=keep_free_bytes):
                on_upgrade(upgrade)
            was_migrated = schema.migrate(connection)
            if not schema.is_whole(connection):
                raise Damaged("its tables are not as they were made")
            return connection, was_migrated
        except BaseException:
            close_untouched(connection, path)
            raise
    except sqlite3.Error as problem:
        name = getattr(problem, "sqlite_errorname", type(problem).__name__)
        if is_damage(problem) and (known_format is not None or is_ours_by_header(path)):
            raise Damaged(name) from None
        raise StoreUnusable(f"cannot open {path}: {problem} ({name})") from None
    finally:
        os.umask(umask)


def close_untouched(connection: sqlite3.Connection, path: Path) -> None:
    """Close it, and leave its WAL alone: when the last connection closes, SQLite copies it into the file and drops it.

    What is not ours to open is not ours to change, and what is damaged is set aside as it was found. The last one here
    is read-only, and cannot.
    """
    with suppress(sqlite3.Error):
        last = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            last.execute("BEGIN")
            last.execute("PRAGMA schema_version").fetchone()  # has it hold the file, if that can be read at all
            connection.close()
        finally:
            last.close()
    connection.close()


def check_ours(connection: sqlite3.Connection, path: Path, known_format: int | None = None) -> None:
    """Refuse a foreign or a newer file before anything of it is touched.

    Raises Damaged where one of ours was written here before, and no newer one.
    """
    application_id, version = (int(pragma(connection, name)) for name in ("application_id", "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    is_foreign = application_id != schema.APPLICATION_ID and bool(tables or application_id)
    if known_format is not None and known_format <= schema.VERSION and (is_foreign or version > schema.VERSION):
        raise Damaged("its first page is not as we wrote it")
    is_ours = application_id == schema.APPLICATION_ID or known_format is not None
    if is_ours and not tables and int(pragma(connection, "page_count")) > 1:
        raise Damaged("its tables are gone")
    if is_foreign:
        raise StoreUnusable(f"{path} is a SQLite file, but not one of ours")
    if version > schema.VERSION:
        raise StoreUnusable(f"{path} was written by a newer cio_buffer (format {version}, we know {schema.VERSION})")


def has_lost_its_head(path: Path) -> bool:
    """Whether a store's first bytes are no SQLite header as all of ours have it: SQLite could make nothing of it.

    Seen before SQLite is: that, when it closes such a file, empties the WAL into it. The same holds of when to call it
    as of `is_ours_by_header`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return bool(head) and (head[:16], head[16:18], head[21:24]) != (b"SQLite format 3\0", b"\x10\x00", b"\x40\x20\x20")


def is_ours_by_header(path: Path) -> bool:
    """Whether a file that SQLite cannot read was ours, by its first bytes.

    To be called only while nothing of this process has it open: closing a descriptor drops SQLite's locks.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return head[:15] == b"SQLite format 3" and head[68:72] == schema.APPLICATION_ID.to_bytes(4)


def apply_settings(connection: sqlite3.Connection) -> None:
    """Set each pragma and read it back: an answer that is not fetched hides the error that it carries."""
    for name, value in SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        if name not in ("temp_store", "trusted_schema") and pragma(connection, name) != value:
            raise StoreUnusable(f"SQLite did not take {name} = {value}")
    if pragma(connection, "application_id") != schema.APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}").fetchall()


def check_wal(connection: sqlite3.Connection, ends: Sequence[int]) -> None:
    """Raises Damaged where SQLite ends its reading of the WAL before commits that were synced.

    `ends`: the frames that end a commit, whoever can read them. SQLite drops whatever stands behind a frame that is not
    as it was written. A power cut leaves one such commit, which nobody was told of; behind it there can be another
    only if it had been synced, and was hit later.
    """
    _, known, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if sum(end >= known for end in ends) > 1:
        raise Damaged("its WAL is not as it was written")


def empty_wal(connection: sqlite3.Connection) -> None:
    """Bring what a crash left in the WAL into the file, synced, before the first promise is built on it.

    After a failed fsync the kernel may have dropped pages that it still shows; without this, half of all simulated
    power cuts after such a restart lost acknowledged entries, with it none.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreUnusable("another process reads the store and keeps its WAL from being emptied")


def pragma(connection: sqlite3.Connection, name: str) -> int | str:
    """The value of one pragma."""
    value: int | str = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
