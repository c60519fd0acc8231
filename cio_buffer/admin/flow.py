"""How much came and went lately: one look at the ledger a second, a minute of them. Times are monotonic seconds."""

from collections import deque

from msgspec import Struct

from cio_buffer.admin.forecast import Rates
from cio_buffer.outbox.contract import Ledger

LOOKS_MAX = 61
"""A minute of looks, and where it began."""

TOTALS = ("accepted", "replayed", "delivered", "dead_lettered", "purged", "dead_purged", "dead_evicted", "salvaged")
NO_RATES = Rates(accepted_per_s=0.0, delivered_per_s=0.0, left_per_s=0.0)


class Look(Struct, frozen=True):
    """The ledger at a moment."""

    at: float
    ledger: Ledger


class Flow:
    """Rates from what the ledger said at the last LOOKS_MAX looks."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self._looks = deque([Look(now, ledger)], maxlen=LOOKS_MAX)

    def look(self, ledger: Ledger, now: float) -> None:
        """To be called once a second."""
        if is_of_another_store(ledger, self._looks[-1].ledger):
            self._looks.clear()
        self._looks.append(Look(now, ledger))

    def rates(self, ledger: Ledger, now: float, *, over_s: float) -> Rates:
        """As of now, where the ledger says this; over as much of `over_s` as there has been.

        Of a store that has just begun there are none yet.
        """
        if is_of_another_store(ledger, self._looks[-1].ledger):
            return NO_RATES
        since = next((look for look in reversed(self._looks) if look.at <= now - over_s), self._looks[0])
        lasted_s, then = max(now - since.at, 1.0), since.ledger
        return Rates(
            accepted_per_s=(ledger.accepted - then.accepted) / lasted_s,
            delivered_per_s=(ledger.delivered - then.delivered) / lasted_s,
            left_per_s=(gone(ledger) - gone(then)) / lasted_s,
        )


def is_of_another_store(now: Ledger, before: Ledger) -> bool:
    """Whether a new store has begun to count, from zero: of one store no total ever becomes less."""
    return any(getattr(now, total) < getattr(before, total) for total in TOTALS)


def gone(ledger: Ledger) -> int:
    """What waits no longer, whatever became of it."""
    return ledger.delivered + ledger.dead_lettered + ledger.purged
