"""What is to be thought of what the store stands on. Pure."""

import shlex

from cio_buffer.doctor.disk import CacheSeen, FolderSeen, SpaceSeen, SyncsSeen
from cio_buffer.doctor.findings import Check, failed, ok, warning
from cio_buffer.outbox.opening import NETWORK_FILESYSTEMS

IN_MEMORY = {"tmpfs", "ramfs"}
LAYERED = {"overlay", "aufs"}

HONEST_SYNC_MIN_S = 0.000_020
"""Below this median hardly anything can have reached a medium. A sync takes two commands to the disk, one after the
other: the block, then a flush or the filesystem's journal. The quickest disk that was widely sold promises less than
10 µs for one (3D XPoint, by its data sheet; reviewers measured 8 to 9), and flash behind a capacitor was measured at 12
and more for the flush alone; the kernel's way there and back comes on top. Where nothing has to be written it is the
call alone: tmpfs took 1 to 3 µs here, an honest virtual disk 75 or more. Only a warning: there may be quicker disks."""

SLOW_SYNC_S = 0.020
"""In a quiet moment each 200 waits for one sync. Disks that turn take 8 to 15 ms."""

GIB, MIB = 1 << 30, 1 << 20
DISK_FIX = "look at the disk, at its free space, and at who may write there"
WORDS_OF_CACHE = {
    "write back": "the disk says it has a cache that loses power, and the kernel flushes it at each sync",
    "write through": "the disk says it has no cache that loses power, and is sent no flush; if that is not so (some "
    "virtual disks), nothing here could tell",
}


def judge_folder(seen: FolderSeen) -> Check:
    """Whether the store can be kept there, and by its owner alone."""
    name = "store.folder"
    if not seen.is_folder:
        return failed(name, f"{seen.there} is no folder", "move it away, or change outbox.path")
    if not seen.may_write:
        does = "cannot be written" if seen.exists else f"does not exist, and {seen.there} cannot be written"
        return failed(
            name,
            f"{seen.path} {does} by this user",
            "run this as the user that the daemon runs as; if it is, make that user the folder's owner",
        )
    if not seen.exists:
        return ok(name, f"{seen.path} does not exist; the daemon makes it, for itself alone")
    fix = f"chmod 700 {shlex.quote(seen.path)}"
    if seen.mode & 0o022:
        return failed(name, f"others may write in {seen.path} (mode {seen.mode:04o})", fix)
    if seen.mode & 0o077:
        return warning(name, f"others may look into {seen.path} (mode {seen.mode:04o})", fix)
    return ok(name, f"{seen.path}, mode {seen.mode:04o}{'' if seen.is_ours else ', another user owns it'}")


def judge_files(seen: FolderSeen) -> Check:
    """Whether nobody else can read people's data."""
    name = "store.files"
    if not seen.files:
        return ok(name, "there is no store yet")
    if loose := [file for file in seen.files if file.mode & 0o077]:
        told = ", ".join(f"{file.name} (mode {file.mode:04o})" for file in loose)
        files = " ".join(shlex.quote(f"{seen.path}/{file.name}") for file in loose)
        return failed(name, f"others may read people's data: {told}", f"chmod 600 {files}")
    return ok(name, f"{', '.join(file.name for file in seen.files)}: nobody else may read them")


def judge_filesystem(kind: str) -> Check:
    name = "store.filesystem"
    if kind in NETWORK_FILESYSTEMS:
        return failed(name, f"{kind}: SQLite's write-ahead log needs a local filesystem", "move outbox.path to one")
    if kind in IN_MEMORY:
        return warning(name, f"{kind}: it is memory, and dies with the machine or the container", "use a real disk")
    if kind in LAYERED:
        return warning(
            name,
            f"{kind}: a container's own layer, which dies with the container",
            "mount a volume for the store's folder",
        )
    return ok(name, kind or "cannot be told on this system")


def judge_space(seen: SpaceSeen, *, free_min: int, bytes_max: int) -> Check:
    """Bytes. Below `free_min`, and what the ballast still takes, operations are refused."""
    name, free = "disk.space", in_bytes(seen.free)
    missing = 0 if seen.ballast >= seen.ballast_wanted else seen.ballast_wanted
    needed = free_min + missing
    if seen.free < needed:
        ballast = f", with the ballast of {in_bytes(missing)}" if missing else ""
        return failed(
            name,
            f"{free} free, and {in_bytes(needed)} have to be{ballast}: operations are refused (disk_low)",
            "make room on that disk; outbox.disk_free_min_bytes and ballast_bytes say how much is kept free",
        )
    growth = max(bytes_max - seen.used, 0)
    if seen.free - needed < growth:
        return warning(
            name,
            f"{free} free, and the outbox may still grow by {in_bytes(growth)}: the disk would be low first",
            "make room, or lower outbox.bytes_max to what the disk can give",
        )
    return ok(name, f"{free} free")


def judge_syncs(seen: SyncsSeen, kind: str) -> Check:
    """Whether a sync takes as long as it must. `kind`: of filesystem."""
    name = "disk.sync"
    if seen.problem:
        return failed(
            name, f"a scratch file beside the store could not be written and synced: {seen.problem}", DISK_FIX
        )
    told = (
        f"a synced block takes {in_time(seen.overwrite_median_s)} over, {in_time(seen.append_median_s)} appended"
        f" (p99 {in_time(seen.overwrite_p99_s)} and {in_time(seen.append_p99_s)})"
    )
    slower = max(seen.overwrite_median_s, seen.append_median_s)
    if min(seen.overwrite_median_s, seen.append_median_s) < HONEST_SYNC_MIN_S:
        why = f"{kind} is memory" if kind in IN_MEMORY else "faster than any disk, so a power cut may undo it"
        return warning(name, f"{told}: {why}", "put the store where a sync reaches a disk")
    if slower > SLOW_SYNC_S:
        return warning(name, f"{told}: apps wait so long for a 200", "use a faster disk, if that is too long for them")
    return ok(name, told)


def judge_cache(seen: CacheSeen) -> Check:
    """For information: nobody can see from here whether a disk tells the truth."""
    told = WORDS_OF_CACHE.get(seen.write_cache, "which disk this is cannot be told from here")
    return ok("disk.write_cache", told + ("; it turns" if seen.is_rotational else ""))


def in_time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.001 else f"{seconds * 1e3:.1f} ms"


def in_bytes(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"
