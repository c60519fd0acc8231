"""Opens the SQLite file, in an order that a crash at any point cannot hurt.

Lock, look at what the file is, set it up, empty the WAL, migrate. The order and each setting were measured; see
ARCHITECTURE.md, "The store".
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from cio_buffer.errors import StoreHeld, StoreUnusable
from cio_buffer.outbox import schema

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

Connect = Callable[[str], sqlite3.Connection]


def connect(path: str) -> sqlite3.Connection:
    """Open `path`; transactions are ours to begin and end."""
    return sqlite3.connect(path, isolation_level=None, cached_statements=128)


class StoreLock:
    """One process owns the store. The lock is on a file beside it and goes with the process, however that ends."""

    def __init__(self, store: Path) -> None:
        """Raises StoreHeld if another process has it, StoreUnusable if the file cannot be made."""
        lock = store.with_name(store.name + ".lock")
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

    def release(self) -> None:
        os.close(self._fd)


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


def open_store(path: Path, connect: Connect = connect) -> tuple[sqlite3.Connection, bool]:
    """Open the file for the one thread that writes it; returns the connection and whether it was migrated.

    Raises StoreUnusable where the file is not ours, is newer than we are, is damaged, or cannot be written.
    """
    umask = os.umask(0o077)
    try:
        connection = connect(str(path))
        try:
            check_ours(connection, path)
            apply_settings(connection)
            empty_wal(connection)
            return connection, schema.migrate(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as problem:
        name = getattr(problem, "sqlite_errorname", type(problem).__name__)
        raise StoreUnusable(f"cannot open {path}: {problem} ({name})") from None
    finally:
        os.umask(umask)


def check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a foreign or a newer file before anything of it is touched."""
    application_id, version = (int(pragma(connection, name)) for name in ("application_id", "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application_id != schema.APPLICATION_ID and (tables or application_id):
        raise StoreUnusable(f"{path} is a SQLite file, but not one of ours")
    if int(version) > schema.VERSION:
        raise StoreUnusable(f"{path} was written by a newer cio_buffer (format {version}, we know {schema.VERSION})")


def apply_settings(connection: sqlite3.Connection) -> None:
    """Set each pragma and read it back: an answer that is not fetched hides the error that it carries."""
    for name, value in SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        if name not in ("temp_store", "trusted_schema") and pragma(connection, name) != value:
            raise StoreUnusable(f"SQLite did not take {name} = {value}")
    if pragma(connection, "application_id") != schema.APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}").fetchall()


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
