"""What of the end of a soak is not as it should be. Pure."""

from collections.abc import Mapping
from typing import Any

from tests.soak.report import Extent

HELD_STATES = ("pending", "held", "in_flight")
GROWTH_MAX = 1.3
GROWTH_LEAST = {"resident MB": 20.0, "store MB": 64.0, "descriptors": 20.0, "threads": 8.0}
"""Of the median of the last third against that of the first, and so much at least.

A store of these limits breathes by some ten MB with its WAL and its log of deliveries, and a process that was started
anew has less in memory than an old one; but a leak of 40 bytes an operation would be 60 MB after twenty minutes.
"""

LOOKS_MIN = 30
"""Fewer looks, and nothing is said of growth: a process takes some seconds to warm up."""


def wrong_in(status: Mapping[str, Any], missing: int, lost: int | None) -> list[str]:
    """Of the last status, and of what acknowledged operations are missing; `lost` as in the report."""
    if not status:
        return ["it never told its status again"]
    ledger, outbox = status["ledger"], status["outbox"]
    wrong = []
    if held := {name: ledger[name] for name in HELD_STATES if ledger[name]}:
        wrong.append(f"still held: {held}")
    if not ledger["balanced"]:
        wrong.append(f"the ledger does not agree with a real count: {ledger}")
    came, went = ledger["accepted"] + ledger["replayed"] + ledger["salvaged"], left(ledger)
    if came != went:
        wrong.append(f"{came:,} came into the ledger, and {went:,} are accounted for: {ledger}")
    if outbox["order_violations"]:
        wrong.append(f"{outbox['order_violations']} left out of order")
    if lost is not None and missing > lost:
        wrong.append(f"{missing} acknowledged never came, and {lost} were said to be lost with damaged files")
    return wrong


def left(ledger: Mapping[str, int]) -> int:
    """All that have left, or are held."""
    return sum(ledger[name] for name in ("delivered", "dead_lettered", "purged", *HELD_STATES))


def grown(used: Mapping[str, Extent], looks: int) -> list[str]:
    """What is larger in the last third than in the first."""
    if looks < LOOKS_MIN:
        return []
    return [
        f"{name}: grown from {one.first:.0f} to {one.last:.0f}"
        for name, one in used.items()
        if one.last > GROWTH_MAX * one.first and one.last - one.first > GROWTH_LEAST[name]
    ]
