"""A disk as it is behind the kernel's cache: what is certainly on it, and what may or may not have reached it yet.

What is written to a file is certain once that file was synced; what happened to names once their folder was. Names
change in order, as on every file system with a journal: who finds a later change on the disk finds the earlier ones.
Writes know no order, and no more than 512 bytes of one arrive together.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

SECTOR = 512


class Made(Struct, frozen=True, gc=False):
    """A file that was not there."""

    name: str


class Written(Struct, frozen=True, gc=False):
    name: str
    at: int
    data: bytes


class Resized(Struct, frozen=True, gc=False):
    name: str
    size: int


class Synced(Struct, frozen=True, gc=False):
    name: str


class Dropped(Struct, frozen=True, gc=False):
    """A sync failed: all that was to be written is still shown by the kernel, as clean, and never written."""

    name: str


class Deleted(Struct, frozen=True, gc=False):
    """A file, or an empty folder."""

    name: str


class Renamed(Struct, frozen=True, gc=False):
    name: str
    new: str


class FolderMade(Struct, frozen=True, gc=False):
    name: str


class FolderSynced(Struct, frozen=True, gc=False):
    name: str


Operation = Made | Written | Resized | Synced | Dropped | Deleted | Renamed | FolderMade | FolderSynced

Image = dict[str, bytes | None]
"""What is found after a power cut: files by their names below the store's folder; None is a folder."""


class File:
    """Its certain content, and the changes since."""

    def __init__(self, content: bytes = b"") -> None:
        self.certain = bytearray(content)
        self.pending: list[Written | Resized] = []

    def sync(self) -> None:
        for change in self.pending:
            apply(self.certain, change)
        self.pending.clear()


class Disk:
    """Follows what is done to it, one operation after the other."""

    def __init__(self, image: Mapping[str, bytes | None]) -> None:
        """All of `image` is certain."""
        self.names: dict[str, File | None] = {
            name: None if content is None else File(content) for name, content in image.items()
        }
        self._certain = dict(self.names)
        self._pending: list[tuple[Operation, File | None]] = []
        self.certainties = 0  # raised by whatever makes anything certain

    def do(self, operation: Operation) -> None:
        """A write to a file that was deleted while it was open goes nowhere."""
        match operation:
            case Written(name=name) | Resized(name=name):
                if file := self.names.get(name):
                    file.pending.append(operation)
            case Synced(name=name):
                if (file := self.names.get(name)) and file.pending:
                    file.sync()
                    self.certainties += 1
            case Dropped(name=name):
                if file := self.names.get(name):
                    file.pending.clear()
            case FolderSynced(name=name):
                self._sync_folder(name)
            case _:
                file = File() if isinstance(operation, Made) else self.names.get(operation.name)
                rename(self.names, operation, file)
                self._pending.append((operation, file))

    def _sync_folder(self, folder: str) -> None:
        """With the last change in it, all that happened to names before that is certain."""
        touching = [place for place, (change, _) in enumerate(self._pending, 1) if folder in folders_of(change)]
        if touching:
            for change, file in self._pending[: touching[-1]]:
                rename(self._certain, change, file)
            del self._pending[: touching[-1]]
            self.certainties += 1

    @property
    def names_pending(self) -> int:
        """How many changes of names are not certain yet."""
        return len(self._pending)

    @property
    def is_certain(self) -> bool:
        """Whether a power cut leaves one image only."""
        return not self._pending and not any(self._unsynced())

    def pending(self) -> list[Written | Resized]:
        """All that was written and is not certain yet, in order for each file."""
        return [change for file in self._unsynced() for change in file.pending]

    def _unsynced(self) -> Iterator[File]:
        files = {id(file): file for names in (self.names, self._certain) for file in names.values() if file}
        yield from (file for file in files.values() if file.pending)

    def image(self, names_kept: int, parts_kept: Callable[[Written | Resized], Iterator[Written | Resized]]) -> Image:
        """What is found if so many of the uncertain changes of names arrived, and of each write those parts."""
        names = dict(self._certain)
        for change, file in self._pending[:names_kept]:
            rename(names, change, file)
        return {name: None if file is None else content(file, parts_kept) for name, file in names.items()}


def content(file: File, parts_kept: Callable[[Written | Resized], Iterator[Written | Resized]]) -> bytes:
    found = bytearray(file.certain)
    for change in file.pending:
        for part in parts_kept(change):
            apply(found, part)
    return bytes(found)


def apply(content: bytearray, change: Written | Resized) -> None:
    if isinstance(change, Resized):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    if change.at > len(content):
        content.extend(bytes(change.at - len(content)))
    content[change.at : change.at + len(change.data)] = change.data


def sectors(change: Written) -> Iterator[Written]:
    """The write as the disk sees it."""
    start = 0
    while start < len(change.data):
        end = start + SECTOR - (change.at + start) % SECTOR
        yield Written(change.name, change.at + start, change.data[start:end])
        start = end


def rename(names: dict[str, File | None], change: Operation, file: File | None) -> None:
    match change:
        case Made(name=name) | FolderMade(name=name):
            names[name] = file
        case Deleted(name=name):
            names.pop(name, None)
        case Renamed(name=name, new=new):
            names.pop(name, None)
            names[new] = file


def folders_of(change: Operation) -> set[str]:
    new = {posixpath.dirname(change.new)} if isinstance(change, Renamed) else set()
    return {posixpath.dirname(change.name), *new}
