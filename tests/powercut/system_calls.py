"""The system calls by which our own code changes files, and a recorder that is told of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.powercut.disk import Deleted, FolderMade, FolderSynced, Made, Operation, Renamed, Resized, Synced, Written
from tests.powercut.recorder import Recorder

WATCHED = (
    *("open", "close", "write", "pwrite", "mkdir", "ftruncate", "posix_fallocate"),
    *("fsync", "fdatasync", "rename", "replace", "unlink", "remove", "rmdir"),
)


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """What is done by `os`, as long as this lasts."""
    calls = watched_calls(recorder)
    originals = {name: getattr(os, name) for name in calls}
    try:
        for name, call in calls.items():
            setattr(os, name, call)
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def watched_calls(recorder: Recorder) -> dict[str, Callable[..., Any]]:
    """The system calls that change files, as `os` has them; each does it, and says so to the recorder."""
    real = {name: getattr(os, name) for name in WATCHED}
    paths: dict[int, str] = {}

    def path_at(path: Any, dir_fd: int | None) -> str:
        text = os.fsdecode(path)
        return text if dir_fd is None else f"{paths.get(dir_fd, '')}/{text}"

    def noted(path: str, kind: Callable[..., Operation], *more: Any) -> None:
        if (name := recorder.name_of(path)) is not None:
            recorder.note(kind(name, *more))

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = path_at(path, dir_fd)
        is_new = not os.path.exists(where)
        fd: int = real["open"](path, flags, mode, dir_fd=dir_fd)
        paths[fd] = where
        if flags & os.O_CREAT and is_new:
            noted(where, Made)
        elif flags & os.O_TRUNC:
            noted(where, Resized, 0)
        return fd

    def close(fd: int) -> None:
        paths.pop(fd, None)
        real["close"](fd)

    def write(fd: int, data: bytes) -> int:
        if fd not in paths:
            return int(real["write"](fd, data))
        at = os.lseek(fd, 0, os.SEEK_CUR)
        written: int = real["write"](fd, data)
        noted(paths[fd], Written, at, bytes(data[:written]))
        return written

    def pwrite(fd: int, data: bytes, at: int) -> int:
        written: int = real["pwrite"](fd, data, at)
        if fd in paths:
            noted(paths[fd], Written, at, bytes(data[:written]))
        return written

    def resize(call: str) -> Callable[..., None]:
        def resized(fd: int, *numbers: int) -> None:
            real[call](fd, *numbers)
            if fd in paths:
                noted(paths[fd], Resized, os.fstat(fd).st_size)

        return resized

    def sync(call: str) -> Callable[[int], None]:
        def synced(fd: int) -> None:
            real[call](fd)
            if fd in paths:
                noted(paths[fd], FolderSynced if os.path.isdir(paths[fd]) else Synced)

        return synced

    def renamed(call: str) -> Callable[..., None]:
        def rename(old: Any, new: Any, **more: Any) -> None:
            real[call](old, new, **more)
            name = recorder.name_of(new)
            if name is not None:
                noted(os.fsdecode(old), Renamed, name)

        return rename

    def deleted(call: str) -> Callable[..., None]:
        def delete(path: Any, *, dir_fd: int | None = None) -> None:
            where = path_at(path, dir_fd)
            real[call](path, dir_fd=dir_fd)
            noted(where, Deleted)

        return delete

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real["mkdir"](path, mode, dir_fd=dir_fd)
        noted(path_at(path, dir_fd), FolderMade)

    return {
        "open": open_,
        "close": close,
        "write": write,
        "pwrite": pwrite,
        "mkdir": mkdir,
        **{name: resize(name) for name in ("ftruncate", "posix_fallocate")},
        **{name: sync(name) for name in ("fsync", "fdatasync")},
        **{name: renamed(name) for name in ("rename", "replace")},
        **{name: deleted(name) for name in ("unlink", "remove", "rmdir")},
    }
