"""All kinds of faults, by name, and how often each is tried."""

from collections.abc import Awaitable, Callable
from functools import partial

from tests.faults.disk_errors import disk_errors, failing_checkpoints, slow_syncs
from tests.faults.full_disk import FLOOR_BYTES, full, full_of_ours, on_ext4, on_tmpfs, read_only
from tests.faults.kills import kills
from tests.faults.mounts import cannot_loop, cannot_mount
from tests.faults.report import Finding
from tests.faults.stalls import frozen, little_memory
from tests.faults.traced import missing

FAULTS: dict[str, Callable[[int, int], Awaitable[Finding]]] = {
    "kills": kills,
    "disk_errors": disk_errors,
    "checkpoints": failing_checkpoints,
    "slow_syncs": slow_syncs,
    "frozen": frozen,
    "little_memory": little_memory,
    "full": partial(full, "full", on_tmpfs),
    "full_floor": partial(full, "full_floor", on_tmpfs, floor_bytes=FLOOR_BYTES),
    "full_of_ours": partial(full_of_ours, "full_of_ours"),
    "full_of_ours_floor": partial(full_of_ours, "full_of_ours_floor", floor_bytes=FLOOR_BYTES // 2),
    "full_greedy": partial(full, "full_greedy", on_tmpfs, is_greedy=True),
    "full_ext4": partial(full, "full_ext4", on_ext4),
    "read_only": read_only,
}
"""Each takes a seed, and how often or how long."""

TIMES = {
    "kills": 200,
    "disk_errors": 16,
    "checkpoints": 1,
    "slow_syncs": 5,
    "frozen": 10,
    "little_memory": 20,
    "full": 2,
    "full_floor": 1,
    "full_of_ours": 1,
    "full_of_ours_floor": 1,
    "full_greedy": 1,
    "full_ext4": 1,
    "read_only": 2,
}


def why_not(name: str) -> str:
    """Why this cannot be tried here; "" if it can."""
    if name == "full_ext4":
        return cannot_loop()
    if name.startswith("full") or name == "read_only":
        return cannot_mount()
    if name in ("frozen", "little_memory"):
        return ""
    return f"there is no {gone}" if (gone := missing()) else ""
