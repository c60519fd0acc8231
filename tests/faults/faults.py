"""All kinds of faults, by name."""

from collections.abc import Awaitable, Callable

from tests.faults.kills import kills
from tests.faults.mounts import cannot_loop, cannot_mount
from tests.faults.report import Finding
from tests.faults.traced import missing

FAULTS: dict[str, Callable[[int, int], Awaitable[Finding]]] = {
    "kills": kills,
}
"""Each takes a seed, and how often it is to be tried if that can be chosen."""

NEEDS: dict[str, Callable[[], str]] = {}


def why_not(name: str) -> str:
    """Why this cannot be tried here; "" if it can."""
    if name in NEEDS:
        return NEEDS[name]()
    return f"there is no {gone}" if (gone := missing()) else ""


__all__ = ["FAULTS", "cannot_loop", "cannot_mount", "why_not"]
