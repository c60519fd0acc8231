"""When the outbox will be empty, and when full, if all goes on as it does now. Pure."""

from msgspec import Struct

OVERHEAD_BYTES = 16_777_216
"""What the store may take beside its entries: the write-ahead log that it keeps."""

ENTRY_BYTES_ASSUMED = 600.0
"""An entry on disk, where too little is stored to tell: a body of 300 bytes takes 342 (measured), some are longer."""


class Rates(Struct, frozen=True, kw_only=True):
    """Operations a second over some time. `left`: whatever waits no longer, dead letters too."""

    accepted_per_s: float
    delivered_per_s: float
    left_per_s: float


class Stored(Struct, frozen=True, kw_only=True):
    """What is in the store: `waiting` entries may still be delivered, `dead` ones take room only, and so does the
    delivery log."""

    waiting: int
    dead: int
    bytes_used: int
    bytes_max: int
    log_bytes: int = 0


class Forecast(Struct, frozen=True, kw_only=True):
    """`empty_in_s`: 0 when nothing waits, None while it does not get less. `full_in_s`: 0 when full, None while the
    store does not grow."""

    empty_in_s: float | None
    full_in_s: float | None


def forecast(minute: Rates, lately: Rates, stored: Stored, *, is_held: bool) -> Forecast:
    """From the rates of the last minute and of the last seconds. `is_held`: nothing leaves any more just now.

    The store grows by what both agree on: a burst is no inflow yet, and an outage that is over no growth any more.
    """
    left_per_s = 0.0 if is_held else lately.left_per_s
    stays_per_s = min(stays(minute, is_held=is_held), stays(lately, is_held=is_held))
    return Forecast(
        empty_in_s=until_gone(stored.waiting, left_per_s - lately.accepted_per_s),
        full_in_s=until_gone(stored.bytes_max - stored.bytes_used, stays_per_s * bytes_per_entry(stored)),
    )


def stays(rates: Rates, *, is_held: bool) -> float:
    """How many more are stored each second. A dead letter keeps its place."""
    return rates.accepted_per_s if is_held else rates.accepted_per_s - rates.delivered_per_s


def until_gone(amount: float, lost_per_s: float) -> float | None:
    """How many seconds until nothing is left of `amount`; None if that never comes."""
    if amount <= 0:
        return 0.0
    return round(amount / lost_per_s, 1) if lost_per_s > 0 else None


def bytes_per_entry(stored: Stored) -> float:
    """What an entry takes on disk, by what is stored; an assumption while that is mostly overhead."""
    entries, of_entries = stored.waiting + stored.dead, stored.bytes_used - OVERHEAD_BYTES - stored.log_bytes
    if of_entries < OVERHEAD_BYTES or not entries:
        return ENTRY_BYTES_ASSUMED
    return of_entries / entries
