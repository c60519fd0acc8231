"""How much came and went lately: one look at the ledger a second, a minute of them. Times are monotonic seconds."""

from collections import deque

from msgspec import Struct

from cio_buffer.admin.forecast import Rates
from cio_buffer.outbox.contract import Ledger

LOOKS_MAX = 61
"""A minute of looks, and where it began."""


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
        self._looks.append(Look(now, ledger))

    def rates(self, ledger: Ledger, now: float, *, over_s: float) -> Rates:
        """As of now, where the ledger says this; over as much of `over_s` as there has been."""
        since = next((look for look in reversed(self._looks) if look.at <= now - over_s), self._looks[0])
        lasted_s, then = max(now - since.at, 1.0), since.ledger
        return Rates(
            accepted_per_s=(ledger.accepted - then.accepted) / lasted_s,
            delivered_per_s=(ledger.delivered - then.delivered) / lasted_s,
            left_per_s=(gone(ledger) - gone(then)) / lasted_s,
        )


def gone(ledger: Ledger) -> int:
    """What waits no longer, whatever became of it."""
    return ledger.delivered + ledger.dead_lettered + ledger.purged
