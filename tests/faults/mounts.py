"""Small filesystems, which are gone afterwards whatever happens."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

FILL_ATTEMPTS = 50


@contextmanager
def small_tmpfs(place: Path, megabytes: int) -> Iterator[None]:
    """A disk of so many megabytes at `place`, in memory."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(place))
    try:
        yield
    finally:
        unmount(place)


@contextmanager
def small_ext4(place: Path, megabytes: int) -> Iterator[None]:
    """The same on a real filesystem in a file, by a loop device. Nothing is reserved for root."""
    place.mkdir(parents=True, exist_ok=True)
    image = place.with_name(f"{place.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-m", "0", str(image))
    run("mount", "-o", "loop", str(image), str(place))
    try:
        yield
    finally:
        unmount(place)
        image.unlink()


def unmount(place: Path) -> None:
    """Also where something is still open there: then it is gone from the tree, and for good once that is closed."""
    try:
        run("umount", str(place))
    except subprocess.CalledProcessError:
        run("umount", "--lazy", str(place))


def make_read_only(place: Path, *, is_over: bool = False) -> None:
    """From now on nothing can be written to what is mounted there, until that `is_over`. Nothing of it may be open."""
    run("mount", "-o", f"remount,{'rw' if is_over else 'ro'}", str(place))


def fill(path: Path, leave_bytes: int = 0) -> int:
    """Somebody else's file takes the disk but for `leave_bytes`, at one stroke; returns how many bytes it has then.

    Written piece by piece it would also take what the daemon gives up meanwhile.
    """
    with path.open("wb") as file:
        for _ in range(FILL_ATTEMPTS):
            disk = os.statvfs(path.parent)
            wanted = disk.f_bavail * disk.f_frsize - leave_bytes
            has = os.fstat(file.fileno()).st_blocks * 512
            if wanted <= 0:
                break
            with suppress(OSError):  # somebody was quicker; what was taken so far is kept
                os.posix_fallocate(file.fileno(), has, wanted)
                break
        return os.fstat(file.fileno()).st_blocks * 512


def is_mounted(folder: Path) -> bool:
    """Whether anything is still mounted in there."""
    return str(folder) in Path("/proc/self/mounts").read_text()


@cache
def cannot_mount() -> str:
    """Why not; "" if we can."""
    if not shutil.which("mount") or not hasattr(os, "geteuid") or os.geteuid():
        return "mounting needs root"
    try:
        with tempfile.TemporaryDirectory(prefix="cio-") as folder, small_tmpfs(Path(folder) / "try", 1):
            return ""
    except subprocess.CalledProcessError as problem:
        return f"nothing can be mounted here: {problem.stderr.strip()}"


@cache
def cannot_loop() -> str:
    """Why no file can be mounted; "" if one can."""
    if why := cannot_mount():
        return why
    if not shutil.which("mkfs.ext4"):
        return "there is no mkfs.ext4"
    try:
        with tempfile.TemporaryDirectory(prefix="cio-") as folder, small_ext4(Path(folder) / "try", 8):
            return ""
    except subprocess.CalledProcessError as problem:
        return f"no loop device: {problem.stderr.strip()}"


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
