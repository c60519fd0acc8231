"""Sets a damaged store aside, whole, in an order that a crash at any point cannot hurt.

`quarantine/<UTC>/` beside the store then holds the database and its WAL, which has acknowledged entries in it; what was
known of the store (`before.json`, written first); and, once that is over, what was salvaged (`salvage.json`). Only a
person deletes it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from cio_buffer.outbox.beside import shm_of, size_of, sync_folder, wal_of

FOLDER, BEFORE, SALVAGE = "quarantine", "before.json", "salvage.json"
NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z")
"""Of our folders. What else lies there is none of our business: a disk of its own has a `lost+found`."""


class Before(Struct, frozen=True, kw_only=True):
    """What was known of a store when it was set aside. `waiting` and `dead`: entries in it; None where unknown.

    The next store gives out numbers above `highest_seq` and `last_request`, and keeps the id (hex, "" where unknown),
    so that receipts stay good.
    """

    why: str
    store_id: Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")] = ""
    highest_seq: Annotated[int, Meta(ge=0, le=2**62)] = 0
    last_request: Annotated[int, Meta(ge=0, le=2**62)] = 0
    waiting: int | None = None
    dead: int | None = None


class Salvage(Struct, frozen=True, kw_only=True):
    """How salvaging ended. `failed`: why it broke off, "" if it went through."""

    saved: int
    dead_saved: int
    failed: str = ""


def set_aside(store: Path, before: Before, now: float) -> Path:
    """Move the store's file and its WAL out of the way; nobody has them open. Returns their folder.

    The database first: one that is left without its WAL would open as if nothing were missing. Raises OSError: then
    all is as it was, or the database is gone and `finish` is to be called.
    """
    folder = make_folder(store, now)
    try:
        write_json(folder / BEFORE, before)
        move(store, folder)
        move(wal_of(store), folder)
    except OSError:
        throw_away_empty(folder)  # it is tried again and again, and each time by another name
        raise
    shm_of(store).unlink(missing_ok=True)
    return folder


def finish(store: Path, now: float) -> None:
    """What a crash in between has left: a WAL without its database follows it. To be called before the store is opened.

    SQLite would delete such a WAL. Where nobody knows what became of the database, it is set aside by itself.
    """
    for folder in folders(store):
        throw_away_empty(folder)
    if store.exists() or not size_of(wal_of(store)):
        return
    latest = next(reversed(list(folders(store))), None)
    if latest is None or size_of(latest / wal_of(store).name) or is_over(latest):
        latest = make_folder(store, now)
        write_json(latest / BEFORE, Before(why="its database was gone", highest_seq=int(now * 1_000_000)))
    move(wal_of(store), latest)
    shm_of(store).unlink(missing_ok=True)


def folders(store: Path) -> Iterator[Path]:
    """Those of all stores that were set aside, oldest first."""
    with suppress(OSError):
        inside = (store.parent / FOLDER).iterdir()
        yield from sorted(folder for folder in inside if NAME.fullmatch(folder.name) and folder.is_dir())


def unfinished(store: Path) -> list[Path]:
    """Those that are still to be salvaged, oldest first."""
    return [folder for folder in folders(store) if not is_over(folder)]


def is_over(folder: Path) -> bool:
    try:
        return (folder / SALVAGE).exists()
    except OSError:  # it cannot be looked into: nor could anything be read of it
        return True


def before(folder: Path) -> Before:
    """What was known of the store; nothing, where that cannot be read."""
    return read_json(folder / BEFORE, Before) or Before(why="nobody knows")


def salvage(folder: Path) -> Salvage | None:
    """How salvaging ended; None while it has not."""
    return read_json(folder / SALVAGE, Salvage) if is_over(folder) else None


def end(folder: Path, salvage: Salvage) -> None:
    """Write down that there is nothing more to be salvaged. Durable when it returns."""
    write_json(folder / SALVAGE, salvage)


def bytes_in(folder: Path) -> int:
    """What it takes of the disk."""
    with suppress(OSError):
        return sum(size_of(file) for file in folder.iterdir())
    return 0


def bytes_set_aside(store: Path) -> int:
    return sum(bytes_in(folder) for folder in folders(store))


def remove(store: Path, name: str) -> bool:
    """Delete one that has been salvaged, for good; False if there is none of that name.

    Raises OSError where it cannot be deleted.
    """
    found = next((folder for folder in folders(store) if folder.name == name and is_over(folder)), None)
    if found is None:
        return False
    for file in sorted(found.iterdir(), key=lambda file: file.name == SALVAGE):  # the mark that it is over goes last
        file.unlink()
    found.rmdir()
    sync_folder(found.parent)
    return True


def make_folder(store: Path, now: float) -> Path:
    """A new one, named by the time. Two in one millisecond get two names."""
    parent = store.parent / FOLDER
    parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        name = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
        try:
            (parent / name).mkdir(mode=0o700)
        except FileExistsError:
            now += 0.001
            continue
        sync_folder(store.parent)
        sync_folder(parent)
        return parent / name


def move(file: Path, folder: Path) -> None:
    """Durable when it returns; nothing if there is no such file."""
    with suppress(FileNotFoundError):
        file.rename(folder / file.name)
        sync_folder(folder)
        sync_folder(file.parent)


def throw_away_empty(folder: Path) -> None:
    """Delete one into which nothing was moved, because of a crash before, or of trouble with the disk."""
    with suppress(OSError):
        if {file.name for file in folder.iterdir()} <= {BEFORE, draft_of(folder / BEFORE).name}:
            shutil.rmtree(folder, ignore_errors=True)


def draft_of(file: Path) -> Path:
    return file.with_name(file.name + ".draft")


Written = TypeVar("Written", bound=Struct)


def write_json(file: Path, content: Struct) -> None:
    """Whole or not at all, and durable when it returns."""
    draft = draft_of(file)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(content))
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.rename(file)
    sync_folder(file.parent)


def read_json(file: Path, kind: type[Written]) -> Written | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
