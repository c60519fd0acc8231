"""Small filesystems, which are gone afterwards whatever happens."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

DD_BYTES = 262_144


@contextmanager
def small_tmpfs(place: Path, megabytes: int) -> Iterator[None]:
    """A disk of so many megabytes at `place`, in memory."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(place))
    try:
        yield
    finally:
        run("umount", str(place))


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
        run("umount", str(place))
        image.unlink()


def make_read_only(place: Path) -> None:
    """From now on nothing can be written to what is mounted there. Nothing of it may be open."""
    run("mount", "-o", "remount,ro", str(place))


def fill(path: Path) -> int:
    """Somebody else's file takes all that is left of the disk; returns how many bytes that was."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\xff" * DD_BYTES)
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\xff" * 512)
    return path.stat().st_size


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
