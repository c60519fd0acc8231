"""A virtual file system that passes all on to SQLite's own, and tells a recorder what was done."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.powercut.disk import Deleted, Dropped, FolderSynced, Made, Operation, Resized, Synced, Written
from tests.powercut.library import load_apsw
from tests.powercut.recorder import VFS, Recorder

IOERR_FSYNC = 0x40A


@contextmanager
def registered(recorder: Recorder) -> Iterator[None]:
    """SQLite knows it as VFS, as long as this lasts."""
    vfs = make_vfs(recorder)
    try:
        yield
    finally:
        vfs.unregister()


def make_vfs(recorder: Recorder) -> Any:
    apsw = load_apsw()

    class File(apsw.VFSFile):  # type: ignore[misc,name-defined]
        def __init__(self, name: Any, flags: list[int]) -> None:
            path = name.filename() if isinstance(name, apsw.URIFilename) else name
            self._path = path if path and not flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE else "/"
            is_new = not os.path.exists(self._path)
            super().__init__("", name, flags)
            self._is_new_log = is_new and bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
            self._note(Made, is_if=is_new)

        def excepthook(self, *_: object) -> None:
            """An error that we injected is no news."""

        def xWrite(self, data: bytes, offset: int) -> None:
            with recorder.lock:
                super().xWrite(data, offset)
                self._note(Written, offset, bytes(data))

        def xTruncate(self, size: int) -> None:
            with recorder.lock:
                super().xTruncate(size)
                self._note(Resized, size)

        def xSync(self, flags: int) -> None:
            with recorder.lock:
                name = recorder.name_of(self._path)
                if name is not None and recorder.fails_to_sync(name):
                    recorder.has_failed_to_sync = True
                    self._note(Dropped)
                    problem = apsw.IOError("the disk did not take it")
                    problem.extendedresult = IOERR_FSYNC
                    raise problem
                super().xSync(flags)
                self._note(Synced)
                if self._is_new_log:  # the first time SQLite syncs the folder of a new journal or WAL too
                    self._is_new_log = False
                    note_folder(recorder, self._path)

        def _note(self, kind: Callable[..., Operation], *more: Any, is_if: bool = True) -> None:
            if is_if and (name := recorder.name_of(self._path)) is not None:
                recorder.note(kind(name, *more))

    class Vfs(apsw.VFS):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(VFS, "")

        def xOpen(self, name: Any, flags: list[int]) -> File:
            with recorder.lock:
                return File(name, flags)

        def xDelete(self, path: str, syncs_folder: bool) -> None:
            with recorder.lock:
                super().xDelete(path, syncs_folder)
                if name := recorder.name_of(path):
                    recorder.note(Deleted(name))
                    if syncs_folder:
                        note_folder(recorder, path)

    return Vfs()


def note_folder(recorder: Recorder, path: str) -> None:
    if (folder := recorder.name_of(os.path.dirname(path))) is not None:
        recorder.note(FolderSynced(folder))
